//! The traffic benchmark: packets per second and TCP throughput through this NAT and through the kernel, in
//! the same network namespaces, in one run and in turn.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p netchannel-benches --example traffic
//! ```
//!
//! Each figure is the median of the rounds. The end hosts' transmit offloads are off in all cases.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use netchannel_benches::bpf::{FRAME, Load};
use netchannel_benches::conntrack::ConntrackRoom;
use netchannel_benches::daemon::{Daemon, Launch, bare_forwarder_beside_examples, binary_beside_examples};
use netchannel_benches::measure::{Packets, Processors, median, packets, prepare_packets, tcp};
use netchannel_benches::namespace::sweep;
use netchannel_benches::screen::Screen;
use netchannel_benches::subject::Subject;
use netchannel_benches::table::{Table, scaled};
use netchannel_benches::topology::{Lab, Options};
use netchannel_benches::{Error, stop};

/// Connections that the kernel keeps while new flows are measured.
const MOST_SESSIONS: u32 = 4_194_304;
/// Streams in the TCP measurements.
const STREAMS: [usize; 2] = [1, 8];

/// Measures the NAT against the kernel's translation and forwarding.
#[derive(Debug, Parser)]
struct Arguments {
    /// The netchannel program [default: the one built beside this one]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// One short round: shows that everything works, not how fast
    #[arg(long)]
    quick: bool,
    /// How often to measure everything
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Flows to send, a power of two
    #[arg(long, default_value_t = 1, value_parser = power_of_two)]
    flows: u16,
    /// Processor that sends
    #[arg(long, default_value_t = 0)]
    sender_processor: usize,
    /// Processor that forwards
    #[arg(long, default_value_t = 1)]
    nat_processor: usize,
    /// Measure only what the NAT is compared with
    #[arg(long)]
    without_nat: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected 0.1 to 3600".to_owned()),
    }
}

fn power_of_two(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(number) if number.is_power_of_two() && number <= 8192 => Ok(number),
        _ => Err("expected a power of two, at most 8192".to_owned()),
    }
}

fn main() -> ExitCode {
    match benchmark(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(Error::Interrupted)) => {
            eprintln!("interrupted; everything that was made is removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("traffic: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was measured of a subject.
struct Figures {
    subject: Subject,
    packets: Vec<f64>,
    offered: Vec<f64>,
    tcp: [Vec<f64>; STREAMS.len()],
    /// At three quarters of the reference rate.
    loss: Vec<f64>,
    loss_offered: Vec<f64>,
    /// Answers of the control socket under overload.
    answers: Vec<Duration>,
    /// New flows per second, of those that keep sessions, and what is lost at three quarters of that.
    new_flows: Vec<f64>,
    new_flows_loss: Vec<f64>,
}

impl Figures {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            packets: Vec::new(),
            offered: Vec::new(),
            tcp: Default::default(),
            loss: Vec::new(),
            loss_offered: Vec::new(),
            answers: Vec::new(),
            new_flows: Vec::new(),
            new_flows_loss: Vec::new(),
        }
    }
}

/// The parameters of a run.
struct Plan {
    processors: Processors,
    flows: u16,
    window: Duration,
    rounds: u32,
}

fn benchmark(arguments: &Arguments) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("network namespaces and AF_XDP need root: run it with sudo");
    }
    let subjects = subjects(arguments)?;
    stop::on_signals()?;
    sweep()?;
    let plan = Plan {
        processors: Processors {
            sender: arguments.sender_processor,
            forwarder: arguments.nat_processor,
        },
        flows: arguments.flows,
        window: Duration::from_secs_f64(if arguments.quick { 0.5 } else { arguments.seconds }),
        rounds: if arguments.quick { 1 } else { arguments.rounds },
    };
    let screen = Screen::new();
    print_conditions(&plan);
    let mut all: Vec<Figures> = subjects.into_iter().map(Figures::new).collect();
    for round in 1..=plan.rounds {
        for figures in &mut all {
            screen.change(&format!(
                "  round {round} of {}: {}",
                plan.rounds, figures.subject
            ));
            measure_rates(&plan, figures)?;
        }
    }
    // What runs on AF_XDP is asked for the bare forwarder's rate, the kernel for its own.
    let bare = all
        .iter()
        .find(|figures| matches!(figures.subject, Subject::Bare { .. }));
    let bare = bare
        .and_then(|figures| median(&figures.packets))
        .unwrap_or_default();
    for round in 1..=plan.rounds {
        for figures in &mut all {
            let own = median(&figures.packets).unwrap_or_default();
            let reference = if figures.subject.is_kernel() { own } else { bare };
            screen.change(&format!(
                "  loss, round {round} of {}: {}",
                plan.rounds, figures.subject
            ));
            measure_loss(&plan, figures, reference)?;
        }
    }
    let _room = ConntrackRoom::new(MOST_SESSIONS)?;
    for round in 1..=plan.rounds {
        for figures in all.iter_mut().filter(|figures| figures.subject.translates()) {
            screen.change(&format!(
                "  new flows, round {round} of {}: {}",
                plan.rounds, figures.subject
            ));
            measure_new_flows(&plan, figures)?;
        }
    }
    screen.change("");
    print_figures(&all);
    Ok(())
}

fn subjects(arguments: &Arguments) -> Result<Vec<Subject>> {
    let built = |binary: PathBuf| {
        binary.canonicalize().with_context(|| {
            format!(
                "there is no {}: build it with `cargo build --release --all-targets`",
                binary.display()
            )
        })
    };
    let processor = Some(arguments.nat_processor);
    let mut subjects = Vec::new();
    if !arguments.without_nat {
        let given = arguments.binary.clone();
        let binary = built(given.map_or_else(binary_beside_examples, Ok)?)?;
        subjects.push(Subject::Netchannel(Launch {
            processor,
            ..Launch::new(binary)
        }));
    }
    let binary = built(bare_forwarder_beside_examples()?)?;
    subjects.extend([
        Subject::Bare { binary, processor },
        Subject::Nftables,
        Subject::Forwarding,
    ]);
    Ok(subjects)
}

/// A new laboratory for every measurement, so that none finds what another left.
fn laboratory() -> Result<Lab> {
    let lab = Lab::new(&Options::default())?;
    lab.inside.command("ethtool -K eth0 gro on")?;
    lab.server.command("ethtool -K eth0 gro on")?;
    Ok(lab)
}

fn measure_rates(plan: &Plan, figures: &mut Figures) -> Result<()> {
    let lab = laboratory()?;
    let running = figures.subject.start(&lab)?;
    for (streams, results) in STREAMS.iter().zip(&mut figures.tcp) {
        results.push(tcp(&lab, *streams, plan.window)?);
    }
    prepare_packets(&lab, &figures.subject, plan.processors)?;
    let load = Load {
        sources: plan.flows,
        ..Load::default()
    };
    let (carried, ()) = packets(&lab, plan.processors, &load, plan.window, || Ok(()))?;
    figures.packets.push(carried.delivered_rate);
    figures.offered.push(carried.offered_rate);
    if let Some(daemon) = running.daemon() {
        // Once more, as the program that asks takes its share of the processor.
        let (_, answers) = packets(&lab, plan.processors, &load, plan.window, || {
            ask(daemon, plan.window)
        })?;
        figures.answers.extend(answers);
    }
    Ok(())
}

/// Asks the daemon again and again for three quarters of the window.
fn ask(daemon: &Daemon, window: Duration) -> Result<Vec<Duration>, Error> {
    let mut answers = Vec::new();
    let started = Instant::now();
    while started.elapsed() < window * 3 / 4 {
        let asked = Instant::now();
        daemon.show("ports")?;
        answers.push(asked.elapsed());
        stop::pause(Duration::from_millis(20))?;
    }
    Ok(answers)
}

/// Sends three quarters of `reference` packets per second.
fn measure_loss(plan: &Plan, figures: &mut Figures, reference: f64) -> Result<()> {
    let lab = laboratory()?;
    let _running = figures.subject.start(&lab)?;
    prepare_packets(&lab, &figures.subject, plan.processors)?;
    let load = Load {
        rate: Some((reference * 0.75) as u32),
        sources: plan.flows,
        ..Load::default()
    };
    let (packets, ()): (Packets, ()) = packets(&lab, plan.processors, &load, plan.window, || Ok(()))?;
    figures.loss.push(packets.loss());
    figures.loss_offered.push(packets.offered_rate);
    Ok(())
}

/// Sends datagrams each of which is the first of its flow: as many as possible, and then three quarters of what arrived.
fn measure_new_flows(plan: &Plan, figures: &mut Figures) -> Result<()> {
    let subject = figures.subject.clone().with_many_sessions();
    let mut load = Load {
        rate: None,
        sources: 8192,
        destinations: 16_384,
    };
    for results in [&mut figures.new_flows, &mut figures.new_flows_loss] {
        let lab = laboratory()?;
        let _running = subject.start(&lab)?;
        prepare_packets(&lab, &subject, plan.processors)?;
        // Not longer than the tables have room for.
        let window = plan.window.min(Duration::from_secs(1));
        let (packets, ()) = packets(&lab, plan.processors, &load, window, || Ok(()))?;
        match load.rate {
            None => results.push(packets.delivered_rate),
            Some(_) => results.push(packets.loss()),
        }
        load.rate = Some((packets.delivered_rate * 0.75) as u32);
    }
    Ok(())
}

fn print_conditions(plan: &Plan) {
    let command: Vec<String> = std::env::args().collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{}", command.join(" "));
    println!(
        "Linux {}, {} x {processors}",
        kernel.trim(),
        model.unwrap_or("unknown processor")
    );
    println!(
        "frames of {FRAME} bytes, {} flow(s); sender on processor {}, NAT on processor {}; \
         medians of {} round(s) of {:.1} s\n",
        plan.flows,
        plan.processors.sender,
        plan.processors.forwarder,
        plan.rounds,
        plan.window.as_secs_f64(),
    );
}

fn print_figures(all: &[Figures]) {
    let middle = |values: &[f64]| median(values).unwrap_or_default();
    let mut table = Table::new(&[
        "through",
        "packets/s",
        "offered/s",
        "TCP x1 bit/s",
        "TCP x8 bit/s",
        "loss at 75 %",
        "offered/s",
        "new flows/s",
        "loss at 75 %",
    ]);
    for figures in all {
        table.row([
            figures.subject.to_string(),
            scaled(middle(&figures.packets)),
            scaled(middle(&figures.offered)),
            scaled(middle(&figures.tcp[0])),
            scaled(middle(&figures.tcp[1])),
            format!("{:.4} %", middle(&figures.loss) * 100.0),
            scaled(middle(&figures.loss_offered)),
            median(&figures.new_flows).map_or_else(|| "-".to_owned(), scaled),
            median(&figures.new_flows_loss)
                .map_or_else(|| "-".to_owned(), |loss| format!("{:.4} %", loss * 100.0)),
        ]);
    }
    println!("{table}");
    let Some((nat, others)) = all
        .split_first()
        .filter(|(first, _)| matches!(first.subject, Subject::Netchannel(_)))
    else {
        return;
    };
    let mut table = Table::new(&[
        "netchannel against",
        "packets/s",
        "TCP x1",
        "TCP x8",
        "new flows/s",
    ]);
    for other in others {
        let ratio = |a: &[f64], b: &[f64]| format!("{:.2}", middle(a) / middle(b));
        table.row([
            other.subject.to_string(),
            ratio(&nat.packets, &other.packets),
            ratio(&nat.tcp[0], &other.tcp[0]),
            ratio(&nat.tcp[1], &other.tcp[1]),
            if other.new_flows.is_empty() {
                "-".to_owned()
            } else {
                ratio(&nat.new_flows, &other.new_flows)
            },
        ]);
    }
    println!("{table}");
    let answers: Vec<f64> = nat.answers.iter().map(Duration::as_secs_f64).collect();
    println!(
        "`netchannel show ports` while more comes than it can forward: median {:.1} ms, longest {:.1} ms of {}",
        middle(&answers) * 1e3,
        answers.iter().copied().fold(0.0, f64::max) * 1e3,
        answers.len(),
    );
}
