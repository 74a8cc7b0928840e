//! RFC 5508 §4 and RFC 3022 §4.3: ICMP errors.

use std::net::SocketAddrV4;

use netchannel::drop_reason::DropReason;

use crate::common::edit_ipv4;
use crate::harness::*;
use crate::packets::*;

const EXTERNAL_END: &str = "192.0.2.7:5000";
const ROUTER: &str = "151.101.1.1";
const ECHO: Body = Body::Query(8);
const BODIES: [Body; 3] = [Body::Udp, Body::Tcp(SYN), ECHO];
const KINDS: [(u8, u8); 6] = [(3, 0), (3, 1), (3, 3), (3, 4), (11, 0), (12, 0)];

fn server(body: Body) -> SocketAddrV4 {
    if body == ECHO { at("8.8.8.8:0") } else { at(SERVER) }
}

/// A box with a mapping from INSIDE to EXTERNAL_END for this protocol.
fn open(body: Body) -> NatBox {
    let mut nat = NatBox::plain();
    assert_eq!(nat.open(body, at(INSIDE), server(body)), at(EXTERNAL_END));
    nat
}

/// A packet as it left by the mapping.
fn sent(body: Body) -> Vec<u8> {
    ip_packet(body, at(EXTERNAL_END), server(body), b"what was sent")
}

/// The same packet as the inside host sent it.
fn sent_inside(body: Body) -> Vec<u8> {
    ip_packet(body, at(INSIDE), server(body), b"what was sent")
}

/// The packet one hop further on.
fn hop(packet: &[u8]) -> Vec<u8> {
    let mut bytes = frame(packet);
    edit_ipv4(&mut bytes, |header| header[8] -= 1);
    bytes[14..].to_vec()
}

/// Changes bytes of an error's message and makes its checksum right again.
fn edit_message(packet: &mut [u8], edit: impl FnOnce(&mut [u8])) {
    let message = &mut packet[20..];
    edit(message);
    message[2..4].fill(0);
    let sum = netchannel::packet::checksum::of(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn rfc_5508_4_and_4787_12b_and_5382_9_an_error_from_outside_reaches_the_sender_byte_by_byte() {
    for body in BODIES {
        let mut nat = open(body);
        for (kind, code) in KINDS {
            for router in [ROUTER, "8.8.8.8"] {
                // RFC 4787 REQ-12 (a): whoever sends the error.
                let result = nat.outside(&error(kind, code, router, EXTERNAL, &sent(body)));
                let expected = error(kind, code, router, host("10.0.0.2"), &sent_inside(body));
                assert_eq!(packet(result.at_host()), hop(&expected), "{body:?} {kind}/{code}");
            }
        }
    }
}

#[test]
fn the_next_hop_mtu_stays() {
    let mut nat = open(Body::Tcp(SYN));
    let message = icmp(3, 4, [0, 0, 0x05, 0x14], &sent(Body::Tcp(SYN)));
    let result = nat.outside(&ipv4(1, host(ROUTER), EXTERNAL, &message));
    assert_eq!(result.at_host()[38..42], [0, 0, 0x05, 0x14]);
}

#[test]
fn rfc_5508_3_a_wrong_checksum_is_dropped() {
    for body in BODIES {
        let mut nat = open(body);
        let mut bytes = error(3, 3, ROUTER, EXTERNAL, &sent(body));
        bytes[22] ^= 1;
        assert_eq!(nat.outside(&bytes).dropped(), DropReason::NatIcmpChecksum);
        let mut bytes = error(3, 3, "10.0.0.2", host("8.8.8.8"), &sent(body));
        bytes[22] ^= 1;
        assert_eq!(nat.inside(&bytes).dropped(), DropReason::NatIcmpChecksum);
    }
}

#[test]
fn rfc_5508_3a_a_wrong_checksum_of_the_quoted_header_is_dropped() {
    let mut nat = open(Body::Udp);
    let mut bytes = error(3, 3, ROUTER, EXTERNAL, &sent(Body::Udp));
    edit_message(&mut bytes, |message| message[8 + 10] ^= 1);
    assert_eq!(nat.outside(&bytes).dropped(), DropReason::NatIcmpChecksum);
}

#[test]
fn rfc_5508_3b_options_of_the_quoted_packet_are_skipped() {
    for words in 6..=15u8 {
        let with_options = |plain: &[u8]| {
            let options = vec![1; usize::from(words - 5) * 4];
            let mut bytes = frame(&[&plain[..20], &options, &plain[20..]].concat());
            bytes[14] = 0x40 | words;
            let length = bytes.len() as u16 - 14;
            edit_ipv4(&mut bytes, |header| {
                header[2..4].copy_from_slice(&length.to_be_bytes())
            });
            bytes[14..].to_vec()
        };
        let mut nat = open(Body::Udp);
        let result = nat.outside(&error(11, 0, ROUTER, EXTERNAL, &with_options(&sent(Body::Udp))));
        let expected = error(
            11,
            0,
            ROUTER,
            host("10.0.0.2"),
            &with_options(&sent_inside(Body::Udp)),
        );
        assert_eq!(packet(result.at_host()), hop(&expected));
    }
}

/// Eight bytes of the transport header are enough, and its checksum may be wrong.
#[test]
fn rfc_5508_3c_the_quoted_transport_checksum_is_not_checked() {
    for body in BODIES {
        for length in [28, 35, 36, 37, 38, 39] {
            let mut nat = open(body);
            let mut short = sent(body);
            short.truncate(length);
            let mut expected = sent_inside(body);
            expected.truncate(length);
            if length == 37 && matches!(body, Body::Tcp(_)) {
                // Half of TCP's checksum is quoted: it can't be kept right, and stays as it is.
                expected[36] = short[36];
            }
            let result = nat.outside(&error(11, 0, ROUTER, EXTERNAL, &short));
            let expected = error(11, 0, ROUTER, host("10.0.0.2"), &expected);
            assert_eq!(packet(result.at_host()), hop(&expected), "{body:?} {length}");
        }
    }
    let mut nat = open(Body::Udp);
    let mut wrong = sent(Body::Udp);
    wrong[30] ^= 1;
    let mut expected = sent_inside(Body::Udp);
    expected[30] ^= 1;
    let message = icmp(3, 3, [0; 4], &wrong);
    nat.test
        .wan
        .send(&to_wan(&frame(&ipv4(1, host(ROUTER), EXTERNAL, &message))));
    nat.test.run();
    let out = nat.test.lan.sent_all();
    let expected = error(3, 3, ROUTER, host("10.0.0.2"), &expected);
    assert_eq!(packet(&out[0]), hop(&expected));
}

/// RFC 4884: the quoted packet is padded to 128 bytes, an MPLS label stack follows (RFC 4950).
#[test]
fn rfc_5508_3d_extensions_stay_as_they_are() {
    let extension = {
        let mut bytes = vec![0x20, 0, 0, 0, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0x40];
        let sum = netchannel::packet::checksum::of(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let with_extension = |quoted: &[u8], to: &str| {
        let mut original = quoted.to_vec();
        original.resize(128, 0);
        original.extend_from_slice(&extension);
        let message = icmp(11, 0, [0, 32, 0, 0], &original);
        ipv4(1, host(ROUTER), host(to), &message)
    };
    for body in BODIES {
        let mut nat = open(body);
        let result = nat.outside(&with_extension(&sent(body), "192.0.2.7"));
        let expected = with_extension(&sent_inside(body), "10.0.0.2");
        assert_eq!(packet(result.at_host()), hop(&expected));
    }
}

/// What follows the quoted packet, as the message tells its length, is not part of it: here the place of TCP's checksum.
#[test]
fn rfc_5508_3d_an_extension_right_behind_the_quoted_packet_stays() {
    let mut nat = open(Body::Tcp(SYN));
    let with_extension = |quoted: &[u8], to: &str| {
        let message = icmp(3, 3, [0, 7, 0, 0], &[&quoted[..28], &[0x5a; 20]].concat());
        ipv4(1, host(ROUTER), host(to), &message)
    };
    let result = nat.outside(&with_extension(&sent(Body::Tcp(SYN)), "192.0.2.7"));
    let expected = with_extension(&sent_inside(Body::Tcp(SYN)), "10.0.0.2");
    assert_eq!(packet(result.at_host()), hop(&expected));
    // A length that cuts the ports off, and one that is beyond the message: before RFC 4884 there was none.
    let mut bytes = error(3, 3, ROUTER, EXTERNAL, &sent(Body::Tcp(SYN)));
    edit_message(&mut bytes, |message| message[5] = 6);
    assert_eq!(nat.outside(&bytes).dropped(), DropReason::NatIcmpEmbedded);
    edit_message(&mut bytes, |message| message[5] = 200);
    nat.outside(&bytes).at_host();
}

/// Ethernet's padding is no part of the message.
#[test]
fn rfc_5508_3d_padding_is_not_summed() {
    let mut nat = open(Body::Udp);
    let mut short = sent(Body::Udp);
    short.truncate(28);
    let mut padded = frame(&error(11, 0, ROUTER, EXTERNAL, &short));
    padded.extend_from_slice(&[0xff; 9]);
    nat.outside_frame(&padded).at_host();
}

#[test]
fn rfc_5508_4_an_error_about_nothing_known_is_dropped() {
    let unrelated = DropReason::NatIcmpUnrelated;
    for body in BODIES {
        let mut nat = open(body);
        let about = |external, destination| ip_packet(body, at(external), destination, b"what was sent");
        // Another port, another address, and the wrong receiver.
        let bytes = error(3, 3, ROUTER, EXTERNAL, &about("192.0.2.7:5001", server(body)));
        assert_eq!(nat.outside(&bytes).dropped(), unrelated);
        let bytes = error(3, 3, ROUTER, EXTERNAL, &about("192.0.2.8:5000", server(body)));
        assert_eq!(nat.outside(&bytes).dropped(), unrelated);
        let bytes = error(3, 3, ROUTER, host("192.0.2.8"), &sent(body));
        assert_eq!(nat.outside(&bytes).dropped(), DropReason::NatExternalSource);
        // What came in, seen from outside.
        let bytes = error(3, 3, ROUTER, EXTERNAL, &about("8.8.8.8:53", at(EXTERNAL_END)));
        assert_eq!(nat.outside(&bytes).dropped(), unrelated);
    }
    // To another of the external addresses than the one that the packet had.
    let both = [EXTERNAL, host("192.0.2.8")];
    let mut nat = NatBox::new(|settings| settings.external = both.map(|address| address..=address).to_vec());
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    let other = both[usize::from(*external.ip() == both[0])];
    let bytes = error(
        3,
        3,
        ROUTER,
        other,
        &ip_packet(Body::Udp, external, at(SERVER), b"sent"),
    );
    assert_eq!(nat.outside(&bytes).dropped(), unrelated);
    // An error about an error, and about a protocol without ports.
    let mut nat = open(ECHO);
    let inner = ipv4(
        1,
        EXTERNAL,
        host("8.8.8.8"),
        &icmp(3, 3, [0; 4], &sent(Body::Udp)),
    );
    assert_eq!(
        nat.outside(&error(11, 0, ROUTER, EXTERNAL, &inner)).dropped(),
        unrelated
    );
    let inner = ipv4(47, EXTERNAL, host("8.8.8.8"), &[0; 20]);
    assert_eq!(
        nat.outside(&error(11, 0, ROUTER, EXTERNAL, &inner)).dropped(),
        unrelated
    );
}

#[test]
fn an_error_that_is_cut_off_is_dropped() {
    let mut nat = open(Body::Udp);
    let whole = sent(Body::Udp);
    for length in 0..28 {
        let bytes = error(3, 3, ROUTER, EXTERNAL, &whole[..length]);
        assert_eq!(
            nat.outside(&bytes).dropped(),
            DropReason::NatIcmpEmbedded,
            "{length}"
        );
        let mut came = ip_packet(Body::Udp, at(SERVER), at(INSIDE), b"");
        came.truncate(length);
        let bytes = error(3, 3, "10.0.0.2", host("8.8.8.8"), &came);
        assert_eq!(
            nat.inside(&bytes).dropped(),
            DropReason::NatIcmpEmbedded,
            "{length}"
        );
    }
    for first in [0x65, 0x44, 0x05, 0x4f] {
        let mut bytes = error(3, 3, ROUTER, EXTERNAL, &whole);
        edit_message(&mut bytes, |message| message[8] = first);
        let reason = nat.outside(&bytes).dropped();
        assert_eq!(reason, DropReason::NatIcmpEmbedded, "{first:#x}");
    }
    let mut later = frame(&whole);
    edit_ipv4(&mut later, |header| header[7] = 1);
    let bytes = error(3, 3, ROUTER, EXTERNAL, &later[14..]);
    assert_eq!(nat.outside(&bytes).dropped(), DropReason::NatFragment);
}

/// Also RFC 3022 §5: no inside address is seen outside, though a router inside sends the error.
#[test]
fn rfc_5508_5_an_error_from_inside_leaves_byte_by_byte() {
    for body in BODIES {
        let reply = if body == ECHO { Body::Query(0) } else { body };
        for (kind, code) in KINDS {
            for router in ["10.0.0.2", "10.0.0.9", "172.31.0.1"] {
                let mut nat = open(body);
                let came = |to| ip_packet(reply, server(body), at(to), b"what came");
                let result = nat.inside(&error(kind, code, router, host("8.8.8.8"), &came(INSIDE)));
                let expected = error(kind, code, "192.0.2.7", host("8.8.8.8"), &came(EXTERNAL_END));
                assert_eq!(packet(result.out()), hop(&expected), "{body:?} {kind}/{code}");
            }
        }
    }
}

#[test]
fn rfc_5508_5_an_error_from_inside_about_nothing_known_is_dropped() {
    let mut nat = open(Body::Udp);
    let unrelated = DropReason::NatIcmpUnrelated;
    let came = |from, to| ip_packet(Body::Udp, at(from), at(to), b"what came");
    let bytes = error(3, 3, "10.0.0.2", host("8.8.8.8"), &came(SERVER, "10.0.0.2:5001"));
    assert_eq!(nat.inside(&bytes).dropped(), unrelated);
    // To somebody else than whoever sent the packet: it would give an inside address away.
    let bytes = error(3, 3, "10.0.0.2", host("8.8.8.8"), &came("10.0.0.5:53", INSIDE));
    assert_eq!(nat.inside(&bytes).dropped(), unrelated);
    // About a query: nobody outside asks through a mapping, also if there is one for identifier 0.
    nat.open(ECHO, at("10.0.0.2:0"), at("8.8.8.8:0"));
    let bytes = error(
        3,
        3,
        "10.0.0.2",
        host("8.8.8.8"),
        &ip_packet(ECHO, at("8.8.8.8:5000"), at("10.0.0.2:0"), b""),
    );
    assert_eq!(nat.inside(&bytes).dropped(), unrelated);
}

#[test]
fn rfc_5508_6_errors_leave_the_timeout_alone() {
    let mut nat = open(ECHO);
    for round in 0..6 {
        assert_eq!(nat.mappings().len(), 1, "{round}");
        nat.outside(&error(3, 1, ROUTER, EXTERNAL, &sent(ECHO))).at_host();
        nat.wait(10);
    }
    assert!(nat.mappings().is_empty());
}

#[test]
fn rfc_5508_7_and_7a_an_error_between_hosts_inside() {
    for (body, answer) in [(Body::Udp, Body::Udp), (Body::Tcp(SYN), Body::Tcp(SYN | ACK))] {
        let mut nat = open(body);
        let other = at("10.0.0.3:6000");
        let other_external = nat.open(body, other, at(SERVER));
        let result = nat.send(body, at(INSIDE), other_external);
        let delivered = packet(result.at_host()).to_vec();
        // The receiver says that its port is unreachable; it is known by its external endpoint.
        let result = nat.inside(&error(3, 3, "10.0.0.3", EXTERNAL, &delivered));
        let mut seen = frame(&ip_packet(body, at(INSIDE), other_external, b"to the outside"));
        edit_ipv4(&mut seen, |header| header[8] = 63);
        let expected = error(3, 3, "192.0.2.7", host("10.0.0.2"), &seen[14..]);
        assert_eq!(packet(result.at_host()), hop(&expected));
        // It has ended nothing.
        let result = nat.send(answer, other, at(EXTERNAL_END));
        assert_eq!(ends(result.at_host()), (other_external, at(INSIDE)));
        // About a packet that nobody sent: dropped.
        let forged = ip_packet(body, at("192.0.2.7:7000"), other, b"");
        let result = nat.inside(&error(3, 3, "10.0.0.3", EXTERNAL, &forged));
        assert_eq!(result.dropped(), DropReason::NatIcmpUnrelated);
        let forged = ip_packet(body, at(EXTERNAL_END), at("10.0.0.3:6001"), b"");
        let result = nat.inside(&error(3, 3, "10.0.0.3", EXTERNAL, &forged));
        assert_eq!(result.dropped(), DropReason::NatIcmpUnrelated);
    }
}

/// RFC 5508 REQ-10 (d) to (f): the box sends no error about an error.
#[test]
fn rfc_5508_10e_an_expired_error_is_not_answered() {
    let mut nat = open(Body::Udp);
    let mut bytes = frame(&error(3, 3, ROUTER, EXTERNAL, &sent(Body::Udp)));
    edit_ipv4(&mut bytes, |header| header[8] = 1);
    assert_eq!(nat.outside_frame(&bytes).dropped(), DropReason::TtlExpired);
}

/// 5508-4: a quoted datagram that could be fragmented, and so had another identification outside, gets its own back.
#[test]
fn rfc_5508_4_the_identification_of_a_quoted_datagram_is_restored() {
    let with = |packet: &[u8], identification: u16, field: [u8; 2]| {
        let mut bytes = frame(packet);
        edit_ipv4(&mut bytes, |header| {
            header[4..6].copy_from_slice(&identification.to_be_bytes());
            header[6..8].copy_from_slice(&field);
        });
        bytes[14..].to_vec()
    };
    for body in BODIES {
        let mut nat = open(body);
        let inside = with(
            &ip_packet(body, at(INSIDE), server(body), b"what was sent"),
            77,
            [0, 0],
        );
        let left = packet(nat.inside(&inside).out()).to_vec();
        assert_ne!(left[4..6], [0, 77]);
        let result = nat.outside(&error(11, 0, ROUTER, EXTERNAL, &left));
        // As it was sent, but for a hop.
        let expected = error(11, 0, ROUTER, host("10.0.0.2"), &hop(&inside));
        assert_eq!(packet(result.at_host()), hop(&expected), "{body:?}");
        // One that never left so, and one that is not fragmented, stay.
        for (identification, field) in [
            (u16::from_be_bytes([left[4], left[5]]) ^ 0x1000, [0, 0]),
            (78, [0x40, 0]),
        ] {
            let quoted = with(&left, identification, field);
            let expected = error(
                11,
                0,
                ROUTER,
                host("10.0.0.2"),
                &with(&hop(&inside), identification, field),
            );
            let result = nat.outside(&error(11, 0, ROUTER, EXTERNAL, &quoted));
            assert_eq!(packet(result.at_host()), hop(&expected), "{body:?}");
        }
    }
}
