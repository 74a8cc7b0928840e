//! What the translator costs: packets of known sessions, few and many; new sessions behind many rules, with the port space from empty to
//! almost full; and the end of a million mappings at once.

mod memory_box;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use classifier::{Range, Rule};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memory_box::{Bench, Sender};
use netchannel::channel::ChannelId;
use netchannel::channel::nat::{Nat, NatSettings, Pooling, PortBlocks};
use netchannel::dispatch::dimensions::{Ipv4Dimensions, dimension};
use netchannel::dispatch::{BURST, RuleSet};
use netchannel::time::Time;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

const RULES: usize = 10_000;

/// A translator with this many addresses and sessions.
fn nat(addresses: u32, sessions: u32, change: impl FnOnce(&mut NatSettings)) -> Box<Nat> {
    let first = Ipv4Addr::new(203, 0, 0, 0);
    let last = Ipv4Addr::from_bits(first.to_bits() + addresses - 1);
    let mut settings = NatSettings::new(Vec::new());
    settings.external = vec![first..=last];
    settings.ports = vec![1024..=65535];
    settings.limits.mappings = sessions;
    settings.limits.sessions = sessions;
    change(&mut settings);
    Box::new(Nat::new(settings).unwrap())
}

/// Inside endpoint number `number`, of hosts with 16,384 ports each.
fn endpoint(number: u32) -> (Ipv4Addr, u16) {
    let host = Ipv4Addr::new(10, 0, 1, 0).to_bits() + number / 16_384;
    (Ipv4Addr::from_bits(host), 1024 + (number % 16_384) as u16)
}

/// Rules that none of the packets match: prefixes, ports and protocols of all kinds.
fn rules(rules: &mut RuleSet, channel: ChannelId) {
    let mut random = StdRng::seed_from_u64(7);
    for number in 0..RULES {
        let mut rule = Rule::any::<Ipv4Dimensions>(number as u32, channel);
        let address: u32 = random.random_range(0x2000_0000..0xc000_0000);
        let host_bits = random.random_range(0..=16u32);
        let first = address >> host_bits << host_bits;
        rule.ranges[dimension::DESTINATION_ADDRESS] =
            Range::new(first, first | ((1u32 << host_bits) - 1)).unwrap();
        if random.random() {
            rule.ranges[dimension::PROTOCOL] = Range::exact(if random.random() { 6 } else { 17 });
            rule.ranges[dimension::DESTINATION_PORT] = Range::exact(random.random_range(1..1024));
        }
        rules.insert_ipv4(rule).unwrap();
    }
}

/// Packets of sessions that are there, in an order that is not that of their opening.
fn known_session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nat/known_session");
    group.throughput(Throughput::Elements(BURST as u64));
    for flows in [1_000, 100_000, 1_000_000u32] {
        let mut state = None;
        let mut now = Time::from_secs(1);
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            let (bench, senders) = state.get_or_insert_with(|| {
                let mut bench = Bench::new(nat(64, 1 << 20, |_| {}), 2 << 20, rules);
                let numbers = (0..flows).chain(0..flows.next_multiple_of(BURST as u32) - flows);
                let mut senders: Vec<Sender> = numbers.map(endpoint).map(Sender::new).collect();
                for burst in senders.chunks(BURST) {
                    bench.carry_from(burst, now);
                }
                senders.shuffle(&mut StdRng::seed_from_u64(3));
                (bench, senders)
            });
            bencher.iter_custom(|iterations| {
                let burst = |_| {
                    now = now + Duration::from_micros(4);
                    let burst = &senders[next..next + BURST];
                    next = (next + BURST) % senders.len();
                    bench.carry_from(burst, now)
                };
                (0..iterations).map(burst).sum()
            });
        });
    }
    group.finish();
}

/// Packets of new sessions, each with a mapping of its own; as many end as are opened. `fill` of a hundred ports are taken by others.
fn new_session(criterion: &mut Criterion) {
    /// Sessions that are opened in a second, after which they end.
    const WINDOW: u32 = 4_096;
    const ADDRESSES: u32 = 16;
    let mut group = criterion.benchmark_group("nat/new_session");
    group.throughput(Throughput::Elements(BURST as u64));
    // Four times as many endpoints as there may be at one time: each is new again when its turn comes.
    let churn: Vec<Sender> = (0..WINDOW * 4)
        .map(|number| Sender::new((Ipv4Addr::from_bits(0x0a20_0000 + number), 40_000)))
        .collect();
    for fill in [0, 50, 90, 99u32] {
        let mut state = None;
        let mut now = Time::from_secs(1);
        let mut bursts = churn.chunks(BURST).cycle();
        let step = Duration::from_secs(1) / (WINDOW / BURST as u32);
        group.bench_function(BenchmarkId::from_parameter(fill), |bencher| {
            let bench = state.get_or_insert_with(|| filled(ADDRESSES, WINDOW * 2, fill));
            bencher.iter_custom(|iterations| {
                let burst = |_| {
                    now = now + step;
                    bench.carry_from(bursts.next().unwrap_or_default(), now)
                };
                (0..iterations).map(burst).sum()
            });
        });
    }
    group.finish();
}

/// The same where hosts get their ports in blocks of 64, and those that come and go have 16 of them each.
fn new_session_in_blocks(criterion: &mut Criterion) {
    const WINDOW: u32 = 4_096;
    const SIZE: u32 = 64;
    const PORTS: u32 = 16 * SIZE;
    let mut group = criterion.benchmark_group("nat/new_session_in_blocks");
    group.throughput(Throughput::Elements(BURST as u64));
    let churn: Vec<Sender> = (0..WINDOW * 4)
        .map(|number| {
            let host = Ipv4Addr::from_bits(0x0a20_0000 + number / PORTS);
            Sender::new((host, 1024 + (number % PORTS) as u16))
        })
        .collect();
    for fill in [0, 50, 90, 99u32] {
        let mut state = None;
        let mut now = Time::from_secs(1);
        let mut bursts = churn.chunks(BURST).cycle();
        let step = Duration::from_secs(1) / (WINDOW / BURST as u32);
        group.bench_function(BenchmarkId::from_parameter(fill), |bencher| {
            let bench = state.get_or_insert_with(|| {
                filled_by(SIZE, 16, WINDOW * 2, fill, |settings| {
                    settings.blocks = Some(PortBlocks {
                        size: SIZE as u16,
                        most: 16,
                        hold: Duration::ZERO,
                        hold_count: 0,
                    });
                    // Else the address that a host has first may be full.
                    settings.pooling = Pooling::Paired { soft: true };
                })
            });
            bencher.iter(|| {
                now = now + step;
                bench.carry_from(bursts.next().unwrap_or_default(), now);
            });
        });
    }
    group.finish();
}

/// A translator of whose ports, but for `spare`, `fill` of a hundred are taken for long. Few mappings of each host, so that all
/// addresses fill evenly.
fn filled(addresses: u32, spare: u32, fill: u32) -> Bench {
    filled_by(16, addresses, spare, fill, |_| {})
}

/// As [`filled`], by hosts with this many mappings each.
fn filled_by(
    mappings: u32,
    addresses: u32,
    spare: u32,
    fill: u32,
    change: impl FnOnce(&mut NatSettings),
) -> Bench {
    let mut bench = Bench::new(
        nat(addresses, 2 << 20, |settings| {
            settings.hold.count = 0;
            settings.preserve_ports = false;
            // What comes and goes is sent to port 9, what stays to another one.
            settings.timeouts.udp = Duration::from_secs(1_000_000);
            settings.timeouts.udp_to_port = vec![(9, Duration::from_secs(1))];
            change(settings);
        }),
        1 << 20,
        rules,
    );
    let staying = (addresses * 64_512 - spare) / 100 * fill;
    let stays: Vec<Vec<u8>> = (0..staying)
        .map(|number| {
            let host = Ipv4Addr::from_bits(0x0a10_0000 + number / mappings);
            memory_box::packet_to((host, 1024 + (number % mappings) as u16), 1024)
        })
        .collect();
    for burst in stays.chunks(BURST) {
        bench.carry(burst, Time::from_secs(1));
    }
    bench
}

/// One tick while a million mappings have reached their end: how long packets wait for it.
fn expiry(criterion: &mut Criterion) {
    const FLOWS: u32 = 1_000_000;
    let mut group = criterion.benchmark_group("nat/expiry");
    let mut state = None;
    let mut now = Time::from_secs(1);
    let mut ticks = 0;
    group.bench_function("tick_of_a_million", |bencher| {
        let (bench, senders) = state.get_or_insert_with(|| {
            let senders: Vec<Sender> = (0..FLOWS).map(endpoint).map(Sender::new).collect();
            (Bench::new(nat(64, 1 << 20, |_| {}), 1 << 20, |_, _| {}), senders)
        });
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                if ticks % 200 == 0 {
                    // What is left ends too, then all of them are opened again and end together.
                    now = now + Duration::from_secs(1000);
                    (0..FLOWS / 1000).for_each(|_| bench.dispatcher.tick(now));
                    for burst in senders.chunks(BURST) {
                        bench.carry_from(burst, now);
                    }
                    now = now + Duration::from_secs(301);
                }
                ticks += 1;
                let start = Instant::now();
                bench.dispatcher.tick(now);
                total += start.elapsed();
            }
            total
        });
    });
    group.finish();
}

criterion_group!(benches, known_session, new_session, new_session_in_blocks, expiry);
criterion_main!(benches);
