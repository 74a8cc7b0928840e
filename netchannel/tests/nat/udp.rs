//! RFC 4787: UDP.

use std::net::SocketAddrV4;
use std::time::Duration;

use netchannel::channel::nat::{Filtering, PerProtocol};
use netchannel::drop_reason::DropReason;

use crate::common::edit_ipv4;
use crate::harness::*;
use crate::packets::*;

const OTHER: &str = "9.9.9.9:53";

#[test]
fn rfc_4787_1_one_external_endpoint_for_every_destination() {
    let mut nat = NatBox::plain();
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    assert_eq!(external, at("192.0.2.7:5000"));
    for destination in ["8.8.8.8:54", "9.9.9.9:53", "151.101.1.1:443"] {
        assert_eq!(nat.open(Body::Udp, at(INSIDE), at(destination)), external);
    }
    assert_eq!(nat.mappings().len(), 1);
}

/// RFC 3022 §2.2 and §4.1: nothing changes but the endpoint, the time to live, the checksums and the Ethernet addresses.
#[test]
fn rfc_3022_2_2_every_byte_of_an_exchange() {
    let mut nat = NatBox::plain();
    for body in [Body::Udp, Body::Tcp(SYN), Body::Query(8)] {
        let query = body == Body::Query(8);
        let server = if query { at("8.8.8.8:0") } else { at(SERVER) };
        let external = at("192.0.2.7:5000");
        let out = nat.send(body, at(INSIDE), server);
        let mut expected = frame(&ip_packet(body, external, server, b"to the outside"));
        edit_ipv4(&mut expected, |header| header[8] = 63);
        assert_eq!(packet(out.out()), &expected[14..]);

        let answer = if query { Body::Query(0) } else { body };
        let reply = nat.reply(answer, server, external);
        let mut expected = frame(&ip_packet(answer, server, at(INSIDE), b"to the inside"));
        edit_ipv4(&mut expected, |header| header[8] = 63);
        assert_eq!(packet(reply.at_host()), &expected[14..]);
    }
}

#[test]
fn rfc_4787_2_a_host_has_one_external_address() {
    let mut nat = NatBox::new(|settings| {
        settings.external = vec![host("192.0.2.7")..=host("192.0.2.10")];
        settings.ports = vec![2000..=2119];
    });
    let mut externals = Vec::new();
    for port in 2000..2120 {
        let inside = format!("10.0.0.2:{port}").parse().unwrap();
        externals.push(nat.open(Body::Udp, inside, at(SERVER)));
    }
    assert!(
        externals
            .iter()
            .all(|external| external.ip() == externals[0].ip())
    );
    // That address is full now: the host gets no other one (RFC 7857 §4).
    let result = nat.send(Body::Udp, at("10.0.0.2:9000"), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
    // New hosts do, whatever the place at which they come.
    for last in 4..100 {
        let inside = format!("10.0.0.{last}:2000").parse().unwrap();
        assert_ne!(nat.open(Body::Udp, inside, at(SERVER)).ip(), externals[0].ip());
    }
}

/// Also RFC 6888 REQ-13: the port space is used to the last port, and RFC 4787 REQ-11: behaviour is the same when it is full.
#[test]
fn rfc_4787_3_no_two_hosts_share_an_external_port() {
    let mut nat = NatBox::new(|settings| settings.ports = vec![2000..=2099]);
    let mut externals = std::collections::BTreeSet::new();
    for last in 0..100 {
        let inside = format!("10.0.0.{}:2000", last + 2).parse().unwrap();
        assert!(externals.insert(nat.open(Body::Udp, inside, at(SERVER))));
    }
    assert_eq!(nat.detail("/mappings/udp"), 100);
    // RFC 5508 REQ-8: the sender is told.
    let result = nat.send(Body::Udp, at("10.0.0.150:2000"), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
    assert_eq!(result.lan.len(), 1);
    assert_eq!(result.lan[0][34..36], [3, 13]);
    // Mappings that exist are as good as before, and another protocol has ports of its own.
    let first = nat.open(Body::Udp, at("10.0.0.2:2000"), at(OTHER));
    assert!(externals.contains(&first));
    assert!(nat.reaches(Body::Udp, at("151.101.1.1:9"), first, at("10.0.0.2:2000")));
    nat.open(Body::Tcp(SYN), at("10.0.0.150:2000"), at(SERVER));
    // When they are over, their ports can be had again after a while.
    nat.wait(301);
    nat.wait(120);
    assert_eq!(
        nat.open(Body::Udp, at("10.0.0.150:2000"), at(SERVER)).port(),
        2000
    );
}

#[test]
fn rfc_4787_3a_well_known_ports_stay_well_known() {
    let mut nat = NatBox::new(|settings| settings.ports = vec![500..=65535]);
    assert_eq!(nat.open(Body::Udp, at("10.0.0.2:500"), at(SERVER)).port(), 500);
    assert!(nat.open(Body::Udp, at("10.0.0.3:500"), at(SERVER)).port() <= 1023);
    assert!(nat.open(Body::Udp, at("10.0.0.3:80"), at(SERVER)).port() <= 1023);
    nat.open(Body::Udp, at("10.0.0.2:5000"), at(SERVER));
    assert!(nat.open(Body::Udp, at("10.0.0.3:5000"), at(SERVER)).port() > 1023);
}

#[test]
fn rfc_4787_5_and_5c_a_mapping_outlives_299_seconds_of_silence_and_not_300() {
    for (silence, survives) in [(119, true), (299, true), (300, false)] {
        for with_ticks in [true, false] {
            let mut nat = NatBox::plain();
            let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
            if with_ticks {
                nat.wait(silence);
            } else {
                nat.leap(Duration::from_secs(silence));
            }
            assert_eq!(nat.mappings().len(), usize::from(survives));
            assert_eq!(nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)), survives);
        }
    }
}

#[test]
fn a_timeout_is_exact_to_the_nanosecond() {
    let mut nat = NatBox::plain();
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    nat.leap(Duration::from_secs(300) - Duration::from_nanos(1));
    assert!(nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)));
    nat.leap(Duration::from_secs(300));
    assert!(!nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)));
}

#[test]
fn rfc_4787_5a_well_known_ports_may_have_a_shorter_time() {
    let mut nat = NatBox::new(|settings| settings.timeouts.udp_to_port = vec![(53, Duration::from_secs(30))]);
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    nat.wait(29);
    assert!(nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)));
    nat.wait(30);
    assert!(nat.mappings().is_empty());
    // Not what goes to other ports, and not what an outside host sends from that port.
    let external = nat.open(Body::Udp, at(INSIDE), at("8.8.8.8:4053"));
    assert!(nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)));
    nat.wait(299);
    assert_eq!(nat.mappings()[0]["sessions"], 2);
}

#[test]
fn rfc_4787_6_outbound_packets_keep_a_mapping() {
    let mut nat = NatBox::plain();
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    for _ in 0..6 {
        nat.wait(100);
        assert_eq!(nat.open(Body::Udp, at(INSIDE), at(SERVER)), external);
    }
    assert_eq!(nat.mappings()[0]["age_seconds"], 600);
    assert_eq!(nat.mappings()[0]["idle_seconds"], 0);
    assert_eq!(nat.mappings()[0]["expires_in_seconds"], 300);
}

#[test]
fn rfc_4787_6a_inbound_packets_keep_a_mapping_if_they_may() {
    for may in [true, false] {
        let mut nat = NatBox::new(|settings| settings.refresh_inbound = may);
        let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
        for round in 1..=6 {
            nat.wait(100);
            let alive = may || round < 3;
            assert_eq!(nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)), alive);
            // Nor does a new outside host keep it.
            let other = format!("9.9.9.9:{round}").parse().unwrap();
            assert_eq!(nat.reaches(Body::Udp, other, external, at(INSIDE)), alive);
        }
    }
}

#[test]
fn rfc_4787_7_an_external_address_inside_the_inside_prefix() {
    let mut nat = NatBox::new(|settings| settings.external = vec![host("10.0.0.200")..=host("10.0.0.200")]);
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    assert_eq!(external, at("10.0.0.200:5000"));
    assert!(nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)));
    let result = nat.send(Body::Udp, at("10.0.0.3:6000"), external);
    assert_eq!(ends(result.at_host()), (at("10.0.0.200:6000"), at(INSIDE)));
}

#[test]
fn rfc_4787_8_and_8a_filtering_admits_what_it_should() {
    let known = at(SERVER);
    let (same_host, other_host) = (at("8.8.8.8:99"), at("9.9.9.9:53"));
    for (filtering, admits_same_host, admits_other_host) in [
        (Filtering::EndpointIndependent, true, true),
        (Filtering::AddressDependent, true, false),
        (Filtering::AddressAndPortDependent, false, false),
    ] {
        for body in [Body::Udp, Body::Tcp(SYN)] {
            let mut nat = NatBox::new(|settings| settings.filtering = PerProtocol::all(filtering));
            let external = nat.open(body, at(INSIDE), known);
            assert!(nat.reaches(body, known, external, at(INSIDE)));
            assert_eq!(
                nat.reaches(body, same_host, external, at(INSIDE)),
                admits_same_host
            );
            assert_eq!(
                nat.reaches(body, other_host, external, at(INSIDE)),
                admits_other_host
            );
            let dropped = nat.test.dispatcher.totals().dropped;
            let filtered = u64::from(!admits_same_host) + u64::from(!admits_other_host);
            assert_eq!(dropped.get(DropReason::NatFiltered), filtered);
            // An answer from inside opens the way (and keeps the mapping).
            assert_eq!(nat.open(body, at(INSIDE), other_host), external);
            assert!(nat.reaches(body, other_host, external, at(INSIDE)));
        }
    }
}

#[test]
fn rfc_7857_7_what_is_filtered_keeps_nothing_alive() {
    let mut nat = NatBox::new(|settings| settings.filtering = PerProtocol::all(Filtering::AddressDependent));
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    for _ in 0..4 {
        nat.wait(60);
        assert!(!nat.reaches(Body::Udp, at(OTHER), external, at(INSIDE)));
    }
    nat.wait(60);
    assert!(nat.mappings().is_empty());
    assert!(!nat.reaches(Body::Udp, at(SERVER), external, at(INSIDE)));
}

#[test]
fn an_address_is_forgotten_with_its_last_session() {
    let mut nat = NatBox::new(|settings| settings.filtering = PerProtocol::all(Filtering::AddressDependent));
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    nat.open(Body::Udp, at(INSIDE), at(OTHER));
    nat.wait(200);
    nat.open(Body::Udp, at(INSIDE), at(OTHER));
    nat.wait(100);
    assert!(!nat.reaches(Body::Udp, at("8.8.8.8:54"), external, at(INSIDE)));
    assert!(nat.reaches(Body::Udp, at("9.9.9.9:54"), external, at(INSIDE)));
}

#[test]
fn rfc_4787_9_and_9a_hosts_inside_talk_by_their_external_endpoints() {
    for filtering in [
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ] {
        let mut nat = NatBox::new(|settings| settings.filtering = PerProtocol::all(filtering));
        let (one, other) = (at(INSIDE), at("10.0.0.3:6000"));
        let one_external = nat.open(Body::Udp, one, at(SERVER));
        let other_external = nat.open(Body::Udp, other, at(SERVER));
        let result = nat.send(Body::Udp, one, other_external);
        if filtering == Filtering::EndpointIndependent {
            assert_eq!(ends(result.at_host()), (one_external, other));
        } else {
            // The other host has to have sent something before, as to any host outside.
            assert_eq!(result.dropped(), DropReason::NatFiltered);
        }
        for _ in 0..3 {
            let result = nat.send(Body::Udp, other, one_external);
            assert_eq!(ends(result.at_host()), (other_external, one));
            let result = nat.send(Body::Udp, one, other_external);
            assert_eq!(ends(result.at_host()), (one_external, other));
        }
        // Both sides of it are kept alive by both hosts.
        nat.wait(299);
        nat.send(Body::Udp, one, other_external).at_host();
        nat.wait(299);
        assert_eq!(nat.mappings().len(), 2);
    }
}

#[test]
fn a_packet_to_an_external_port_of_nobody_opens_nothing() {
    let mut nat = NatBox::plain();
    let result = nat.send(Body::Udp, at(INSIDE), at("192.0.2.7:7777"));
    assert_eq!(result.dropped(), DropReason::NatNoMapping);
    let result = nat.reply(Body::Udp, at(SERVER), at("192.0.2.7:7777"));
    assert_eq!(result.dropped(), DropReason::NatNoMapping);
    assert!(nat.mappings().is_empty());
}

/// What application-level gateways would change: addresses and ports in what applications say.
#[test]
fn rfc_4787_10_and_5382_6_no_payload_is_looked_at() {
    let mut nat = NatBox::plain();
    for (body, port, payload) in [
        (Body::Tcp(SYN), 21, "PORT 10,0,0,2,19,136\r\n"),
        (Body::Tcp(SYN), 1723, "10.0.0.2"),
        (
            Body::Udp,
            5060,
            "REGISTER sip:10.0.0.2:5000 SIP/2.0\r\nContact: <sip:a@10.0.0.2:5000>\r\n",
        ),
        (Body::Udp, 53, "\x0a\x00\x00\x02"),
        (Body::Udp, 69, "\x00\x01file\x00octet\x00"),
    ] {
        let server = SocketAddrV4::new(host("8.8.8.8"), port);
        let result = nat.inside(&ip_packet(body, at(INSIDE), server, payload.as_bytes()));
        assert!(result.out().ends_with(payload.as_bytes()));
        let result = nat.outside(&ip_packet(body, server, at("192.0.2.7:5000"), payload.as_bytes()));
        assert!(result.at_host().ends_with(payload.as_bytes()));
    }
}

#[test]
fn rfc_4787_11_behaviour_does_not_change_as_the_pool_fills() {
    for already in [0, 50, 99, 100] {
        let mut nat = NatBox::new(|settings| settings.ports = vec![2000..=2100]);
        for port in 0..already {
            let inside = format!("10.0.0.9:{}", 2000 + port).parse().unwrap();
            nat.open(Body::Udp, inside, at(SERVER));
        }
        let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
        assert_eq!(nat.open(Body::Udp, at(INSIDE), at(OTHER)), external);
        assert!(nat.reaches(Body::Udp, at("151.101.1.1:1"), external, at(INSIDE)));
    }
}

/// Also where there is no room for sessions: who may send in does not change.
#[test]
fn rfc_4787_11_behaviour_does_not_change_as_sessions_run_out() {
    let mut nat = NatBox::new(|settings| settings.limits.sessions = 8);
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    for port in 1..50 {
        let remote = format!("9.9.9.9:{port}").parse().unwrap();
        assert!(nat.reaches(Body::Udp, remote, external, at(INSIDE)));
    }
    // Three quarters of the sessions at most are opened from outside.
    assert_eq!(nat.detail("/sessions"), 6);
    nat.open(Body::Udp, at(INSIDE), at("9.9.9.9:100"));
    nat.open(Body::Udp, at(INSIDE), at("9.9.9.9:101"));
    let result = nat.send(Body::Udp, at(INSIDE), at("9.9.9.9:102"));
    assert_eq!(result.dropped, [DropReason::NatSessionLimit]);
}

#[test]
fn rfc_4787_13_a_packet_that_is_too_big_and_may_not_be_cut_is_answered() {
    let mut nat = NatBox::plain();
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    let mut big = frame(&ip_packet(Body::Udp, at(INSIDE), at(SERVER), &[7; 1472]));
    edit_ipv4(&mut big, |header| header[6] = 0x40);
    let result = nat.inside_frame(&big);
    assert_eq!(result.dropped, [DropReason::TooBig]);
    assert!(result.wan.is_empty());
    // Type 3, code 4, next-hop MTU 1400; the packet is quoted as the host sent it.
    assert_eq!(result.lan[0][34..36], [3, 4]);
    assert_eq!(result.lan[0][40..42], 1400u16.to_be_bytes());
    assert_eq!(result.lan[0][42..62], big[14..34]);
}

#[test]
fn rfc_4787_13a_a_packet_that_is_too_big_and_may_be_cut_leaves_in_order() {
    let mut nat = NatBox::plain();
    let payload: Vec<u8> = (0..1472u32).map(|n| n as u8).collect();
    let mut big = frame(&ip_packet(Body::Udp, at(INSIDE), at(SERVER), &payload));
    edit_ipv4(&mut big, |header| header[6] = 0);
    let result = nat.inside_frame(&big);
    assert_eq!(result.wan.len(), 2, "{result:?}");
    let mut together = Vec::new();
    for (number, fragment) in result.wan.iter().enumerate() {
        assert_eq!(fragment[26..30], EXTERNAL.octets());
        let field = u16::from_be_bytes([fragment[20], fragment[21]]);
        assert_eq!(usize::from(field & 0x1fff) * 8, together.len());
        assert_eq!(field & 0x2000 != 0, number == 0);
        together.extend_from_slice(&packet(fragment)[20..]);
    }
    let whole = ip_packet(Body::Udp, at("192.0.2.7:5000"), at(SERVER), &payload);
    assert_eq!(together, whole[20..]);
}

#[test]
fn rfc_3022_4_1_a_udp_packet_without_checksum_stays_without() {
    let mut nat = NatBox::plain();
    let mut bytes = ip_packet(Body::Udp, at(INSIDE), at(SERVER), b"none");
    bytes[26..28].fill(0);
    assert_eq!(nat.inside(&bytes).out()[40..42], [0, 0]);
    let mut bytes = ip_packet(Body::Udp, at(SERVER), at("192.0.2.7:5000"), b"none");
    bytes[26..28].fill(0);
    assert_eq!(nat.outside(&bytes).at_host()[40..42], [0, 0]);
}

#[test]
fn options_and_padding_stay_as_they_are() {
    let mut nat = NatBox::plain();
    let plain = ip_packet(Body::Udp, at(INSIDE), at(SERVER), b"opt");
    // A router alert and the end of options (RFC 2113).
    let options = [0x94, 4, 0, 0, 0, 0, 0, 0];
    let mut bytes = frame(&[&plain[..20], &options, &plain[20..]].concat());
    bytes.extend_from_slice(b"padding");
    bytes[14] = 0x47;
    edit_ipv4(&mut bytes, |header| {
        header[2..4].copy_from_slice(&39u16.to_be_bytes());
    });
    let result = nat.inside_frame(&bytes);
    let out = result.out();
    assert_eq!(ends(out), (at("192.0.2.7:5000"), at(SERVER)));
    assert_eq!(out[34..42], options);
    assert_eq!(out[50..], *b"optpadding");
}

#[test]
fn rfc_7857_5_and_6_each_protocol_has_mappings_of_its_own() {
    let mut nat = NatBox::plain();
    let external = nat.open(Body::Tcp(SYN), at(INSIDE), at(SERVER));
    let result = nat.reply(Body::Udp, at(SERVER), external);
    assert_eq!(result.dropped(), DropReason::NatNoMapping);
    nat.open(Body::Udp, at("10.0.0.3:5000"), at(SERVER));
    assert!(nat.reaches(Body::Udp, at(SERVER), external, at("10.0.0.3:5000")));
    assert!(nat.reaches(Body::Tcp(SYN | ACK), at(SERVER), external, at(INSIDE)));
}
