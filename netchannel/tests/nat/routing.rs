//! Where packets go: what is translated and what is not, neighbours that are not known yet, and routes that change.

use netchannel::channel::ChannelId;
use netchannel::dispatch::RuleSet;
use netchannel::drop_reason::DropReason;
use netchannel::network::{NextHop, Route};

use crate::common::{LAN, ROUTER_MAC, VLAN, WAN, edit_ipv4, ip, udp};
use crate::harness::*;
use crate::packets::*;

/// A translator whose external address is the box's own.
fn own() -> NatBox {
    NatBox::new(|settings| settings.external = vec![OWN..=OWN])
}

#[test]
fn what_is_for_the_box_goes_to_the_kernel() {
    let mut nat = own();
    let own_port = at("192.0.2.1:40000");
    for body in [Body::Udp, Body::Tcp(SYN), Body::Tcp(ACK)] {
        assert_eq!(nat.reply(body, at(SERVER), own_port).passed.len(), 1);
        assert_eq!(nat.send(body, at(INSIDE), own_port).passed.len(), 1);
        assert_eq!(nat.send(body, at(INSIDE), at("10.0.0.1:22")).passed.len(), 1);
    }
    // Pings of the box, answers to its own pings, and protocols without ports.
    assert_eq!(
        nat.reply(Body::Query(8), at("8.8.8.8:5000"), at("192.0.2.1:0"))
            .passed
            .len(),
        1
    );
    assert_eq!(
        nat.send(Body::Query(8), at(INSIDE), at("192.0.2.1:0"))
            .passed
            .len(),
        1
    );
    assert_eq!(
        nat.send(Body::Query(8), at(INSIDE), at("10.0.0.1:0"))
            .passed
            .len(),
        1
    );
    assert_eq!(
        nat.reply(Body::Query(0), at("8.8.8.8:0"), at("192.0.2.1:5000"))
            .passed
            .len(),
        1
    );
    assert_eq!(
        nat.outside(&ipv4(47, host("8.8.8.8"), OWN, &[0; 20]))
            .passed
            .len(),
        1
    );
    // Errors about what it sent itself.
    let sent = ip_packet(Body::Udp, own_port, at(SERVER), b"");
    assert_eq!(nat.outside(&error(3, 3, "8.8.8.8", OWN, &sent)).passed.len(), 1);
    let sent = ip_packet(Body::Query(8), at("192.0.2.1:5000"), at("8.8.8.8:0"), b"");
    assert_eq!(nat.outside(&error(11, 0, "9.9.9.9", OWN, &sent)).passed.len(), 1);
    assert!(nat.mappings().is_empty());
}

#[test]
fn the_translators_ports_are_not_the_boxs() {
    let mut nat = own();
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    assert_eq!(external, at("192.0.2.1:5000"));
    assert!(nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)));
    for body in [Body::Udp, Body::Tcp(SYN)] {
        let result = nat.reply(body, at(SERVER), at("192.0.2.1:5001"));
        assert_eq!(result.dropped(), DropReason::NatNoMapping);
    }
    let ping = nat.open(Body::Query(8), at("10.0.0.2:77"), at("8.8.8.8:0"));
    assert!(nat.reaches(Body::Query(0), at("8.8.8.8:0"), ping, at("10.0.0.2:77")));
    let sent = ip_packet(Body::Udp, at("192.0.2.1:5001"), at(SERVER), b"");
    let result = nat.outside(&error(3, 3, "8.8.8.8", OWN, &sent));
    assert_eq!(result.dropped(), DropReason::NatIcmpUnrelated);
}

#[test]
fn what_can_not_be_translated_is_dropped_with_its_reason() {
    let mut nat = NatBox::plain();
    for number in [2, 47, 50, 58, 132] {
        let bytes = ipv4(number, host("10.0.0.2"), host("8.8.8.8"), &[128; 20]);
        assert_eq!(nat.inside(&bytes).dropped(), DropReason::NatProtocol);
        let bytes = ipv4(number, host("8.8.8.8"), EXTERNAL, &[128; 20]);
        assert_eq!(nat.outside(&bytes).dropped(), DropReason::NatProtocol);
    }
    let result = nat.inside_frame(&udp("fd00::2", "2001:db8::2", 64, b"six"));
    assert_eq!(result.dropped(), DropReason::NatNotIpv4);
    assert!(nat.mappings().is_empty());
}

#[test]
fn packets_from_impossible_sources_are_dropped() {
    let mut nat = NatBox::plain();
    for source in [
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.1.1",
    ] {
        let from = format!("{source}:5000").parse().unwrap();
        assert_eq!(
            nat.send(Body::Udp, from, at(SERVER)).dropped(),
            DropReason::NotForwarded
        );
        let result = nat.reply(Body::Udp, from, at("192.0.2.7:5000"));
        assert_eq!(result.dropped(), DropReason::NotForwarded);
    }
    // The translator's own address is nobody else's.
    for from in ["192.0.2.7:5000", "192.0.2.7:9999"] {
        let result = nat.send(Body::Udp, at(from), at(SERVER));
        assert_eq!(result.dropped(), DropReason::NotForwarded);
        let result = nat.reply(Body::Udp, at(from), at("192.0.2.7:5000"));
        assert_eq!(result.dropped(), DropReason::NotForwarded);
    }
}

#[test]
fn packets_from_outside_to_no_external_address_do_not_come_in() {
    let mut nat = NatBox::plain();
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    for destination in [INSIDE, "192.0.2.8:5000", "8.8.4.4:53"] {
        let result = nat.reply(Body::Udp, at(SERVER), at(destination));
        assert_eq!(result.dropped(), DropReason::NatExternalSource);
    }
    // What is for the box is the kernel's to judge.
    let result = nat.reply(Body::Tcp(SYN), at("9.9.9.9:1024"), at("192.0.2.1:22"));
    assert_eq!(result.passed.len(), 1);
}

#[test]
fn rfc_6888_6_what_stays_inside_is_not_translated() {
    let mut nat = NatBox::plain();
    let network = wider_network().route(Route::unicast(
        "10.1.0.0/16".parse().unwrap(),
        NextHop::via(LAN, ip("10.0.0.9")),
    ));
    nat.test.network.publish(network.build());
    for body in [Body::Udp, Body::Tcp(ACK), Body::Query(8), Body::Query(0)] {
        let sent = ip_packet(body, at(INSIDE), at("10.1.0.1:80"), b"inside");
        let result = nat.inside(&sent);
        assert_eq!(packet(result.at_host())[12..], sent[12..]);
    }
    let about = ip_packet(Body::Udp, at("10.1.0.1:80"), at(INSIDE), b"");
    nat.inside(&error(3, 3, "10.0.0.2", host("10.1.0.1"), &about))
        .at_host();
    assert!(nat.mappings().is_empty());
}

/// A source that is not inside, whatever interface it came by: what is sent to it must not leave.
#[test]
fn an_inside_host_that_is_not_inside_gets_nothing() {
    let mut nat = NatBox::plain();
    let external = nat.open(Body::Udp, at("9.9.9.9:5000"), at(SERVER));
    let result = nat.reply(Body::Udp, at(SERVER), external);
    assert_eq!(result.dropped(), DropReason::NatNotInside);
    let sent = ip_packet(Body::Udp, external, at(SERVER), b"");
    let result = nat.outside(&error(3, 3, "8.8.8.8", EXTERNAL, &sent));
    assert_eq!(result.dropped(), DropReason::NatNotInside);
}

#[test]
fn packets_that_waited_for_a_neighbour_are_translated_once() {
    let mut nat = NatBox::plain();
    let first = ip_packet(Body::Tcp(SYN), at(INSIDE), at("192.0.2.99:80"), b"");
    for _ in 0..2 {
        let result = nat.inside(&first);
        assert!(result.wan.is_empty() && result.dropped.is_empty());
    }
    assert_eq!(nat.test.dispatcher.totals().held, 2);
    // Nothing is known of a packet that could not leave.
    assert!(nat.mappings().is_empty());
    let network = wider_network().neighbour(WAN, ip("192.0.2.99"), ROUTER_MAC);
    nat.test.network.publish(network.build());
    nat.test.run();
    let out = nat.test.wan.sent_all();
    assert_eq!(out.len(), 2);
    for bytes in out {
        assert_checksums(&bytes);
        assert_eq!(ends(&bytes), (at("192.0.2.7:5000"), at("192.0.2.99:80")));
    }
    assert_eq!(nat.mappings().len(), 1);

    // The same on the way in: the host's neighbour entry is lost.
    let lost = netchannel::network::NetworkBuilder::new();
    let lost = [LAN, WAN, VLAN].into_iter().fold(lost, |network, index| {
        let known = wider_network().build();
        network.link(known.links.get(index).unwrap().clone())
    });
    let lost = lost.route(Route::unicast(
        "10.0.0.0/24".parse().unwrap(),
        NextHop::connected(LAN),
    ));
    nat.test.network.publish(lost.build());
    let result = nat.reply(Body::Tcp(SYN | ACK), at("192.0.2.99:80"), at("192.0.2.7:5000"));
    assert!(result.lan.is_empty() && result.dropped.is_empty());
    assert_eq!(nat.mappings()[0]["state"], "opening");
    nat.test.network.publish(wider_network().build());
    nat.test.run();
    let arrived = nat.test.lan.sent_all();
    assert_eq!(ends(&arrived[0]), (at("192.0.2.99:80"), at(INSIDE)));
    assert_eq!(nat.mappings()[0]["state"], "established");
}

#[test]
fn a_session_follows_the_network() {
    let mut nat = NatBox::plain();
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    for _ in 0..2 {
        nat.open(Body::Udp, at(INSIDE), at(SERVER));
        assert!(nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)));
    }
    let other_mac = [2, 0, 0, 0, 9, 9];
    let changed = wider_network()
        .neighbour(WAN, ip("192.0.2.254"), other_mac)
        .neighbour(LAN, ip("10.0.0.2"), other_mac);
    nat.test.network.publish(changed.build());
    let result = nat.send(Body::Udp, at(INSIDE), at(SERVER));
    assert_eq!(result.out()[0..6], other_mac);
    let result = nat.reply(Body::Udp, at(SERVER), external);
    assert_eq!(result.at_host()[0..6], other_mac);
    // Now by a VLAN.
    let changed = wider_network().route(Route::unicast(
        "8.8.8.0/24".parse().unwrap(),
        NextHop::via(VLAN, ip("172.16.0.2")),
    ));
    nat.test.network.publish(changed.build());
    let result = nat.send(Body::Udp, at(INSIDE), at(SERVER));
    assert_eq!(result.out()[12..16], [0x81, 0, 0, 100]);
    assert_eq!(ends(result.out()).0, external);
    // Now the server is inside, and later the host is outside.
    let changed = wider_network().route(Route::unicast(
        "8.8.8.0/24".parse().unwrap(),
        NextHop::via(LAN, ip("10.0.0.9")),
    ));
    nat.test.network.publish(changed.build());
    for _ in 0..2 {
        let result = nat.send(Body::Udp, at(INSIDE), at(SERVER));
        assert_eq!(ends(result.at_host()), (at(INSIDE), at(SERVER)));
    }
    let changed = wider_network().route(Route::unicast(
        "10.0.0.2/32".parse().unwrap(),
        NextHop::via(WAN, ip("192.0.2.254")),
    ));
    nat.test.network.publish(changed.build());
    for _ in 0..2 {
        let result = nat.reply(Body::Udp, at(SERVER), external);
        assert_eq!(result.dropped(), DropReason::NatNotInside);
    }
}

#[test]
fn new_rules_leave_sessions_alone() {
    let mut nat = NatBox::plain();
    let external = nat.open(Body::Tcp(SYN), at(INSIDE), at(SERVER));
    nat.test.dispatcher.set_rules(RuleSet::new(ChannelId(2)));
    assert!(nat.reaches(Body::Tcp(SYN | ACK), at(SERVER), external, at(INSIDE)));
    assert_eq!(nat.open(Body::Tcp(ACK), at(INSIDE), at(SERVER)), external);
    nat.test.dispatcher.set_rules(RuleSet::new(ChannelId(0)));
    let result = nat.send(Body::Tcp(ACK), at(INSIDE), at(SERVER));
    assert_eq!(result.dropped(), DropReason::Rule);
}

#[test]
fn an_expired_packet_is_answered_with_what_its_sender_knows() {
    let mut nat = NatBox::plain();
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    let expired = |from, to| {
        let mut bytes = frame(&ip_packet(Body::Udp, from, to, b"probe"));
        edit_ipv4(&mut bytes, |header| header[8] = 1);
        bytes
    };
    for _ in 0..2 {
        let probe = expired(at(INSIDE), at(SERVER));
        let result = nat.inside_frame(&probe);
        assert_eq!(result.dropped, [DropReason::TtlExpired]);
        assert_eq!(result.lan[0][34..36], [11, 0]);
        assert_eq!(result.lan[0][42..], probe[14..]);
        let probe = expired(at(SERVER), external);
        let result = nat.outside_frame(&probe);
        assert_eq!(result.wan[0][42..], probe[14..]);
    }
}
