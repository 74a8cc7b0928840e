//! A dispatcher on plain memory between `lan` and `wan`, with one channel, and the packets that go through it.
#![allow(dead_code)]

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use classifier::Rule;
use netchannel::channel::{ChannelId, Netchannel};
use netchannel::dispatch::dimensions::Ipv4Dimensions;
use netchannel::dispatch::team::Member;
use netchannel::dispatch::{Dispatcher, FlowKey, KernelPath, Parts, Registry, Resolve, RuleSet};
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
pub(crate) const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

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

pub(crate) struct Bench {
    pub(crate) dispatcher: Dispatcher,
    lan: MemoryWire,
    wan: MemoryWire,
    template: Vec<u8>,
}

impl Bench {
    /// All goes to the channel, for want of other rules; a table for this many flows.
    pub(crate) fn new(
        channel: Box<dyn Netchannel>,
        flow_capacity: usize,
        other_rules: impl FnOnce(&mut RuleSet, ChannelId),
    ) -> Self {
        Self::build(channel, flow_capacity, other_rules, None)
    }

    /// One of several workers.
    pub(crate) fn in_team(channel: Box<dyn Netchannel>, flow_capacity: usize, team: Option<Member>) -> Self {
        Self::build(channel, flow_capacity, |_, _| {}, team)
    }

    fn build(
        channel: Box<dyn Netchannel>,
        flow_capacity: usize,
        other_rules: impl FnOnce(&mut RuleSet, ChannelId),
        team: Option<Member>,
    ) -> Self {
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
        other_rules(&mut rules, id);
        rules
            .insert_ipv4(Rule::any::<Ipv4Dimensions>(u32::MAX, id))
            .unwrap();
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
            flow_capacity,
            network: SharedNetwork::new(network.build()).reader(),
            resolver: Box::new(Unused),
            team,
            kernel: Box::new(Unused),
        })
        .unwrap();
        Self {
            dispatcher,
            lan,
            wan,
            template: packet(INSIDE, 1024),
        }
    }

    /// One burst in by `lan`, which leaves by `wan`: how long that took, without the wires.
    pub(crate) fn carry(&mut self, packets: &[Vec<u8>], now: Time) -> Duration {
        for packet in packets {
            assert!(self.lan.send(packet));
        }
        self.poll(packets.len(), now)
    }

    /// One burst of packets from these senders, as `carry`. The packets are made of one, so that their memory is not what is measured.
    pub(crate) fn carry_from(&mut self, senders: &[Sender], now: Time) -> Duration {
        for sender in senders {
            sender.write(&mut self.template);
            assert!(self.lan.send(&self.template));
        }
        self.poll(senders.len(), now)
    }

    /// A round with these packets coming in by `lan`; how many left by `wan`.
    pub(crate) fn work(&mut self, packets: &[Vec<u8>], now: Time) -> usize {
        for packet in packets {
            assert!(self.lan.send(packet));
        }
        self.dispatcher.poll(now).unwrap();
        self.wan.take_sent().len()
    }

    fn poll(&mut self, packets: usize, now: Time) -> Duration {
        let start = Instant::now();
        let received = self.dispatcher.poll(now).unwrap();
        let elapsed = start.elapsed();
        let sent = self.wan.take_sent();
        assert_eq!((received, sent.len()), (packets, packets));
        drop::<Vec<Frame>>(sent);
        elapsed
    }
}

/// What differs between the packets of inside endpoints.
pub(crate) struct Sender {
    address: [u8; 4],
    port: [u8; 2],
    checksums: [[u8; 2]; 2],
}

impl Sender {
    pub(crate) fn new((address, port): (Ipv4Addr, u16)) -> Self {
        let packet = packet(address, port);
        Self {
            address: address.octets(),
            port: port.to_be_bytes(),
            checksums: [[packet[24], packet[25]], [packet[40], packet[41]]],
        }
    }

    fn write(&self, packet: &mut [u8]) {
        packet[24..26].copy_from_slice(&self.checksums[0]);
        packet[26..30].copy_from_slice(&self.address);
        packet[34..36].copy_from_slice(&self.port);
        packet[40..42].copy_from_slice(&self.checksums[1]);
    }
}

/// A UDP packet of 64 bytes on the wire (60 without the frame check sequence) from an inside endpoint to `OUTSIDE`.
pub(crate) fn packet(inside: Ipv4Addr, port: u16) -> Vec<u8> {
    udp((LAN, HOST), (inside, port), (OUTSIDE, 9))
}

/// The same to another port.
pub(crate) fn packet_to(inside: (Ipv4Addr, u16), port: u16) -> Vec<u8> {
    udp((LAN, HOST), inside, (OUTSIDE, port))
}

fn udp(ethernet: ([u8; 6], [u8; 6]), from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut bytes = [&ethernet.0[..], &ethernet.1, &[0x08, 0x00]].concat();
    let mut ip = vec![0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip.extend_from_slice(&from.0.octets());
    ip.extend_from_slice(&to.0.octets());
    let sum = checksum::of(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = [
        &from.1.to_be_bytes()[..],
        &to.1.to_be_bytes(),
        &26u16.to_be_bytes(),
        &[0, 0],
        &[0x55; 18],
    ]
    .concat();
    let pseudo = checksum::pseudo_sum(from.0.into(), to.0.into(), 17, udp.len() as u64);
    let sum = !checksum::add(pseudo, checksum::sum(&udp));
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(ip);
    bytes.extend(udp);
    bytes
}
