//! Ten million random and mutated frames through the parser, the dispatcher, the translator and the router: nothing panics, every frame
//! is accounted for, and no inside address gets out.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use classifier::{Range, Rule};
use common::*;
use etherparse::{Icmpv4Header, Icmpv4Type, PacketBuilder, icmpv4};
use netchannel::channel::nat::{Limits, Nat, NatSettings};
use netchannel::channel::{Drop, Forward, Pass};
use netchannel::dispatch::dimensions::{Ipv4Dimensions, Ipv6Dimensions, dimension};
use netchannel::dispatch::{Registry, RuleSet};
use netchannel::packet::Headers;

/// Frames in all, spread over the threads.
const FRAMES: u64 = 10_000_000;
const THREADS: u64 = 2;
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// SplitMix64: small, fast, and the same on each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Inside IPv4 to the translator, the rest of IPv4 for its address too, all other IPv6 to the router.
fn test_box() -> TestBox {
    let mut channels = Registry::new();
    channels.register("drop", Box::new(Drop)).unwrap();
    let pass = channels.register("pass", Box::new(Pass)).unwrap();
    let forward = channels.register("forward", Box::new(Forward)).unwrap();
    let settings = NatSettings {
        limits: Limits {
            mappings: 1000,
            sessions: 3000,
            ..Limits::NONE
        },
        ..NatSettings::new(vec![EXTERNAL])
    };
    let nat = channels
        .register("nat", Box::new(Nat::new(settings).unwrap()))
        .unwrap();
    let mut rules = RuleSet::new(pass);
    let mut out = Rule::any::<Ipv4Dimensions>(1, nat);
    out.ranges[dimension::SOURCE_ADDRESS] = "10.0.0.0/8".parse::<ipnet::Ipv4Net>().unwrap().into();
    rules.insert_ipv4(out).unwrap();
    let mut back = Rule::any::<Ipv4Dimensions>(2, nat);
    back.ranges[dimension::DESTINATION_ADDRESS] = Range::exact(EXTERNAL.to_bits());
    rules.insert_ipv4(back).unwrap();
    rules
        .insert_ipv6(Rule::any::<Ipv6Dimensions>(3, forward))
        .unwrap();
    TestBox::with(channels, rules)
}

/// Packets as they should be, of every kind that something is done with, from inside and from outside.
fn templates() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let host = [10, 0, 0, 2];
    let server = [8, 8, 8, 8];
    let built = |builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>, payload: &[u8]| {
        let mut bytes = Vec::new();
        builder.write(&mut bytes, payload).unwrap();
        bytes
    };
    let inside = || PacketBuilder::ethernet2(HOST_MAC, LAN_MAC).ipv4(host, server, 64);
    let outside = || PacketBuilder::ethernet2(ROUTER_MAC, WAN_MAC).ipv4(server, EXTERNAL.octets(), 64);
    let mut from_inside = vec![
        built(inside().tcp(40_000, 443, 1, 1000).syn(), b""),
        built(inside().tcp(40_000, 443, 2, 1000).ack(9), b"data"),
        built(inside().tcp(40_000, 443, 3, 1000).fin().ack(9), b""),
        udp("10.0.0.2", "8.8.8.8", 64, b"question"),
        udp("10.0.0.2", "192.0.2.1", 64, b"hairpin"),
        udp("10.0.0.2", "192.0.2.77", 64, b"neighbour that nobody knows"),
        udp("10.0.0.2", "8.8.8.8", 1, b"expires"),
        udp("fd00::2", "2001:db8::2", 64, b"six"),
        udp("10.0.0.2", "8.8.8.8", 64, &[0x55; 1450]),
    ];
    let mut from_outside = vec![
        built(outside().tcp(443, 40_000, 1, 1000).syn().ack(2), b""),
        built(outside().tcp(443, 40_000, 1, 1000).rst(), b""),
        built(outside().tcp(443, 5000, 1, 1000).syn(), b""),
    ];
    let mut answer = Vec::new();
    outside().udp(6000, 5000).write(&mut answer, b"answer").unwrap();
    from_outside.push(answer);
    for reply in [false, true] {
        let echo = etherparse::IcmpEchoHeader { id: 7, seq: 1 };
        let mut bytes = Vec::new();
        if reply {
            outside()
                .icmpv4_echo_reply(echo.id, echo.seq)
                .write(&mut bytes, b"ping")
                .unwrap();
            from_outside.push(bytes);
        } else {
            inside()
                .icmpv4_echo_request(echo.id, echo.seq)
                .write(&mut bytes, b"ping")
                .unwrap();
            from_inside.push(bytes);
        }
    }
    // Errors about what was sent: in both directions.
    let quoted_out = udp("192.0.2.1", "8.8.8.8", 60, b"quoted question")[14..].to_vec();
    let quoted_in = udp("8.8.8.8", "10.0.0.2", 60, b"quoted answer")[14..].to_vec();
    for kind in [
        Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port),
        Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu: 1300,
        }),
        Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit),
    ] {
        for (step, quoted, list) in [
            (outside(), &quoted_out, &mut from_outside),
            (inside(), &quoted_in, &mut from_inside),
        ] {
            let header = Icmpv4Header::with_checksum(kind.clone(), quoted);
            let mut bytes = Vec::new();
            step.icmpv4(header.icmp_type).write(&mut bytes, quoted).unwrap();
            list.push(bytes);
        }
    }
    for list in [&mut from_inside, &mut from_outside] {
        // Fragments, options, and tags on what is there.
        let mut fragment = list[3].clone();
        edit_ipv4(&mut fragment, |header| header[6] = 0x20);
        let mut later = list[3].clone();
        edit_ipv4(&mut later, |header| header[7] = 0x10);
        let mut with_options = list[3].clone();
        with_options.splice(34..34, [0x94, 4, 0, 0]);
        with_options[14] = 0x46;
        let total = (with_options.len() - 14) as u16;
        with_options[16..18].copy_from_slice(&total.to_be_bytes());
        edit_ipv4(&mut with_options, |_| {});
        let mut tagged = list[3].clone();
        tagged.splice(12..12, [0x81, 0x00, 0x00, 100]);
        let mut twice = tagged.clone();
        twice.splice(12..12, [0x88, 0xa8, 0x00, 100]);
        list.extend([fragment, later, with_options, tagged, twice]);
    }
    (from_inside, from_outside)
}

/// Takes a template and spoils it, or not; sometimes what comes out is nothing but noise.
fn spoiled(templates: &[Vec<u8>], random: &mut Random, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend_from_slice(&templates[random.below(templates.len())]);
    match random.below(8) {
        0 => {}
        1 => {
            let length = random.below(bytes.len() + 1);
            bytes.truncate(length);
        }
        2 => {
            let length = random.below(200);
            bytes.clear();
            bytes.extend(std::iter::repeat_with(|| random.next() as u8).take(length));
        }
        3 => {
            // Another flow, everything else right: ports and addresses vary.
            let at = 26 + random.below(12);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = byte.wrapping_add(random.next() as u8 & 3);
            }
            repair_ipv4(bytes);
        }
        mutations => {
            for _ in 0..mutations - 3 {
                // Most of what matters is in front, and behind the Ethernet addresses.
                let reach = if random.below(4) == 0 {
                    bytes.len()
                } else {
                    bytes.len().min(64)
                };
                let start = if random.below(16) == 0 { 0 } else { reach.min(12) };
                let at = start + random.below((reach - start).max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            if random.below(2) == 0 {
                repair_ipv4(bytes);
            }
        }
    }
}

/// Makes the IPv4 header checksum right, so that spoiled headers get past it.
fn repair_ipv4(bytes: &mut [u8]) {
    let fits = bytes.get(14).is_some_and(|first| {
        let header_len = usize::from(first & 0x0f) * 4;
        header_len >= 20 && bytes.len() >= 14 + header_len
    });
    if fits {
        edit_ipv4(bytes, |_| {});
    }
}

fn assert_no_inside_address(frame: &[u8]) {
    let headers = Headers::parse(frame).expect("what leaves is well formed");
    if let IpAddr::V4(source) = headers.source {
        assert!(
            !source.is_private() || source.octets()[0] != 10,
            "{source} got out"
        );
    }
}

fn storm(seed: u64, frames: u64) {
    let mut random = Random(seed);
    let mut test = test_box();
    let (from_inside, from_outside) = templates();
    let mut bytes = Vec::new();
    let mut sent = 0;
    while sent < frames {
        for _ in 0..32 {
            let (wire, templates) = if random.below(2) == 0 {
                (&test.lan, &from_inside)
            } else {
                (&test.wan, &from_outside)
            };
            spoiled(templates, &mut random, &mut bytes);
            assert!(wire.send(&bytes));
            sent += 1;
        }
        test.run();
        while let Some(frame) = test.wan.sent() {
            assert_no_inside_address(&frame);
        }
        while let Some(frame) = test.lan.sent() {
            assert!(Headers::parse(&frame).is_ok());
        }
        test.kernel.passed.borrow_mut().clear();
        test.kernel.asked.borrow_mut().clear();
        // Mostly a little later, now and then much.
        let later = if random.below(1000) == 0 {
            600_000
        } else {
            random.below(20)
        };
        test.now = test.now + Duration::from_millis(later as u64);
        test.dispatcher.tick(test.now);
        if random.below(64) == 0 {
            test.assert_all_accounted_for();
        }
    }
    test.dispatcher.cleanup(test.now);
    drop((test.lan.sent_all(), test.wan.sent_all()));
    test.assert_all_accounted_for();
    let totals = test.dispatcher.totals();
    assert_eq!(totals.received, sent);
    assert_eq!((totals.consumed(), totals.held, test.pool.in_use()), (0, 0, 0));
    // The storm was no drizzle: each of these ways was taken.
    assert!(totals.transmitted > frames / 20, "{totals:?}");
    assert!(
        totals.passed > 0 && totals.originated > 0 && totals.dropped.iter().count() > 20,
        "{totals:?}"
    );
}

#[test]
fn ten_million_frames_are_harmless() {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || storm(0x5eed + thread, FRAMES / THREADS));
        }
    });
}
