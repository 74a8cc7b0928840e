//! What the user asks for, and what is to be done.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use netchannel_benches::daemon::{Launch, bare_forwarder_beside_examples, binary_beside_examples};
use netchannel_benches::measure::{Processors, Times};
use netchannel_benches::process::usable_processors;
use netchannel_benches::subject::Subject;
use netchannel_benches::traffic::datagram::MOST_FLOWS;
use serde::{Deserialize, Serialize};

use crate::columns::Group;
use crate::figures::STANDARD_MTU;

const EXAMPLES: &str = "\
Examples:
  make bench-traffic                             everything, about 25 minutes
  make bench-traffic ARGS=--quick                whether everything works, about 2 minutes
  make bench-traffic ARGS=\"--output docs\"       and docs/traffic.md and docs/traffic.svg from it
  make bench-traffic ARGS=\"--subjects masquerade,netchannel-on --columns packets,tcp --rounds 3\"
  make bench-traffic ARGS=\"--columns tcp --mtu 9000\"
                                                 TCP in jumbo frames
  make bench-traffic ARGS=\"--figures target/traffic.json --output docs\"
                                                 the tables and the picture of an earlier run

Every figure is the median of the rounds; each round goes through all subjects, which get namespaces made anew. The end
hosts' transmit offloads are off, their GRO is on. CPU time is that of the whole machine, from /proc/stat: processors x time
- idle, iowait and steal; so soft interrupts and senders are in it, and whatever else runs: measure on an idle machine.
A subject that this kernel can't run is left out, and the report says why.";

/// Measures packets, TCP, round trips and new flows through this NAT and through its peers.
#[derive(Debug, Parser)]
#[command(name = "traffic", after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Arguments {
    /// What to measure, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) subjects: Vec<Peer>,
    /// Which columns to measure, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) columns: Vec<Group>,
    /// How often to measure everything [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Seconds of each measurement, 0.05 to 60 [default: 1]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// MTU of all links in bytes, 1500 to 61418; what is expected is of 1500
    #[arg(long, value_name = "BYTES", default_value_t = STANDARD_MTU, value_parser = clap::value_parser!(u32).range(1500..=61_418))]
    pub(crate) mtu: u32,
    /// Processors to use: the first sends, the second forwards if the subject has threads of its own or the kernel
    /// spreads its work; AF_PACKET senders run on all [default: the first two]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) processors: Vec<usize>,
    /// One round of 0.2 s: shows that everything works, not how fast
    #[arg(long)]
    pub(crate) quick: bool,
    /// The netchannel program [default: the one built beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
    /// File that the figures are written to, after every round
    #[arg(long, value_name = "FILE", default_value = "target/traffic.json")]
    pub(crate) json: PathBuf,
    /// Directory that traffic.md and traffic.svg are written to
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) output: Option<PathBuf>,
    /// Measure nothing: report the figures in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subjects", "columns", "rounds", "seconds", "processors", "mtu", "quick"])]
    pub(crate) figures: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected 0.05 to 60".to_owned()),
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// The kernel's forwarding, without translation
    Forwarding,
    /// nftables masquerade
    Masquerade,
    /// nftables masquerade with a software flowtable
    Flowtable,
    /// This NAT, flow offload off
    NetchannelOff,
    /// This NAT, flow offload on
    NetchannelOn,
    /// The bound for AF_XDP: a forwarder that only replaces MAC addresses
    BareAfXdp,
    /// The bound for XDP: a program that only replaces MAC addresses and redirects
    BareXdp,
}

impl Peer {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 7] = [
        Self::Forwarding,
        Self::Masquerade,
        Self::Flowtable,
        Self::NetchannelOff,
        Self::NetchannelOn,
        Self::BareAfXdp,
        Self::BareXdp,
    ];

    /// Over its figures.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Forwarding => "kernel forwarding",
            Self::Masquerade => "nftables masquerade",
            Self::Flowtable => "nftables flowtable",
            Self::NetchannelOff => "netchannel, offload off",
            Self::NetchannelOn => "netchannel, offload on",
            Self::BareAfXdp => "bare AF_XDP",
            Self::BareXdp => "bare XDP redirect",
        }
    }

    /// Whether it is this project.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::NetchannelOff | Self::NetchannelOn)
    }
}

/// A peer, ready to be started.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) peer: Peer,
    pub(crate) subject: Subject,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) subjects: Vec<Contestant>,
    pub(crate) columns: Vec<Group>,
    pub(crate) rounds: u32,
    /// Of all links, in bytes.
    pub(crate) mtu: u32,
    pub(crate) processors: Vec<usize>,
    /// With flows that last.
    pub(crate) times: Times,
    /// With new ones only: tables take their memory meanwhile.
    pub(crate) times_of_new: Times,
    /// Packets that each of very many flows has had before it is measured: more than offload waits for.
    pub(crate) packets_before: u64,
    /// Flows in turn where each packet is to be the first of one.
    pub(crate) new_flows: u32,
    /// How long the machine may take to be idle again after each measurement.
    pub(crate) settle: Duration,
}

impl Plan {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let processors = processors(&arguments.processors)?;
        let forwarder = roles(&processors).forwarder;
        let mut peers = Peer::ALL.to_vec();
        if !arguments.subjects.is_empty() {
            peers.retain(|peer| arguments.subjects.contains(peer));
        }
        let mut columns = Group::value_variants().to_vec();
        if !arguments.columns.is_empty() {
            columns.retain(|group| arguments.columns.contains(group));
        }
        let contestant = |peer| {
            Ok(Contestant {
                peer,
                subject: subject(peer, arguments, forwarder)?,
            })
        };
        let (seconds, rounds) = if arguments.quick { (0.2, 1) } else { (1.0, 5) };
        let window = Duration::from_secs_f64(arguments.seconds.unwrap_or(seconds));
        let [few, new, settle] = if arguments.quick {
            [150, 400, 200]
        } else {
            [300, 2000, 3000]
        }
        .map(Duration::from_millis);
        let times = |warm_up| Times {
            warm_up,
            warm_up_packets: 0,
            window,
        };
        Ok(Self {
            subjects: peers.into_iter().map(contestant).collect::<Result<_>>()?,
            columns,
            rounds: arguments.rounds.unwrap_or(rounds),
            mtu: arguments.mtu,
            processors,
            times: times(few),
            times_of_new: times(new),
            packets_before: if arguments.quick { 0 } else { 40 },
            // Few enough for the tables as they are by default, so that nothing has to warm up for seconds.
            new_flows: if arguments.quick { 131_072 } else { MOST_FLOWS },
            settle,
        })
    }

    pub(crate) fn roles(&self) -> Processors {
        roles(&self.processors)
    }
}

/// The first one sends, the second one forwards, if there is a second one.
fn roles(processors: &[usize]) -> Processors {
    let sender = processors.first().copied().unwrap_or(0);
    Processors {
        sender,
        forwarder: processors.get(1).copied().unwrap_or(sender),
    }
}

fn processors(asked: &[usize]) -> Result<Vec<usize>> {
    let usable = usable_processors()?;
    if asked.is_empty() {
        return Ok(usable.into_iter().take(2).collect());
    }
    for (place, processor) in asked.iter().enumerate() {
        if !usable.contains(processor) {
            let usable: Vec<String> = usable.iter().map(usize::to_string).collect();
            bail!(
                "--processors: there is no processor {processor} to be used, only {}",
                usable.join(",")
            );
        }
        if asked[..place].contains(processor) {
            bail!("--processors: {processor} is named twice");
        }
    }
    Ok(asked.to_vec())
}

fn subject(peer: Peer, arguments: &Arguments, forwarder: usize) -> Result<Subject> {
    let built = |binary: PathBuf| {
        binary.canonicalize().with_context(|| {
            format!(
                "there is no {}: build it with `cargo build --release --all-targets`",
                binary.display()
            )
        })
    };
    let processor = Some(forwarder);
    let netchannel = |offload| {
        let binary = arguments.binary.clone().map_or_else(binary_beside_examples, Ok)?;
        let launch = Launch::new(built(binary)?).with_offload(offload);
        anyhow::Ok(Subject::Netchannel(Launch { processor, ..launch }))
    };
    Ok(match peer {
        Peer::Forwarding => Subject::Forwarding,
        Peer::Masquerade => Subject::Nftables,
        Peer::Flowtable => Subject::Flowtable,
        Peer::NetchannelOff => netchannel(false)?,
        Peer::NetchannelOn => netchannel(true)?,
        Peer::BareAfXdp => Subject::Bare {
            binary: built(bare_forwarder_beside_examples()?)?,
            processor,
        },
        Peer::BareXdp => Subject::Redirect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_must_be_there_and_differ() {
        let usable = usable_processors().expect("the kernel tells");
        assert_eq!(
            processors(&[]).expect("some"),
            usable[..2.min(usable.len())].to_vec()
        );
        assert_eq!(processors(&usable[..1]).expect("it is there"), usable[..1]);
        let error = |asked: &[usize]| processors(asked).expect_err("refused").to_string();
        assert!(error(&[usable[0], usable[0]]).contains("named twice"));
        assert!(error(&[usize::MAX]).contains("there is no processor"));
    }

    #[test]
    fn one_processor_does_both() {
        let alone = roles(&[3]);
        assert_eq!((alone.sender, alone.forwarder), (3, 3));
    }
}
