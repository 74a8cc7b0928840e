//! RFC 4787 REQ-14, RFC 6864: fragments, and what identifies them.

use std::net::SocketAddrV4;
use std::time::Duration;

use netchannel::channel::nat::{Filtering, PerProtocol};
use netchannel::drop_reason::DropReason;
use netchannel::packet::checksum;
use proptest::prelude::*;

use crate::common::{HOST_MAC, LAN, ROUTER_MAC, WAN, ip};
use crate::harness::*;
use crate::packets::*;

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
const EXTERNAL_END: &str = "192.0.2.7:5000";

/// Changes an IPv4 packet's header and makes its checksum right.
fn edit(packet: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let header = &mut packet[..20];
    change(header);
    header[10..12].fill(0);
    let sum = checksum::of(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The packet in three fragments: 24 bytes of payload, 16, and the rest.
pub fn cut(packet: &[u8], identification: u16) -> [Vec<u8>; 3] {
    let (header, payload) = packet.split_at(20);
    let part = |from: usize, to: usize| {
        let mut bytes = [header, &payload[from..to]].concat();
        let field = (from / 8) as u16 | if to < payload.len() { 0x2000 } else { 0 };
        let length = bytes.len() as u16;
        edit(&mut bytes, |header| {
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[4..6].copy_from_slice(&identification.to_be_bytes());
            header[6..8].copy_from_slice(&field.to_be_bytes());
        });
        bytes
    };
    [part(0, 24), part(24, 40), part(40, payload.len())]
}

/// Puts frames that hold all fragments of one datagram together: identification and packet.
#[track_caller]
pub fn together(frames: &[Vec<u8>]) -> (u16, Vec<u8>) {
    let mut parts: Vec<(usize, &[u8])> = frames
        .iter()
        .map(|frame| {
            let packet = packet(frame);
            assert_eq!(checksum::sum(&packet[..20]), 0xffff);
            let field = u16::from_be_bytes([packet[6], packet[7]]);
            (usize::from(field & 0x1fff) * 8, packet)
        })
        .collect();
    parts.sort();
    let mut whole = parts[0].1[..20].to_vec();
    for (offset, packet) in parts {
        assert_eq!(offset + 20, whole.len(), "a part is missing");
        assert_eq!(packet[4..6], whole[4..6], "fragments of two datagrams");
        assert_eq!(packet[12..20], whole[12..20], "fragments between others");
        whole.extend_from_slice(&packet[20..]);
    }
    let identification = u16::from_be_bytes([whole[4], whole[5]]);
    let length = whole.len() as u16;
    edit(&mut whole, |header| {
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
    });
    assert_checksums(&frame(&whole));
    (identification, whole)
}

const DATA: &[u8] = b"sixty bytes or so, of which the first fragment has less than a half";

/// What a host at `to` gets of a packet that `from` sent.
fn arriving(body: Body, from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut packet = ip_packet(body, from, to, DATA);
    edit(&mut packet, |header| header[8] -= 1);
    packet
}

#[test]
fn rfc_4787_14_three_fragments_in_every_order_and_direction() {
    for body in [Body::Udp, Body::Tcp(SYN), Body::Query(8)] {
        let is_query = body == Body::Query(8);
        let server = if is_query { at("8.8.8.8:0") } else { at(SERVER) };
        let answer = if is_query { Body::Query(0) } else { body };
        for order in ORDERS {
            let mut nat = NatBox::plain();
            let sent = cut(&ip_packet(body, at(INSIDE), server, DATA), 77);
            let frames: Vec<_> = order
                .iter()
                .flat_map(|&number| nat.inside(&sent[number]).wan)
                .collect();
            assert_eq!(frames.len(), 3, "{order:?}");
            assert_eq!(together(&frames).1, arriving(body, at(EXTERNAL_END), server));

            let sent = cut(&ip_packet(answer, server, at(EXTERNAL_END), DATA), 77);
            let frames: Vec<_> = order
                .iter()
                .flat_map(|&number| nat.outside(&sent[number]).lan)
                .collect();
            assert_eq!(together(&frames), (77, arriving(answer, server, at(INSIDE))));
            assert_eq!(nat.nat().held(), 0);
        }
    }
}

#[test]
fn rfc_4787_14_fragments_between_hosts_inside() {
    for order in ORDERS {
        let mut nat = NatBox::plain();
        let other = at("10.0.0.3:6000");
        let other_external = nat.open(Body::Udp, other, at(SERVER));
        let sent = cut(&ip_packet(Body::Udp, at(INSIDE), other_external, DATA), 77);
        let frames: Vec<_> = order
            .iter()
            .flat_map(|&number| nat.inside(&sent[number]).lan)
            .collect();
        assert_eq!(together(&frames).1, arriving(Body::Udp, at(EXTERNAL_END), other));
    }
}

/// The first fragment leaves by the session of the whole packets of its flow, and the other way about.
#[test]
fn fragments_and_whole_packets_are_one_session() {
    let mut nat = NatBox::plain();
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    for identification in 0..3 {
        for fragment in cut(
            &ip_packet(Body::Udp, at(INSIDE), at(SERVER), DATA),
            identification,
        ) {
            nat.inside(&fragment).out();
        }
    }
    assert_eq!(nat.detail("/sessions"), 1);
}

#[test]
fn rfc_4787_14_fragments_wait_for_the_first_and_not_forever() {
    let mut nat = NatBox::plain();
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    let [first, middle, last] = cut(&ip_packet(Body::Udp, at(SERVER), at(EXTERNAL_END), DATA), 9);
    let keep = |nat: &mut NatBox, fragment: &[u8]| {
        let result = nat.outside(fragment);
        assert!(result.lan.is_empty() && result.dropped.is_empty());
    };
    keep(&mut nat, &last);
    nat.leap(Duration::from_millis(4999));
    nat.test.dispatcher.tick(nat.test.now);
    keep(&mut nat, &middle);
    assert_eq!(nat.nat().held(), 2);
    assert_eq!(nat.outside(&first).lan.len(), 3);
    // The first one is known a while longer.
    nat.outside(&last).at_host();
    nat.wait(30);
    keep(&mut nat, &last);
    nat.wait(5);
    assert_eq!(nat.nat().held(), 0);
    let dropped = nat.test.dispatcher.totals().dropped;
    assert_eq!(dropped.get(DropReason::NatFragmentTimeout), 1);
    nat.test.assert_all_accounted_for();
}

#[test]
fn fragments_share_the_fate_of_the_first() {
    for first_comes_last in [false, true] {
        let mut nat =
            NatBox::new(|settings| settings.filtering = PerProtocol::all(Filtering::AddressDependent));
        nat.open(Body::Udp, at(INSIDE), at(SERVER));
        let [first, middle, last] = cut(&ip_packet(Body::Udp, at("9.9.9.9:53"), at(EXTERNAL_END), DATA), 9);
        let filtered = DropReason::NatFiltered;
        let follows = DropReason::NatFragment;
        if first_comes_last {
            nat.outside(&middle);
            nat.outside(&last);
            assert_eq!(nat.outside(&first).dropped, [filtered, follows, follows]);
        } else {
            assert_eq!(nat.outside(&first).dropped(), filtered);
            assert_eq!(nat.outside(&middle).dropped(), follows);
        }
    }
}

#[test]
fn fragments_for_the_box_itself_follow_the_first_to_the_kernel() {
    let own = || NatBox::new(|settings| settings.external = vec![OWN..=OWN]);
    let sent = cut(&ip_packet(Body::Udp, at(SERVER), at("192.0.2.1:40000"), DATA), 9);
    for order in ORDERS {
        let mut nat = own();
        let passed: usize = order
            .iter()
            .map(|&number| nat.outside(&sent[number]).passed.len())
            .sum();
        assert_eq!(passed, 3);
    }
    // The XDP program may have left the first one to the kernel.
    let mut nat = own();
    assert!(nat.outside(&sent[2]).passed.is_empty());
    nat.wait(5);
    assert_eq!(nat.test.kernel.passed.borrow().len(), 1);
    // To an address that is neither.
    let mut nat = NatBox::plain();
    let [_, middle, _] = cut(&ip_packet(Body::Udp, at(SERVER), at("10.0.0.2:5000"), DATA), 9);
    assert_eq!(nat.outside(&middle).dropped(), DropReason::NatExternalSource);
    let [_, middle, _] = cut(&ip_packet(Body::Udp, at(EXTERNAL_END), at(SERVER), DATA), 9);
    assert_eq!(nat.inside(&middle).dropped(), DropReason::NotForwarded);
}

/// RFC 4787 REQ-14 (a): fragments without a first one, from everywhere.
#[test]
fn rfc_4787_14a_a_flood_of_fragments_is_bounded_and_hurts_no_other_packets() {
    let mut nat = NatBox::new(|settings| settings.max_held_fragments = 64);
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    let fragment = |source: SocketAddrV4, identification| {
        let [_, _, last] = cut(
            &ip_packet(Body::Udp, source, at(EXTERNAL_END), DATA),
            identification,
        );
        last
    };
    // One source has no more than a quarter.
    for identification in 0..40 {
        nat.outside(&fragment(at("9.9.9.9:53"), identification));
    }
    assert_eq!(nat.nat().held(), 16);
    for number in 0..5000u16 {
        let source = SocketAddrV4::new([20, 0, (number >> 8) as u8, number as u8].into(), 53);
        nat.outside(&fragment(source, number));
        assert!(nat.nat().held() <= 64);
        if number % 50 == 0 {
            assert!(nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)));
            nat.open(Body::Udp, at("10.0.0.3:7000"), at(SERVER));
            // Nor fragments that come in order.
            for fragment in cut(&ip_packet(Body::Udp, at(SERVER), external, DATA), number) {
                nat.outside(&fragment).at_host();
            }
        }
    }
    assert_eq!(nat.nat().held(), 64);
    let dropped = nat.test.dispatcher.totals().dropped;
    assert_eq!(dropped.get(DropReason::NatFragmentLimit), 40 + 5000 - 64);
    nat.wait(5);
    assert_eq!(nat.nat().held(), 0);
    // There is room again.
    nat.outside(&fragment(at("9.9.9.9:53"), 1));
    assert_eq!(nat.nat().held(), 1);
    nat.test.dispatcher.cleanup(nat.test.now);
    assert_eq!(nat.test.dispatcher.totals().held, 0);
    assert_eq!(nat.test.pool.in_use(), 0);
}

/// RFC 3128: what was looked at in the first fragment can't be written over.
#[test]
fn a_fragment_over_the_tcp_header_is_dropped() {
    let mut nat = NatBox::plain();
    let [first, mut second, _] = cut(&ip_packet(Body::Tcp(SYN), at(INSIDE), at(SERVER), DATA), 9);
    nat.inside(&first).out();
    edit(&mut second, |header| header[7] = 1);
    assert_eq!(nat.inside(&second).dropped(), DropReason::NatFragment);
}

#[test]
fn fragments_of_icmp_errors_are_dropped() {
    let mut nat = NatBox::plain();
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    let sent = ip_packet(Body::Udp, at(EXTERNAL_END), at(SERVER), DATA);
    let bytes = error(3, 3, "9.9.9.9", EXTERNAL, &sent);
    for fragment in cut(&bytes, 9) {
        assert_eq!(nat.outside(&fragment).dropped(), DropReason::NatFragment);
    }
}

/// RFC 3022 §5.2, RFC 7857 §10: two hosts that use one identification at once.
#[test]
fn rfc_7857_10_and_3022_6_identifications_of_two_hosts_do_not_collide() {
    let mut nat = NatBox::plain();
    let hosts = [at(INSIDE), at("10.0.0.3:6000")];
    let sent = hosts.map(|host| cut(&ip_packet(Body::Udp, host, at(SERVER), DATA), 77));
    let mut left = [Vec::new(), Vec::new()];
    for number in [1, 0, 2] {
        for (host, sent) in sent.iter().enumerate() {
            left[host].extend(nat.inside(&sent[number]).wan);
        }
    }
    let seen = left.map(|frames| together(&frames));
    assert_ne!(seen[0].0, seen[1].0);
    // Identifications do not come again soon.
    let mut identifications = std::collections::HashSet::new();
    for _ in 0..1000 {
        let mut packet = ip_packet(Body::Udp, at(INSIDE), at(SERVER), DATA);
        edit(&mut packet, |header| header[4..8].fill(0));
        let result = nat.inside(&packet);
        let out = result.out();
        assert!(identifications.insert([out[18], out[19]]));
    }
    // RFC 6864 §4.1: that of a datagram that is never fragmented means nothing, and stays.
    let mut packet = ip_packet(Body::Udp, at(INSIDE), at(SERVER), DATA);
    edit(&mut packet, |header| header[4..6].copy_from_slice(&[0x12, 0x34]));
    assert_eq!(nat.inside(&packet).out()[18..20], [0x12, 0x34]);
}

#[test]
fn a_first_fragment_that_comes_twice_keeps_its_identification() {
    let mut nat = NatBox::plain();
    let [first, middle, last] = cut(&ip_packet(Body::Udp, at(INSIDE), at(SERVER), DATA), 77);
    let frames: Vec<_> = [&middle, &first, &first, &last]
        .into_iter()
        .flat_map(|fragment| nat.inside(fragment).wan)
        .collect();
    assert_eq!(frames.len(), 4);
    assert_eq!(packet(&frames[0])[4..6], packet(&frames[2])[4..6]);
    together(&[frames[0].clone(), frames[1].clone(), frames[3].clone()]);
}

/// RFC 4787 REQ-13 (a): a fragment that is too big for the way out is cut further.
#[test]
fn a_fragment_that_is_too_big_is_cut_further() {
    let mut nat = NatBox::plain();
    let payload: Vec<u8> = (0..2900u32).map(|n| n as u8).collect();
    let whole = ip_packet(Body::Udp, at(INSIDE), at(SERVER), &payload);
    let part = |from: usize, to: usize, more: bool| {
        let mut bytes = [&whole[..20], &whole[20 + from..20 + to]].concat();
        let length = bytes.len() as u16;
        let field = (from / 8) as u16 | if more { 0x2000 } else { 0 };
        edit(&mut bytes, |header| {
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[6..8].copy_from_slice(&field.to_be_bytes());
        });
        bytes
    };
    let mut frames = nat.inside(&part(1480, 2908, false)).wan;
    frames.extend(nat.inside(&part(0, 1480, true)).wan);
    assert_eq!(frames.len(), 4);
    assert!(frames.iter().all(|frame| frame.len() <= 1414));
    let mut expected = ip_packet(Body::Udp, at(EXTERNAL_END), at(SERVER), &payload);
    edit(&mut expected, |header| header[8] -= 1);
    assert_eq!(together(&frames).1, expected);
}

#[test]
fn fragments_wait_with_the_first_for_the_next_hop() {
    let mut nat = NatBox::plain();
    let server = at("192.0.2.77:53");
    let [first, middle, last] = cut(&ip_packet(Body::Udp, at(INSIDE), server, DATA), 9);
    for fragment in [&middle, &first, &last] {
        let result = nat.inside(fragment);
        assert!(result.wan.is_empty() && result.dropped.is_empty());
    }
    assert_eq!(nat.test.dispatcher.totals().held, 3);
    let network = wider_network().neighbour(WAN, ip("192.0.2.77"), ROUTER_MAC);
    nat.test.network.publish(network.build());
    nat.test.run();
    let frames = nat.test.wan.sent_all();
    assert_eq!(together(&frames).1, arriving(Body::Udp, at(EXTERNAL_END), server));
    nat.test.assert_all_accounted_for();
}

#[test]
fn fragments_follow_though_the_network_changes_between_them() {
    let mut nat = NatBox::plain();
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    let [first, middle, last] = cut(&ip_packet(Body::Udp, at(SERVER), at(EXTERNAL_END), DATA), 9);
    nat.outside(&first).at_host();
    let moved = [2, 0, 0, 0, 9, 9];
    nat.test
        .network
        .publish(wider_network().neighbour(LAN, ip("10.0.0.2"), moved).build());
    let result = nat.outside(&middle);
    assert_eq!(result.at_host()[..6], moved);
    nat.test
        .network
        .publish(wider_network().neighbour(LAN, ip("10.0.0.2"), HOST_MAC).build());
    assert_eq!(nat.outside(&last).at_host()[..6], HOST_MAC);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// RFC 4787 REQ-14: datagrams of several hosts, their fragments in any order.
    #[test]
    fn rfc_4787_14_any_order_of_many_datagrams(
        hosts in proptest::collection::vec(2u8..6, 1..12),
        inbound in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut nat = NatBox::plain();
        let mut fragments = Vec::new();
        let mut expected = Vec::new();
        for (number, &last) in hosts.iter().enumerate() {
            let inside = at(&format!("10.0.0.{last}:5000"));
            let external = nat.open(Body::Udp, inside, at(SERVER));
            let identification = number as u16;
            if inbound {
                fragments.extend(cut(&ip_packet(Body::Udp, at(SERVER), external, DATA), identification));
                expected.push(arriving(Body::Udp, at(SERVER), inside));
            } else {
                fragments.extend(cut(&ip_packet(Body::Udp, inside, at(SERVER), DATA), identification));
                expected.push(arriving(Body::Udp, external, at(SERVER)));
            }
        }
        let mut state = seed | 1;
        for place in (1..fragments.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            fragments.swap(place, (state >> 33) as usize % (place + 1));
        }
        let mut datagrams: std::collections::BTreeMap<Vec<u8>, Vec<Vec<u8>>> = Default::default();
        for fragment in &fragments {
            let seen = if inbound { nat.outside(fragment) } else { nat.inside(fragment) };
            for frame in seen.lan.into_iter().chain(seen.wan) {
                // Addresses and identification.
                let key = [&packet(&frame)[4..6], &packet(&frame)[12..20]].concat();
                datagrams.entry(key).or_default().push(frame);
            }
        }
        let mut arrived: Vec<_> = datagrams.values().map(|frames| together(frames).1).collect();
        arrived.sort();
        expected.sort();
        prop_assert_eq!(arrived, expected);
        prop_assert_eq!(nat.nat().held(), 0);
    }
}

/// A host with an address of its own: each fragment goes by itself to the outside, and follows the first one to a host with a mapping.
#[test]
fn rfc_4787_14_fragments_of_a_host_with_an_address_of_its_own() {
    let own = host("192.0.2.9");
    let one_to_one = || {
        let mut nat = NatBox::new(|settings| {
            settings.one_to_one = vec![netchannel::channel::nat::OneToOne {
                external: own..=own,
                inside: host("10.0.0.3"),
            }];
        });
        nat.open(Body::Udp, at(INSIDE), at(SERVER));
        nat
    };
    let (inside, outside) = (at("10.0.0.3:6000"), at("192.0.2.9:6000"));
    for order in ORDERS {
        for (from, to, seen_from, seen_to) in [
            (inside, at(SERVER), outside, at(SERVER)),
            (at(SERVER), outside, at(SERVER), inside),
            (at(INSIDE), outside, at(EXTERNAL_END), inside),
            (inside, at(EXTERNAL_END), outside, at(INSIDE)),
        ] {
            let mut nat = one_to_one();
            let sent = cut(&ip_packet(Body::Udp, from, to, DATA), 77);
            let frames: Vec<_> = order
                .iter()
                .flat_map(|&number| {
                    let result = if from == at(SERVER) {
                        nat.outside(&sent[number])
                    } else {
                        nat.inside(&sent[number])
                    };
                    result.lan.into_iter().chain(result.wan)
                })
                .collect();
            assert_eq!(frames.len(), 3, "{from} {to} {order:?}");
            assert_eq!(together(&frames).1, arriving(Body::Udp, seen_from, seen_to));
        }
    }
}
