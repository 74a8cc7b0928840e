//! RFC 5508: queries, and ICMP in general.

use netchannel::drop_reason::DropReason;
use netchannel::interface::Interfaces;

use crate::common::{edit_ipv4, interfaces};
use crate::harness::*;
use crate::packets::*;

const ECHO: Body = Body::Query(8);
const ECHO_REPLY: Body = Body::Query(0);
const PINGED: &str = "8.8.8.8:0";

#[test]
fn rfc_5508_1_and_10a_queries_from_inside_are_answered() {
    for (query, reply) in [(8, 0), (13, 14)] {
        let mut nat = NatBox::plain();
        let external = nat.open(Body::Query(query), at(INSIDE), at(PINGED));
        assert_eq!(external, at("192.0.2.7:5000"));
        assert!(nat.reaches(Body::Query(reply), at(PINGED), external, at(INSIDE)));
        // Another host with the same identifier gets another one.
        let other = nat.open(Body::Query(query), at("10.0.0.3:5000"), at(PINGED));
        assert_ne!(other.port(), external.port());
        assert!(nat.reaches(Body::Query(reply), at(PINGED), other, at("10.0.0.3:5000")));
    }
}

#[test]
fn rfc_5508_1a_one_external_identifier_for_every_host() {
    let mut nat = NatBox::plain();
    let external = nat.open(ECHO, at(INSIDE), at(PINGED));
    assert_eq!(nat.open(ECHO, at(INSIDE), at("9.9.9.9:0")), external);
}

#[test]
fn rfc_5508_2_and_7857_11_a_query_may_be_answered_for_a_minute() {
    for (silence, survives) in [(59, true), (60, false)] {
        let mut nat = NatBox::plain();
        let external = nat.open(ECHO, at(INSIDE), at(PINGED));
        nat.wait(silence);
        assert_eq!(nat.mappings().len(), usize::from(survives));
        assert_eq!(
            nat.reaches(ECHO_REPLY, at(PINGED), external, at(INSIDE)),
            survives
        );
    }
}

#[test]
fn rfc_5508_2a_the_timeout_is_a_setting() {
    let mut nat = NatBox::new(|settings| settings.timeouts.icmp = std::time::Duration::from_secs(90));
    let external = nat.open(ECHO, at(INSIDE), at(PINGED));
    nat.wait(89);
    assert!(nat.reaches(ECHO_REPLY, at(PINGED), external, at(INSIDE)));
}

/// The identifier 0 is one like the others, though it makes queries look like other ICMP packets to the flow table.
#[test]
fn identifier_zero_is_an_identifier() {
    let mut nat = NatBox::plain();
    let inside = at("10.0.0.2:0");
    for _ in 0..2 {
        let external = nat.open(ECHO, inside, at(PINGED));
        assert_ne!(external.port(), 0);
        assert!(nat.reaches(ECHO_REPLY, at(PINGED), external, inside));
        let redirect = ipv4(1, host("8.8.8.8"), EXTERNAL, &icmp(5, 1, [0; 4], &[0; 28]));
        assert_eq!(nat.outside(&redirect).dropped(), DropReason::NatIcmpKind);
        let answer = nat.send(ECHO_REPLY, at("10.0.0.2:0"), at("8.8.8.8:0"));
        assert_eq!(answer.dropped(), DropReason::NatIcmpKind);
    }
}

#[test]
fn nobody_answers_a_query_that_he_was_not_sent() {
    let mut nat = NatBox::plain();
    let external = nat.open(ECHO, at(INSIDE), at(PINGED));
    let result = nat.reply(ECHO_REPLY, at("9.9.9.9:0"), external);
    assert_eq!(result.dropped(), DropReason::NatFiltered);
    let result = nat.reply(ECHO_REPLY, at(PINGED), at("192.0.2.7:77"));
    assert_eq!(result.dropped(), DropReason::NatNoMapping);
    // A query from outside is for nobody: the external address belongs to the translator.
    let result = nat.reply(ECHO, at("8.8.8.8:5000"), at("192.0.2.7:0"));
    assert_eq!(result.dropped(), DropReason::NatNoMapping);
    let result = nat.send(ECHO_REPLY, at("10.0.0.2:0"), at("8.8.8.8:5000"));
    assert_eq!(result.dropped(), DropReason::NatIcmpKind);
}

/// Every type in both directions: what is translated, and what is dropped and counted. Nothing else leaves.
#[test]
fn rfc_5508_10b_every_type_is_translated_or_dropped_and_counted() {
    let mut counted = std::collections::BTreeMap::new();
    let mut nat = NatBox::plain();
    let external = nat.open(ECHO, at(INSIDE), at(PINGED));
    let query = nat.open(Body::Query(13), at("10.0.0.3:6000"), at(PINGED));
    for kind in 0..=255u8 {
        let sent = ip_packet(ECHO, external, at(PINGED), b"what was sent");
        let came = ip_packet(ECHO_REPLY, at(PINGED), at(INSIDE), b"what came");
        let identifier = if kind == 14 { query.port() } else { external.port() };
        let word = [identifier.to_be_bytes(), [0, 1]].concat();
        let inbound = ipv4(1, host("8.8.8.8"), EXTERNAL, &icmp(kind, 0, &word, &sent));
        let outbound = ipv4(1, host("10.0.0.2"), host("8.8.8.8"), &icmp(kind, 0, &word, &came));
        let (inbound, outbound) = (nat.outside(&inbound), nat.inside(&outbound));
        match kind {
            3 | 11 | 12 => {
                inbound.at_host();
                outbound.out();
            }
            8 | 13 => {
                assert_eq!(inbound.dropped(), DropReason::NatNoMapping);
                outbound.out();
            }
            0 | 14 => {
                inbound.at_host();
                assert_eq!(outbound.dropped(), DropReason::NatIcmpKind);
            }
            // Source quench, redirect, router discovery, information, address mask, and what is not ICMP any more.
            _ => {
                assert_eq!(inbound.dropped(), DropReason::NatIcmpKind);
                assert_eq!(outbound.dropped(), DropReason::NatIcmpKind);
                counted.insert(kind.to_string(), 2);
            }
        }
    }
    assert_eq!(nat.detail("/unsupported_icmp_types"), serde_json::json!(counted));
}

/// RFC 5508 REQ-10 (d): the mark of a packet stays, and the box's own errors have precedence 6 (RFC 1812 §4.3.2.5).
#[test]
fn rfc_5508_10d_the_ds_field_is_kept() {
    let mut nat = NatBox::plain();
    let mut bytes = frame(&ip_packet(ECHO, at(INSIDE), at(PINGED), b"marked"));
    edit_ipv4(&mut bytes, |header| header[1] = 0xb8);
    assert_eq!(nat.inside_frame(&bytes).out()[15], 0xb8);
    edit_ipv4(&mut bytes, |header| header[8] = 1);
    assert_eq!(nat.inside_frame(&bytes).lan[0][15], 0xc0);
}

#[test]
fn rfc_5508_10e_no_error_about_what_is_for_many_or_has_no_sender() {
    let mut nat = NatBox::plain();
    let expired = |destination: &str, source: &str| {
        let mut bytes = frame(&ip_packet(Body::Udp, at(source), at(destination), b"expired"));
        edit_ipv4(&mut bytes, |header| header[8] = 1);
        bytes
    };
    assert_eq!(nat.inside_frame(&expired(SERVER, INSIDE)).lan.len(), 1);
    for (destination, source) in [
        ("224.0.0.5:53", INSIDE),
        ("255.255.255.255:53", INSIDE),
        (SERVER, "127.0.0.1:5000"),
        (SERVER, "0.0.0.0:5000"),
        (SERVER, "224.0.0.5:5000"),
    ] {
        nat.inside_frame(&expired(destination, source)).dropped();
    }
    // A later fragment, and a frame to a group.
    nat.inside_frame(&expired(SERVER, INSIDE));
    let mut later = expired(SERVER, INSIDE);
    edit_ipv4(&mut later, |header| header[6..8].copy_from_slice(&[0, 9]));
    assert!(nat.inside_frame(&later).lan.is_empty());
    let mut group = expired(SERVER, INSIDE);
    group[..6].fill(0xff);
    nat.inside_frame(&group).dropped();
}

#[test]
fn rfc_5508_10f_the_boxs_own_errors_are_limited_in_rate() {
    let mut nat = NatBox::plain();
    let mut expired = frame(&ip_packet(Body::Udp, at(INSIDE), at(SERVER), b"expired"));
    edit_ipv4(&mut expired, |header| header[8] = 1);
    let answers = |nat: &mut NatBox| {
        (0..200)
            .map(|_| nat.inside_frame(&expired).lan.len())
            .sum::<usize>()
    };
    assert_eq!(answers(&mut nat), 50);
    nat.leap(std::time::Duration::from_millis(10));
    assert_eq!(answers(&mut nat), 10);
    // What others send is not limited: it is theirs.
    let sent = ip_packet(Body::Udp, at("192.0.2.7:5000"), at(SERVER), b"");
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    for _ in 0..200 {
        nat.outside(&error(3, 3, "9.9.9.9", EXTERNAL, &sent)).at_host();
    }
}

/// Also that REQ-9 overrides REQ-10.
#[test]
fn rfc_5508_9_an_interface_that_gets_no_errors() {
    for (lan, wan) in [(true, true), (true, false), (false, true), (false, false)] {
        let all = interfaces();
        let chosen = all.iter().map(|(_, interface)| netchannel::interface::Interface {
            sends_icmp_errors: if interface.name == "lan" { lan } else { wan },
            ..interface.clone()
        });
        let mut nat = NatBox::on(Interfaces::new(chosen.collect()), |settings| {
            settings.ports = vec![5000..=5000];
        });
        let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
        let mut expired = frame(&ip_packet(Body::Udp, at(INSIDE), at(SERVER), b"expired"));
        edit_ipv4(&mut expired, |header| header[8] = 1);
        assert_eq!(nat.inside_frame(&expired).lan.len(), usize::from(lan));
        // No port is left (REQ-8).
        let refused = nat.send(Body::Udp, at("10.0.0.3:5000"), at(SERVER));
        assert_eq!(refused.lan.len(), usize::from(lan));
        let mut expired = frame(&ip_packet(Body::Udp, at(SERVER), external, b"expired"));
        edit_ipv4(&mut expired, |header| header[8] = 1);
        assert_eq!(nat.outside_frame(&expired).wan.len(), usize::from(wan));
        // Errors of others pass.
        let sent = ip_packet(Body::Udp, external, at(SERVER), b"");
        nat.outside(&error(3, 3, "9.9.9.9", EXTERNAL, &sent)).at_host();
    }
}

#[test]
fn rfc_5508_10c_and_11_other_messages_are_dropped() {
    let mut nat = NatBox::plain();
    nat.open(ECHO, at(INSIDE), at(PINGED));
    for kind in [4, 5, 9, 10, 15, 16, 17, 18, 30, 40, 42, 255] {
        let message = icmp(kind, 0, [0; 4], &[0; 28]);
        let inbound = ipv4(1, host("8.8.8.8"), EXTERNAL, &message);
        assert_eq!(nat.outside(&inbound).dropped(), DropReason::NatIcmpKind);
        let outbound = ipv4(1, host("10.0.0.2"), host("8.8.8.8"), &message);
        assert_eq!(nat.inside(&outbound).dropped(), DropReason::NatIcmpKind);
    }
}

/// Also RFC 5382 REQ-10 and RFC 5508 REQ-6: no ICMP message ends a mapping, and none keeps it alive.
#[test]
fn rfc_4787_12_and_5382_10_no_icmp_message_changes_a_mapping() {
    for body in [Body::Udp, Body::Tcp(SYN), ECHO] {
        let mut nat = NatBox::plain();
        let query = body == ECHO;
        let server = if query { at(PINGED) } else { at(SERVER) };
        let external = nat.open(body, at(INSIDE), server);
        let timeout = match body {
            Body::Udp => 300,
            Body::Tcp(_) => 240,
            Body::Query(_) => 60,
        };
        let sent = ip_packet(body, external, server, b"what was sent");
        let came = match body {
            ECHO => ip_packet(ECHO_REPLY, server, at(INSIDE), b"what came"),
            _ => ip_packet(body, server, at(INSIDE), b"what came"),
        };
        nat.wait(timeout / 2);
        for kind in 0..=255 {
            for code in [0, 1, 2, 3, 4, 13, 15] {
                let message = icmp(kind, code, external.port().to_be_bytes(), &sent);
                nat.outside(&ipv4(1, host("9.9.9.9"), EXTERNAL, &message));
                // A query from inside makes a mapping of its own, as it should.
                if !matches!(kind, 8 | 13) {
                    let message = icmp(kind, code, INSIDE_PORT.to_be_bytes(), &came);
                    nat.inside(&ipv4(1, host("10.0.0.2"), host("9.9.9.9"), &message));
                }
            }
        }
        let mappings = nat.mappings();
        assert_eq!(mappings.len(), 1);
        assert_eq!(mappings[0]["idle_seconds"], timeout / 2);
        nat.wait(timeout / 2 - 1);
        assert_eq!(nat.mappings().len(), 1);
        nat.wait(1);
        assert_eq!(nat.mappings().len(), 0);
    }
}

const INSIDE_PORT: u16 = 5000;
