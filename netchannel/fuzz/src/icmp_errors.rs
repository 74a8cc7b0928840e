//! ICMP errors, and the packets that they quote.

use netchannel::packet::Headers;

use super::packets::*;
use super::translator::translating_box;

/// Takes the input as an ICMP message, from outside or from inside, to a box with a mapping for each protocol: what is translated keeps
/// every byte but addresses, ports, checksums and the time to live.
pub fn icmp_errors(input: &[u8]) {
    let Some((&choices, message)) = input.split_first() else {
        return;
    };
    if message.len() > 1200 {
        return;
    }
    let mut test = translating_box(0);
    let (inside, server) = (at([10, 0, 0, 2], 5000), at([8, 8, 8, 8], 53));
    for body in [Body::Udp, Body::Tcp(2), Body::Query(8)] {
        let remote = if matches!(body, Body::Query(_)) {
            at([8, 8, 8, 8], 0)
        } else {
            server
        };
        assert!(test.lan.send(&frame(true, &packet(body, inside, remote))));
    }
    test.run();
    assert_eq!(test.wan.sent_all().len(), 3);
    let mut message = message.to_vec();
    if choices & 1 != 0 && message.len() > 8 {
        repair_header(&mut message[8..]);
    }
    if choices & 2 != 0 {
        repair_message(&mut message);
    }
    let from_inside = choices & 4 != 0;
    let (router, to) = match (from_inside, choices & 8 != 0) {
        (true, false) => ([10, 0, 0, 9], [8, 8, 8, 8]),
        (true, true) => ([10, 0, 0, 9], EXTERNAL.octets()),
        (false, _) => ([9, 9, 9, 9], EXTERNAL.octets()),
    };
    let sent = frame(from_inside, &ipv4(1, router.into(), to.into(), &message));
    let wire = if from_inside { &test.lan } else { &test.wan };
    assert!(wire.send(&sent));
    test.run();
    let outside = test.wan.sent_all();
    outside.iter().for_each(|frame| assert_nothing_leaks(frame));
    for left in outside.iter().chain(&test.lan.sent_all()) {
        let headers = Headers::parse(left).expect("what leaves is well formed");
        // What was wrong in a query stays wrong; a wrong error is dropped.
        assert_eq!(checksum_is_right(left), checksum_is_right(&sent));
        assert!(is_query(&sent) || checksum_is_right(left) == Some(true));
        assert_eq!(left.len(), sent.len());
        for (place, (before, after)) in sent.iter().zip(left).enumerate() {
            assert!(
                before == after || may_change(&sent, place),
                "byte {place} of {headers:?}"
            );
        }
    }
    test.assert_all_accounted_for();
    assert_eq!(test.dispatcher.totals().consumed(), 0);
}

/// Whether the translator may change this byte of an error that it got, or of a query.
fn may_change(frame: &[u8], place: usize) -> bool {
    // Ethernet, time to live, header checksum, addresses, and the checksum of the message.
    let outer = [0..12, 22..23, 24..34, 36..38];
    let is_query = is_query(frame);
    let identifier = is_query && (38..40).contains(&place);
    // A datagram that may be fragmented gets another identification.
    let identification = (18..20).contains(&place);
    let quoted = place.checked_sub(42).is_some_and(|inner| {
        let header = usize::from(frame[42] & 0x0f) * 4;
        // Ports or identifier, and checksum.
        let fields = match frame[42 + 9] {
            1 => [header + 4..header + 6, header + 2..header + 4],
            6 => [header..header + 4, header + 16..header + 18],
            _ => [header..header + 4, header + 6..header + 8],
        };
        (10..20).contains(&inner) || fields.iter().any(|field| field.contains(&inner))
    });
    outer.iter().any(|range| range.contains(&place)) || identifier || identification || (!is_query && quoted)
}

fn is_query(frame: &[u8]) -> bool {
    matches!(frame.get(34), Some(0 | 8 | 13 | 14))
}
