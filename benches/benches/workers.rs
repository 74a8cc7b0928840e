//! Two workers against one, without a kernel: packets on plain memory, through translators that share the work, each worker on a thread and
//! processor of its own. Packets come to the worker that they belong to, or to the other one, which hands them on.
//!
//! Each round measures all in turn. "Two strangers" are two boxes that know nothing of each other: what the machine allows at most.

mod memory_box;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memory_box::{Bench, packet};
use netchannel::channel::nat::{Nat, NatSettings, worker_of};
use netchannel::dispatch::BURST;
use netchannel::dispatch::team::{Member, Waker, team};
use netchannel::time::Time;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Bursts that each worker is sent in a round.
const BURSTS: u64 = 20_000;
/// A worker is not sent more bursts than this ahead of the other one: the ring between them has room for them.
const AHEAD: u64 = 64;
const ROUNDS: usize = 7;
const FLOWS: u32 = 1024;

/// Which packets come to a worker.
#[derive(Clone, Copy, PartialEq)]
enum Arrivals {
    /// Its own.
    Own,
    /// Its own and the other one's by turns.
    Mixed,
    /// The other one's.
    Others,
}

/// How far a worker is, on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    done: AtomicU64,
}

fn nat(worker: usize, workers: usize) -> Nat {
    let settings = NatSettings::new(vec![Ipv4Addr::new(198, 51, 100, 7)]);
    let share = settings.share(worker, workers);
    Nat::new(share.unwrap_or(settings)).expect("settings that a translator can have")
}

/// Packets of flows that belong to the workers that are asked for.
fn packets(workers: usize, wanted: impl Fn(usize) -> bool) -> Vec<Vec<u8>> {
    let hosts = (2..).map(|last| Ipv4Addr::from_bits(0x0a00_0000 + last));
    let flows = hosts.filter(|&host| wanted(worker_of(host, workers)));
    flows
        .take(FLOWS as usize)
        .map(|host| packet(host, 5000))
        .collect()
}

/// Runs one worker, which processes what comes to it until all of the round is done.
fn run(
    number: usize,
    member: Option<Member>,
    workers: usize,
    arrivals: Arrivals,
    progress: &[Progress],
    start: &Barrier,
) -> Duration {
    let mut processors = CpuSet::new();
    if processors.set(number).is_ok() {
        // Where that is not allowed, the system places the threads.
        let _ = sched_setaffinity(Pid::from_raw(0), &processors);
    }
    let shares = member.as_ref().map_or(1, Member::workers);
    let mut bench = Bench::in_team(
        Box::new(nat(member.as_ref().map_or(0, Member::number), shares)),
        65_536,
        member,
    );
    let own = packets(shares, |owner| shares == 1 || owner == number);
    let others = packets(shares, |owner| shares == 1 || owner != number);
    let mut bursts: Vec<&[Vec<u8>]> = match arrivals {
        Arrivals::Own => own.chunks(BURST).collect(),
        Arrivals::Others => others.chunks(BURST).collect(),
        Arrivals::Mixed => own
            .chunks(BURST)
            .zip(others.chunks(BURST))
            .flat_map(|(own, other)| [own, other])
            .collect(),
    };
    bursts.rotate_left(number);
    let mut bursts = bursts.into_iter().cycle();
    let mut now = Time::from_secs(1);
    let all = BURSTS * BURST as u64 * workers as u64;
    let behind = |sent: u64| {
        progress
            .iter()
            .all(|other| sent < other.sent.load(Ordering::Relaxed) + AHEAD)
    };
    let mut sent = 0;
    start.wait();
    let begun = Instant::now();
    while progress
        .iter()
        .map(|it| it.done.load(Ordering::Relaxed))
        .sum::<u64>()
        < all
    {
        now = now + Duration::from_micros(64);
        let burst = (sent < BURSTS && behind(sent)).then(|| bursts.next()).flatten();
        let done = bench.work(burst.unwrap_or_default(), now) as u64;
        if burst.is_some() {
            sent += 1;
            progress[number].sent.store(sent, Ordering::Relaxed);
        }
        if sent == BURSTS {
            progress[number].sent.store(u64::MAX - AHEAD, Ordering::Relaxed);
        }
        if done > 0 {
            progress[number].done.fetch_add(done, Ordering::Relaxed);
        }
    }
    let elapsed = begun.elapsed();
    assert_eq!(
        bench.dispatcher.totals().dropped.total(),
        0,
        "packets were dropped"
    );
    elapsed
}

/// Million packets a second of all workers together.
fn rate(members: Vec<Option<Member>>, arrivals: Arrivals) -> f64 {
    let workers = members.len();
    let progress: Vec<Progress> = (0..workers).map(|_| Progress::default()).collect();
    let start = Barrier::new(workers);
    let longest = thread::scope(|scope| {
        let threads: Vec<_> = members
            .into_iter()
            .enumerate()
            .map(|(number, member)| {
                let (progress, start) = (&progress, &start);
                scope.spawn(move || run(number, member, workers, arrivals, progress, start))
            })
            .collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("a worker failed"));
        ended.max().unwrap_or_default()
    });
    (BURSTS * BURST as u64 * workers as u64) as f64 / longest.as_secs_f64() / 1e6
}

fn two() -> Vec<Option<Member>> {
    let awake: Waker = Arc::new(|| {});
    team(vec![Arc::clone(&awake), awake])
        .into_iter()
        .map(Some)
        .collect()
}

/// Measures a rate.
type Measure = fn() -> f64;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let columns: [(&str, Measure); 5] = [
        ("one worker", || rate(vec![None], Arrivals::Own)),
        ("two strangers", || rate(vec![None, None], Arrivals::Own)),
        ("two workers, all packets at their own", || {
            rate(two(), Arrivals::Own)
        }),
        ("two workers, half at the other one", || {
            rate(two(), Arrivals::Mixed)
        }),
        ("two workers, all at the other one", || {
            rate(two(), Arrivals::Others)
        }),
    ];
    let mut rates = vec![Vec::new(); columns.len()];
    for _ in 0..ROUNDS {
        for ((_, measure), rates) in columns.iter().zip(&mut rates) {
            rates.push(measure());
        }
    }
    println!("medians of {ROUNDS} rounds, 64-byte UDP through the translator, {FLOWS} flows a worker");
    for ((name, _), values) in columns.iter().zip(&rates) {
        let ratios = values.iter().zip(&rates[0]).map(|(rate, one)| rate / one);
        let ratio = median(ratios.collect());
        println!(
            "{name:<40} {:>7.2} million packets/s  {ratio:.2} x one worker",
            median(values.clone())
        );
    }
}
