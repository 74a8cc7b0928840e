//! The command line of what is done with files of rules.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use netchannel::control::DEFAULT_SOCKET;
use netchannel::rules::Format;

use super::import::ImportArguments;

const CHECK_EXAMPLES: &str = "\
For each file, prints what it holds, or everything that is wrong with it: file, line, column, what was found and what \
was expected. With --config, rules may name only the channels and interfaces of that configuration. Exits with 3 if a \
file is refused. docs/rules.md describes the formats.

Examples:
  netchannel rules check site.rules
  netchannel rules check --config /etc/netchannel.toml /etc/netchannel/rules.d/*.rules
  generate-rules | netchannel rules check -";

const CONVERT_EXAMPLES: &str = "\
Formats are native, json and classbench; iptables (what iptables-save and ip6tables-save print) and nftables (what \
nft -j list ruleset prints) are read, not written, see docs/import.md. Rules that a format can't say are refused, each with its place and reason, and \
nothing is written; with --lenient they are left out and listed on standard error. ClassBench's format has no channels: \
--channel names that of all rules that are read from it, and the channels of those that are written are left out.

Examples:
  iptables-save | netchannel rules convert - --route default=wan0 --channels nat.toml --to native -o site.rules
  nft -j list ruleset | netchannel rules convert - --lenient --accept routed --to native
  netchannel rules convert acl.classbench --channel internet --to native -o acl.rules
  netchannel rules convert site.rules --to json | jq '.rules[] | select(.channel == \"drop\")'
  jq '.rules |= map(select(.comment != \"old\"))' site.json | netchannel rules convert - --to native";

const EXPORT_EXAMPLES: &str = "\
Writes the rules of a configuration, all its rule files included, those of a file, or else those in force, as one file.

Examples:
  sudo netchannel rules export --to native -o running.rules
  netchannel rules export --config /etc/netchannel.toml --to native -o site.rules
  netchannel rules export --file site.rules --to json";

const DIFF_EXAMPLES: &str = "\
Rules are compared by what they say, not by where they stand in their files: + is in the second only, - in the first \
only, ~ has another priority or another place among those of its priority. Sets are compared by their values. Exits \
with 0 if nothing differs, with 1 if something does, with 3 if a file is refused.

JSON is one object: removed, added (rules), moved (rules with their former priority), reordered (rules), removed_sets, \
added_sets, changed_sets (names).

With one file, what is in force stands for the first.

Examples:
  netchannel rules diff old.rules new.rules
  sudo netchannel rules diff new.rules                what loading it would change
  netchannel rules diff -j site.json site.rules | jq '.added[]'";

/// What is done with files of rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RuleFiles {
    /// Say what is wrong with files of rules, or that nothing is.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckRules),
    /// Write a file of rules in another format.
    #[command(after_help = CONVERT_EXAMPLES)]
    Convert(ConvertRules),
    /// Write the rules in force, of a configuration or of a file.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportRules),
    /// Say what two files of rules differ in, or a file from what is in force.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffRules),
}

#[derive(Debug, Args)]
pub(crate) struct CheckRules {
    /// The files; - is standard input.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// The configuration whose channels and interfaces the rules may name.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The format of the files: native, json, classbench, iptables or nftables [default: what each looks like]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// Leave out what rules can't say, and list it.
    #[arg(long)]
    pub(crate) lenient: bool,

    #[command(flatten)]
    pub(crate) import: ImportArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertRules {
    /// The file; - is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Its format: native, json, classbench, iptables or nftables [default: what it looks like]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) from: Option<Format>,

    /// The channel of the rules, where their format has no channels.
    #[arg(long, value_name = "NAME", default_value = "drop")]
    pub(crate) channel: String,

    #[command(flatten)]
    pub(crate) import: ImportArguments,

    /// Where the channels go that imported rules lead to, as text for a configuration [default: standard error]
    #[arg(long, value_name = "FILE")]
    pub(crate) channels: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct ExportRules {
    #[command(flatten)]
    pub(crate) origin: Origin,

    #[command(flatten)]
    pub(crate) target: Target,
}

/// Where rules come from.
#[derive(Debug, Args)]
#[group(required = false, multiple = false)]
pub(crate) struct Origin {
    /// The configuration whose rules are written.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The file whose rules are written.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The control socket of the netchannel whose rules are written.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

/// Where rules go, and how.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The format to write: native, json or classbench.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: Format,

    /// The file to write; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,

    /// Leave out what can't be said, and list it.
    #[arg(long)]
    pub(crate) lenient: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffRules {
    /// One or two files.
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    pub(crate) files: Vec<PathBuf>,

    /// The control socket of the netchannel whose rules are the first, where one file is given.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,

    /// The format of both: native, json, classbench, iptables or nftables [default: what each looks like]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// JSON, for programs.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,
}
