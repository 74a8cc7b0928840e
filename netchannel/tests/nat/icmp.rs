//! RFC 5508: queries, and ICMP in general.

use netchannel::drop_reason::DropReason;

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
