//! A box with two interfaces in plain memory, `lan` and `wan`, on a network made by hand.
// Each test file uses another part of it.
#![allow(dead_code, unreachable_pub)]

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use etherparse::PacketBuilder;
use netchannel::channel::{ChannelId, Drop, Forward, Pass};
use netchannel::dispatch::team::Member;
use netchannel::dispatch::{Dispatcher, FlowKey, KernelPath, Parts, Registry, Resolve, RuleSet};
use netchannel::interface::{Interface, Interfaces, PortId, Role};
use netchannel::network::{InterfaceIndex, Link, NetworkBuilder, NextHop, Route, RouteKind, SharedNetwork};
use netchannel::packet::{VlanTags, checksum, ethertype};
use netchannel::port::FramePool;
use netchannel::port::memory::{MemoryPort, MemoryWire};
use netchannel::time::Time;

pub const LAN: InterfaceIndex = InterfaceIndex(1);
pub const WAN: InterfaceIndex = InterfaceIndex(2);
pub const VLAN: InterfaceIndex = InterfaceIndex(3);
pub const LAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const WAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// What the box asked the kernel for.
#[derive(Clone, Default)]
pub struct Kernel {
    pub asked: Rc<RefCell<Vec<(InterfaceIndex, IpAddr)>>>,
    pub passed: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Resolve for Kernel {
    fn resolve(&self, index: InterfaceIndex, address: IpAddr) {
        self.asked.borrow_mut().push((index, address));
    }
}

impl KernelPath for Kernel {
    fn pass(&mut self, frame: &[u8], _interface: &Interface, _flow: &FlowKey) -> io::Result<()> {
        self.passed.borrow_mut().push(frame.to_vec());
        Ok(())
    }
}

pub struct TestBox {
    pub dispatcher: Dispatcher,
    pub lan: MemoryWire,
    pub wan: MemoryWire,
    pub kernel: Kernel,
    pub network: SharedNetwork,
    pub pool: FramePool,
    pub now: Time,
}

/// `lan` is 10.0.0.1/24 and fd00::1/64 with a host at .2, `wan` 192.0.2.1/24 with a router at .254; `wan.100` is VLAN 100 on `wan`.
/// 198.51.100.0/24 is a blackhole; what is left of 0.0.0.0/1 and 128.0.0.0/2 goes by the router, all else has no route.
pub fn network() -> NetworkBuilder {
    let mut wan = Link::ethernet(WAN, "wan", WAN_MAC);
    wan.mtu = 1400;
    NetworkBuilder::new()
        .link(Link::ethernet(LAN, "lan", LAN_MAC))
        .link(wan)
        .link(Link::ethernet(VLAN, "wan.100", WAN_MAC))
        .address(LAN, "10.0.0.1/24".parse().unwrap())
        .address(LAN, "fd00::1/64".parse().unwrap())
        .address(WAN, "192.0.2.1/24".parse().unwrap())
        .address(WAN, "2001:db8::1/64".parse().unwrap())
        .address(VLAN, "172.16.0.1/24".parse().unwrap())
        .route(Route::unicast(
            "0.0.0.0/1".parse().unwrap(),
            NextHop::via(WAN, ip("192.0.2.254")),
        ))
        .route(Route::unicast(
            "128.0.0.0/2".parse().unwrap(),
            NextHop::via(WAN, ip("192.0.2.254")),
        ))
        .route(Route::refusing(
            "198.51.100.0/24".parse().unwrap(),
            RouteKind::Blackhole,
        ))
        .route(Route::refusing(
            "198.51.101.0/24".parse().unwrap(),
            RouteKind::Unreachable,
        ))
        .route(Route::refusing(
            "198.51.102.0/24".parse().unwrap(),
            RouteKind::Prohibit,
        ))
        .neighbour(LAN, ip("10.0.0.2"), HOST_MAC)
        .neighbour(LAN, ip("fd00::2"), HOST_MAC)
        .neighbour(WAN, ip("2001:db8::2"), ROUTER_MAC)
        .neighbour(WAN, ip("192.0.2.254"), ROUTER_MAC)
        .neighbour(VLAN, ip("172.16.0.2"), ROUTER_MAC)
}

pub fn interfaces() -> Interfaces {
    let interface = |name: &str, index, role, port, vlan| Interface {
        name: name.to_owned(),
        index,
        role,
        port: PortId(port),
        vlan,
        vlan_protocol: ethertype::VLAN,
        sends_icmp_errors: true,
    };
    Interfaces::new(vec![
        interface("lan", LAN, Role::Inside, 0, VlanTags::default()),
        interface("wan", WAN, Role::Outside, 1, VlanTags::default()),
        interface(
            "wan.100",
            VLAN,
            Role::Outside,
            1,
            VlanTags { outer: 100, inner: 0 },
        ),
    ])
}

impl TestBox {
    /// A box with the channels drop (0), pass (1) and forward (2), where all packets go to `otherwise`.
    pub fn new(otherwise: ChannelId) -> Self {
        let mut channels = Registry::new();
        channels.register("drop", Box::new(Drop)).unwrap();
        channels.register("pass", Box::new(Pass)).unwrap();
        channels.register("forward", Box::new(Forward)).unwrap();
        Self::with(channels, RuleSet::new(otherwise))
    }

    pub fn with(channels: Registry, rules: RuleSet) -> Self {
        Self::on(interfaces(), channels, rules)
    }

    pub fn on(interfaces: Interfaces, channels: Registry, rules: RuleSet) -> Self {
        Self::in_team(interfaces, channels, rules, None)
    }

    /// One of several workers.
    pub fn in_team(interfaces: Interfaces, channels: Registry, rules: RuleSet, team: Option<Member>) -> Self {
        let pool = FramePool::in_memory(512, 4096).with_long_frames(FramePool::in_memory(8, 9022));
        let (lan_port, lan) = MemoryPort::new(&pool, 256);
        let (wan_port, wan) = MemoryPort::new(&pool, 256);
        let kernel = Kernel::default();
        let network = SharedNetwork::new(network().build());
        let dispatcher = Dispatcher::new(Parts {
            interfaces,
            ports: vec![Box::new(lan_port), Box::new(wan_port)],
            partial_checksums: vec![true, true],
            any_destination: false,
            pool: pool.clone(),
            channels,
            rules,
            flow_capacity: 1024,
            network: network.reader(),
            resolver: Box::new(kernel.clone()),
            team,
            kernel: Box::new(kernel.clone()),
        })
        .unwrap();
        Self {
            dispatcher,
            lan,
            wan,
            kernel,
            network,
            pool,
            now: Time::from_secs(1),
        }
    }

    /// Lets the box work until nothing is left to receive.
    pub fn run(&mut self) {
        while self.dispatcher.poll(self.now).unwrap() > 0 {}
    }

    /// Sends one packet in by `lan` and returns what leaves by `wan`.
    pub fn out(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        assert!(self.lan.send(bytes));
        self.run();
        self.wan.sent_all()
    }

    /// Every packet that came in went somewhere, and every frame is back in the pool.
    pub fn assert_all_accounted_for(&self) {
        let totals = self.dispatcher.totals();
        let gone =
            totals.transmitted + totals.passed + totals.dropped.total() + totals.held + totals.handed_on;
        let come = totals.received + totals.originated + totals.taken_over;
        assert_eq!(come, gone, "{totals:?}");
        let in_ports: usize = self.dispatcher.ports().iter().map(|port| port.held()).sum();
        let long = self.pool.long_frames().map_or(0, |long| long.in_use());
        assert_eq!(self.pool.in_use() + long, totals.held as usize + in_ports);
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A UDP packet from the inside host's Ethernet address to the box's.
pub fn udp(source: &str, destination: &str, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(HOST_MAC, LAN_MAC);
    let network = match (ip(source), ip(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            link.ipv4(source.octets(), destination.octets(), ttl)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            link.ipv6(source.octets(), destination.octets(), ttl)
        }
        _ => panic!("addresses of two families"),
    };
    let builder = network.udp(5000, 6000);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// Changes bytes of an IPv4 header behind an untagged Ethernet header, and makes its checksum right.
pub fn edit_ipv4(bytes: &mut [u8], edit: impl FnOnce(&mut [u8])) {
    let header_len = usize::from(bytes[14] & 0x0f) * 4;
    let header = &mut bytes[14..14 + header_len];
    edit(header);
    header[10..12].fill(0);
    let sum = checksum::of(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
