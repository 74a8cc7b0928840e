//! How long packets wait while a million sessions end at once: the longest burst and the longest tick, for two shapes of what ends.
//! Each figure is the least of several runs that do the same work, burst by burst, so that what else the machine does is not in it.

#[path = "../benches/memory_box/mod.rs"]
mod memory_box;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use memory_box::{Bench, packet_to};
use netchannel::channel::nat::{Nat, NatSettings};
use netchannel::dispatch::BURST;
use netchannel::time::Time;

/// Sessions that end at once.
const SESSIONS: u32 = 1_000_000;
const RUNS: usize = 5;
/// Bursts between two ticks, a tenth of a second.
const BURSTS_PER_TICK: u32 = 10;
/// Ticks that are looked at: a tick ends some thousands of sessions.
const TICKS: u32 = 100;

/// Mappings, each with as many sessions as make a million.
#[derive(Clone, Copy)]
struct Shape {
    mappings: u32,
}

impl Shape {
    fn endpoint(number: u32) -> (Ipv4Addr, u16) {
        let host = Ipv4Addr::new(10, 0, 1, 0).to_bits() + number / 16_384;
        (Ipv4Addr::from_bits(host), 1024 + (number % 16_384) as u16)
    }

    /// Opens all sessions, so that they end at one time.
    fn open(self, bench: &mut Bench, now: Time) {
        let sessions = SESSIONS / self.mappings;
        let packets = (0..sessions).flat_map(|session| {
            (0..self.mappings).map(move |mapping| packet_to(Self::endpoint(mapping), 2_000 + session as u16))
        });
        let packets: Vec<Vec<u8>> = packets.collect();
        for burst in packets.chunks(BURST) {
            bench.carry(burst, now);
        }
    }

    /// Packets that open sessions, of mappings all of whose sessions are over.
    fn burst(self, number: u32) -> Vec<Vec<u8>> {
        let mapping = |place: u32| (number * BURST as u32 + place) % self.mappings;
        let port = 20_000 + number as u16;
        (0..BURST as u32)
            .map(|place| packet_to(Self::endpoint(mapping(place)), port))
            .collect()
    }
}

/// What each burst and each tick took.
struct Times {
    bursts: Vec<Duration>,
    ticks: Vec<Duration>,
}

fn run(shape: Shape) -> Times {
    let mut settings = NatSettings::new(Vec::new());
    settings.external = vec![Ipv4Addr::new(203, 0, 0, 0)..=Ipv4Addr::new(203, 0, 0, 63)];
    settings.ports = vec![1024..=65535];
    settings.limits.mappings = 2 << 20;
    settings.limits.sessions = 2 << 20;
    let nat = Nat::new(settings).expect("these settings can be used");
    let mut bench = Bench::new(Box::new(nat), 1 << 20, |_, _| {});
    let mut now = Time::from_secs(1);
    shape.open(&mut bench, now);
    now = now + Duration::from_secs(301);
    let mut times = Times {
        bursts: Vec::new(),
        ticks: Vec::new(),
    };
    for tick in 0..TICKS {
        for number in 0..BURSTS_PER_TICK {
            let burst = shape.burst(tick * BURSTS_PER_TICK + number);
            let start = Instant::now();
            bench.carry(&burst, now);
            times.bursts.push(start.elapsed());
        }
        now = now + Duration::from_millis(100);
        let start = Instant::now();
        bench.dispatcher.tick(now);
        times.ticks.push(start.elapsed());
    }
    times
}

/// The longest and the median one of the least that each took.
fn summary(runs: &[Vec<Duration>]) -> (Duration, Duration) {
    let least = |place: usize| runs.iter().map(|run| run[place]).min().unwrap_or_default();
    let mut times: Vec<Duration> = (0..runs[0].len()).map(least).collect();
    times.sort();
    (times[times.len() - 1], times[times.len() / 2])
}

fn main() {
    println!("| {SESSIONS} sessions of | longest burst | median burst | longest tick | median tick |");
    println!("| --- | --- | --- | --- | --- |");
    for shape in [Shape { mappings: SESSIONS }, Shape { mappings: 100 }] {
        let runs: Vec<Times> = (0..RUNS).map(|_| run(shape)).collect();
        let bursts: Vec<_> = runs.iter().map(|run| run.bursts.clone()).collect();
        let ticks: Vec<_> = runs.into_iter().map(|run| run.ticks).collect();
        let ((burst, usual_burst), (tick, usual_tick)) = (summary(&bursts), summary(&ticks));
        println!(
            "| {} mappings | {burst:?} | {usual_burst:?} | {tick:?} | {usual_tick:?} |",
            shape.mappings
        );
    }
}
