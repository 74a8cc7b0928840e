//! More packets than can be worked off: known flows go first, hosts share what is left, and every packet is accounted for. While none is lost,
//! nobody is turned away.

mod common;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use common::*;
use etherparse::PacketBuilder;
use netchannel::channel::nat::{Nat, NatSettings};
use netchannel::channel::{ChannelId, Forward, Netchannel};
use netchannel::dispatch::{BURST, Registry, RuleSet};
use netchannel::drop_reason::DropReason;
use netchannel::packet::Headers;

const EXTERNAL: &str = "192.0.2.1";
const SERVER: &str = "8.8.8.8";

/// Rounds until a worker that loses packets limits new flows, and has found how many there may be.
const SETTLING: usize = 2000;

fn nat() -> Box<dyn Netchannel> {
    let external: Ipv4Addr = EXTERNAL.parse().unwrap();
    Box::new(Nat::new(NatSettings::new(vec![external])).unwrap())
}

fn packet(macs: ([u8; 6], [u8; 6]), from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(macs.0, macs.1)
        .ipv4(from.0.octets(), to.0.octets(), 64)
        .udp(from.1, to.1);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, b"payload of some length").unwrap();
    bytes
}

fn outbound(host: u8, port: u16) -> Vec<u8> {
    outbound_to(host, port, 53)
}

fn outbound_to(host: u8, port: u16, to: u16) -> Vec<u8> {
    let (host, server) = (Ipv4Addr::new(10, 0, 0, host), SERVER.parse().unwrap());
    packet((HOST_MAC, LAN_MAC), (host, port), (server, to))
}

/// A box whose `lan` has a full burst in each round, which is all that its ring holds: 16 packets of known flows, and for the rest first packets of
/// flows of the same host.
struct Flood {
    test: TestBox,
    /// Whether one packet more comes in each round, which is lost.
    loses: bool,
    next: u32,
    /// Packets of known flows that were sent, and that left.
    known: [u64; 2],
}

const KNOWN: usize = 16;

impl Flood {
    fn new(channel: Box<dyn Netchannel>, is_limited: bool) -> Self {
        let mut channels = Registry::new();
        channels.register("channel", channel).unwrap();
        let mut test = TestBox::with(channels, RuleSet::new(ChannelId(0)));
        if is_limited {
            test.dispatcher.limit_new_flows();
        }
        test.lan.bound_receive_ring(BURST);
        for port in 0..KNOWN as u16 {
            assert_eq!(test.out(&outbound(2, 1000 + port)).len(), 1);
        }
        Self {
            test,
            loses: true,
            next: 0,
            known: [0; 2],
        }
    }

    fn first_packet(&mut self) -> Vec<u8> {
        self.next += 1;
        outbound_to(
            2,
            2000 + (self.next % 1000) as u16,
            1000 + (self.next / 1000) as u16,
        )
    }

    /// A round with these packets among the others; returns what left by `wan`.
    fn round(&mut self, others: &[Vec<u8>]) -> Vec<Vec<u8>> {
        for port in 0..KNOWN as u16 {
            assert!(self.test.lan.send(&outbound(2, 1000 + port)));
        }
        for other in others {
            assert!(self.test.lan.send(other));
        }
        for _ in KNOWN + others.len()..BURST {
            let first = self.first_packet();
            assert!(self.test.lan.send(&first));
        }
        self.work();
        self.known[0] += KNOWN as u64;
        let sent = self.test.wan.sent_all();
        // Each known flow has had one packet here, which is the last but for those of flows that were opened.
        self.known[1] += sent.len().min(KNOWN) as u64;
        sent
    }

    /// A round of a download, with these packets behind it; returns how many left by `wan`.
    fn download(&mut self, others: &[Vec<u8>]) -> usize {
        for number in 0..BURST - others.len() {
            let port = 1000 + (number % KNOWN) as u16;
            assert!(self.test.lan.send(&outbound(2, port)));
        }
        for other in others {
            assert!(self.test.lan.send(other));
        }
        self.work();
        self.test.wan.sent_all().len()
    }

    fn work(&mut self) {
        if self.loses {
            assert!(!self.test.lan.send(&outbound(2, 1000)));
        }
        self.test.now = self.test.now + Duration::from_micros(60);
        assert!(self.test.dispatcher.poll(self.test.now).unwrap() >= BURST);
    }

    fn limited(&self) -> u64 {
        self.test
            .dispatcher
            .totals()
            .dropped
            .get(DropReason::NewFlowLimit)
    }
}

#[test]
fn known_flows_go_first_and_everything_is_accounted_for() {
    for channel in [Box::new(Forward) as Box<dyn Netchannel>, nat()] {
        let mut flood = Flood::new(channel, true);
        for _ in 0..SETTLING {
            flood.round(&[]);
        }
        let (before, sent_before) = (flood.limited(), flood.test.dispatcher.totals().transmitted);
        for _ in 0..1000 {
            flood.round(&[]);
        }
        assert_eq!(flood.known[0], flood.known[1]);
        let turned_away = flood.limited() - before;
        let carried = flood.test.dispatcher.totals().transmitted - sent_before;
        assert_eq!(
            turned_away + carried,
            1000 * BURST as u64,
            "nothing else became of them"
        );
        // The worker never keeps up, so there is one new flow in a burst at most, or little more.
        assert!((16_000..17_500).contains(&carried), "{carried}");
        flood.test.assert_all_accounted_for();
    }
}

#[test]
fn without_the_limit_all_packets_are_equal() {
    let mut flood = Flood::new(Box::new(Forward), false);
    for _ in 0..SETTLING {
        assert_eq!(flood.round(&[]).len(), BURST);
    }
    assert_eq!(flood.limited(), 0);
    flood.test.assert_all_accounted_for();
}

#[test]
fn a_worker_that_loses_nothing_turns_nobody_away() {
    let mut flood = Flood::new(Box::new(Forward), true);
    flood.loses = false;
    // It never comes to the end of what waits.
    flood.test.lan.bound_receive_ring(2 * BURST);
    for _ in 0..BURST {
        assert!(flood.test.lan.send(&outbound(2, 1000)));
    }
    for _ in 0..SETTLING {
        assert_eq!(flood.round(&[]).len(), BURST);
    }
    assert_eq!(flood.limited(), 0);
}

/// A download fills the ring, and overfills it: as long as it sends all that it may, then the first packets of others come.
#[test]
fn new_flows_behind_a_download_are_not_turned_away() {
    for loses in [false, true] {
        let mut flood = Flood::new(Box::new(Forward), true);
        flood.loses = loses;
        let mut others = 0;
        for round in 0..3 * SETTLING {
            let is_flow_of_others = round > SETTLING && round % SETTLING < 16;
            let firsts: Vec<_> = (0..if is_flow_of_others { 46 } else { 0 })
                .map(|_| flood.first_packet())
                .collect();
            others += firsts.len();
            assert_eq!(flood.download(&firsts), BURST);
        }
        assert!(others > 700 && flood.limited() == 0);
        flood.test.assert_all_accounted_for();
    }
}

#[test]
fn a_host_that_floods_leaves_theirs_to_others() {
    let mut flood = Flood::new(Box::new(Forward), true);
    for _ in 0..SETTLING {
        flood.round(&[]);
    }
    let mut opened: HashMap<u8, u64> = HashMap::new();
    const HOSTS: u8 = 20;
    // Each of these opens a flow every 100 rounds: 160 a second.
    for round in 0..4000u32 {
        let host = 100 + (round % 100) as u8;
        let others: Vec<_> = (host < 100 + HOSTS)
            .then(|| outbound(host, 3000 + (round / 100) as u16))
            .into_iter()
            .collect();
        for sent in flood.round(&others) {
            let source = Headers::parse(&sent).unwrap().source;
            let std::net::IpAddr::V4(source) = source else {
                continue;
            };
            *opened.entry(source.octets()[3]).or_default() += 1;
        }
    }
    for host in 100..100 + HOSTS {
        let opened = opened.get(&host).copied().unwrap_or_default();
        assert!(opened >= 36, "host {host} opened {opened} of 40 flows");
    }
    flood.test.assert_all_accounted_for();
}

#[test]
fn known_flows_stay_known_when_the_rules_change() {
    let mut flood = Flood::new(Box::new(Forward), true);
    for _ in 0..SETTLING {
        flood.round(&[]);
    }
    for _ in 0..10 {
        flood.test.dispatcher.set_rules(RuleSet::new(ChannelId(0)));
        for _ in 0..10 {
            flood.round(&[]);
        }
    }
    assert_eq!(flood.known[0], flood.known[1]);
    flood.test.assert_all_accounted_for();
}

#[test]
fn answers_to_what_went_out_are_expected() {
    let mut flood = Flood::new(nat(), true);
    for _ in 0..SETTLING {
        flood.round(&[]);
    }
    // Sessions whose answers are flows that nobody has seen, and packets to ports without a mapping.
    let external = |sent: &Vec<u8>| Headers::parse(sent).unwrap().ports().0;
    let ports: Vec<u16> = flood.round(&[]).iter().map(external).collect();
    let answer = |port| {
        let (from, to) = (SERVER.parse().unwrap(), EXTERNAL.parse().unwrap());
        packet((ROUTER_MAC, WAN_MAC), (from, 53), (to, port))
    };
    flood.test.lan.sent_all();
    for &port in &ports {
        assert!(flood.test.wan.send(&answer(port)));
    }
    let before = flood.limited();
    let scan = (1..=300).map(|port| answer(port + 50_000));
    let scanned = scan.filter(|packet| flood.test.wan.send(packet)).count() as u64;
    for _ in 0..6 {
        flood.round(&[]);
    }
    assert_eq!(flood.test.lan.sent_all().len(), ports.len());
    let floods = 6 * (BURST - KNOWN) as u64;
    assert!(
        flood.limited() - before > floods + scanned / 2,
        "the scan is no answer"
    );
    flood.test.assert_all_accounted_for();
}
