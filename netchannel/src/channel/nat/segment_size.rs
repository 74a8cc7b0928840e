//! The largest segment that the ends of a TCP connection offer each other (RFC 9293 §3.7.1), lowered so that segments fit the way
//! without path MTU discovery, which some networks break (RFC 2923 §2.1).

use crate::packet::Packet;
use crate::packet::checksum::{self, Delta};

/// Lengths of an IPv4 and a TCP header without options.
const HEADERS: u16 = 40;
/// Kinds of TCP options.
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const SEGMENT_SIZE: u8 = 2;

/// The largest segment of a packet of `mtu` bytes.
pub(super) const fn fitting(mtu: u16) -> u16 {
    mtu.saturating_sub(HEADERS)
}

/// Lowers the segment size that a SYN offers to `limit`, and keeps its checksum right. A SYN that offers none stays without: its sender
/// takes 536 bytes at most.
pub(super) fn clamp(packet: &mut Packet, limit: u16) {
    let start = usize::from(packet.headers.transport_start);
    let end = usize::from(packet.headers.end);
    let Some(segment) = packet.frame.bytes_mut().get_mut(start..end) else {
        return;
    };
    let Some(at) = place(segment) else { return };
    let Some(offered) = segment.get(at..).and_then(|rest| rest.first_chunk()) else {
        return;
    };
    let offered = u16::from_be_bytes(*offered);
    if offered <= limit {
        return;
    }
    segment[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    // Behind an odd number of bytes, the halves are in two words of the sum.
    let delta = if at.is_multiple_of(2) {
        Delta::NONE.word(offered, limit)
    } else {
        Delta::NONE.word(offered.swap_bytes(), limit.swap_bytes())
    };
    if let Some(field) = segment.get_mut(16..).and_then(|rest| rest.first_chunk_mut()) {
        checksum::update(field, delta);
    }
}

/// Where a TCP segment has the value of its option.
fn place(segment: &[u8]) -> Option<usize> {
    let header_len = usize::from(segment.get(12)? >> 4) * 4;
    let header = segment.get(..header_len)?;
    let mut at = 20;
    loop {
        match *header.get(at)? {
            END_OF_OPTIONS => return None,
            NO_OPERATION => at += 1,
            kind => {
                let length = usize::from(*header.get(at + 1)?);
                if length < 2 || at + length > header_len {
                    return None;
                }
                if kind == SEGMENT_SIZE && length == 4 {
                    return Some(at + 2);
                }
                at += length;
            }
        }
    }
}
