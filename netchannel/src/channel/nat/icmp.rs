//! ICMP errors: finding the packet that they quote, and translating it (RFC 5508 §4, RFC 3022 §4.3).

use std::net::Ipv4Addr;

use super::flow::{Endpoint, Protocol};
use super::translate::{Place, Rewrite, Side, replace_address, replace_identification};
use crate::drop_reason::DropReason;
use crate::packet::{Packet, checksum};

/// Length of an ICMP header, in bytes.
const ICMP_HEADER: usize = 8;
/// What errors quote of the transport header at least (RFC 792), in bytes.
const QUOTED_TRANSPORT: usize = 8;

/// The packet that an error is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quote {
    place: Place,
    /// Where the error's own ICMP header starts, and where the message ends.
    message: (usize, usize),
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
    /// The quoted packet answers an ICMP query.
    is_reply: bool,
}

impl Quote {
    /// Finds the packet that an error quotes. The checksums of the message and of the quoted IPv4 header must be right (RFC 5508 REQ-3 (a)
    /// and (b)), that of the quoted transport header is not looked at (REQ-3 (c)): most of what it covers is not there.
    pub(super) fn of(packet: &Packet) -> Result<Self, DropReason> {
        let bytes = packet.frame.bytes();
        let start = usize::from(packet.headers.transport_start);
        let end = usize::from(packet.headers.end);
        let message = bytes.get(start..end).ok_or(DropReason::NatIcmpEmbedded)?;
        if checksum::sum(message) != 0xffff {
            return Err(DropReason::NatIcmpChecksum);
        }
        let quoted = message
            .get(ICMP_HEADER..original_end(message))
            .ok_or(DropReason::NatIcmpEmbedded)?;
        let first = *quoted.first().ok_or(DropReason::NatIcmpEmbedded)?;
        let header_len = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || header_len < 20 {
            return Err(DropReason::NatIcmpEmbedded);
        }
        let (header, transport) = quoted
            .split_at_checked(header_len)
            .ok_or(DropReason::NatIcmpEmbedded)?;
        if checksum::sum(header) != 0xffff {
            return Err(DropReason::NatIcmpChecksum);
        }
        if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
            return Err(DropReason::NatFragment);
        }
        let protocol = Protocol::of_number(header[9]).ok_or(DropReason::NatIcmpUnrelated)?;
        let transport: &[u8; QUOTED_TRANSPORT] =
            transport.first_chunk().ok_or(DropReason::NatIcmpEmbedded)?;
        let word = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
        let (source_port, destination_port, is_reply) = match (protocol, transport[0]) {
            (Protocol::Tcp | Protocol::Udp, _) => (word(0), word(2), false),
            (Protocol::Icmp, 8 | 13) => (word(4), 0, false),
            (Protocol::Icmp, 0 | 14) => (0, word(4), true),
            (Protocol::Icmp, _) => return Err(DropReason::NatIcmpUnrelated),
        };
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let network = start + ICMP_HEADER;
        Ok(Self {
            place: Place {
                network,
                transport: network + header_len,
                end: network + quoted.len(),
                protocol,
            },
            message: (start, end),
            source: Endpoint {
                address: address(12),
                port: source_port,
            },
            destination: Endpoint {
                address: address(16),
                port: destination_port,
            },
            is_reply,
        })
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.place.protocol
    }

    /// Whether a packet with these ports can have come in through the translator.
    pub(super) fn has_destination_port(&self) -> bool {
        self.is_reply || self.place.protocol != Protocol::Icmp
    }

    /// Replaces an endpoint of the quoted packet, in its header and in those checksums of it that are quoted.
    pub(super) fn replace(&self, bytes: &mut [u8], side: Side, from: Endpoint, to: Endpoint) {
        // The host at the other end of a query has no identifier.
        if self.place.protocol == Protocol::Icmp && from.port == to.port {
            return replace_address(bytes, self.place.network, side, to.address);
        }
        Rewrite::new(self.place.protocol, from, to).apply(bytes, self.place, side);
    }

    /// The identification of the quoted packet, if it is one that the translator may have replaced: a packet that may be fragmented, or a
    /// fragment (RFC 6864 §4.1).
    pub(super) fn identification(&self, bytes: &[u8]) -> Option<u16> {
        let fields: &[u8; 4] = bytes.get(self.place.network + 4..)?.first_chunk()?;
        let is_atomic = fields[2] & 0x40 != 0 && fields[2] & 0x20 == 0;
        (!is_atomic).then(|| u16::from_be_bytes([fields[0], fields[1]]))
    }

    /// Gives the quoted packet the identification back that it was sent with.
    pub(super) fn restore_identification(&self, bytes: &mut [u8], outside: u16, original: u16) {
        replace_identification(bytes, self.place.network, outside, original);
    }

    /// Makes the checksum of the error itself right. It covers the whole message, extensions (RFC 4884) included, and no more.
    pub(super) fn finish(&self, bytes: &mut [u8]) {
        let (start, end) = self.message;
        bytes[start + 2..start + 4].fill(0);
        let sum = checksum::of(&bytes[start..end]);
        bytes[start + 2..start + 4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Where the quoted packet ends in an ICMP message: at its end, or where extensions begin (RFC 4884 §4). A length that leads beyond the
/// message is no length: before RFC 4884 the field was unused.
fn original_end(message: &[u8]) -> usize {
    let words = message.get(5).map_or(0, |&words| usize::from(words));
    let end = ICMP_HEADER + words * 4;
    if words == 0 || end > message.len() {
        message.len()
    } else {
        end
    }
}
