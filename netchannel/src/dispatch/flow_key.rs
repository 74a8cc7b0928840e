//! What makes two packets one flow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::FromZeros;

use crate::interface::InterfaceId;
use crate::packet::{Fragment, Headers, Transport};

/// What makes two packets one flow: arrival interface, addresses, protocol and ports (or ICMP identifier), and what of a datagram or
/// which ICMP message they are, for rules may tell these apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port; the identifier of an ICMP query; 0 if there is none.
    pub source_port: u16,
    /// Destination port; the identifier of the reply to an ICMP query; 0 if there is none.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// The interface that the packets arrive on.
    pub interface: InterfaceId,
    /// Type and code of an ICMP message that is no query, the type in the upper byte; else 0.
    pub message: u16,
    /// Which part of a datagram the packets are.
    pub fragment: Fragment,
}

impl FlowKey {
    /// The key of a parsed packet.
    pub fn of(headers: &Headers, interface: InterfaceId) -> Self {
        let (source_port, destination_port) = headers.ports();
        let message = match headers.transport {
            Transport::Icmp { kind, code } => u16::from_be_bytes([kind, code]),
            _ => 0,
        };
        Self {
            source: headers.source,
            destination: headers.destination,
            source_port,
            destination_port,
            protocol: headers.protocol,
            interface,
            message,
            fragment: headers.fragment,
        }
    }
}

/// A flow key in as few words as there are: it is compared and hashed for each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackedKey {
    V4(Ipv4Key),
    V6(Ipv6Key),
}

/// The addresses, the source in the upper half; and [`rest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromZeros)]
pub(crate) struct Ipv4Key([u64; 2]);

/// The source address, the destination address, and [`rest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromZeros)]
pub(crate) struct Ipv6Key([u64; 5]);

/// All but the addresses, from the upper end: source port, destination port or ICMP message, interface, protocol, part of the datagram, and
/// whether it is a message. What is none of the queries has no ports.
#[inline(always)]
fn rest(ports: (u16, u16), message: u16, interface: InterfaceId, protocol: u8, fragment: Fragment) -> u64 {
    let is_message = u64::from(message != 0);
    u64::from(ports.0) << 48
        | u64::from(ports.1 | message) << 32
        | u64::from(interface.0) << 16
        | u64::from(protocol) << 8
        | (fragment as u64) << 1
        | is_message
}

impl PackedKey {
    /// The key of a packet as it arrived.
    #[inline(always)]
    pub(crate) fn of(frame: &[u8], headers: &Headers, interface: InterfaceId) -> Self {
        let (ports, message) = match headers.transport {
            Transport::Tcp {
                source, destination, ..
            }
            | Transport::Udp { source, destination } => ((source, destination), 0),
            Transport::Icmp { kind, code } => ((0, 0), u16::from_be_bytes([kind, code])),
            Transport::IcmpQuery { .. } | Transport::None => (headers.ports(), 0),
        };
        let rest = rest(ports, message, interface, headers.protocol, headers.fragment);
        if headers.is_ipv4()
            && let Some(addresses) = frame
                .get(usize::from(headers.network) + 12..)
                .and_then(|rest| rest.first_chunk())
        {
            // Both at once.
            return Self::V4(Ipv4Key([u64::from_be_bytes(*addresses), rest]));
        }
        Self::new(&headers.source, &headers.destination, rest)
    }

    #[inline(always)]
    pub(super) fn interface(&self) -> InterfaceId {
        let rest = match self {
            Self::V4(Ipv4Key([_, rest])) | Self::V6(Ipv6Key([.., rest])) => rest,
        };
        InterfaceId((rest >> 16) as u16)
    }

    pub(super) fn unpack(&self) -> FlowKey {
        match self {
            Self::V4(key) => key.unpack(),
            Self::V6(key) => key.unpack(),
        }
    }

    fn new(source: &IpAddr, destination: &IpAddr, rest: u64) -> Self {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let addresses = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
                Self::V4(Ipv4Key([addresses, rest]))
            }
            (source, destination) => {
                let ([a, b], [c, d]) = (halves(source), halves(destination));
                Self::V6(Ipv6Key([a, b, c, d, rest]))
            }
        }
    }
}

fn halves(address: &IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

impl From<&FlowKey> for PackedKey {
    fn from(key: &FlowKey) -> Self {
        let ports = (key.source_port, key.destination_port);
        let rest = rest(ports, key.message, key.interface, key.protocol, key.fragment);
        Self::new(&key.source, &key.destination, rest)
    }
}

impl Ipv4Key {
    #[inline(always)]
    pub(super) fn words(&self) -> &[u64; 2] {
        &self.0
    }

    pub(super) fn unpack(&self) -> FlowKey {
        let [addresses, rest] = self.0;
        let source = Ipv4Addr::from_bits((addresses >> 32) as u32);
        unpack(source.into(), Ipv4Addr::from_bits(addresses as u32).into(), rest)
    }
}

impl Ipv6Key {
    #[inline(always)]
    pub(super) fn words(&self) -> &[u64; 5] {
        &self.0
    }

    pub(super) fn unpack(&self) -> FlowKey {
        let [a, b, c, d, rest] = self.0;
        let address = |high, low| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into();
        unpack(address(a, b), address(c, d), rest)
    }
}

fn unpack(source: IpAddr, destination: IpAddr, rest: u64) -> FlowKey {
    let second = (rest >> 32) as u16;
    let (destination_port, message) = if rest & 1 == 0 { (second, 0) } else { (0, second) };
    FlowKey {
        source,
        destination,
        source_port: (rest >> 48) as u16,
        destination_port,
        protocol: (rest >> 8) as u8,
        interface: InterfaceId((rest >> 16) as u16),
        message,
        fragment: match rest >> 1 & 3 {
            0 => Fragment::Whole,
            1 => Fragment::First,
            _ => Fragment::Later,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn transport() -> impl Strategy<Value = (u8, Transport)> {
        let ports = (any::<u16>(), any::<u16>());
        prop_oneof![
            ports.prop_map(|(source, destination)| (17, Transport::Udp { source, destination })),
            (any::<u16>(), any::<bool>())
                .prop_map(|(identifier, reply)| (1, Transport::IcmpQuery { identifier, reply })),
            (1u8.., any::<u8>()).prop_map(|(kind, code)| (1, Transport::Icmp { kind, code })),
            any::<u8>().prop_map(|protocol| (protocol, Transport::None)),
        ]
    }

    fn headers() -> impl Strategy<Value = Headers> {
        let ipv4 = (any::<u32>(), any::<u32>())
            .prop_map(|(a, b)| [Ipv4Addr::from_bits(a).into(), Ipv4Addr::from_bits(b).into()]);
        let ipv6 = (any::<u128>(), any::<u128>())
            .prop_map(|(a, b)| [Ipv6Addr::from_bits(a).into(), Ipv6Addr::from_bits(b).into()]);
        let fragment = prop_oneof![
            Just(Fragment::Whole),
            Just(Fragment::First),
            Just(Fragment::Later)
        ];
        (prop_oneof![ipv4, ipv6], transport(), fragment).prop_map(
            |(addresses, (protocol, transport), fragment): ([IpAddr; 2], (u8, Transport), Fragment)| {
                Headers {
                    source: addresses[0],
                    destination: addresses[1],
                    protocol,
                    transport,
                    fragment,
                    network: 14,
                    ..Headers::EMPTY
                }
            },
        )
    }

    proptest! {
        /// Nothing is lost: packed keys are equal if and only if the keys are.
        #[test]
        fn packing_can_be_undone(headers in headers(), interface in any::<u16>()) {
            let interface = InterfaceId(interface);
            let key = FlowKey::of(&headers, interface);
            let mut frame = [0; 34];
            if let (IpAddr::V4(source), IpAddr::V4(destination)) = (headers.source, headers.destination) {
                frame[26..30].copy_from_slice(&source.octets());
                frame[30..34].copy_from_slice(&destination.octets());
            }
            let packed = PackedKey::of(&frame, &headers, interface);
            prop_assert_eq!(packed, PackedKey::from(&key));
            prop_assert_eq!(packed.unpack(), key);
        }
    }
}
