//! What the dispatcher and a channel cost per packet, without a kernel: bursts on plain memory, through the translator and the router.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use classifier::Rule;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use netchannel::channel::nat::{Nat, NatSettings};
use netchannel::channel::{Forward, Netchannel};
use netchannel::dispatch::dimensions::Ipv4Dimensions;
use netchannel::dispatch::{BURST, Dispatcher, FlowKey, KernelPath, Parts, Registry, Resolve, RuleSet};
use netchannel::interface::{Interface, Interfaces, PortId, Role};
use netchannel::network::{InterfaceIndex, Link, NetworkBuilder, SharedNetwork};
use netchannel::packet::{VlanTags, checksum, ethertype};
use netchannel::port::memory::{MemoryPort, MemoryWire};
use netchannel::port::{Frame, FramePool, PacketIo};
use netchannel::time::Time;

const LAN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const WAN: [u8; 6] = [2, 0, 0, 0, 0, 2];
const HOST: [u8; 6] = [2, 0, 0, 0, 1, 1];
const SERVER: [u8; 6] = [2, 0, 0, 0, 1, 2];
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// Nothing here needs a kernel.
struct Unused;

impl Resolve for Unused {
    fn resolve(&self, _: InterfaceIndex, _: IpAddr) {}
}

impl KernelPath for Unused {
    fn pass(&mut self, _: &[u8], _: &Interface, _: &FlowKey) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct Bench {
    dispatcher: Dispatcher,
    lan: MemoryWire,
    wan: MemoryWire,
}

impl Bench {
    fn new(channel: Box<dyn Netchannel>) -> Self {
        let (lan_index, wan_index) = (InterfaceIndex(1), InterfaceIndex(2));
        let network = NetworkBuilder::new()
            .link(Link::ethernet(lan_index, "lan", LAN))
            .link(Link::ethernet(wan_index, "wan", WAN))
            .address(lan_index, "10.0.0.1/8".parse().unwrap())
            .address(wan_index, "198.51.100.1/24".parse().unwrap())
            .neighbour(lan_index, INSIDE.into(), HOST)
            .neighbour(wan_index, OUTSIDE.into(), SERVER);
        let interface = |name: &str, index, role, port| Interface {
            name: name.to_owned(),
            index,
            role,
            port: PortId(port),
            vlan: VlanTags::default(),
            vlan_protocol: ethertype::VLAN,
            sends_icmp_errors: true,
        };
        let mut channels = Registry::new();
        let id = channels.register("channel", channel).unwrap();
        let mut rules = RuleSet::new(id);
        rules.insert_ipv4(Rule::any::<Ipv4Dimensions>(1, id)).unwrap();
        let pool = FramePool::in_memory(1024, 2048);
        let (lan_port, lan) = MemoryPort::new(&pool, 512);
        let (wan_port, wan) = MemoryPort::new(&pool, 512);
        let dispatcher = Dispatcher::new(Parts {
            interfaces: Interfaces::new(vec![
                interface("lan", lan_index, Role::Inside, 0),
                interface("wan", wan_index, Role::Outside, 1),
            ]),
            ports: vec![Box::new(lan_port) as Box<dyn PacketIo>, Box::new(wan_port)],
            partial_checksums: vec![true, true],
            any_destination: false,
            pool,
            channels,
            rules,
            flow_capacity: 262_144,
            network: SharedNetwork::new(network.build()).reader(),
            resolver: Box::new(Unused),
            kernel: Box::new(Unused),
        })
        .unwrap();
        Self { dispatcher, lan, wan }
    }

    /// One burst in by `lan`, which leaves by `wan`.
    fn carry(&mut self, packets: &[Vec<u8>], now: Time) {
        for packet in packets {
            assert!(self.lan.send(packet));
        }
        assert_eq!(self.dispatcher.poll(now).unwrap(), packets.len());
        let sent = self.wan.take_sent();
        assert_eq!(sent.len(), packets.len());
        drop::<Vec<Frame>>(sent);
    }
}

/// A UDP packet of 64 bytes on the wire (60 without the frame check sequence) from this inside port.
fn packet(port: u16) -> Vec<u8> {
    let mut bytes = [&LAN[..], &HOST, &[0x08, 0x00]].concat();
    let mut ip = vec![0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip.extend_from_slice(&INSIDE.octets());
    ip.extend_from_slice(&OUTSIDE.octets());
    let sum = checksum::of(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = [
        &port.to_be_bytes()[..],
        &9u16.to_be_bytes(),
        &26u16.to_be_bytes(),
        &[0, 0],
        &[0x55; 18],
    ]
    .concat();
    let pseudo = checksum::pseudo_sum(INSIDE.into(), OUTSIDE.into(), 17, udp.len() as u64);
    let sum = !checksum::add(pseudo, checksum::sum(&udp));
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(ip);
    bytes.extend(udp);
    bytes
}

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
                .map(|flow| packet(1024 + (flow % flows) as u16))
                .collect();
            let mut bench = Bench::new(channel());
            let mut now = Time::from_secs(1);
            let mut bursts = packets.chunks(BURST).cycle();
            group.bench_function(BenchmarkId::new(name, flows), |bencher| {
                bencher.iter(|| {
                    now = now + Duration::from_micros(64);
                    bench.carry(bursts.next().unwrap_or_default(), now);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, packet_path);
criterion_main!(benches);
