//! The command line of what is done with rule sets and traces.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use netchannel::measure::Structure;
use netchannel::rules::explain::Flow;
use netchannel::workload::generate::{Distribution, Properties, Style};

use super::analysis::{self, Explain, Lint};
use super::import::ImportArguments;
use super::rules::RuleFiles;
use super::running_rules::RunningRules;

pub(super) const RULES_EXAMPLES: &str = "\
Examples:
  netchannel rules check site.rules
  sudo netchannel rules load site.rules --confirm-within 60
  sudo netchannel rules add 'priority 10 tcp from any to 192.0.2.0/24 port 25 drop'
  sudo netchannel rules list
  netchannel rules diff old.rules new.rules
  netchannel rules convert acl.classbench --channel internet --to native -o acl.rules
  netchannel rules match --rules acl.rules --format classbench --trace acl.trace";

pub(super) const BENCH_EXAMPLES: &str = "\
Examples:
  netchannel bench generate --style acl --rules 10000 --output acl.rules --trace acl.trace
  netchannel bench classify --rules acl.rules --trace acl.trace --structure all";

const MATCH_EXAMPLES: &str = "\
Prints a line for each header of the trace: the number of the rule that wins, which is its line in the file, from 1 \
(blank lines and comments count as lines), or - if no rule matches. A winner that the trace names is not looked at. \
For each FLOW, prints file, line and text of the rule that wins, or -. Rules of JSON and nft have no lines: there it is \
the number of the rule. Exits with 3 if a file is wrong; then nothing is printed but what is wrong with it.

Examples:
  netchannel rules match --rules acl.rules --format classbench --trace acl.trace
  netchannel rules match --rules site.rules 'tcp 10.0.0.5:1234 > 1.2.3.4:443 on eth0' 'icmp 10.0.0.5 > 1.2.3.4'
  netchannel rules match --rules acl.rules.gz --trace acl.trace.gz --structure linear | sort | uniq -c | sort -rn";

const CLASSIFY_EXAMPLES: &str = "\
Memory is divided by the rules. Lookups are measured one at a time and in bursts of 32, each as the median of several \
passes; changes take out random rules, one at a time, and put them in again. All use one thread, but for the lookups \
while writing: there a second thread takes out rules and puts them in again without a pause. It needs a second \
processor; with one for both, all times are those that a thread has it, not those that go by. Mismatches are headers \
for which a structure finds another rule than a linear search (for 2,000 of them) or than the trace says (for all that \
it says it of, as far as --seconds go), before and after the changes. Exits with 1 if there are any, with 3 if a file \
is wrong.

JSON is one object for each structure, each on a line of its own:
  structure, rules, headers, build_seconds, bytes_per_rule, ns_per_lookup, ns_per_lookup_burst, inserts_per_second,
  removes_per_second, ns_per_lookup_burst_while_writing, mismatches

Examples:
  netchannel bench classify --rules acl.rules --format classbench --trace acl.trace
  netchannel bench classify --rules acl.rules --trace acl.trace --structure all --json --seconds 5 | jq .";

const GENERATE_EXAMPLES: &str = "\
A seed makes the same files on every machine. No rule is there twice; the first line has the highest priority. Each \
header of the trace is a random point of a rule that is drawn; its sixth column is the number of the first rule that \
matches, from 0. Files whose names end in .gz are compressed.

Examples:
  netchannel bench generate --style acl --rules 1000 > acl.rules
  netchannel bench generate --style ipc --rules 100000 --seed 7 --output ipc.rules.gz --trace ipc.trace.gz
  netchannel bench generate --style fw --rules 10000 --wildcards 1 --source-addresses 20 --destination-addresses 20 \\
      --port-values 2000 --port-ranges 1 --wide-port-ranges 1 --disorder 1 --output worst.rules --trace worst.trace";

#[derive(Debug, Args)]
pub(crate) struct Rules {
    #[command(subcommand)]
    pub(crate) command: RulesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Say which rule wins for each header of a trace.
    #[command(after_help = MATCH_EXAMPLES)]
    Match(Match),
    /// Say what is probably not meant in rules: rules that never win, and the like.
    #[command(after_help = analysis::LINT_EXAMPLES)]
    Lint(Lint),
    /// Say which rule decides about a packet, and what becomes of it.
    #[command(after_help = analysis::EXPLAIN_EXAMPLES)]
    Explain(Box<Explain>),
    #[command(flatten)]
    Files(RuleFiles),
    #[command(flatten)]
    Running(RunningRules),
}

/// A rule set and a trace.
#[derive(Debug, Args)]
pub(crate) struct Input {
    /// The rules, compressed with gzip or not.
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,

    /// The format of the rules.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "classbench")]
    pub(crate) format: Format,

    /// The headers to look up, compressed with gzip or not: a line for each with source and destination address, source
    /// and destination port and protocol, all decimal, and the winning rule from 0, or -1, if known.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// @SOURCE/LENGTH DESTINATION/LENGTH LOW : HIGH (source ports) LOW : HIGH (destination ports) PROTOCOL/MASK
    Classbench,
}

#[derive(Debug, Args)]
pub(crate) struct Match {
    /// The rules, compressed with gzip or not.
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,

    /// The format of the rules: native, json, classbench, iptables or nftables [default: classbench for a trace, else what
    /// they look like]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<netchannel::rules::Format>,

    /// The headers to look up, compressed with gzip or not: a line for each with source and destination address, source
    /// and destination port and protocol, all decimal, and the winning rule from 0, or -1, if known.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "flows",
        conflicts_with = "flows"
    )]
    pub(crate) trace: Option<PathBuf>,

    /// Packets that open flows, as `netchannel rules explain` takes them.
    #[arg(value_name = "FLOW")]
    pub(crate) flows: Vec<Flow>,

    #[command(flatten)]
    pub(crate) import: ImportArguments,

    /// What to look up in, for a trace and ClassBench's format: linear, interval, trie or tuple.
    #[arg(long, value_name = "NAME", default_value_t = Structure::default())]
    pub(crate) structure: Structure,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure the classifier's structures on a rule set and a trace.
    #[command(after_help = CLASSIFY_EXAMPLES)]
    Classify(Classify),
    /// Make a rule set, and a trace for it.
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(Generate),
}

#[derive(Debug, Args)]
pub(crate) struct Classify {
    #[command(flatten)]
    pub(crate) input: Input,

    /// What to measure: linear, interval, trie, tuple, or all of them, one after the other.
    #[arg(long, value_name = "NAME", default_value_t = WhichStructures::default())]
    pub(crate) structure: WhichStructures,

    /// JSON, for programs.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,

    /// About how long to measure each of: single lookups, bursts, changes, bursts while writing; and how long at most to
    /// check what the trace says. From 0.001 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) seconds: Duration,
}

/// One structure, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WhichStructures(Option<Structure>);

impl WhichStructures {
    /// All of them if none was named.
    pub(crate) fn named(self) -> Option<Structure> {
        self.0
    }
}

impl Default for WhichStructures {
    fn default() -> Self {
        Self(Some(Structure::default()))
    }
}

impl std::fmt::Display for WhichStructures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.map_or("all", Structure::name))
    }
}

impl FromStr for WhichStructures {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "all" {
            return Ok(Self(None));
        }
        let structure = name.parse::<Structure>();
        structure
            .map(|structure| Self(Some(structure)))
            .map_err(|error| format!("{error}, or all"))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// What the rules are like: acl (access lists), fw (firewalls) or ipc (Linux ipchains).
    #[arg(long)]
    pub(crate) style: Style,

    /// How many rules, from 1 to 16777216.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub(crate) rules: u32,

    /// What the random numbers start from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Where the rules go; - is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,

    /// Where a trace goes.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// How many headers the trace has, from 1 to 100000000.
    #[arg(long, value_name = "N", requires = "trace", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) headers: u32,

    /// Which rules the headers are made of: uniform (each equally often) or zipf (the Nth of a random order 1/N as often
    /// as the first).
    #[arg(long, requires = "trace", default_value_t = Distribution::Uniform)]
    pub(crate) distribution: Distribution,

    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// What departs from the style.
#[derive(Debug, Args)]
#[command(next_help_heading = "Properties, where they shall be other than the style's")]
pub(crate) struct Shape {
    /// Share of rules for any source or any destination address, or nearly any (a prefix of up to 3 bits), from 0 to 1
    /// [default: acl 0.03, fw 0.92, ipc 0.22]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    wildcards: Option<f64>,

    /// How many source addresses prefixes are cut from, from 1 to 16777216 [default: as many as rules, for fw half of
    /// that]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    source_addresses: Option<u32>,

    /// How many destination addresses prefixes are cut from, from 1 to 16777216 [default: as many as rules, for acl 400
    /// at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    destination_addresses: Option<u32>,

    /// Where addresses differ, from 0 (in their first bits: all over the address space) to 1 (in their last bits: all in
    /// one network) [default: acl 0.6, fw 0.25, ipc 0.5]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    clustering: Option<f64>,

    /// How unevenly rules share the addresses, from 0 (each as often as the others) to 1 (most rules name few)
    /// [default: acl 0.5, fw 0.2, ipc 0.4]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    skew: Option<f64>,

    /// Share of prefixes that are made of any address, so that networks lie in networks, from 0 to 1; others are made of
    /// addresses that only prefixes of their length are made of [default: acl 0.05, fw 0, ipc 0.05]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    nesting: Option<f64>,

    /// Share of prefixes that are cut to a random length, from 0 to 1 [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    random_lengths: Option<f64>,

    /// By how many bits prefix lengths depart from the style's at most, from 0 to 32; a fifth of that on average
    /// [default: 2]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(0..=32))]
    smoothness: Option<u32>,

    /// Share of rules with a port range that is neither all ports, nor those from 1024, nor those below, from 0 to 1
    /// [default: acl 0.11, fw 0.001, ipc 0.045]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    port_ranges: Option<f64>,

    /// Share of those port ranges that start and end anywhere, from 0 to 1; the others are 2 to 101 ports long
    /// [default: 0.1]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    wide_port_ranges: Option<f64>,

    /// How many different ports, and half as many port ranges, are named, from 1 to 65536 [default: acl 75, fw 40,
    /// ipc 45]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    port_values: Option<u32>,

    /// Share of rules for any protocol, from 0 to 1 [default: acl 0.083, fw 0.01, ipc 0.34]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    any_protocol: Option<f64>,

    /// Share of rules that stand anywhere, from 0 to 1; the others stand the more in front, the longer their prefixes are
    /// [default: 0.15]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    disorder: Option<f64>,
}

impl Shape {
    /// The properties of so many rules of a style, with what was asked for.
    pub(crate) fn properties(&self, style: Style, rules: u32) -> Properties {
        let usual = style.properties(rules);
        Properties {
            wildcards: self.wildcards.unwrap_or(usual.wildcards),
            source_addresses: self.source_addresses.unwrap_or(usual.source_addresses),
            destination_addresses: self.destination_addresses.unwrap_or(usual.destination_addresses),
            clustering: self.clustering.unwrap_or(usual.clustering),
            skew: self.skew.unwrap_or(usual.skew),
            nesting: self.nesting.unwrap_or(usual.nesting),
            random_lengths: self.random_lengths.unwrap_or(usual.random_lengths),
            smoothness: self.smoothness.unwrap_or(usual.smoothness),
            port_ranges: self.port_ranges.unwrap_or(usual.port_ranges),
            wide_port_ranges: self.wide_port_ranges.unwrap_or(usual.wide_port_ranges),
            port_values: self.port_values.unwrap_or(usual.port_values),
            any_protocol: self.any_protocol.unwrap_or(usual.any_protocol),
            disorder: self.disorder.unwrap_or(usual.disorder),
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1.0)
}

fn seconds(text: &str) -> Result<Duration, String> {
    number(text, 0.001..=3600.0).map(Duration::from_secs_f64)
}

fn number(text: &str, allowed: RangeInclusive<f64>) -> Result<f64, String> {
    let found = text.parse().ok().filter(|number| allowed.contains(number));
    found.ok_or_else(|| format!("expected a number from {} to {}", allowed.start(), allowed.end()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use netchannel::measure::Structure;
    use netchannel::workload::generate::Style;

    use crate::arguments::Arguments;

    /// The help of `netchannel bench COMMAND`, on one line.
    fn help(command: &str) -> String {
        let mut arguments = Arguments::command();
        let bench = arguments.find_subcommand_mut("bench").unwrap();
        let help = bench.find_subcommand_mut(command).unwrap().render_long_help();
        help.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn help_names_all_structures() {
        for structure in Structure::ALL {
            assert!(help("classify").contains(structure.name()), "{structure}");
        }
    }

    #[test]
    fn help_tells_the_defaults() {
        let [acl, fw, ipc] = Style::ALL.map(|style| style.properties(1_000));
        let help = help("generate");
        for (a, b, c) in [
            (acl.wildcards, fw.wildcards, ipc.wildcards),
            (acl.clustering, fw.clustering, ipc.clustering),
            (acl.skew, fw.skew, ipc.skew),
            (acl.nesting, fw.nesting, ipc.nesting),
            (acl.port_ranges, fw.port_ranges, ipc.port_ranges),
            (
                acl.port_values.into(),
                fw.port_values.into(),
                ipc.port_values.into(),
            ),
            (acl.any_protocol, fw.any_protocol, ipc.any_protocol),
        ] {
            let defaults = format!("[default: acl {a}, fw {b}, ipc {c}]");
            assert!(help.contains(&defaults), "{defaults} in {help}");
        }
        for default in [
            acl.random_lengths,
            acl.smoothness.into(),
            acl.wide_port_ranges,
            acl.disorder,
        ] {
            assert!(help.contains(&format!("[default: {default}]")), "{default}");
        }
        assert!(help.contains(&format!("for acl {} at most", acl.destination_addresses)));
    }
}
