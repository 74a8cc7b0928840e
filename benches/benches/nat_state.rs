//! What it costs to save the state of a translator with a million sessions, and to take it up again. Not by criterion: each is done a few times,
//! and what counts is the longest that packets wait.

mod memory_box;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

use memory_box::{Bench, Sender};
use netchannel::channel::nat::state::{Saved, Writer};
use netchannel::channel::nat::{Nat, NatSettings};
use netchannel::dispatch::BURST;
use netchannel::time::Time;

const SESSIONS: u32 = 1_000_000;
/// As the daemon does it while packets flow.
const PLACES: usize = 2048;
const ROUNDS: usize = 5;
const CHANNEL: &str = "channel";

fn translator() -> Bench {
    let first = Ipv4Addr::new(203, 0, 0, 0);
    let mut settings = NatSettings::new(Vec::new());
    settings.external = vec![first..=Ipv4Addr::from_bits(first.to_bits() + 63)];
    settings.ports = vec![1024..=65535];
    settings.limits.mappings = 1 << 20;
    settings.limits.sessions = 1 << 20;
    let nat = Nat::new(settings).expect("good settings");
    Bench::new(Box::new(nat), 2 << 20, |_, _| {})
}

fn main() {
    let now = Time::from_secs(1_000_000);
    let mut bench = translator();
    let senders: Vec<Sender> = (0..SESSIONS)
        .map(|number| {
            let host = Ipv4Addr::new(10, 0, 1, 0).to_bits() + number / 16_384;
            Sender::new((Ipv4Addr::from_bits(host), 1024 + (number % 16_384) as u16))
        })
        .collect();
    for burst in senders.chunks(BURST) {
        bench.carry_from(burst, now);
    }
    println!("{SESSIONS} sessions, a mapping each; times in milliseconds, each of {ROUNDS} rounds");
    let mut file = Vec::new();
    let [mut slices, mut longest, mut saving] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let (mut next, mut slowest, mut all) = (Some(0), Duration::ZERO, Duration::ZERO);
        let mut writer: Option<Writer<Vec<u8>>> = None;
        while let Some(after) = next {
            let slice = Instant::now();
            let part = bench
                .dispatcher
                .state(CHANNEL, after, PLACES, now)
                .expect("a translator");
            let time = slice.elapsed();
            slowest = slowest.max(time);
            all += time;
            let writer = writer.get_or_insert_with(|| {
                let out = Vec::with_capacity(64 << 20);
                Writer::new(out, CHANNEL, part.basis, SystemTime::UNIX_EPOCH).expect("memory")
            });
            writer.add(&part.records).expect("memory");
            next = part.next;
        }
        file = writer.expect("a part").finish().expect("memory").0;
        saving.push(start.elapsed());
        slices.push(all);
        longest.push(slowest);
    }
    let [mut reading, mut restoring] = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        let mut bench = translator();
        let start = Instant::now();
        let saved = Saved::read(&file, CHANNEL).expect("what was written");
        reading.push(start.elapsed());
        let start = Instant::now();
        let restored = bench
            .dispatcher
            .restore(CHANNEL, &saved, Duration::from_secs(1), now);
        restoring.push(start.elapsed());
        assert_eq!(restored.map(|restored| restored.sessions), Some(SESSIONS.into()));
    }
    println!("file of {} bytes", file.len());
    for (what, times) in [
        ("longest slice, packets wait", longest),
        ("all slices together", slices),
        ("saving, with serialisation", saving),
        ("checking the file", reading),
        ("taking it up", restoring),
    ] {
        let times: Vec<String> = times
            .iter()
            .map(|time| format!("{:.2}", time.as_secs_f64() * 1e3))
            .collect();
        println!("{what:30} {}", times.join("  "));
    }
}
