//! What the dispatcher and a channel cost per packet, without a kernel: bursts on plain memory, through the translator and the router.

mod memory_box;

use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memory_box::{Bench, INSIDE, packet};
use netchannel::channel::nat::{Nat, NatSettings};
use netchannel::channel::{Forward, Netchannel};
use netchannel::dispatch::BURST;
use netchannel::time::Time;

type Make = fn() -> Box<dyn Netchannel>;

fn packet_path(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet_path");
    group.throughput(Throughput::Elements(BURST as u64));
    group.measurement_time(Duration::from_secs(3));
    let nat: Make = || Box::new(Nat::new(NatSettings::new(vec![Ipv4Addr::new(198, 51, 100, 7)])).unwrap());
    let forward: Make = || Box::new(Forward);
    for (name, channel) in [("forward", forward), ("nat", nat)] {
        for flows in [1, 16_384] {
            let packets: Vec<Vec<u8>> = (0..flows.max(BURST))
                .map(|flow| packet(INSIDE, 1024 + (flow % flows) as u16))
                .collect();
            let mut bench = Bench::new(channel(), 262_144, |_, _| {});
            let mut now = Time::from_secs(1);
            let mut bursts = packets.chunks(BURST).cycle();
            group.bench_function(BenchmarkId::new(name, flows), |bencher| {
                bencher.iter_custom(|iterations| {
                    let burst = |_| {
                        now = now + Duration::from_micros(64);
                        bench.carry(bursts.next().unwrap_or_default(), now)
                    };
                    (0..iterations).map(burst).sum()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, packet_path);
criterion_main!(benches);
