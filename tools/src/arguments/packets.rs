//! Arguments about flows, rules and single packets.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use netchannel::config::parse_duration;
use netchannel::control::{
    self, DEFAULT_SOCKET, DEFAULT_TRACE_RATE, FlowOrder, MAX_TRACE_RATE, RuleOrder, Side,
};

pub(super) const FLOWS_EXAMPLES: &str = "\
Each line is one direction of a flow, as the flow table has it: the packets of the other direction are another flow. RULE is the \
number of the rule that decided it, - if none of the configured rules did. TRANSLATED is what a translator makes of it. A FILTER is \
what a rule says in front of its action; flows are taken by addresses, protocol, ports, the interface that they come in by, and \
fragment. Flows stay in the table until others need their place, or the rules change.

Examples:
  sudo netchannel show flows
  sudo netchannel show flows tcp from 10.0.0.0/24 to any port 443
  sudo netchannel show flows on wan0 --sort bytes --limit 10
  sudo netchannel show flows --sort packets --max-idle 10s -j | jq '.flows[] | {source, packets}'";

pub(super) const RULES_EXAMPLES: &str = "\
Packets are counted for the rule that decided their flow, also while the flow lasts, from when the rule came into force. The last \
line counts what no configured rule decided: answers to a translator, the way back of what is forwarded, and what no rule matched.

Examples:
  sudo netchannel show rules
  sudo netchannel show rules --sort packets --limit 10
  sudo netchannel show rules --unused
  sudo netchannel show rules -j | jq '.rules[] | select(.packets > 0)'";

pub(super) const TRACE_EXAMPLES: &str = "\
Shows single packets while they pass, with each step and its reason: the flow, the rule that decided, the channel, what a \
translator did, route and neighbour, and where it left or why it was dropped. Other packets are not held up. Runs until Ctrl-C, or \
until --count packets were shown.

A FILTER is what a rule says in front of its action, and takes packets as they come in; without one, all are taken. What a \
translator sends out comes back to its external address, so a filter for the inside host does not take the answers: --both follows \
the packets that answer those that the filter took.

Examples:
  sudo netchannel trace tcp from 10.0.0.0/24 to any port 443 on lan0 --count 1
  sudo netchannel trace udp from 10.0.0.2 --both
  sudo netchannel trace icmp -j | jq -r 'select(.verdict == \"dropped\") | .reason'";

pub(super) const CAPTURE_EXAMPLES: &str = "\
Writes packets to a pcapng file for Wireshark and others: as they came in and as they left, each on its interface of the \
configuration, with what became of it in its comment. This program writes the file, with the rights of whoever starts it. Runs \
until Ctrl-C, or until --count packets were taken. Packets that are lost, because they come faster than they can be written, are \
counted in the file's interface statistics and told at the end; packets on their way are never held up.

A FILTER is what a rule says in front of its action, and takes packets as they come in; without one, all are taken. --both takes the \
packets that answer those as well.

Examples:
  sudo netchannel capture -w all.pcapng --count 1000
  sudo netchannel capture tcp from 10.0.0.2 to any port 443 --both -w web.pcapng
  sudo netchannel capture --drops -w drops.pcapng
  sudo netchannel capture udp to any port 53 -w - | tshark -r - -T fields -e frame.interface_name -e frame.comment";

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowFlows {
    /// Which flows: what a rule says in front of its action.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,

    /// Show those with the most bytes or packets, or the shortest silence, first.
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) sort: Option<FlowSort>,

    /// Only flows that had a packet lately: 10s, 5m. Goes with --sort.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "sort")]
    pub(crate) max_idle: Option<Duration>,

    /// Stop after so many; 20 with --sort unless given, and then at most 1024.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

impl ShowFlows {
    pub(crate) fn filter(&self) -> String {
        self.filter.join(" ")
    }
}

/// What flows are ordered by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FlowSort {
    Bytes,
    Packets,
    Idle,
}

impl From<FlowSort> for FlowOrder {
    fn from(sort: FlowSort) -> Self {
        match sort {
            FlowSort::Bytes => Self::Bytes,
            FlowSort::Packets => Self::Packets,
            FlowSort::Idle => Self::Idle,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowRules {
    /// Only rules that no packet has hit.
    #[arg(long)]
    pub(crate) unused: bool,

    /// Show them as they are tried, or those with the most packets, the most bytes, or the most recent hit first.
    #[arg(long, value_name = "WHAT", value_enum, default_value = "priority")]
    pub(crate) sort: RuleSort,

    /// Stop after so many.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// What rules are ordered by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RuleSort {
    Priority,
    Packets,
    Bytes,
    Recent,
}

impl From<RuleSort> for RuleOrder {
    fn from(sort: RuleSort) -> Self {
        match sort {
            RuleSort::Priority => Self::Priority,
            RuleSort::Packets => Self::Packets,
            RuleSort::Bytes => Self::Bytes,
            RuleSort::Recent => Self::Recent,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Trace {
    /// Which packets, as they come in: what a rule says in front of its action.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,

    /// Follow the packets that answer them as well.
    #[arg(long)]
    both: bool,

    /// Stop after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Packets in a second at most; the others are counted only.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_TRACE_RATE, value_parser = clap::value_parser!(u32).range(1..=MAX_TRACE_RATE as i64))]
    rate: u32,

    /// JSON, for programs: a line for each packet.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,

    /// The control socket of the netchannel to ask.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

impl Trace {
    pub(crate) fn request(&self) -> control::Trace {
        control::Trace {
            filter: self.filter.join(" "),
            with_answers: self.both,
            count: self.count,
            per_second: self.rate,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Capture {
    /// Which packets, as they come in: what a rule says in front of its action.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,

    /// The file to write; an existing one is replaced. - for standard output.
    #[arg(long, short = 'w', value_name = "FILE")]
    pub(crate) write: PathBuf,

    /// Take the packets that answer them as well.
    #[arg(long)]
    both: bool,

    /// Stop after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Bytes of each frame at most.
    #[arg(long, value_name = "BYTES", default_value_t = control::DEFAULT_SNAP_LENGTH, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    snaplen: u32,

    /// Only what comes in.
    #[arg(long = "in", group = "side")]
    inbound: bool,

    /// Only what leaves.
    #[arg(long = "out", group = "side")]
    outbound: bool,

    /// Only what is dropped, as it came in.
    #[arg(long, group = "side")]
    drops: bool,

    /// The control socket of the netchannel to ask.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

impl Capture {
    pub(crate) fn request(&self) -> control::Capture {
        control::Capture {
            filter: self.filter.join(" "),
            with_answers: self.both,
            count: self.count,
            snap_length: self.snaplen,
            side: match (self.inbound, self.outbound, self.drops) {
                (true, ..) => Side::In,
                (_, true, _) => Side::Out,
                (.., true) => Side::Drops,
                _ => Side::Both,
            },
        }
    }
}
