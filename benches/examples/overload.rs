//! What becomes of packets when more come than can be carried: known flows, new ones, the control socket, memory, and the sum of all counters.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p netchannel-benches --example overload -- --seconds 30
//! ```
//!
//! Datagrams of 64 bytes come from an inside host to a server through the NAT. First it is measured how many packets of known flows are carried when as
//! many come as can be made; then half of that come alone, and together with three times as many first packets of new flows: of one other
//! host, and of 16,384 forged ones, with `limit_new_flows`, as is the default, and without.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use netchannel_benches::bpf::{Counter, Flood, Generator};
use netchannel_benches::daemon::{Daemon, Launch, STANDARD_CONFIGURATION, binary_beside_examples};
use netchannel_benches::measure::hardware_address;
use netchannel_benches::namespace::sweep;
use netchannel_benches::table::{Table, scaled};
use netchannel_benches::topology::{INSIDE, Lab, Options, SERVER};
use netchannel_benches::traffic::Live;
use netchannel_benches::traffic::datagram::Flow;
use netchannel_benches::traffic::ping::{Ping, ping};
use netchannel_benches::{Error, stop};
use serde_json::Value;

/// Known flows.
const KNOWN_FLOWS: u16 = 1024;
/// How long is sent before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Time for what is on its way.
const SETTLED: Duration = Duration::from_millis(500);

/// Measures a NAT that gets more packets than it can carry.
#[derive(Debug, Parser)]
struct Arguments {
    /// The netchannel program [default: the one built beside this one]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Processor that sends
    #[arg(long, default_value_t = 0)]
    sender_processor: usize,
    /// Processor that forwards
    #[arg(long, default_value_t = 1)]
    nat_processor: usize,
    /// Carry known flows in user space alone
    #[arg(long)]
    without_offload: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(Error::Interrupted)) => {
            eprintln!("interrupted; everything that was made is removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("overload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What counters said at one time.
#[derive(Clone, Copy, Default)]
struct Counts {
    sent: u64,
    delivered: u64,
    /// Flows that the translator's channel opened, without those whose packet it dropped.
    new: u64,
    turned_away: u64,
}

/// What was measured in one case.
struct Figures {
    /// Per second.
    sent: f64,
    known: f64,
    new: f64,
    turned_away: f64,
    longest_answer: Duration,
    answers: usize,
    /// Resident memory before and after, in MB.
    memory: [u64; 2],
    /// Where all packets of the run were lost, and the rest.
    account: Vec<(String, i64)>,
}

fn run(arguments: &Arguments) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("network namespaces and AF_XDP need root: run it with sudo");
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => binary_beside_examples()?,
    };
    let binary = binary.canonicalize().with_context(|| {
        format!(
            "there is no {}: build it with `cargo build --release`",
            binary.display()
        )
    })?;
    stop::on_signals()?;
    sweep()?;
    let known = |rate| Flood {
        rate,
        one_known_in: 1,
        known_flows: KNOWN_FLOWS,
        hosts: 1,
    };
    let measure = |flood: &Flood, is_limited| measure(arguments, &binary, flood, is_limited);
    let most = measure(&known(None), true)?;
    let half = (most.known / 2.0) as u32;
    let flood = |hosts| Flood {
        rate: Some(4 * half),
        one_known_in: 4,
        hosts,
        ..known(None)
    };
    let mut all = vec![("known flows, all that can be sent", most)];
    all.push((
        "known flows, half of what was carried",
        measure(&known(Some(half)), true)?,
    ));
    for (is_limited, hosts, name) in [
        (true, 1, "the same and a flood of one host"),
        (true, 16_384, "the same and a flood of forged hosts"),
        (false, 1, "without limit: flood of one host"),
        (false, 16_384, "without limit: flood of forged hosts"),
    ] {
        all.push((name, measure(&flood(hosts), is_limited)?));
    }
    print(&all);
    Ok(())
}

fn configuration(is_limited: bool, without_offload: bool) -> String {
    let standard = STANDARD_CONFIGURATION
        .replace(
            "role = \"inside\"",
            "role = \"inside\"\nprefixes = [\"10.77.0.0/16\"]",
        )
        .replace("from = \"10.77.0.0/24\"", "from = \"10.77.0.0/16\"");
    let offload = if without_offload {
        "offload = \"off\"\n"
    } else {
        ""
    };
    format!("{standard}\n[flow_table]\nlimit_new_flows = {is_limited}\n{offload}")
}

fn measure(arguments: &Arguments, binary: &PathBuf, flood: &Flood, is_limited: bool) -> Result<Figures> {
    let lab = Lab::new(&Options::default())?;
    let mut launch = Launch::with_configuration(binary, configuration(is_limited, arguments.without_offload));
    launch.processor = Some(arguments.nat_processor);
    let mut daemon = Daemon::start(&lab.middle, &launch)?;
    let few = Ping {
        count: 3,
        ..Ping::default()
    };
    lab.inside.run(|| ping(SERVER, &few, &Live::default()))?;
    let flow = Flow {
        hardware: (
            hardware_address(&lab.inside, "eth0")?,
            hardware_address(&lab.middle, "lan")?,
        ),
        addresses: (INSIDE, SERVER),
        ports: (20_000, 9),
    };
    let counter = Counter::attach(&lab.server, "eth0", SERVER, None)?;
    // Each known flow has some packets before anything else comes.
    let first = Generator::flood(
        &lab.inside,
        "eth0",
        &flow,
        &Flood {
            rate: Some(100_000),
            one_known_in: 1,
            ..*flood
        },
    )?;
    let processor = arguments.sender_processor;
    lab.inside
        .run(|| first.run(processor, Duration::from_millis(100)))?;
    stop::pause(SETTLED)?;

    let process = daemon.process().pid();
    let before = (Ledger::read(&daemon)?, counter.count()?, resident(process)?);
    let generator = Generator::flood(&lab.inside, "eth0", &flow, flood)?;
    let window = Duration::from_secs_f64(arguments.seconds);
    let (start, end, elapsed, answers) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            lab.inside
                .run(|| generator.run(processor, WARM_UP + window + SETTLED))
        });
        let measured = stop::pause(WARM_UP).and_then(|()| {
            let start = counts(&daemon, &generator, &counter)?;
            let started = Instant::now();
            let answers = ask(&daemon, window)?;
            let end = counts(&daemon, &generator, &counter)?;
            Ok((start, end, started.elapsed().as_secs_f64(), answers))
        });
        sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        measured
    })?;
    stop::pause(SETTLED)?;
    let after = (Ledger::read(&daemon)?, counter.count()?, resident(process)?);
    let rate = |of: fn(&Counts) -> u64| of(&end).saturating_sub(of(&start)) as f64 / elapsed;
    let new = rate(|counts| counts.new);
    Ok(Figures {
        sent: rate(|counts| counts.sent),
        // Each new flow has a single packet.
        known: rate(|counts| counts.delivered) - new,
        new,
        turned_away: rate(|counts| counts.turned_away),
        longest_answer: answers.iter().copied().max().unwrap_or_default(),
        answers: answers.len(),
        memory: [before.2, after.2],
        account: after.0.account(&before.0, generator.sent()?, after.1 - before.1),
    })
}

fn counts(daemon: &Daemon, generator: &Generator, counter: &Counter) -> Result<Counts, Error> {
    let ledger = Ledger::read(daemon)?;
    Ok(Counts {
        sent: generator.sent()?,
        delivered: counter.count()?,
        new: ledger.flows.saturating_sub(ledger.refused()),
        turned_away: ledger.reason("new-flow-limit"),
    })
}

/// Asks the daemon again and again.
fn ask(daemon: &Daemon, window: Duration) -> Result<Vec<Duration>, Error> {
    let mut answers = Vec::new();
    let started = Instant::now();
    while started.elapsed() < window {
        let asked = Instant::now();
        daemon.show("ports")?;
        answers.push(asked.elapsed());
        stop::pause(Duration::from_millis(50))?;
    }
    Ok(answers)
}

/// Resident memory of a process, in MB.
fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kilobytes.context("no VmRSS in the process's status")? / 1000)
}

/// What the daemon counted.
struct Ledger {
    drops: Value,
    ports: Value,
    flows: u64,
}

impl Ledger {
    fn read(daemon: &Daemon) -> Result<Self, Error> {
        let channels = daemon.show("channels")?;
        let flows = entries(&channels["channels"]).map(|channel| number(&channel["flows"]));
        Ok(Self {
            flows: flows.sum(),
            drops: daemon.show("drops")?,
            ports: daemon.show("ports")?,
        })
    }

    fn reason(&self, name: &str) -> u64 {
        let reasons = entries(&self.drops["reasons"]);
        reasons
            .filter(|drop| drop["reason"] == name)
            .map(|drop| number(&drop["packets"]))
            .sum()
    }

    /// Packets that the translator had no session or port for.
    fn refused(&self) -> u64 {
        let reasons = ["nat-session-limit", "nat-ports-exhausted"];
        reasons.iter().map(|name| self.reason(name)).sum()
    }

    /// Packets of all verdicts of the XDP program, or of one.
    fn verdicts(&self, name: Option<&str>) -> u64 {
        let verdicts = entries(&self.ports["verdicts"]);
        verdicts
            .filter(|verdict| name.is_none_or(|name| verdict["name"] == name))
            .map(|verdict| number(&verdict["packets"]))
            .sum()
    }

    /// A counter of the kernel's for the sockets of all ports.
    fn kernel(&self, name: &str) -> u64 {
        entries(&self.ports["ports"])
            .map(|port| number(&port["kernel"][name]))
            .sum()
    }

    /// Where what was sent since went. A line that is not named after a counter is what the others leave.
    fn account(&self, before: &Self, sent: u64, delivered: u64) -> Vec<(String, i64)> {
        let since = |of: &dyn Fn(&Self) -> u64| of(self).cast_signed() - of(before).cast_signed();
        let drops = |name: &'static str| since(&move |ledger: &Self| number(&ledger.drops[name]));
        let kernel = |name: &'static str| since(&move |ledger: &Self| ledger.kernel(name));
        let seen = since(&|ledger: &Self| ledger.verdicts(None));
        let redirected = since(&|ledger: &Self| ledger.verdicts(Some("redirected")));
        let offloaded = since(&|ledger: &Self| ledger.verdicts(Some("offloaded")));
        let sent = sent.cast_signed();
        let mut account = vec![
            ("sent".to_owned(), sent),
            ("- lost in front of the XDP program".to_owned(), sent - seen),
            ("- left to the kernel".to_owned(), seen - redirected - offloaded),
            ("- receive ring full".to_owned(), kernel("receive_ring_full")),
            ("- fill ring empty".to_owned(), kernel("fill_ring_empty")),
            (
                "- other losses at the socket".to_owned(),
                kernel("receive_dropped"),
            ),
        ];
        for drop in entries(&self.drops["reasons"]) {
            let name = drop["reason"].as_str().unwrap_or_default();
            let dropped = since(&|ledger: &Self| ledger.reason(name));
            if dropped > 0 {
                account.push((format!("- {name}"), dropped));
            }
        }
        account.push((
            "- passed, held, consumed".to_owned(),
            drops("passed") + drops("held") + drops("consumed"),
        ));
        account.push(("= delivered".to_owned(), delivered.cast_signed()));
        let rest: i64 = account[1..].iter().map(|(_, packets)| packets).sum();
        account.push(("not accounted for".to_owned(), sent - rest));
        account
    }
}

fn entries(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn print(all: &[(&str, Figures)]) {
    let mut table = Table::new(&[
        "what comes",
        "sent/s",
        "known carried/s",
        "new flows/s",
        "turned away/s",
        "longest answer of",
        "memory MB",
    ]);
    for (name, figures) in all {
        table.row([
            (*name).to_owned(),
            scaled(figures.sent),
            scaled(figures.known),
            scaled(figures.new),
            scaled(figures.turned_away),
            format!(
                "{:.0} ms of {}",
                figures.longest_answer.as_secs_f64() * 1e3,
                figures.answers
            ),
            format!("{} - {}", figures.memory[0], figures.memory[1]),
        ]);
    }
    println!("{table}");
    for (name, figures) in all {
        let mut table = Table::new(&[name, "packets"]);
        for (what, packets) in &figures.account {
            table.row([what.clone(), packets.to_string()]);
        }
        println!("{table}");
    }
}
