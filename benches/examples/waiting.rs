//! What each way of waiting costs: the round trip through the translator when nothing else happens, and the processor time of a daemon
//! that has nothing to do. Needs root. See docs/performance.md.
//!
//! Requests follow each other: each is sent when the former was answered, or `--interval` later. Subjects take turns, so that what else
//! the machine does hits all of them.

use std::fs;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use netchannel_benches::daemon::{Daemon, Launch, STANDARD_CONFIGURATION, binary_beside_examples};
use netchannel_benches::measure::median;
use netchannel_benches::namespace::sweep;
use netchannel_benches::subject::Subject;
use netchannel_benches::table::Table;
use netchannel_benches::topology::{Lab, Options, SERVER};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

/// Round trips and idle costs of the ways to wait.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure: ways to wait ("interrupt", "adaptive", "busy-poll"), "nftables", "forwarding".
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "interrupt,adaptive,busy-poll,nftables"
    )]
    subjects: Vec<String>,
    /// Requests in each round.
    #[arg(long, default_value_t = 5000)]
    count: u32,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Microseconds between an answer and the next request.
    #[arg(long, default_value_t = 0)]
    interval: u64,
    /// Milliseconds for which a daemon without traffic is watched; 0: not at all.
    #[arg(long, default_value_t = 1000)]
    idle: u64,
    /// Processor of the one who asks.
    #[arg(long)]
    asker: Option<usize>,
    /// Processor of the worker, by `cpus`.
    #[arg(long)]
    worker: Option<usize>,
    /// Lines to add to the table [workers] of adaptive ones.
    #[arg(long, default_value = "")]
    adaptive: String,
    /// The `netchannel` program.
    #[arg(long)]
    binary: Option<std::path::PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    sweep()?;
    let lab = Lab::new(&Options::default())?;
    let mut figures = vec![Vec::new(); arguments.subjects.len()];
    for _ in 0..arguments.rounds {
        for (name, figures) in arguments.subjects.iter().zip(&mut figures) {
            figures.push(measure(&lab, &subject(name, &arguments)?, &arguments)?);
        }
    }
    let mut table = Table::new(&["", "p50", "p99", "p99.9", "idle"]);
    for (name, figures) in arguments.subjects.iter().zip(&figures) {
        let middle =
            |of: fn(&Figures) -> f64| median(&figures.iter().map(of).collect::<Vec<_>>()).unwrap_or(f64::NAN);
        table.row([
            name.clone(),
            format!("{:.1} us", middle(|it| it.p50)),
            format!("{:.1} us", middle(|it| it.p99)),
            format!("{:.1} us", middle(|it| it.p999)),
            idle_share(figures),
        ]);
    }
    print!("{table}");
    Ok(())
}

/// Of those that have a process of their own, if it was asked for.
fn idle_share(figures: &[Figures]) -> String {
    let shares: Vec<f64> = figures.iter().filter_map(|it| it.idle).collect();
    median(&shares).map_or_else(|| "-".to_owned(), |share| format!("{share:.1} %"))
}

fn subject(name: &str, arguments: &Arguments) -> Result<Subject> {
    let more = match name {
        "nftables" => return Ok(Subject::Nftables),
        "forwarding" => return Ok(Subject::Forwarding),
        "interrupt" | "busy-poll" => "",
        "adaptive" => &arguments.adaptive,
        other => bail!("{other} is no subject; see --help"),
    };
    let cpus = arguments
        .worker
        .map_or(String::new(), |cpu| format!("cpus = [{cpu}]\n"));
    let workers = format!("[workers]\nwait = \"{name}\"\n{cpus}{more}\n");
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => binary_beside_examples()?,
    };
    Ok(Subject::Netchannel(Launch::with_configuration(
        binary,
        [&workers, STANDARD_CONFIGURATION].concat(),
    )))
}

/// Microseconds, and the share of a processor in percent.
#[derive(Clone, Debug)]
struct Figures {
    p50: f64,
    p99: f64,
    p999: f64,
    idle: Option<f64>,
}

fn measure(lab: &Lab, subject: &Subject, arguments: &Arguments) -> Result<Figures> {
    let running = subject.start(lab)?;
    let mut trips = lab.inside.run(|| {
        let pinned = arguments.asker.map_or(Ok(()), pin);
        Ok(pinned.and_then(|()| ping(arguments.count, Duration::from_micros(arguments.interval))))
    })??;
    trips.sort_unstable();
    let at = |share: f64| {
        let last = trips.len() - 1;
        trips[(last as f64 * share).round() as usize].as_secs_f64() * 1e6
    };
    let idle = match running.daemon().map(Daemon::pid) {
        Some(process) if arguments.idle > 0 => {
            let before = processor_time(process)?;
            let watched = Instant::now();
            std::thread::sleep(Duration::from_millis(arguments.idle));
            let busy = processor_time(process)? - before;
            Some(busy.as_secs_f64() / watched.elapsed().as_secs_f64() * 100.0)
        }
        _ => None,
    };
    Ok(Figures {
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        idle,
    })
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// What a process had of processors, from /proc/PID/schedstat of all its threads: nanoseconds, not ticks.
fn processor_time(process: u32) -> Result<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = thread?.path().join("schedstat");
        let line = fs::read_to_string(&path).unwrap_or_default();
        sum += line
            .split(' ')
            .next()
            .and_then(|first| first.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

const IDENTIFIER: u16 = 0x4e43;
/// Answers that are not counted: what is first has more to do.
const WARMING: u32 = 200;

/// Echo requests one after the other, on a socket that blocks, with nothing else on the way.
fn ping(count: u32, interval: Duration) -> Result<Vec<Duration>> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::Icmp,
    )?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(2, 0))?;
    let mut trips = Vec::with_capacity(count as usize);
    for number in 0..WARMING + count {
        let trip = ask(&socket, number as u16)?;
        if number >= WARMING {
            trips.push(trip);
        }
        if !interval.is_zero() {
            std::thread::sleep(interval);
        }
    }
    Ok(trips)
}

fn ask(socket: &OwnedFd, sequence: u16) -> Result<Duration> {
    let mut request = [0; 64];
    request[0] = 8;
    request[4..6].copy_from_slice(&IDENTIFIER.to_be_bytes());
    request[6..8].copy_from_slice(&sequence.to_be_bytes());
    let words = request
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    request[2..4].copy_from_slice(&checksum.to_be_bytes());
    let target = SockaddrIn::from(SocketAddrV4::new(SERVER, 0));
    let mut buffer = [0; 256];
    let sent = Instant::now();
    sendto(socket.as_raw_fd(), &request, &target, MsgFlags::empty())?;
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).context("no answer")?;
        let trip = sent.elapsed();
        let Some(message) = buffer[..length].get(20..) else {
            continue;
        };
        if message.len() >= 8 && message[0] == 0 && message[4..8] == request[4..8] {
            return Ok(trip);
        }
    }
}
