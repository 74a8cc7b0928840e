//! Single packets, seen on their way through the dispatcher, on plain memory.

mod common;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use classifier::{Range, Rule};
use common::*;
use netchannel::channel::ChannelId;
use netchannel::dispatch::dimensions::{Ipv4Dimensions, dimension};
use netchannel::dispatch::{
    Action, Decision, Fate, MAX_WATCHES, Observation, PacketFilter, RuleNumber, RuleSet, Watch, WatchOptions,
    Watcher,
};
use netchannel::drop_reason::DropReason;
use netchannel::interface::InterfaceId;

const DROP: ChannelId = ChannelId(0);
const PASS: ChannelId = ChannelId(1);
const FORWARD: ChannelId = ChannelId(2);

const LAN_ID: InterfaceId = InterfaceId(0);
const WAN_ID: InterfaceId = InterfaceId(1);

fn options(filter: PacketFilter) -> WatchOptions {
    WatchOptions {
        filter,
        with_answers: false,
        only_drops: false,
        snap_length: 2048,
        per_second: u32::MAX,
        count: u64::MAX,
        backlog: 64,
    }
}

fn watch(test: &mut TestBox, options: WatchOptions) -> Watcher {
    let (watch, watcher) = Watch::new(options, 3);
    test.dispatcher.watch(watch).unwrap();
    watcher
}

/// Packets from this address.
fn from(source: &str) -> PacketFilter {
    let IpAddr::V4(source) = ip(source) else {
        panic!("IPv4 only");
    };
    let mut boxes = RuleSet::new(PacketFilter::UNWANTED);
    let mut rule = Rule::any::<Ipv4Dimensions>(1, PacketFilter::WANTED);
    rule.ranges[dimension::SOURCE_ADDRESS] = Range::exact(source.to_bits());
    boxes.insert_ipv4(rule).unwrap();
    PacketFilter::of(boxes)
}

fn seen(watcher: &mut Watcher) -> Vec<Arc<Observation>> {
    std::iter::from_fn(|| watcher.observations.pop().ok()).collect()
}

/// What is seen of one packet that comes in by `lan`.
fn see(test: &mut TestBox, watcher: &mut Watcher, packet: &[u8]) -> Arc<Observation> {
    test.out(packet);
    let mut seen = seen(watcher);
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

#[test]
fn a_forwarded_packet_is_seen_from_its_arrival_to_its_departure() {
    let mut test = TestBox::new(FORWARD);
    let mut watcher = watch(&mut test, options(PacketFilter::all()));
    let packet = udp("10.0.0.2", "8.8.8.8", 64, b"first");
    for packets in 1..3 {
        let seen = see(&mut test, &mut watcher, &packet);
        assert_eq!((seen.interface, seen.has_waited), (Some(LAN_ID), false));
        assert_eq!((&*seen.frame, seen.length), (&packet[..], packet.len()));
        let decision = Decision {
            was_known: packets > 1,
            packets,
            rule: RuleNumber::NONE,
            channel: FORWARD,
            parameter: 0,
        };
        assert_eq!((seen.decision, seen.fate), (Some(decision), Fate::Transmitted));
        assert_eq!(seen.translation, None);
        let [sent] = &seen.sent[..] else {
            panic!("{:?}", seen.sent);
        };
        assert_eq!(sent.interface, Some(WAN_ID));
        assert_eq!(sent.headers.map(|headers| headers.ttl), Some(63));
        assert_eq!(sent.frame[..12], [ROUTER_MAC, WAN_MAC].concat());
    }
    test.assert_all_accounted_for();
}

#[test]
fn every_end_of_a_packet_is_seen_with_its_reason() {
    let mut test = TestBox::new(FORWARD);
    let mut watcher = watch(&mut test, options(PacketFilter::all()));
    let mut broken = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    broken[24] ^= 1;
    let mut flooded = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    flooded[0..6].copy_from_slice(&ROUTER_MAC);
    let mut tagged = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    tagged.splice(12..12, [0x81, 0, 0, 77]);
    for (packet, reason, answers) in [
        (udp("10.0.0.2", "8.8.8.8", 1, b"?"), DropReason::TtlExpired, 1),
        (udp("10.0.0.2", "203.0.113.1", 64, b"?"), DropReason::NoRoute, 1),
        (
            udp("10.0.0.2", "198.51.100.1", 64, b"?"),
            DropReason::RouteBlackhole,
            0,
        ),
        (
            udp("10.0.0.2", "198.51.101.1", 64, b"?"),
            DropReason::RouteUnreachable,
            1,
        ),
        (
            udp("10.0.0.2", "198.51.102.1", 64, b"?"),
            DropReason::RouteProhibited,
            1,
        ),
        (
            udp("10.0.0.2", "224.0.0.1", 64, b"?"),
            DropReason::NotForwarded,
            0,
        ),
        (udp("fd00::2", "2001:db8:9::1", 64, b"?"), DropReason::NoRoute, 1),
        (broken, DropReason::Ipv4Checksum, 0),
        (flooded, DropReason::OtherHost, 0),
        (tagged, DropReason::UnknownVlan, 0),
        (vec![0; 20], DropReason::NotIp, 0),
    ] {
        // ICMP errors have a rate of their own.
        test.now = test.now + Duration::from_secs(1);
        let seen = see(&mut test, &mut watcher, &packet);
        assert_eq!(seen.fate, Fate::Dropped(reason));
        assert_eq!(seen.sent.len(), answers, "{reason:?}");
        assert!(seen.sent.iter().all(|sent| sent.interface == Some(LAN_ID)));
        let was_decided = !matches!(
            reason,
            DropReason::Ipv4Checksum | DropReason::OtherHost | DropReason::UnknownVlan | DropReason::NotIp
        );
        assert_eq!(seen.decision.is_some(), was_decided, "{reason:?}");
    }
    let seen = see(&mut test, &mut watcher, &udp("10.0.0.2", "10.0.0.1", 64, b"?"));
    assert_eq!(seen.fate, Fate::Passed);
    test.assert_all_accounted_for();
}

#[test]
fn a_rule_is_told_by_its_number() {
    let mut test = TestBox::new(PASS);
    let mut rules = RuleSet::new(PASS);
    let action = Action {
        rule: RuleNumber(3),
        ..DROP.into()
    };
    rules.insert_ipv4(Rule::any::<Ipv4Dimensions>(1, action)).unwrap();
    test.dispatcher.set_rules(rules);
    let mut watcher = watch(&mut test, options(PacketFilter::all()));
    let seen = see(&mut test, &mut watcher, &udp("10.0.0.2", "8.8.8.8", 64, b"?"));
    assert_eq!(seen.decision.map(|decision| decision.rule), Some(RuleNumber(3)));
    assert_eq!(seen.fate, Fate::Dropped(DropReason::Rule));
}

#[test]
fn a_packet_that_waits_is_seen_again_when_it_goes_on_or_is_given_up() {
    let mut test = TestBox::new(FORWARD);
    let mut watcher = watch(&mut test, options(PacketFilter::all()));
    let packet = udp("10.0.0.2", "192.0.2.7", 64, b"?");
    let first = see(&mut test, &mut watcher, &packet);
    assert_eq!((first.fate, first.has_waited), (Fate::Waits, false));
    let lost = udp("10.0.0.2", "192.0.2.8", 64, b"?");
    assert_eq!(see(&mut test, &mut watcher, &lost).fate, Fate::Waits);

    let known = network().neighbour(WAN, ip("192.0.2.7"), HOST_MAC);
    test.network.publish(known.build());
    test.now = test.now + Duration::from_secs(3);
    test.run();
    let mut ends = seen(&mut watcher);
    ends.sort_by_key(|seen| seen.headers.unwrap().destination);
    let fates: Vec<Fate> = ends.iter().map(|seen| seen.fate).collect();
    assert_eq!(
        fates,
        [Fate::Transmitted, Fate::Dropped(DropReason::NeighbourUnresolved)]
    );
    assert!(ends.iter().all(|seen| seen.has_waited));
    assert_eq!(ends[0].sent[0].frame[..6], HOST_MAC);
    // The sender of the other is told.
    assert_eq!(ends[1].sent[0].interface, Some(LAN_ID));
    test.assert_all_accounted_for();
}

#[test]
fn a_fragmented_packet_is_sent_in_pieces() {
    let mut test = TestBox::new(FORWARD);
    let mut watcher = watch(&mut test, options(PacketFilter::all()));
    let mut packet = udp("10.0.0.2", "8.8.8.8", 64, &[7; 1450]);
    edit_ipv4(&mut packet, |header| header[6] = 0);
    let pieces = see(&mut test, &mut watcher, &packet);
    assert_eq!((pieces.fate, pieces.sent.len()), (Fate::Transmitted, 2));
    edit_ipv4(&mut packet, |header| header[6] = 0x40);
    let refused = see(&mut test, &mut watcher, &packet);
    assert_eq!(
        (refused.fate, refused.sent.len()),
        (Fate::Dropped(DropReason::TooBig), 1)
    );
}

#[test]
fn only_what_is_asked_for_is_seen_and_all_leave_in_their_order() {
    let mut test = TestBox::new(FORWARD);
    let mut watcher = watch(&mut test, options(from("10.0.0.2")));
    let sent: Vec<Vec<u8>> = (0u8..60)
        .map(|number| {
            let source = if number % 7 == 0 { "10.0.0.2" } else { "10.0.0.3" };
            udp(source, "8.8.8.8", 64, &[number])
        })
        .collect();
    sent.iter().for_each(|packet| assert!(test.lan.send(packet)));
    test.run();
    let left = test.wan.sent_all();
    let numbers: Vec<u8> = left.iter().map(|packet| packet[42]).collect();
    assert!(numbers.iter().copied().eq(0..60));
    let seen: Vec<u8> = seen(&mut watcher).iter().map(|seen| seen.frame[42]).collect();
    assert!(seen.iter().copied().eq((0..60).step_by(7)));
    test.assert_all_accounted_for();
}

#[test]
fn what_is_not_seen_is_counted() {
    let mut test = TestBox::new(FORWARD);
    let mut slow = watch(
        &mut test,
        WatchOptions {
            backlog: 3,
            ..options(PacketFilter::all())
        },
    );
    let mut limited = watch(
        &mut test,
        WatchOptions {
            per_second: 5,
            ..options(PacketFilter::all())
        },
    );
    let packet = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    for _ in 0..12 {
        test.out(&packet);
    }
    assert_eq!((slow.unseen.lost(), slow.unseen.beyond_rate()), (9, 0));
    assert_eq!([LAN_ID, WAN_ID].map(|id| slow.unseen.lost_by(id)), [9, 0]);
    assert_eq!((limited.unseen.lost(), limited.unseen.beyond_rate()), (0, 7));
    assert_eq!((seen(&mut slow).len(), seen(&mut limited).len()), (3, 5));
    test.now = test.now + Duration::from_secs(1);
    test.out(&packet);
    assert_eq!((seen(&mut slow).len(), seen(&mut limited).len()), (1, 1));
}

#[test]
fn a_watch_ends_when_it_has_seen_enough_or_nobody_looks() {
    let mut test = TestBox::new(FORWARD);
    let mut enough = watch(
        &mut test,
        WatchOptions {
            count: 2,
            ..options(PacketFilter::all())
        },
    );
    let packet = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    (0..5).for_each(|_| drop(test.out(&packet)));
    assert_eq!(seen(&mut enough).len(), 2);
    assert!(!enough.observations.is_abandoned());
    test.dispatcher.tick(test.now);
    assert!(enough.observations.is_abandoned());

    let watchers: Vec<Watcher> = (0..MAX_WATCHES)
        .map(|_| watch(&mut test, options(PacketFilter::all())))
        .collect();
    let (another, _watcher) = Watch::new(options(PacketFilter::all()), 3);
    assert!(test.dispatcher.watch(another).is_err());
    drop(watchers);
    watch(&mut test, options(PacketFilter::all()));
}

#[test]
fn frames_are_cut_and_drops_picked_as_asked() {
    let mut test = TestBox::new(FORWARD);
    let mut watcher = watch(
        &mut test,
        WatchOptions {
            snap_length: 40,
            only_drops: true,
            ..options(PacketFilter::all())
        },
    );
    test.out(&udp("10.0.0.2", "8.8.8.8", 64, b"a packet that is forwarded"));
    let packet = udp("10.0.0.2", "8.8.8.8", 1, b"a packet that is dropped");
    let seen = see(&mut test, &mut watcher, &packet);
    assert_eq!((&*seen.frame, seen.length), (&packet[..40], packet.len()));
    assert_eq!(seen.sent[0].frame.len(), 40);
    assert!(seen.sent[0].length > 40);
}

#[test]
fn answers_are_followed_if_that_is_asked_for() {
    let mut test = TestBox::new(FORWARD);
    let mut watcher = watch(
        &mut test,
        WatchOptions {
            with_answers: true,
            ..options(from("10.0.0.2"))
        },
    );
    let answer = |source: &str| {
        let mut packet = udp(source, "10.0.0.2", 64, b"!");
        packet[0..6].copy_from_slice(&WAN_MAC);
        // Ports the other way round.
        let (first, second) = ([packet[34], packet[35]], [packet[36], packet[37]]);
        packet[34..36].copy_from_slice(&second);
        packet[36..38].copy_from_slice(&first);
        packet
    };
    test.out(&udp("10.0.0.2", "8.8.8.8", 64, b"?"));
    assert_eq!(seen(&mut watcher).len(), 1);
    for (source, expected) in [("8.8.8.8", 1), ("8.8.4.4", 0)] {
        assert!(test.wan.send(&answer(source)));
        test.run();
        let seen = seen(&mut watcher);
        assert_eq!(seen.len(), expected, "{source}");
        assert!(seen.iter().all(|seen| seen.interface == Some(WAN_ID)));
    }
}
