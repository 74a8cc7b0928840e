//! Fragmentation of IPv4 packets that are too big for their way out (RFC 791 §3.2).

use crate::packet::checksum;

/// The packet can't be cut into pieces that fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfragmentable;

/// The bit of the flags and offset field that says that more fragments follow.
const MORE_FRAGMENTS: u16 = 0x2000;
/// The bits of that field that hold the offset, in units of 8 bytes.
const OFFSET: u16 = 0x1fff;

/// Cuts an IPv4 packet, which starts at its IP header and ends with it, into fragments of at most `mtu` bytes, in order.
/// A packet that is a fragment itself is cut further.
///
/// # Errors
/// If the header leaves no room for 8 bytes of payload, or the packet is no IPv4 packet.
pub(crate) fn split(packet: &[u8], mtu: u16) -> Result<Vec<Vec<u8>>, Unfragmentable> {
    let header_len = packet
        .first()
        .map(|first| usize::from(first & 0x0f) * 4)
        .ok_or(Unfragmentable)?;
    if packet.len() < header_len || header_len < 20 || packet[0] >> 4 != 4 {
        return Err(Unfragmentable);
    }
    let (header, mut payload) = packet.split_at(header_len);
    let field = u16::from_be_bytes([header[6], header[7]]);
    let mut offset = field & OFFSET;
    let later_header = header_of_later(header);
    let mut fragments = Vec::new();
    let mut header = header.to_vec();
    loop {
        let room = usize::from(mtu)
            .checked_sub(header.len())
            .map_or(0, |room| room & !7);
        if room == 0 {
            return Err(Unfragmentable);
        }
        let (part, rest) = if payload.len() + header.len() <= usize::from(mtu) {
            (payload, &[][..])
        } else {
            payload.split_at(room)
        };
        let more = if rest.is_empty() {
            field & MORE_FRAGMENTS
        } else {
            MORE_FRAGMENTS
        };
        let total = (header.len() + part.len()) as u16;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[6..8].copy_from_slice(&(offset | more).to_be_bytes());
        header[10..12].fill(0);
        let sum = checksum::of(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        fragments.push([&header[..], part].concat());
        if rest.is_empty() {
            return Ok(fragments);
        }
        offset += (part.len() / 8) as u16;
        payload = rest;
        header = later_header.clone();
    }
}

/// The header of the fragments after the first: of the options only those whose copied flag is set.
fn header_of_later(header: &[u8]) -> Vec<u8> {
    let mut later = header[..20].to_vec();
    let mut options = &header[20..];
    while let Some(&kind) = options.first() {
        let len = match kind {
            0 => break,
            1 => 1,
            _ => options.get(1).map_or(0, |&len| usize::from(len)),
        };
        let Some(option) = options.get(..len).filter(|option| !option.is_empty()) else {
            break;
        };
        if kind & 0x80 != 0 {
            later.extend_from_slice(option);
        }
        options = &options[len..];
    }
    while !later.len().is_multiple_of(4) {
        later.push(0);
    }
    later[0] = 0x40 | (later.len() / 4) as u8;
    later
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::Ipv4HeaderSlice;
    use proptest::prelude::*;

    fn packet(options: &[u8], payload: &[u8], flags: u16) -> Vec<u8> {
        let mut header = vec![
            0x40 | (5 + options.len() / 4) as u8,
            0,
            0,
            0,
            0x12,
            0x34,
            0,
            0,
            64,
            17,
            0,
            0,
        ];
        header.extend_from_slice(&[10, 0, 0, 1, 192, 0, 2, 1]);
        header.extend_from_slice(options);
        let total = (header.len() + payload.len()) as u16;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[6..8].copy_from_slice(&flags.to_be_bytes());
        let sum = checksum::of(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&header[..], payload].concat()
    }

    proptest! {
        #[test]
        fn fragments_reassemble_to_the_packet(
            payload in proptest::collection::vec(any::<u8>(), 1..4000),
            mtu in 68u16..1500,
            first_offset in 0u16..100,
            more in any::<bool>(),
        ) {
            let field = first_offset | if more { MORE_FRAGMENTS } else { 0 };
            // A fragment that is not the last has a multiple of 8 bytes.
            let payload = if more { &payload[..payload.len() & !7] } else { &payload[..] };
            prop_assume!(!payload.is_empty());
            let fragments = split(&packet(&[], payload, field), mtu).unwrap();
            let mut reassembled = Vec::new();
            for (number, fragment) in fragments.iter().enumerate() {
                prop_assert!(fragment.len() <= usize::from(mtu));
                let header = Ipv4HeaderSlice::from_slice(fragment).unwrap();
                prop_assert_eq!(checksum::sum(header.slice()), 0xffff);
                prop_assert_eq!(usize::from(header.total_len()), fragment.len());
                let at = usize::from(header.fragments_offset().value() - first_offset) * 8;
                prop_assert_eq!(at, reassembled.len());
                reassembled.extend_from_slice(&fragment[header.slice().len()..]);
                let last = number + 1 == fragments.len();
                prop_assert_eq!(header.more_fragments(), !last || more);
            }
            prop_assert_eq!(&reassembled[..], payload);
        }

        #[test]
        fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..200), mtu in any::<u16>()) {
            let _ = split(&bytes, mtu);
        }
    }

    #[test]
    fn later_fragments_carry_only_the_options_that_are_copied() {
        // Record route (not copied), then router alert (copied).
        let options = [7, 3, 4, 0x94, 4, 0, 0, 0];
        let fragments = split(&packet(&options, &[1; 200], 0), 128).unwrap();
        assert_eq!(fragments[0][20..28], options);
        assert_eq!(fragments[1][0], 0x46);
        assert_eq!(fragments[1][20..24], [0x94, 4, 0, 0]);
    }
}
