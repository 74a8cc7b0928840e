//! Completion of partial checksums. A sender that leaves checksums to its device puts only the sum of the pseudo header in the
//! field; on a virtual wire, where no device completes it, such frames arrive as they are.

use super::{Fragment, Headers, checksum, protocol};

/// Completes the TCP or UDP checksum of a packet if it holds nothing but the sum of the pseudo header, and says whether it did.
/// A checksum that is whole stays as it is, also in the one case of 65,536 in which both are the same number.
/// O(1) for packets with whole checksums, else O(length).
#[inline]
pub fn complete(frame: &mut [u8], headers: &Headers) -> bool {
    let field = match headers.protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => return false,
    };
    if headers.fragment != Fragment::Whole {
        return false;
    }
    let (network, transport) = (usize::from(headers.network), usize::from(headers.transport_start));
    let Some((header, segment)) = frame
        .get_mut(network..usize::from(headers.end))
        .and_then(|packet| packet.split_at_mut_checked(transport - network))
    else {
        return false;
    };
    let Some(&[high, low]) = segment.get(field..field + 2) else {
        return false;
    };
    let found = u16::from_be_bytes([high, low]);
    let length = segment.len() as u64;
    let pseudo = match header.get(12..20).and_then(|addresses| addresses.first_chunk()) {
        Some(addresses) if headers.is_ipv4() => {
            checksum::pseudo_sum_of_ipv4(addresses, headers.protocol, length)
        }
        _ => checksum::pseudo_sum(headers.source, headers.destination, headers.protocol, length),
    };
    if found != pseudo {
        return false;
    }
    complete_segment(segment, field, pseudo, headers.protocol)
}

#[cold]
fn complete_segment(segment: &mut [u8], field: usize, pseudo: u16, protocol: u8) -> bool {
    if checksum::add(pseudo, checksum::sum(segment)) == 0xffff {
        return false;
    }
    // With the field as it is, the sum over the segment is that of pseudo header and data.
    let whole = checksum::of(segment);
    let whole = if whole == 0 && protocol == protocol::UDP {
        0xffff
    } else {
        whole
    };
    segment[field..field + 2].copy_from_slice(&whole.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn whole(tcp: bool, port: u16, payload: &[u8]) -> Vec<u8> {
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [192, 0, 2, 1], 64);
        let mut bytes = Vec::new();
        if tcp {
            ip.tcp(port, 80, 7, 1000).write(&mut bytes, payload).unwrap();
        } else {
            ip.udp(port, 80).write(&mut bytes, payload).unwrap();
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_partial_checksum_becomes_whole_and_a_whole_one_stays(
            tcp in any::<bool>(),
            port in any::<u16>(),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let expected = whole(tcp, port, &payload);
            let headers = Headers::parse(&expected).unwrap();
            let mut bytes = expected.clone();
            prop_assert!(!complete(&mut bytes, &headers));
            prop_assert_eq!(&bytes, &expected);

            let field = 34 + if tcp { 16 } else { 6 };
            let length = u64::from(headers.end - headers.transport_start);
            let pseudo = checksum::pseudo_sum(headers.source, headers.destination, headers.protocol, length);
            bytes[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
            let same = bytes == expected;
            prop_assert_eq!(complete(&mut bytes, &headers), !same);
            prop_assert_eq!(bytes, expected);
        }
    }
}
