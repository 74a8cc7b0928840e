//! Broken packets of every kind: none may stop the box, and every frame is accounted for.

use std::net::IpAddr;
use std::time::Duration;

use netchannel::packet::{Headers, Transport, checksum};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::harness::*;
use crate::packets::*;

/// Packets that mean something to a translator with a mapping from INSIDE to 192.0.2.7:5000 for each protocol; which side they come
/// from, and the IPv4 packet.
fn good_packets() -> Vec<(bool, Vec<u8>)> {
    let external = at("192.0.2.7:5000");
    let (server, pinged) = (at(SERVER), at("8.8.8.8:0"));
    let mut packets = Vec::new();
    for body in [
        Body::Udp,
        Body::Tcp(SYN),
        Body::Tcp(ACK),
        Body::Tcp(FIN | ACK),
        Body::Tcp(RST),
        Body::Query(8),
    ] {
        let query = body == Body::Query(8);
        let (remote, answer) = if query {
            (pinged, Body::Query(0))
        } else {
            (server, body)
        };
        packets.push((true, ip_packet(body, at(INSIDE), remote, b"payload")));
        packets.push((false, ip_packet(answer, remote, external, b"payload")));
        packets.push((true, ip_packet(body, at("10.0.0.3:6000"), external, b"payload")));
        let sent = ip_packet(body, external, remote, b"payload");
        packets.push((false, error(3, 3, "9.9.9.9", EXTERNAL, &sent)));
        packets.push((false, error(11, 0, "9.9.9.9", EXTERNAL, &sent[..28])));
        let came = ip_packet(answer, remote, at(INSIDE), b"payload");
        packets.push((true, error(3, 3, "10.0.0.2", *remote.ip(), &came)));
        let hairpinned = ip_packet(body, at("192.0.2.7:6000"), at(INSIDE), b"payload");
        packets.push((true, error(3, 3, "10.0.0.2", EXTERNAL, &hairpinned)));
    }
    packets
}

#[derive(Clone, Debug)]
enum Change {
    None,
    /// Sets a byte.
    Byte(Index, u8),
    /// Cuts the packet off.
    Cut(Index),
    /// Adds bytes.
    Add(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => Just(Change::None),
        6 => (any::<Index>(), any::<u8>()).prop_map(|(index, byte)| Change::Byte(index, byte)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Change::Add),
    ]
}

fn apply(change: &Change, frame: &mut Vec<u8>) {
    match change {
        Change::None => {}
        Change::Byte(index, byte) if !frame.is_empty() => {
            let place = index.index(frame.len());
            frame[place] = *byte;
        }
        Change::Byte(..) => {}
        Change::Cut(index) => frame.truncate(index.index(frame.len() + 1)),
        Change::Add(bytes) => frame.extend_from_slice(bytes),
    }
}

/// Makes the checksums that are checked right again, so that a broken packet gets further.
fn repair(frame: &mut [u8]) {
    let Some(&first) = frame.get(14) else { return };
    let header_end = 14 + usize::from(first & 0x0f) * 4;
    if header_end < 34 || frame.len() < header_end {
        return;
    }
    frame[24..26].fill(0);
    let sum = checksum::of(&frame[14..header_end]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let Ok(headers) = Headers::parse(frame) else {
        return;
    };
    if let Transport::Icmp { .. } = headers.transport {
        let start = usize::from(headers.transport_start);
        let end = usize::from(headers.end);
        frame[start + 2..start + 4].fill(0);
        let sum = checksum::of(&frame[start..end]);
        frame[start + 2..start + 4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Nothing that leaves by `wan` says that it comes from inside, nor does what it quotes.
fn assert_nothing_leaks(frame: &[u8]) {
    let is_public = |address: IpAddr| address == IpAddr::V4(EXTERNAL) || address == IpAddr::V4(OWN);
    let Ok(headers) = Headers::parse(frame) else {
        panic!("a broken packet left: {frame:x?}")
    };
    assert!(is_public(headers.source), "{headers:?}");
    if let Transport::Icmp {
        kind: 3 | 11 | 12, ..
    } = headers.transport
        && let Some(destination) = frame
            .get(usize::from(headers.transport_start) + 24..)
            .and_then(|rest| rest.first_chunk::<4>())
    {
        assert!(is_public(IpAddr::from(*destination)), "{destination:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// X-6, RFC 3022 §5.
    #[test]
    fn broken_packets_are_dropped_or_translated_and_none_is_lost(
        packets in proptest::collection::vec(
            (any::<Index>(), proptest::collection::vec(change(), 0..4), any::<bool>(), 0u64..20_000),
            1..80,
        ),
    ) {
        let good = good_packets();
        let mut nat = NatBox::plain();
        for body in [Body::Udp, Body::Tcp(SYN), Body::Query(8)] {
            let remote = if body == Body::Query(8) { at("8.8.8.8:0") } else { at(SERVER) };
            nat.open(body, at(INSIDE), remote);
        }
        for (index, changes, repaired, milliseconds) in packets {
            let (from_inside, packet) = index.get(&good);
            let mut bytes = frame(packet);
            for change in &changes {
                apply(change, &mut bytes);
            }
            if repaired {
                repair(&mut bytes);
            }
            nat.leap(Duration::from_millis(milliseconds));
            nat.test.dispatcher.tick(nat.test.now);
            let wire = if *from_inside { &nat.test.lan } else { &nat.test.wan };
            prop_assert!(wire.send(&bytes));
            nat.test.run();
            for frame in nat.test.wan.sent_all() {
                assert_nothing_leaks(&frame);
            }
            nat.test.lan.sent_all();
            nat.test.assert_all_accounted_for();
        }
        nat.test.dispatcher.cleanup(nat.test.now);
        nat.test.lan.sent_all();
        nat.test.wan.sent_all();
        let totals = nat.test.dispatcher.totals();
        prop_assert_eq!((totals.consumed(), totals.held), (0, 0));
        prop_assert_eq!(nat.test.pool.in_use(), 0);
    }
}
