//! Packets through the dispatcher and the channels drop, pass and forward, on plain memory.

mod common;

use std::time::Duration;

use classifier::Rule;
use common::*;
use etherparse::{Icmpv4Type, Icmpv6Type, SlicedPacket, TransportSlice};
use netchannel::channel::ChannelId;
use netchannel::dispatch::dimensions::Ipv4Dimensions;
use netchannel::dispatch::{Action, RuleCounters, RuleNumber, RuleSet};
use netchannel::drop_reason::DropReason;
use netchannel::network::Link;
use netchannel::packet::{Headers, VlanTags};

const DROP: ChannelId = ChannelId(0);
const PASS: ChannelId = ChannelId(1);
const FORWARD: ChannelId = ChannelId(2);

fn icmpv4_type(frame: &[u8]) -> Icmpv4Type {
    match SlicedPacket::from_ethernet(frame).unwrap().transport {
        Some(TransportSlice::Icmpv4(icmp)) => {
            let message = &frame[34..];
            assert_eq!(
                netchannel::packet::checksum::sum(message),
                0xffff,
                "ICMP checksum"
            );
            icmp.icmp_type()
        }
        other => panic!("not ICMP: {other:?}"),
    }
}

#[test]
fn a_router_changes_nothing_but_ttl_and_ethernet_addresses() {
    let mut test = TestBox::new(FORWARD);
    let sent = udp("10.0.0.2", "8.8.8.8", 64, b"hello");
    let out = test.out(&sent);
    assert_eq!(out.len(), 1);
    let mut expected = sent;
    expected[0..6].copy_from_slice(&ROUTER_MAC);
    expected[6..12].copy_from_slice(&WAN_MAC);
    edit_ipv4(&mut expected, |header| header[8] = 63);
    assert_eq!(out[0], expected);
    test.assert_all_accounted_for();
}

#[test]
fn ipv6_is_forwarded_with_a_lower_hop_limit() {
    let mut test = TestBox::new(FORWARD);
    let out = test.out(&udp("fd00::2", "2001:db8::2", 64, b"six"));
    let headers = Headers::parse(&out[0]).unwrap();
    assert_eq!((headers.ttl, headers.destination), (63, ip("2001:db8::2")));
}

#[test]
fn an_expired_ttl_is_answered_from_the_address_of_the_arrival_interface() {
    for ttl in [0, 1] {
        let mut test = TestBox::new(FORWARD);
        let sent = udp("10.0.0.2", "8.8.8.8", ttl, b"probe");
        assert!(test.out(&sent).is_empty());
        let answers = test.lan.sent_all();
        assert_eq!(answers.len(), 1);
        assert!(matches!(icmpv4_type(&answers[0]), Icmpv4Type::TimeExceeded(_)));
        let headers = Headers::parse(&answers[0]).unwrap();
        assert_eq!(
            (headers.source, headers.destination),
            (ip("10.0.0.1"), ip("10.0.0.2"))
        );
        assert_eq!(answers[0][0..6], HOST_MAC);
        // The packet is quoted as it came.
        assert_eq!(answers[0][42..], sent[14..]);
        assert_eq!(test.dispatcher.totals().dropped.get(DropReason::TtlExpired), 1);
        test.assert_all_accounted_for();
    }
}

#[test]
fn an_expired_hop_limit_is_answered() {
    let mut test = TestBox::new(FORWARD);
    assert!(test.out(&udp("fd00::2", "2001:db8::2", 1, b"probe")).is_empty());
    let answer = test.lan.sent().unwrap();
    let Some(TransportSlice::Icmpv6(icmp)) = SlicedPacket::from_ethernet(&answer).unwrap().transport else {
        panic!("not ICMPv6");
    };
    assert!(matches!(icmp.icmp_type(), Icmpv6Type::TimeExceeded(_)));
    assert!(icmp.is_checksum_valid(ip_octets("fd00::1"), ip_octets("fd00::2")));
}

fn ip_octets(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

#[test]
fn errors_are_not_answered_with_errors_nor_sent_about_groups() {
    let mut test = TestBox::new(FORWARD);
    let mut error = udp("10.0.0.2", "8.8.8.8", 1, b"................");
    // Time exceeded itself.
    edit_ipv4(&mut error, |header| header[9] = 1);
    error[34] = 11;
    test.out(&error);
    let mut broadcast = udp("10.0.0.2", "8.8.8.8", 1, b"to all on the link");
    broadcast[0..6].fill(0xff);
    test.out(&broadcast);
    let mut later = udp("10.0.0.2", "8.8.8.8", 1, b"a later fragment");
    edit_ipv4(&mut later, |header| header[7] = 10);
    test.out(&later);
    test.out(&udp("127.0.0.1", "8.8.8.8", 1, b"no possible source"));
    assert!(test.lan.sent_all().is_empty());
    test.assert_all_accounted_for();
}

#[test]
fn icmp_errors_are_limited_in_rate() {
    let mut test = TestBox::new(FORWARD);
    for _ in 0..200 {
        test.out(&udp("10.0.0.2", "8.8.8.8", 1, b"probe"));
    }
    assert_eq!(test.lan.sent_all().len(), 50);
    test.now = test.now + Duration::from_millis(10);
    for _ in 0..200 {
        test.out(&udp("10.0.0.2", "8.8.8.8", 1, b"probe"));
    }
    assert_eq!(test.lan.sent_all().len(), 10);
    test.assert_all_accounted_for();
}

#[test]
fn a_big_packet_is_refused_if_it_may_not_be_fragmented() {
    let mut test = TestBox::new(FORWARD);
    let mut sent = udp("10.0.0.2", "8.8.8.8", 64, &[7; 1373]);
    edit_ipv4(&mut sent, |header| header[6] = 0x40);
    assert!(test.out(&sent).is_empty());
    match icmpv4_type(&test.lan.sent().unwrap()) {
        Icmpv4Type::DestinationUnreachable(
            etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu },
        ) => assert_eq!(next_hop_mtu, 1400),
        other => panic!("{other:?}"),
    }
    test.assert_all_accounted_for();
}

#[test]
fn a_big_packet_is_fragmented_in_order() {
    let mut test = TestBox::new(FORWARD);
    let payload: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
    let mut sent = udp("10.0.0.2", "8.8.8.8", 64, &payload);
    edit_ipv4(&mut sent, |header| header[6] = 0);
    let out = test.out(&sent);
    let mut reassembled = Vec::new();
    for fragment in &out {
        assert!(fragment.len() <= 1414);
        let header = etherparse::Ipv4HeaderSlice::from_slice(&fragment[14..]).unwrap();
        assert_eq!(
            usize::from(header.fragments_offset().value()) * 8,
            reassembled.len()
        );
        reassembled.extend_from_slice(&fragment[34..]);
    }
    assert_eq!(reassembled, sent[34..]);
    assert_eq!(out.len(), 3);
    test.assert_all_accounted_for();
}

#[test]
fn exactly_the_mtu_passes() {
    let mut test = TestBox::new(FORWARD);
    let mut sent = udp("10.0.0.2", "8.8.8.8", 64, &[7; 1372]);
    edit_ipv4(&mut sent, |header| header[6] = 0x40);
    assert_eq!(test.out(&sent)[0].len(), 1414);
}

#[test]
fn tags_are_put_on_and_taken_off() {
    let mut test = TestBox::new(FORWARD);
    let out = test.out(&udp("10.0.0.2", "172.16.0.2", 64, b"to the VLAN"));
    let headers = Headers::parse(&out[0]).unwrap();
    assert_eq!(headers.vlan, VlanTags { outer: 100, inner: 0 });
    assert_eq!(headers.destination, ip("172.16.0.2"));

    let mut back = udp("172.16.0.2", "10.0.0.2", 64, b"from the VLAN");
    back[0..6].copy_from_slice(&WAN_MAC);
    back.splice(12..12, [0x81, 0x00, 0x00, 100]);
    test.wan.send(&back);
    test.run();
    let headers = Headers::parse(&test.lan.sent().unwrap()).unwrap();
    assert_eq!((headers.vlan, headers.network), (VlanTags::default(), 14));

    back[15] = 101;
    test.wan.send(&back);
    test.run();
    assert_eq!(test.dispatcher.totals().dropped.get(DropReason::UnknownVlan), 1);
    test.assert_all_accounted_for();
}

/// Frames of the box hold 4096 bytes, and a few 9022.
#[test]
fn a_packet_that_does_not_fit_with_its_tag_gets_a_longer_frame() {
    let mut test = TestBox::new(FORWARD);
    for mtu in [9000, 1500] {
        let mut wide = Link::ethernet(common::VLAN, "wan.100", WAN_MAC);
        wide.mtu = mtu;
        test.network.publish(common::network().link(wide).build());
        for length in [4091, 4092, 4093, 4096, 4097, 9014] {
            let mut sent = udp("10.0.0.2", "172.16.0.2", 64, &vec![7; length - 42]);
            assert_eq!(sent.len(), length);
            // It may be fragmented.
            edit_ipv4(&mut sent, |header| header[6] = 0);
            let out = test.out(&sent);
            let fragments = match length - 14 <= mtu as usize {
                true => 1,
                false => (length - 34).div_ceil(1480),
            };
            assert_eq!(out.len(), fragments, "{length} bytes");
            let data: Vec<u8> = out.iter().flat_map(|frame| frame[38..].to_vec()).collect();
            assert_eq!(data, sent[34..], "{length} bytes");
            for frame in out {
                let headers = Headers::parse(&frame).expect("a packet");
                assert_eq!(headers.vlan, VlanTags { outer: 100, inner: 0 });
            }
        }
    }
    test.assert_all_accounted_for();
}

#[test]
fn unroutable_packets_are_dropped_for_a_reason_and_answered_where_that_is_due() {
    let mut test = TestBox::new(FORWARD);
    for (destination, reason, answered) in [
        ("198.51.100.7", DropReason::RouteBlackhole, false),
        ("198.51.101.7", DropReason::RouteUnreachable, true),
        ("198.51.102.7", DropReason::RouteProhibited, true),
        ("192.0.3.1", DropReason::NoRoute, true),
        ("224.0.0.5", DropReason::NotForwarded, false),
        ("169.254.1.1", DropReason::NotForwarded, false),
        ("10.0.0.255", DropReason::NotForwarded, false),
    ] {
        let before = test.dispatcher.totals().dropped.get(reason);
        assert!(
            test.out(&udp("10.0.0.2", destination, 64, b"?")).is_empty(),
            "{destination}"
        );
        assert_eq!(
            test.dispatcher.totals().dropped.get(reason),
            before + 1,
            "{destination}"
        );
        assert_eq!(test.lan.sent_all().len(), usize::from(answered), "{destination}");
    }
    test.assert_all_accounted_for();
}

#[test]
fn packets_for_the_box_itself_go_to_the_kernel() {
    let mut test = TestBox::new(FORWARD);
    let sent = udp("10.0.0.2", "192.0.2.1", 1, b"ssh");
    assert!(test.out(&sent).is_empty());
    assert_eq!(*test.kernel.passed.borrow(), [sent]);
    test.assert_all_accounted_for();
}

#[test]
fn packets_wait_for_the_next_hop_and_leave_in_order_when_it_is_known() {
    let mut test = TestBox::new(FORWARD);
    for number in 0..20 {
        assert!(test.out(&udp("10.0.0.2", "192.0.2.7", 64, &[number])).is_empty());
    }
    assert_eq!(*test.kernel.asked.borrow(), [(WAN, ip("192.0.2.7"))]);
    assert_eq!(
        test.dispatcher
            .totals()
            .dropped
            .get(DropReason::NeighbourQueueFull),
        4
    );
    assert_eq!(test.dispatcher.totals().held, 16);
    test.assert_all_accounted_for();

    test.network.publish(
        common::network()
            .neighbour(WAN, ip("192.0.2.7"), HOST_MAC)
            .build(),
    );
    test.run();
    let out = test.wan.sent_all();
    let numbers: Vec<u8> = out.iter().map(|frame| frame[42]).collect();
    assert_eq!(numbers, (0..16).collect::<Vec<u8>>());
    assert!(out.iter().all(|frame| frame[0..6] == HOST_MAC));
    test.assert_all_accounted_for();
}

#[test]
fn known_flows_follow_the_network() {
    let mut test = TestBox::new(FORWARD);
    let packet = udp("10.0.0.2", "192.0.2.7", 64, b"known");
    let big = udp("10.0.0.2", "192.0.2.7", 64, &[0; 1200]);
    for mac in [HOST_MAC, ROUTER_MAC, HOST_MAC] {
        let network = common::network().neighbour(WAN, ip("192.0.2.7"), mac);
        test.network.publish(network.build());
        // The second of them needs no search for its way, nor does the big one.
        for packet in [&packet, &packet, &big] {
            let out = test.out(packet);
            assert_eq!((out.len(), &out[0][0..6]), (1, &mac[..]));
            assert_eq!(Headers::parse(&out[0]).unwrap().ttl, 63);
        }
        // What is owed to each packet is owed to those of known flows too.
        assert!(test.out(&udp("10.0.0.2", "192.0.2.7", 1, b"known")).is_empty());
        assert!(matches!(
            icmpv4_type(&test.lan.sent().unwrap()),
            Icmpv4Type::TimeExceeded(_)
        ));
    }
    // The address is the box's own now.
    let network = common::network().address(WAN, "192.0.2.7/24".parse().unwrap());
    test.network.publish(network.build());
    assert!(test.out(&packet).is_empty());
    assert_eq!(test.kernel.passed.borrow().len(), 1);
    // And then nobody's.
    test.network.publish(common::network().build());
    assert!(test.out(&packet).is_empty());
    assert_eq!(test.dispatcher.totals().held, 1);
    test.assert_all_accounted_for();
}

#[test]
fn packets_do_not_wait_for_ever() {
    let mut test = TestBox::new(FORWARD);
    test.out(&udp("10.0.0.2", "192.0.2.7", 64, b"?"));
    for _ in 0..29 {
        test.now = test.now + Duration::from_millis(100);
        test.dispatcher.tick(test.now);
    }
    assert_eq!(test.dispatcher.totals().held, 1);
    test.now = test.now + Duration::from_millis(100);
    test.dispatcher.tick(test.now);
    assert_eq!(
        test.dispatcher
            .totals()
            .dropped
            .get(DropReason::NeighbourUnresolved),
        1
    );
    assert_eq!(test.kernel.asked.borrow().len(), 3);
    let answers = test.lan.sent_all();
    assert!(matches!(
        icmpv4_type(&answers[0]),
        Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Host)
    ));
    test.assert_all_accounted_for();
}

#[test]
fn drop_and_pass_do_as_they_are_called() {
    let sent = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    let mut test = TestBox::new(DROP);
    assert!(test.out(&sent).is_empty());
    assert_eq!(test.dispatcher.totals().dropped.get(DropReason::Rule), 1);
    test.assert_all_accounted_for();

    let mut test = TestBox::new(PASS);
    assert!(test.out(&sent).is_empty());
    assert_eq!(*test.kernel.passed.borrow(), [sent]);
    test.assert_all_accounted_for();
}

#[test]
fn new_rules_decide_flows_that_are_already_known() {
    let mut test = TestBox::new(FORWARD);
    let sent = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    assert_eq!(test.out(&sent).len(), 1);
    assert_eq!(test.dispatcher.flows().len(), 1);
    test.dispatcher.set_rules(RuleSet::new(DROP));
    assert!(test.out(&sent).is_empty());
    assert_eq!(test.dispatcher.flows().len(), 1);
}

#[test]
fn flows_of_former_rules_end_without_a_packet_and_are_counted() {
    let mut test = TestBox::new(FORWARD);
    let action = Action {
        rule: RuleNumber(7),
        ..FORWARD.into()
    };
    let rules = |action| {
        let mut rules = RuleSet::new(DROP);
        rules.insert_ipv4(Rule::any::<Ipv4Dimensions>(1, action)).unwrap();
        rules
    };
    test.dispatcher.set_rules(rules(action));
    let sent = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    assert_eq!((test.out(&sent).len(), test.out(&sent).len()), (1, 1));
    test.dispatcher.set_rules(RuleSet::new(DROP));
    let generation = test.dispatcher.flows().generation();
    while !test.dispatcher.flows().is_swept(generation) {
        test.dispatcher.tick(test.now);
    }
    assert_eq!(test.dispatcher.flows().len(), 0);
    let flows = test.dispatcher.flows_mut();
    let census = flows.begin_census();
    assert!(flows.take_census(census, usize::MAX).unwrap());
    let counted = RuleCounters {
        packets: 2,
        bytes: 2 * sent.len() as u64,
        flows: 1,
        last_hit: test.now,
    };
    assert_eq!(flows.rule_counters(census, [RuleNumber(7)]), Ok(vec![counted]));
}

#[test]
fn frames_for_other_hosts_are_left_alone() {
    let mut test = TestBox::new(FORWARD);
    let mut sent = udp("10.0.0.2", "8.8.8.8", 64, b"flooded");
    sent[0..6].copy_from_slice(&ROUTER_MAC);
    assert!(test.out(&sent).is_empty());
    sent[0..6].fill(0xff);
    assert!(test.out(&sent).is_empty());
    assert_eq!(test.dispatcher.totals().dropped.get(DropReason::OtherHost), 2);
    test.assert_all_accounted_for();
}

#[test]
fn a_full_transmit_ring_drops_and_counts() {
    let mut test = TestBox::new(FORWARD);
    let sent = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    // Nobody takes what the port transmits: its queue of 256 fills up.
    for _ in 0..300 {
        test.lan.send(&sent);
        test.run();
    }
    assert_eq!(test.dispatcher.totals().dropped.get(DropReason::TransmitFull), 44);
    test.assert_all_accounted_for();
    assert_eq!(test.wan.sent_all().len(), 256);
}

#[test]
fn a_port_that_is_gone_is_reported() {
    let mut test = TestBox::new(FORWARD);
    test.wan.fail(std::io::ErrorKind::NotFound);
    test.lan.send(&udp("10.0.0.2", "8.8.8.8", 64, b"?"));
    let failed = test.dispatcher.poll(test.now).unwrap_err();
    assert_eq!(failed.port.0, 1);
}
