//! The translator, with all around it: packets from both sides, and time that passes.

use std::time::Duration;

use netchannel::channel::nat::{
    Filtering, Limits, MappingBehavior, Nat, NatSettings, PerProtocol, SegmentSize,
};
use netchannel::channel::{ChannelId, Drop, Pass};
use netchannel::dispatch::{Registry, RuleSet};
use netchannel::packet::{Headers, Transport};

use super::common::{HOST_MAC, LAN, TestBox, ip, network};
use super::packets::*;

const NAT: ChannelId = ChannelId(2);
const INSIDE: [u8; 4] = [10, 0, 0, 2];
const OTHER: [u8; 4] = [10, 0, 0, 3];
const SERVER: [u8; 4] = [8, 8, 8, 8];

/// A box with a translator; the first bytes of the input choose its settings.
pub fn translating_box(choices: u8) -> TestBox {
    let mut channels = Registry::new();
    channels.register("drop", Box::new(Drop)).expect("a free name");
    channels.register("pass", Box::new(Pass)).expect("a free name");
    // The address may be the box's own.
    let external = if choices & 4 == 0 { EXTERNAL } else { OWN };
    let mut settings = NatSettings {
        ports: vec![5000..=5015],
        limits: Limits {
            mappings: 12,
            sessions: 32,
            ..Limits::NONE
        },
        max_held_fragments: 8,
        refresh_inbound: choices & 8 == 0,
        segment_size: (choices & 16 != 0).then_some(SegmentSize::Fitting),
        ..NatSettings::new(vec![external])
    };
    let filterings = [
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ];
    let mappings = [
        MappingBehavior::EndpointIndependent,
        MappingBehavior::AddressDependent,
        MappingBehavior::AddressAndPortDependent,
    ];
    let filtering = usize::from(choices & 3) % 3;
    settings.filtering = PerProtocol::all(filterings[filtering]);
    // Mappings depend on no more than filtering does.
    settings.mapping = PerProtocol::all(mappings[filtering.min(usize::from(choices >> 5) % 3)]);
    let nat = Nat::new(settings).expect("good settings");
    channels.register("nat", Box::new(nat)).expect("a free name");
    let mut test = TestBox::with(channels, RuleSet::new(NAT));
    let network = network().neighbour(LAN, ip("10.0.0.3"), HOST_MAC);
    test.network.publish(network.build());
    test.run();
    test
}

/// Packets that mean something to the translator, and whether they come from inside.
fn packets(external: std::net::Ipv4Addr) -> Vec<(bool, Vec<u8>)> {
    let end = |port| at(external.octets(), port);
    let mut packets = Vec::new();
    for (body, answer) in [
        (Body::Udp, Body::Udp),
        (Body::Tcp(0x02), Body::Tcp(0x12)),
        (Body::Tcp(0x10), Body::Tcp(0x11)),
        (Body::Tcp(0x04), Body::Tcp(0x02)),
        (Body::Query(8), Body::Query(0)),
        (Body::Query(13), Body::Query(14)),
    ] {
        let port = if matches!(body, Body::Query(_)) { 0 } else { 53 };
        let server = at(SERVER, port);
        packets.push((true, packet(body, at(INSIDE, 5000), server)));
        packets.push((true, packet(body, at(OTHER, 5000), server)));
        packets.push((false, packet(answer, server, end(5000))));
        packets.push((true, packet(body, at(OTHER, 5001), end(5000))));
        for (from_inside, quoted, router, to) in [
            (false, packet(body, end(5000), server), [9, 9, 9, 9], external),
            (
                true,
                packet(answer, server, at(INSIDE, 5000)),
                INSIDE,
                SERVER.into(),
            ),
            (true, packet(body, end(5001), at(INSIDE, 5000)), INSIDE, external),
        ] {
            let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0], &quoted[..]].concat();
            repair_message(&mut message);
            packets.push((from_inside, ipv4(1, router.into(), to, &message)));
        }
    }
    packets
}

/// Takes the input as settings and a sequence of steps: time that passes, or one of the packets, changed in some bytes.
pub fn translator(input: &[u8]) {
    let Some((&choices, mut rest)) = input.split_first() else {
        return;
    };
    let external = if choices & 4 == 0 { EXTERNAL } else { OWN };
    let templates = packets(external);
    let mut test = translating_box(choices);
    // More steps find nothing more, and take long.
    for _ in 0..64 {
        let Some((&[which, changes], tail)) = rest.split_first_chunk::<2>() else {
            break;
        };
        rest = tail;
        if which >= 250 {
            let seconds = [0, 1, 5, 59, 119, 239, 299, 7440][usize::from(changes & 7)];
            test.now = test.now + Duration::from_millis(seconds * 1000 + u64::from(changes));
            test.dispatcher.tick(test.now);
            look_at(&mut test, None);
            continue;
        }
        let (from_inside, packet) = &templates[usize::from(which) % templates.len()];
        let mut bytes = packet.clone();
        for _ in 0..changes & 7 {
            let Some((&[place, value], tail)) = rest.split_first_chunk::<2>() else {
                break;
            };
            rest = tail;
            let place = usize::from(place) % bytes.len();
            bytes[place] = value;
        }
        if changes & 8 != 0 {
            let length = usize::from(changes >> 4) * bytes.len() / 16;
            bytes.truncate(length);
        }
        // Right checksums get a broken packet further.
        repair_header(&mut bytes);
        if changes & 16 != 0 && bytes.len() > 28 && bytes[9] == 1 {
            repair_header(&mut bytes[28..]);
            repair_message(&mut bytes[20..]);
        }
        let bytes = frame(*from_inside, &bytes);
        assert!(if *from_inside { &test.lan } else { &test.wan }.send(&bytes));
        test.run();
        look_at(&mut test, Some(&bytes));
    }
    test.dispatcher.cleanup(test.now);
    drop((test.lan.sent_all(), test.wan.sent_all()));
    let totals = test.dispatcher.totals();
    assert_eq!((totals.consumed(), totals.held, test.pool.in_use()), (0, 0, 0));
}

/// Checks what left after `input` came.
fn look_at(test: &mut TestBox, input: Option<&[u8]>) {
    let was_right = input.and_then(checksum_is_right);
    let number = input.and_then(|input| Headers::parse(input).ok().map(|headers| headers.protocol));
    let outside = test.wan.sent_all();
    outside.iter().for_each(|frame| assert_nothing_leaks(frame));
    for frame in outside.iter().chain(&test.lan.sent_all()) {
        let headers = Headers::parse(frame).expect("what leaves is well formed");
        let is_error = matches!(headers.transport, Transport::Icmp { .. });
        // What was right is right; ICMP errors always are.
        if is_error || (was_right == Some(true) && number == Some(headers.protocol)) {
            assert_ne!(checksum_is_right(frame), Some(false), "{frame:x?}");
        }
    }
    test.assert_all_accounted_for();
    assert_eq!(test.dispatcher.totals().consumed(), 0);
}
