//! What leaves is, byte for byte, what user space would have sent: random packets through the dispatcher with its channels, and through
//! the program.

use std::net::{IpAddr, Ipv4Addr};

use classifier::{Range, Rule};
use netchannel::channel::nat::{NatSettings, PreparedNat};
use netchannel::channel::{ChannelId, Drop, Forward, Pass};
use netchannel::dispatch::dimensions::{Ipv4Dimensions, Ipv6Dimensions, dimension};
use netchannel::dispatch::{Registry, RuleSet};
use netchannel::network::Link;
use netchannel::packet::{Headers, checksum};
use netchannel::xdp::{OffloadFlow, OffloadKey, OffloadSide, OffloadSizes, OffloadWay, WayId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::support::{Carrier, flow, now, translation};
use crate::common::{self, HOST_MAC, LAN, LAN_MAC, ROUTER_MAC, TestBox, WAN, WAN_MAC};
use crate::namespace::in_new_namespace;

const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// Packets to this port are forwarded as they are.
const FORWARDED: u16 = 9999;
/// Directions of connections that are offloaded.
const FLOWS: usize = 8;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// One direction of a connection that the box knows, and what offloads it.
struct Known {
    offload: OffloadFlow,
    /// Whether it comes from inside.
    outbound: bool,
}

/// A packet: of which flow, and what is odd about it.
#[derive(Debug, Clone)]
struct Packet {
    flow: usize,
    time_to_live: u8,
    service: u8,
    identification: u16,
    dont_fragment: bool,
    payload: Vec<u8>,
    checksum: Checksum,
    tcp_flags: u8,
    tcp_options: usize,
    odd: Odd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksum {
    Right,
    Wrong(u16),
    /// None for UDP.
    Zero,
    /// The sum of the pseudo header.
    Partial,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Odd {
    Nothing,
    Padding(usize),
    Cut(usize),
    Byte(usize, u8),
    Ipv4Options,
    Fragment(u16),
    HeaderChecksum(u16),
    TotalLength(i16),
    TransportLength(u16),
    Vlan,
    OtherMac,
}

fn packet() -> impl Strategy<Value = Packet> {
    let odd = prop_oneof![
        12 => Just(Odd::Nothing),
        2 => (1usize..60).prop_map(Odd::Padding),
        1 => (1usize..60).prop_map(Odd::Cut),
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, value)| Odd::Byte(at, value)),
        1 => Just(Odd::Ipv4Options),
        1 => any::<u16>().prop_map(Odd::Fragment),
        1 => (1u16..).prop_map(Odd::HeaderChecksum),
        1 => (-60i16..60).prop_map(Odd::TotalLength),
        1 => (0u16..40).prop_map(Odd::TransportLength),
        1 => Just(Odd::Vlan),
        1 => Just(Odd::OtherMac),
    ];
    let checksum = prop_oneof![
        6 => Just(Checksum::Right),
        2 => any::<u16>().prop_map(Checksum::Wrong),
        1 => Just(Checksum::Zero),
        1 => Just(Checksum::Partial),
    ];
    let time_to_live = prop_oneof![1 => 0u8..3, 5 => any::<u8>()];
    let tcp_flags = prop_oneof![4 => Just(0x10u8), 1 => Just(0x18), 1 => any::<u8>()];
    let payload = prop_oneof![
        9 => proptest::collection::vec(any::<u8>(), 0..64),
        1 => proptest::collection::vec(any::<u8>(), 1300..1480)
    ];
    (
        (
            0..FLOWS,
            time_to_live,
            any::<u8>(),
            any::<u16>(),
            prop::bool::weighted(0.8),
        ),
        (payload, checksum, tcp_flags, 0usize..6, odd),
    )
        .prop_map(
            |(
                (flow, time_to_live, service, identification, dont_fragment),
                (payload, checksum, tcp_flags, tcp_options, odd),
            )| Packet {
                flow,
                time_to_live,
                service,
                identification,
                dont_fragment,
                payload,
                checksum,
                tcp_flags,
                tcp_options,
                odd,
            },
        )
}

impl Packet {
    fn plain(payload: &[u8]) -> Self {
        Self {
            flow: 0,
            time_to_live: 64,
            service: 0,
            identification: 7,
            dont_fragment: true,
            payload: payload.to_vec(),
            checksum: Checksum::Right,
            tcp_flags: 0x10,
            tcp_options: 0,
            odd: Odd::Nothing,
        }
    }

    /// Whether there is nothing in it that user space has to see.
    fn is_plain(&self, known: &Known) -> bool {
        let length = self.network_length(&known.offload.key);
        self.time_to_live > 1
            && matches!(self.odd, Odd::Nothing | Odd::Padding(_))
            && (self.dont_fragment || !known.offload.needs_dont_fragment)
            && !matches!(self.checksum, Checksum::Wrong(_))
            && !self.looks_partial(known)
            && (known.offload.key.protocol == UDP || self.tcp_flags & 7 == 0)
            && length <= if known.outbound { 1400 } else { 1500 }
            && length + 14 <= 1514
    }

    /// Whether its checksum is that of the pseudo header, by intent or, once in 65,535 times, by chance.
    fn looks_partial(&self, known: &Known) -> bool {
        let partial = Self {
            checksum: Checksum::Partial,
            ..self.clone()
        };
        self.frame(known) == partial.frame(known)
    }

    fn network_length(&self, key: &OffloadKey) -> usize {
        let network = if key.source.is_ipv4() { 20 } else { 40 };
        let transport = if key.protocol == TCP {
            20 + 4 * self.tcp_options
        } else {
            8
        };
        network + transport + self.payload.len()
    }

    fn frame(&self, known: &Known) -> Vec<u8> {
        let key = &known.offload.key;
        let mut segment = [key.source_port, key.destination_port]
            .map(u16::to_be_bytes)
            .concat();
        let field = if key.protocol == TCP {
            segment.extend([0, 0, 1, 0, 0, 0, 2, 0]);
            segment.extend([
                (5 + self.tcp_options as u8) << 4,
                self.tcp_flags,
                1,
                0,
                0,
                0,
                0,
                0,
            ]);
            segment.extend(vec![1; 4 * self.tcp_options]);
            16
        } else {
            segment.extend([0, 0, 0, 0]);
            6
        };
        segment.extend(&self.payload);
        let length = segment.len();
        if key.protocol == UDP {
            let told = match self.odd {
                Odd::TransportLength(told) => told,
                _ => length as u16,
            };
            segment[4..6].copy_from_slice(&told.to_be_bytes());
        }
        let pseudo = checksum::pseudo_sum(key.source, key.destination, key.protocol, length as u64);
        let sum = match self.checksum {
            Checksum::Right => match !checksum::add(pseudo, checksum::sum(&segment)) {
                0 if key.protocol == UDP => 0xffff,
                sum => sum,
            },
            Checksum::Wrong(sum) => sum,
            Checksum::Zero => 0,
            Checksum::Partial => pseudo,
        };
        segment[field..field + 2].copy_from_slice(&sum.to_be_bytes());

        let mut frame = if known.outbound {
            [LAN_MAC, HOST_MAC].concat()
        } else {
            [WAN_MAC, ROUTER_MAC].concat()
        };
        if self.odd == Odd::OtherMac {
            frame[5] ^= 0x40;
        }
        if self.odd == Odd::Vlan {
            frame.extend([0x81, 0, 0, 100]);
        }
        match (key.source, key.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                frame.extend(self.ipv4(key.protocol, source, destination, length));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, self.service]);
                let told = (length as i16 + self.length_error()) as u16;
                frame.extend(told.to_be_bytes());
                frame.extend([key.protocol, self.time_to_live]);
                frame.extend([source.octets(), destination.octets()].concat());
            }
            _ => panic!("addresses of two families"),
        }
        frame.extend(segment);
        match self.odd {
            Odd::Padding(length) => frame.extend((0..length).map(|byte| byte as u8)),
            Odd::Cut(length) => frame.truncate(frame.len().saturating_sub(length).max(14)),
            Odd::Byte(at, value) => {
                let at = at % frame.len();
                frame[at] = value;
            }
            _ => {}
        }
        frame
    }

    fn length_error(&self) -> i16 {
        match self.odd {
            Odd::TotalLength(error) => error,
            _ => 0,
        }
    }

    fn ipv4(&self, protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, length: usize) -> Vec<u8> {
        let options: &[u8] = if self.odd == Odd::Ipv4Options {
            &[1, 1, 1, 0]
        } else {
            &[]
        };
        let header_length = 20 + options.len();
        let total = ((header_length + length) as i16 + self.length_error()) as u16;
        let mut header = vec![0x40 | (header_length / 4) as u8, self.service];
        header.extend(total.to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        let fragment = match self.odd {
            Odd::Fragment(fragment) => fragment,
            _ => u16::from(self.dont_fragment) << 14,
        };
        header.extend(fragment.to_be_bytes());
        header.extend([self.time_to_live, protocol, 0, 0]);
        header.extend([source.octets(), destination.octets()].concat());
        header.extend(options);
        let sum = match self.odd {
            Odd::HeaderChecksum(error) => checksum::add(checksum::of(&header), error),
            _ => checksum::of(&header),
        };
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }
}

/// A box that translates IPv4, but for what goes to one port, and forwards IPv6.
fn test_box() -> TestBox {
    let mut channels = Registry::new();
    channels.register("drop", Box::new(Drop)).expect("room");
    channels.register("pass", Box::new(Pass)).expect("room");
    let forward = channels.register("forward", Box::new(Forward)).expect("room");
    let nat = PreparedNat::new(NatSettings::new(vec![EXTERNAL])).expect("right settings");
    let nat: ChannelId = channels
        .register("nat", Box::new(nat.into_channel()))
        .expect("room");
    let mut rules = RuleSet::new(nat);
    let mut forwarded = Rule::any::<Ipv4Dimensions>(1, forward);
    forwarded.ranges[dimension::DESTINATION_PORT] = Range::exact(FORWARDED.into());
    rules.insert_ipv4(forwarded).expect("room");
    rules
        .insert_ipv6(Rule::any::<Ipv6Dimensions>(1, forward))
        .expect("room");
    TestBox::with(channels, rules)
}

/// The ways out of the box: outside, inside.
fn ways(carrier: &Carrier, mtus: [u16; 2], several_buffers: bool) -> [WayId; 2] {
    let [wan, lan] = mtus;
    let out = OffloadWay {
        arrival_mac: LAN_MAC,
        slot: carrier.slot("outside"),
        source_mac: WAN_MAC,
        destination_mac: ROUTER_MAC,
        mtu: wan,
        several_buffers,
    };
    let back = OffloadWay {
        arrival_mac: WAN_MAC,
        slot: carrier.slot("inside"),
        source_mac: LAN_MAC,
        destination_mac: HOST_MAC,
        mtu: lan,
        several_buffers,
    };
    [out, back].map(|way| carrier.set_way(&way))
}

/// Opens connections through the box, and offloads both of their directions as its answers show.
fn known_flows(test: &mut TestBox, carrier: &Carrier, [out, back]: [WayId; 2]) -> Vec<Known> {
    let mut known = Vec::new();
    let addresses: [(&str, &str); 2] = [("10.0.0.2", "8.8.8.8"), ("fd00::2", "2001:db8::2")];
    for (number, (protocol, port, (source, destination))) in [
        (UDP, 53, addresses[0]),
        (TCP, 80, addresses[0]),
        (UDP, FORWARDED, addresses[0]),
        (TCP, FORWARDED, addresses[0]),
        (UDP, 53, addresses[1]),
        (TCP, 80, addresses[1]),
    ]
    .into_iter()
    .enumerate()
    {
        let key = OffloadKey {
            ifindex: carrier.inside,
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            protocol,
            source_port: 5000 + number as u16,
            destination_port: port,
        };
        let mut outbound = Known {
            offload: flow(key, out),
            outbound: true,
        };
        outbound.offload.partial_checksums = true;
        let mut opening = Packet::plain(b"");
        opening.tcp_flags = 2;
        let left = test.out(&opening.frame(&outbound));
        let headers = Headers::parse(&left[0]).expect("a packet");
        let (source_port, _) = headers.ports();
        let mut inbound = Known {
            offload: flow(
                OffloadKey {
                    ifindex: carrier.outside,
                    source: key.destination,
                    destination: headers.source,
                    protocol,
                    source_port: key.destination_port,
                    destination_port: source_port,
                },
                back,
            ),
            outbound: false,
        };
        inbound.offload.partial_checksums = true;
        if let (IpAddr::V4(external), IpAddr::V4(inside)) = (headers.source, key.source)
            && external != inside
        {
            outbound.offload.translation =
                Some(translation(&key, OffloadSide::Source, external, source_port));
            outbound.offload.needs_dont_fragment = true;
            let key = &inbound.offload.key;
            inbound.offload.translation = Some(translation(
                key,
                OffloadSide::Destination,
                inside,
                5000 + number as u16,
            ));
            // The answer that makes it a connection.
            let mut answer = Packet::plain(b"");
            answer.tcp_flags = 0x12;
            assert!(test.wan.send(&answer.frame(&inbound)));
            test.run();
            assert_eq!(test.lan.sent_all().len(), 1);
            known.push(inbound);
        }
        known.push(outbound);
    }
    known
}

#[test]
fn what_leaves_is_what_user_space_would_have_sent() {
    in_new_namespace(|| {
        let carrier = Carrier::new(OffloadSizes { ipv4: 64, ipv6: 64 });
        let mut test = test_box();
        let ways = ways(&carrier, [1400, 1500], true);
        let known = known_flows(&mut test, &carrier, ways);
        assert_eq!(
            known.len(),
            FLOWS,
            "translations in both directions, and forwarded ones"
        );
        let offload = carrier.program.offload();
        for known in &known {
            offload.insert(&known.offload, now()).expect("room");
        }
        let test = std::cell::RefCell::new(test);
        let carried = std::cell::Cell::new([0u32; FLOWS]);
        let mut runner = TestRunner::new(Config {
            cases: 20_000,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&packet(), |packet| {
            let number = packet.flow;
            let known = &known[number];
            let frame = packet.frame(known);
            let (outcome, is_carried) = carrier.run(&frame, known.offload.key.ifindex);
            if packet.is_plain(known) {
                prop_assert!(is_carried);
            }
            if !is_carried {
                prop_assert_eq!(outcome.frame, frame);
                return Ok(());
            }
            // User space sees the others as well, but what they do to connections is not the matter here.
            let mut test = test.borrow_mut();
            let (from, to) = if known.outbound {
                (test.lan.clone(), test.wan.clone())
            } else {
                (test.wan.clone(), test.lan.clone())
            };
            prop_assert!(from.send(&frame));
            test.run();
            prop_assert_eq!(to.sent_all(), [outcome.frame]);
            prop_assert!(from.sent_all().is_empty());
            let mut counts = carried.get();
            counts[number] += 1;
            carried.set(counts);
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{error}");
        }
        assert!(carried.get().iter().all(|count| *count > 500), "{carried:?}");
    });
}

/// The first buffer of a test run has some 3,500 bytes.
#[test]
fn frames_in_several_buffers_leave_as_from_user_space_if_the_device_takes_them() {
    in_new_namespace(|| {
        let carrier = Carrier::new(OffloadSizes { ipv4: 64, ipv6: 64 });
        let mut test = test_box();
        let links = [("lan", LAN, LAN_MAC), ("wan", WAN, WAN_MAC)].map(|(name, index, mac)| {
            let mut link = Link::ethernet(index, name, mac);
            link.mtu = 9000;
            link
        });
        let network = links
            .into_iter()
            .fold(common::network(), |network, link| network.link(link));
        test.network.publish(network.build());
        let taken = ways(&carrier, [9000; 2], true);
        let known = known_flows(&mut test, &carrier, taken);
        let offload = carrier.program.offload();
        let run = |known: &Known, length: usize| {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let packet = Packet::plain(&payload);
            let frame = packet.frame(known);
            let (outcome, is_carried) = carrier.run(&frame, known.offload.key.ifindex);
            (frame, outcome.frame, is_carried)
        };
        let lengths = (3300..3600).step_by(7).chain([100, 5000, 7500, 8900]);
        for known in &known {
            let (id, _) = offload.insert(&known.offload, now()).expect("room");
            let mut bytes = 0;
            for length in lengths.clone() {
                let (frame, left, is_carried) = run(known, length);
                assert!(is_carried, "{length} bytes");
                let (from, to) = match known.outbound {
                    true => (&test.lan, &test.wan),
                    false => (&test.wan, &test.lan),
                };
                assert!(from.send(&frame));
                let to = to.clone();
                test.run();
                assert!(to.sent_all() == [left], "{length} bytes");
                bytes += frame.len() as u64;
            }
            assert_eq!(offload.usage(id).map(|usage| usage.bytes), Some(bytes));
            // Longer than its headers say, and shorter.
            let (mut frame, ..) = run(known, 5000);
            frame.extend([0; 7]);
            assert!(carrier.run(&frame, known.offload.key.ifindex).1);
            frame.truncate(frame.len() - 8);
            assert!(!carrier.run(&frame, known.offload.key.ifindex).1);
        }
        offload.end_all_ways();
        let [out, back] = ways(&carrier, [9000; 2], false);
        for known in known {
            let way = if known.outbound { out } else { back };
            let entry = OffloadFlow { way, ..known.offload };
            offload.insert(&entry, now()).expect("room");
            for (length, is_short) in [(3000, true), (4000, false), (8900, false)] {
                let (frame, left, is_carried) = run(&known, length);
                assert_eq!(is_carried, is_short, "{length} bytes");
                assert!(is_carried || left == frame, "{length} bytes");
            }
        }
    });
}
