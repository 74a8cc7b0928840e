//! Rewriting of addresses and ports, with checksums kept right by what changes (RFC 1624, RFC 3022 §4.1).

use std::net::Ipv4Addr;

use super::flow::{Endpoint, Protocol};
use crate::packet::checksum::{self, Delta};

/// Where the fields that change are in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where the IPv4 header starts.
    pub(super) network: usize,
    /// Where the transport header starts.
    pub(super) transport: usize,
    /// Where what is known of the packet ends: an ICMP error may quote only 8 bytes of the transport header.
    pub(super) end: usize,
    pub(super) protocol: Protocol,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

impl Side {
    /// Offset of the address in an IPv4 header.
    const fn address(self) -> usize {
        match self {
            Self::Source => 12,
            Self::Destination => 16,
        }
    }

    /// Offset of the port in a transport header.
    const fn port(self, protocol: Protocol) -> usize {
        match (protocol, self) {
            // The identifier of an ICMP query belongs to the host that asks.
            (Protocol::Icmp, _) => 4,
            (_, Self::Source) => 0,
            (_, Self::Destination) => 2,
        }
    }
}

/// The replacement of one endpoint by another, made once per session and applied to each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rewrite {
    to: Endpoint,
    /// What it does to the checksum of the IPv4 header.
    network: Delta,
    /// What it does to the checksum of the transport header.
    transport: Delta,
}

impl Rewrite {
    pub(super) fn new(protocol: Protocol, from: Endpoint, to: Endpoint) -> Self {
        let network = Delta::NONE.address(from.address, to.address);
        let port = Delta::NONE.word(from.port, to.port);
        let transport = match protocol {
            // ICMP for IPv4 has no pseudo header.
            Protocol::Icmp => port,
            Protocol::Tcp | Protocol::Udp => network.and(port),
        };
        Self {
            to,
            network,
            transport,
        }
    }

    /// The endpoint that is put in.
    #[inline]
    pub(super) fn to(&self) -> Endpoint {
        self.to
    }

    /// What it does to the checksums of the IPv4 header and of the transport header.
    pub(super) fn deltas(&self) -> (Delta, Delta) {
        (self.network, self.transport)
    }

    /// Puts the endpoint in a packet and brings its checksums up to date. The packet must have 8 bytes of transport header.
    #[inline]
    pub(super) fn apply(&self, bytes: &mut [u8], place: Place, side: Side) {
        let Some((header, transport)) = bytes
            .get_mut(place.network..place.end)
            .and_then(|packet| packet.split_at_mut_checked(place.transport - place.network))
        else {
            return;
        };
        set_address(header, side, self.to.address, self.network);
        if let Some(port) = field(transport, side.port(place.protocol)) {
            *port = self.to.port.to_be_bytes();
        }
        let at = match place.protocol {
            Protocol::Tcp => 16,
            Protocol::Udp => 6,
            Protocol::Icmp => 2,
        };
        if let Some(sum) = field(transport, at) {
            match place.protocol {
                Protocol::Udp => checksum::update_udp(sum, self.transport),
                Protocol::Tcp | Protocol::Icmp => checksum::update(sum, self.transport),
            }
        }
    }
}

/// Puts `new` in place of an address in the IPv4 header at `network`, and nothing else.
pub(super) fn replace_address(bytes: &mut [u8], network: usize, side: Side, new: Ipv4Addr) {
    let start = network + side.address();
    let old = [bytes[start], bytes[start + 1], bytes[start + 2], bytes[start + 3]];
    set_address(
        &mut bytes[network..],
        side,
        new,
        Delta::NONE.address(old.into(), new),
    );
}

/// Puts `new` in place of the identification `old` in the IPv4 header at `network`.
pub(super) fn replace_identification(bytes: &mut [u8], network: usize, old: u16, new: u16) {
    if let Some(identification) = field(bytes, network + 4) {
        *identification = new.to_be_bytes();
    }
    if let Some(field) = field(bytes, network + 10) {
        checksum::update(field, Delta::NONE.word(old, new));
    }
}

#[inline]
fn set_address(header: &mut [u8], side: Side, new: Ipv4Addr, delta: Delta) {
    let Some(header) = header.first_chunk_mut::<20>() else {
        return;
    };
    let sum = delta.apply(u16::from_be_bytes([header[10], header[11]]));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header[side.address()..side.address() + 4].copy_from_slice(&new.octets());
}

/// The two bytes at `at`.
#[inline]
fn field(bytes: &mut [u8], at: usize) -> Option<&mut [u8; 2]> {
    bytes.get_mut(at..)?.first_chunk_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Headers;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn packet(protocol: Protocol, source: Endpoint, destination: Endpoint, payload: &[u8]) -> Vec<u8> {
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(
            source.address.octets(),
            destination.address.octets(),
            64,
        );
        let mut bytes = Vec::new();
        match protocol {
            Protocol::Tcp => ip
                .tcp(source.port, destination.port, 7, 1000)
                .write(&mut bytes, payload)
                .unwrap(),
            Protocol::Udp => ip
                .udp(source.port, destination.port)
                .write(&mut bytes, payload)
                .unwrap(),
            Protocol::Icmp => ip
                .icmpv4_echo_request(source.port, 1)
                .write(&mut bytes, payload)
                .unwrap(),
        }
        bytes
    }

    fn endpoint() -> impl Strategy<Value = Endpoint> {
        (any::<u32>(), any::<u16>()).prop_map(|(address, port)| Endpoint {
            address: address.into(),
            port,
        })
    }

    proptest! {
        /// RFC 3022 §4.1: a rewritten packet is, byte by byte, the one that the new endpoint would have sent.
        #[test]
        fn rfc_3022_4_1_incremental_equals_full(
            (old, new, other) in (endpoint(), endpoint(), endpoint()),
            protocol in prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Icmp)],
            inbound in any::<bool>(),
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let build = |mine| if inbound && protocol != Protocol::Icmp {
                packet(protocol, other, mine, &payload)
            } else {
                packet(protocol, mine, other, &payload)
            };
            let mut bytes = build(old);
            let headers = Headers::parse(&bytes).unwrap();
            let side = if inbound && protocol != Protocol::Icmp { Side::Destination } else { Side::Source };
            let place = Place {
                network: usize::from(headers.network),
                transport: usize::from(headers.transport_start),
                end: usize::from(headers.end),
                protocol,
            };
            Rewrite::new(protocol, old, new).apply(&mut bytes, place, side);
            prop_assert_eq!(bytes, build(new));
        }
    }
}
