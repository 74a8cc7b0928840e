//! The command line of what is found out about rules.

use std::path::PathBuf;

use clap::Args;
use netchannel::control::DEFAULT_SOCKET;
use netchannel::rules::Format;
use netchannel::rules::explain::Flow;

use super::import::ImportArguments;

pub(super) const LINT_EXAMPLES: &str = "\
Tells rules that no packet is left for, by one rule before them or by several together; rules that are there twice; rules \
that overlap others of the same priority which do something else, so that their order alone decides; rules that change \
nothing. Exits with 1 if something was found, with 3 if the file is refused. A rule for which it would take too long to find \
out is told as that.

Without --config, packets may come in by interfaces that no rule names; with it, by those of the configuration only.

JSON is one object: findings, each with kind (never, duplicate, order, redundant, undecided), rule, and others (rules with \
file, line, column and text).

Examples:
  netchannel rules lint site.rules
  netchannel rules lint --config /etc/netchannel.toml
  iptables-save | netchannel rules lint - --route default=wan0
  netchannel rules lint -j site.rules | jq -r '.findings[] | select(.kind == \"never\") | .rule.text'";

pub(super) const EXPLAIN_EXAMPLES: &str = "\
A flow is PROTOCOL [TYPE/CODE] SOURCE[:PORT] > DESTINATION[:PORT], and behind that, where wanted: on INTERFACE, flags \
FLAGS (of TCP), vlan NUMBER, dscp VALUE, fragment first or fragment later. IPv6 addresses with ports are in brackets. Left \
out, the source port is 49152, an ICMP message an echo request, the TCP flags syn, the packet whole and without a tag; the \
interface is that whose prefixes hold the source, else the first outside interface.

Without --config and --rules, the running netchannel's rules are asked for, and its mappings for what it has already.

Examples:
  sudo netchannel rules explain 'tcp 10.0.0.5:1234 > 1.2.3.4:443 on eth0'
  netchannel rules explain --config /etc/netchannel.toml -v 'icmp 8/0 10.0.0.5 > 1.2.3.4'
  netchannel rules explain --rules site.rules -j 'udp [2001:db8::1]:53 > [2001:db8::2]:53 dscp ef'";

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// The rules; - is standard input. Left out, those of the configuration.
    #[arg(value_name = "FILE", required_unless_present = "config")]
    pub(crate) file: Option<PathBuf>,

    /// The configuration that the rules are for.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The format of the file: native, json, classbench, iptables or nftables [default: what it looks like]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// Leave out what rules can't say, and list it.
    #[arg(long)]
    pub(crate) lenient: bool,

    #[command(flatten)]
    pub(crate) import: ImportArguments,

    /// JSON, for programs.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The packet that opens the flow.
    #[arg(value_name = "FLOW")]
    pub(crate) flow: Flow,

    /// The configuration whose rules decide, or that those of --rules are for.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The rules that decide.
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,

    /// The format of the rules: native, json, classbench, iptables or nftables [default: what they look like]
    #[arg(long, value_name = "FORMAT", requires = "rules")]
    pub(crate) format: Option<Format>,

    #[command(flatten)]
    pub(crate) import: ImportArguments,

    /// Show how each dimension narrows the rules down.
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// JSON, for programs.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,

    /// The control socket of the netchannel to ask.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}
