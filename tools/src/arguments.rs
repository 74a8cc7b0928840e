//! The command line.

mod analysis;
mod doctor;
mod import;
mod monitor;
mod nat;
mod network;
mod packets;
mod rules;
mod running_rules;
mod service;
mod top;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use analysis::{Explain, Lint};
pub(crate) use doctor::Doctor;
pub(crate) use monitor::Monitor;
pub(crate) use nat::{Delete, Nat, NatCommand, Reverse, ShowMappings, ShowPools, ShowSessions};
pub(crate) use network::{ShowNeighbours, ShowRoutes};
pub(crate) use packets::{Capture, ShowFlows, ShowRules, Trace};
pub(crate) use rules::{CheckRules, ConvertRules, DiffRules, ExportRules, RuleFiles, Target};
pub(crate) use running_rules::{Add, Changing, Del, Load, Replace, Running, RunningRules};
pub(crate) use top::Top;
pub(crate) use workload::{
    Bench, BenchCommand, Classify, Format, Generate, Input, Match, Rules, RulesCommand,
};

pub(crate) use service::{Completions, ConfigArguments, ConfigCommand, Man, Shell};

use clap::{Args, Parser, Subcommand};
use log::LevelFilter;
use netchannel::control::DEFAULT_SOCKET;

use crate::color::Color;

const EXAMPLES: &str = "\
Examples:
  netchannel check /etc/netchannel.toml           says what is wrong with a configuration
  netchannel doctor /etc/netchannel.toml          says what to change on this machine
  netchannel run --config /etc/netchannel.toml    runs it until Ctrl-C
  netchannel show mappings                        asks the running one
  netchannel rules load site.rules                changes its rules
  netchannel top                                  shows what it does, live
  netchannel monitor                              tells what happens in it
  netchannel replay --config netchannel.toml lan0=in.pcap out.pcapng
  netchannel bench classify --rules acl.rules --trace acl.trace

Exit codes:
  0  success
  1  failure
  2  wrong usage
  3  the configuration was refused, or a rule set or trace";

const RUN_EXAMPLES: &str = "\
Prints \"ready\" to standard output once it forwards packets, and what it does to standard error. SIGINT (Ctrl-C) and \
SIGTERM stop it cleanly; a second one ends it at once. The kernel has its traffic back in any case. SIGHUP has the \
configuration read again: its rules come in force, or everything stays as it was, and the log says why.

Examples:
  sudo netchannel run --config /etc/netchannel.toml
  sudo netchannel --log debug run --config /etc/netchannel.toml";

const CHECK_EXAMPLES: &str = "\
For each file, prints what it holds, or everything that is wrong with it: file, line, column, what was found and what \
was expected. Exits with 3 if a file is refused.

Examples:
  netchannel check netchannel.toml
  netchannel check /etc/netchannel";

const SHOW_EXAMPLES: &str = "\
Examples:
  sudo netchannel show ports
  sudo netchannel show mappings --protocol tcp --inside 10.0.0.0/24
  sudo netchannel show pools -j | jq '.addresses[]'
  sudo netchannel show drops --watch
  sudo netchannel show drops --socket /run/netchannel/second.sock";

const PORTS_EXAMPLES: &str = "\
Examples:
  sudo netchannel show ports
  sudo netchannel show ports -j | jq '.ports[] | {interface, xdp_mode, copy_mode}'";

const CHANNELS_EXAMPLES: &str = "\
Examples:
  sudo netchannel show channels
  sudo netchannel show channels -j | jq '.channels[] | select(.kind == \"nat\") | .details'";

const DROPS_EXAMPLES: &str = "\
Examples:
  sudo netchannel show drops
  sudo netchannel show drops -j | jq '.reasons[] | select(.packets > 0)'";

const WORKERS_EXAMPLES: &str = "\
BUSY, POLLING and ASLEEP are shares of the last second: with packets or questions, looking for some in vain, waiting for some. \
BACKLOG counts frames that wait to be sent, HELD packets that wait for a next hop or that channels keep, OFFLOADED flows that the XDP program carries now, QUESTIONS those of \
control clients that wait.

Examples:
  sudo netchannel show workers
  sudo netchannel show workers --watch
  sudo netchannel show workers -j | jq '.workers[] | .last_second'";

const MEMORY_EXAMPLES: &str = "\
First the process as the kernel counts it, then the frames of the packet memory and who has them, then tables and buffers. \
What these reserve takes memory only as it is used.

Examples:
  sudo netchannel show memory
  sudo netchannel show memory -j | jq '.tables[] | select(.owner == \"flow table\")'";

const REPLAY_EXAMPLES: &str = "\
The same code as `run`, without a network card and without root. Each input file is a pcap or pcapng capture of what \
came in on one interface of the configuration, named before the file: lan0=in.pcap. A pcapng file that names the \
interfaces it was captured on needs no name. (A file whose own name has a \"=\" is written ./a=b.pcap.) Packets of all \
inputs are taken in the order of their times. The output, the last file, is written as pcapng, with an interface for \
each of the configuration's; an existing file is replaced. What the kernel would know of the interfaces is told by \
[[replay.interface]] in the configuration.

Examples:
  netchannel replay --config netchannel.toml lan0=inside.pcap out.pcapng
  netchannel replay --config netchannel.toml lan0=inside.pcap wan0=outside.pcap out.pcapng
  netchannel replay --config netchannel.toml both.pcapng out.pcapng";

/// Netchannels on AF_XDP: packets are looked up once and handed to the channel that owns them, such as a NAT.
#[derive(Debug, Parser)]
#[command(name = "netchannel", version, after_help = EXAMPLES, term_width = 120)]
pub(crate) struct Arguments {
    /// How much to tell on standard error: off, error, warn, info, debug or trace.
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "info",
        hide_possible_values = true
    )]
    pub(crate) log: LevelFilter,

    /// Whether text is coloured: on a terminal unless NO_COLOR is set, always, or never.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) color: Color,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a configuration in the foreground.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Say what is wrong with configurations, or that nothing is.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Ask a running netchannel what it does.
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// Follow single packets through every step, with the reason for each decision.
    #[command(after_help = packets::TRACE_EXAMPLES)]
    Trace(Trace),
    /// Write packets to a capture file, each with what became of it.
    #[command(after_help = packets::CAPTURE_EXAMPLES)]
    Capture(Capture),
    /// Delete mappings, or tell who had an external address and port.
    Nat(Nat),
    /// Watch a running netchannel on the whole screen: ports, workers, flows, inside hosts, drops.
    #[command(after_help = top::EXAMPLES)]
    Top(Top),
    /// Tell what happens while it happens.
    #[command(after_help = monitor::EXAMPLES)]
    Monitor(Monitor),
    /// Send captured packets through a configuration, into a capture.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(Replay),
    /// Look at rules and change them: those of files, and those in force.
    #[command(after_help = workload::RULES_EXAMPLES)]
    Rules(Rules),
    /// Measure, and make what to measure with.
    #[command(after_help = workload::BENCH_EXAMPLES)]
    Bench(Bench),
    /// Say what of this machine does not suit a configuration, and how to mend it.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(Doctor),
    /// Look at configurations.
    #[command(after_help = service::CONFIG_EXAMPLES)]
    Config(ConfigArguments),
    /// Print the manual page, or write those of all commands.
    #[command(after_help = service::MAN_EXAMPLES)]
    Man(Man),
    /// Print what has a shell complete this command.
    #[command(after_help = service::COMPLETIONS_EXAMPLES)]
    Completions(Completions),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration: a file, or a directory whose files *.toml are one configuration.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configurations: files, or directories whose files *.toml are one configuration each.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(subcommand)]
    pub(crate) what: What,

    /// JSON, for programs.
    #[arg(long, short = 'j', global = true)]
    pub(crate) json: bool,

    /// Show it again and again, each second or so often: 0.5, 10. On a terminal in its place, else one after the other, each under the
    /// time. Ctrl-C ends it.
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "1",
        value_parser = monitor::interval
    )]
    pub(crate) watch: Option<Duration>,

    /// The control socket of the netchannel to ask.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum What {
    /// Interfaces: in which mode their sockets run, what came in and went out, what the kernel counted.
    #[command(after_help = PORTS_EXAMPLES)]
    Ports,
    /// Channels: what rules sent to them.
    #[command(after_help = CHANNELS_EXAMPLES)]
    Channels,
    /// Mappings of the translators: who is known outside by which address and port, and for how long.
    #[command(after_help = nat::MAPPINGS_EXAMPLES)]
    Mappings(ShowMappings),
    /// Sessions of the translators: mappings in use with one outside endpoint each.
    #[command(after_help = nat::SESSIONS_EXAMPLES)]
    Sessions(ShowSessions),
    /// External addresses of the translators, their ports, and what limits there are.
    #[command(after_help = nat::POOLS_EXAMPLES)]
    Pools(ShowPools),
    /// Flows: who talks with whom, by which rule and channel, and how much.
    #[command(after_help = packets::FLOWS_EXAMPLES)]
    Flows(ShowFlows),
    /// Rules: how much was counted for each, and when a packet last hit it.
    #[command(after_help = packets::RULES_EXAMPLES)]
    Rules(ShowRules),
    /// Where all packets went, and the dropped ones by reason.
    #[command(after_help = DROPS_EXAMPLES)]
    Drops,
    /// Workers, the threads that move packets: how busy they are.
    #[command(after_help = WORKERS_EXAMPLES)]
    Workers,
    /// Routes that packets are forwarded by: the kernel's main table, as it was last told.
    #[command(after_help = network::ROUTES_EXAMPLES)]
    Routes(ShowRoutes),
    /// Neighbours: Ethernet addresses of next hops, as the kernel knows them.
    #[command(after_help = network::NEIGHBOURS_EXAMPLES)]
    Neighbours(ShowNeighbours),
    /// Who has how much memory.
    #[command(after_help = MEMORY_EXAMPLES)]
    Memory,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The configuration.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// The captures to read, and last the capture to write.
    #[arg(value_name = "[INTERFACE=]IN... OUT", required = true, num_args = 2..)]
    pub(crate) files: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
