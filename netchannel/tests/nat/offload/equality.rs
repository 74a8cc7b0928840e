//! The same random traffic with and without.

use std::net::{Ipv4Addr, SocketAddrV4};

use classifier::{Range, Rule};
use netchannel::channel::nat::{OneToOne, PortHold};
use netchannel::channel::{ChannelId, Slice};
use netchannel::control::Filter;
use netchannel::dispatch::RuleSet;
use netchannel::dispatch::dimensions::{Ipv4Dimensions, dimension};
use netchannel::packet::checksum;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::carrier::{From, OffloadingBox, counted, in_new_namespace, receive};
use crate::common::{HOST_MAC, LAN, ROUTER_MAC, WAN, ip};
use crate::harness::*;
use crate::packets::*;

/// Ports are free at once: which port another gets is by lot.
const NO_HOLD: PortHold = PortHold {
    time: std::time::Duration::ZERO,
    count: 0,
};

/// Channel `forward`, behind `nat`.
const FORWARD: ChannelId = ChannelId(3);
/// What goes to this port is forwarded, not translated.
const FORWARDED_PORT: u16 = 7000;

/// The last byte of the inside host that has an external address of its own, and that one.
const ONE: u8 = 4;
const ONES_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

/// A flow of an inside host.
#[derive(Clone, Copy, Debug)]
struct Flow {
    body: Body,
    inside: SocketAddrV4,
    remote: SocketAddrV4,
}

impl Flow {
    fn number(number: u8) -> Self {
        let is_tcp = number & 1 != 0;
        // No two hosts have the same port: which of them gets another one outside is by lot.
        let host = match number >> 4 {
            0 => 2 + (number >> 1 & 1),
            _ => ONE,
        };
        let port = 5000 + u16::from(host);
        let remote = match number >> 2 & 3 {
            0 => "8.8.8.8:53",
            1 => "8.8.4.4:53",
            2 => "9.9.9.9:7000",
            _ => "9.9.9.9:443",
        };
        Self {
            body: if is_tcp { Body::Tcp(ACK) } else { Body::Udp },
            inside: at(&format!("10.0.0.{host}:{port}")),
            remote: at(remote),
        }
    }

    /// What the inside host is seen as outside. Ports are kept as long as nobody else has them.
    fn outside(&self) -> SocketAddrV4 {
        let address = if self.remote.port() == FORWARDED_PORT {
            *self.inside.ip()
        } else if self.inside.ip().octets()[3] == ONE {
            ONES_ADDRESS
        } else {
            EXTERNAL
        };
        SocketAddrV4::new(address, self.inside.port())
    }

    fn packet(&self, from: From, body: Body, payload: &[u8]) -> Vec<u8> {
        match from {
            From::Inside => ip_packet(body, self.inside, self.remote, payload),
            From::Outside => ip_packet(body, self.remote, self.outside(), payload),
        }
    }
}

/// What is not as usual about a packet.
#[derive(Clone, Copy, Debug)]
enum Oddity {
    None,
    MayBeFragmented,
    TimeToLive(u8),
    Flags(u8),
    Options,
    FirstFragment,
    Service(u8),
    NoChecksum,
    WrongChecksum,
    Byte(usize, u8),
    Cut(usize),
    Padded(usize),
    OtherMac,
}

#[derive(Clone, Debug)]
enum Step {
    Connect(u8),
    Packets {
        flow: u8,
        outside: bool,
        count: usize,
        length: usize,
        oddity: Oddity,
    },
    Neighbour {
        router: bool,
        mac: u8,
    },
    Route,
    Rules,
    Delete,
    Tick,
}

fn oddity() -> impl Strategy<Value = Oddity> {
    prop_oneof![
        12 => Just(Oddity::None),
        1 => Just(Oddity::MayBeFragmented),
        1 => (0u8..4).prop_map(Oddity::TimeToLive),
        1 => any::<u8>().prop_map(Oddity::Flags),
        1 => Just(Oddity::Options),
        1 => Just(Oddity::FirstFragment),
        1 => any::<u8>().prop_map(Oddity::Service),
        1 => Just(Oddity::NoChecksum),
        1 => Just(Oddity::WrongChecksum),
        3 => (0usize..80, any::<u8>()).prop_map(|(at, byte)| Oddity::Byte(at, byte)),
        1 => (0usize..80).prop_map(Oddity::Cut),
        1 => (1usize..30).prop_map(Oddity::Padded),
        1 => Just(Oddity::OtherMac),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let packets = (0u8..24, any::<bool>(), 1usize..40, 0usize..1450, oddity());
    prop_oneof![
        4 => (0u8..24).prop_map(Step::Connect),
        24 => packets.prop_map(|(flow, outside, count, length, oddity)| Step::Packets {
            flow,
            outside,
            count,
            length: if length % 3 == 0 { length } else { length % 64 },
            oddity,
        }),
        1 => (any::<bool>(), 1u8..4).prop_map(|(router, mac)| Step::Neighbour { router, mac }),
        1 => Just(Step::Route),
        1 => Just(Step::Rules),
        1 => Just(Step::Delete),
        2 => Just(Step::Tick),
    ]
}

fn strange(oddity: Oddity, mut packet: Vec<u8>) -> Vec<u8> {
    let is_tcp = packet[9] == 6;
    let checksum_at = if is_tcp { 36 } else { 26 };
    match oddity {
        Oddity::MayBeFragmented => packet[6] = 0,
        Oddity::TimeToLive(left) => packet[8] = left,
        Oddity::Flags(flags) if is_tcp => packet[33] = flags,
        Oddity::Options => {
            packet[0] = 0x46;
            packet.splice(20..20, [1, 1, 1, 0]);
            let length = packet.len() as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
        }
        Oddity::FirstFragment => packet[6] = 0x20,
        Oddity::Service(service) => packet[1] = service,
        Oddity::NoChecksum if !is_tcp => packet[checksum_at..checksum_at + 2].fill(0),
        _ => {}
    }
    let header = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let sum = checksum::of(&packet[..header]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = frame(&packet);
    match oddity {
        Oddity::WrongChecksum => frame[24] ^= 1,
        // Not the source: which port another one gets outside is by lot.
        Oddity::Byte(26..30 | 34..36, _) => {}
        Oddity::Byte(at, byte) if at < frame.len() => frame[at] = byte,
        Oddity::Cut(length) => frame.truncate(length.max(14)),
        Oddity::Padded(more) => frame.resize(frame.len() + more, 0xaa),
        Oddity::OtherMac => frame[5] ^= 0x40,
        _ => {}
    }
    frame
}

/// What can be compared: of datagrams that may be fragmented the identification is by lot.
fn comparable(seen: &Seen) -> String {
    let mask = |frames: &[Vec<u8>]| -> Vec<Vec<u8>> {
        let masked = frames.iter().map(|frame| {
            let mut frame = frame.clone();
            if frame.len() >= 34 && frame[20] & 0x40 == 0 {
                frame[18..20].fill(0);
                frame[24..26].fill(0);
            }
            frame
        });
        masked.collect()
    };
    format!(
        "lan {:x?} wan {:x?} passed {:x?} dropped {:?}",
        mask(&seen.lan),
        mask(&seen.wan),
        seen.passed,
        seen.dropped
    )
}

fn rules() -> RuleSet {
    let mut rules = RuleSet::new(NAT);
    for port in [dimension::DESTINATION_PORT, dimension::SOURCE_PORT] {
        let mut forwarded = Rule::any::<Ipv4Dimensions>(1, FORWARD);
        forwarded.ranges[port] = Range::exact(FORWARDED_PORT.into());
        rules.insert_ipv4(forwarded).unwrap();
    }
    rules
}

struct Both {
    without: NatBox,
    with: OffloadingBox,
    macs: [[u8; 6]; 2],
}

impl Both {
    fn new() -> Self {
        let make = || {
            let mut made = NatBox::new(|settings| {
                settings.hold = NO_HOLD;
                settings.one_to_one = vec![OneToOne {
                    external: ONES_ADDRESS..=ONES_ADDRESS,
                    inside: Ipv4Addr::new(10, 0, 0, ONE),
                }];
            });
            made.test.dispatcher.set_rules(rules());
            made
        };
        Self {
            without: make(),
            with: OffloadingBox::new(make()),
            macs: [HOST_MAC, ROUTER_MAC],
        }
    }

    fn frame(&mut self, from: From, frame: &[u8]) {
        let plain = receive(&mut self.without, from, frame);
        let carried = self.with.frame(from, frame);
        assert_eq!(comparable(&plain), comparable(&carried), "{from:?} {frame:x?}");
    }

    fn each(&mut self, change: impl Fn(&mut NatBox)) {
        change(&mut self.without);
        change(&mut self.with.inner);
    }

    fn publish(&mut self) {
        let [host, router] = self.macs;
        self.each(|it| {
            let mut network = wider_network();
            for last in 2..=ONE {
                network = network.neighbour(LAN, ip(&format!("10.0.0.{last}")), host);
            }
            it.test
                .network
                .publish(network.neighbour(WAN, ip("192.0.2.254"), router).build());
            // A worker is woken when it changes.
            it.test.run();
        });
    }

    fn take(&mut self, step: &Step) {
        let now = self.with.kernel_time();
        self.each(|it| it.test.now = now);
        match step {
            Step::Connect(number) => {
                let flow = Flow::number(number | 1);
                for (from, flags) in [
                    (From::Inside, SYN),
                    (From::Outside, SYN | ACK),
                    (From::Inside, ACK),
                ] {
                    let packet = flow.packet(from, Body::Tcp(flags), b"");
                    self.frame(from, &frame(&packet));
                }
            }
            Step::Packets {
                flow,
                outside,
                count,
                length,
                oddity,
            } => {
                let flow = Flow::number(*flow);
                let from = if *outside { From::Outside } else { From::Inside };
                let payload: Vec<u8> = (0..*length).map(|place| place as u8).collect();
                for number in 0..*count {
                    let packet = flow.packet(from, flow.body, &payload);
                    // Whatever is odd about one of them, the others go on.
                    let oddity = if number == count / 2 {
                        *oddity
                    } else {
                        Oddity::None
                    };
                    self.frame(from, &strange(oddity, packet));
                }
            }
            Step::Neighbour { router, mac } => {
                self.macs[usize::from(*router)][5] = *mac;
                self.publish();
            }
            Step::Route => self.publish(),
            Step::Rules => self.each(|it| drop(it.test.dispatcher.set_rules(rules()))),
            Step::Delete => self.each(|it| {
                let slice = Slice {
                    filter: &Filter::default(),
                    after: 0,
                    limit: 10_000,
                };
                it.delete(slice);
            }),
            Step::Tick => self.each(|it| it.test.dispatcher.tick(it.test.now)),
        }
    }
}

/// Frames, drops and counters are the same, whatever comes.
#[test]
fn the_same_frames_leave_with_and_without() {
    in_new_namespace(|| {
        let mut both = Both::new();
        let mut runner = TestRunner::deterministic();
        for _ in 0..3000 {
            let step = step().new_tree(&mut runner).unwrap().current();
            both.take(&step);
        }
        assert_eq!(counted(&mut both.without), counted(&mut both.with.inner));
        // Or it would prove nothing.
        let all = counted(&mut both.with.inner);
        assert!(both.with.carried > 5_000, "{} of {all:?}", both.with.carried);
    });
}
