//! How long packets wait while somebody looks at a million mappings or deletes them: the longest slice of each listing, and of the
//! deletion. Each slice's figure is the least of several runs that do the same work.

#[path = "../benches/memory_box/mod.rs"]
mod memory_box;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use memory_box::{Bench, Sender};
use netchannel::channel::nat::{Nat, NatSettings};
use netchannel::channel::{Netchannel, Slice};
use netchannel::control::{Filter, MAX_PAGE};
use netchannel::dispatch::BURST;
use netchannel::time::Time;

const MAPPINGS: u32 = 1_000_000;
const RUNS: usize = 5;
const NOW: Time = Time::from_secs(1);

/// A translator with all mappings, each with one session.
fn filled() -> Bench {
    let mut settings = NatSettings::new(Vec::new());
    settings.external = vec![Ipv4Addr::new(203, 0, 0, 0)..=Ipv4Addr::new(203, 0, 0, 63)];
    settings.ports = vec![1024..=65535];
    settings.limits.mappings = 2 << 20;
    settings.limits.sessions = 2 << 20;
    let nat = Nat::new(settings).expect("these settings can be used");
    let mut bench = Bench::new(Box::new(nat), 1 << 20, |_, _| {});
    let sender = |number: u32| {
        let host = Ipv4Addr::new(10, 0, 1, 0).to_bits() + number / 16_384;
        Sender::new((Ipv4Addr::from_bits(host), 1024 + (number % 16_384) as u16))
    };
    for first in (0..MAPPINGS).step_by(BURST) {
        let end = MAPPINGS.min(first + BURST as u32);
        let senders: Vec<Sender> = (first..end).map(sender).collect();
        bench.carry_from(&senders, NOW);
    }
    bench
}

fn channel(bench: &mut Bench) -> &mut dyn Netchannel {
    let mut channels = bench.dispatcher.channels_mut();
    let (_, channel) = channels.next().expect("the translator");
    channel
}

/// One kind of slice: what is done, and the place to go on from.
type Take = fn(&mut dyn Netchannel, Slice<'_>) -> Option<u64>;

/// What each slice took, from the first to the last.
fn slices(bench: &mut Bench, filter: &Filter, take: Take) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut after = Some(0);
    while let Some(place) = after {
        let slice = Slice {
            filter,
            after: place,
            limit: MAX_PAGE as usize,
        };
        let channel = channel(bench);
        let start = Instant::now();
        after = take(channel, slice);
        times.push(start.elapsed());
    }
    times
}

fn main() {
    let all = Filter::default();
    let nobody = Filter {
        inside: "192.0.2.1".parse().ok(),
        ..Filter::default()
    };
    let kinds: [(&str, &Filter, Take); 5] = [
        ("show mappings", &all, |channel, slice| {
            channel.mappings(slice, NOW).next
        }),
        ("show mappings, none found", &nobody, |channel, slice| {
            channel.mappings(slice, NOW).next
        }),
        ("show sessions", &all, |channel, slice| {
            channel.sessions(slice, NOW).next
        }),
        ("show sessions, none found", &nobody, |channel, slice| {
            channel.sessions(slice, NOW).next
        }),
        ("nat delete --all", &all, |channel, slice| {
            channel.delete_mappings(slice, NOW).1
        }),
    ];
    let mut least: [Vec<Duration>; 5] = Default::default();
    for _ in 0..RUNS {
        let mut bench = filled();
        for ((_, filter, take), least) in kinds.iter().zip(&mut least) {
            let times = slices(&mut bench, filter, *take);
            if least.is_empty() {
                *least = times;
            } else {
                assert_eq!(least.len(), times.len());
                let pairs = least.iter_mut().zip(times);
                pairs.for_each(|(least, time)| *least = time.min(*least));
            }
        }
    }
    println!("| {MAPPINGS} mappings | slices | longest slice | all slices |");
    println!("| --- | --- | --- | --- |");
    for ((name, _, _), least) in kinds.iter().zip(&least) {
        let longest = least.iter().max().copied().unwrap_or_default();
        let all: Duration = least.iter().sum();
        println!("| {name} | {} | {longest:.0?} | {all:.1?} |", least.len());
    }
}
