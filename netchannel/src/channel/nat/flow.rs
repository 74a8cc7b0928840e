//! What the translator sees of a packet: protocol, endpoints, and whether it may open something.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Index;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::tcp;
use crate::drop_reason::DropReason;
use crate::interface::Role;
use crate::packet::{Fragment, Headers, Transport, protocol};

/// The protocols that have ports, or identifiers in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP queries.
    Icmp,
}

/// The text is the name of no protocol that has mappings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no protocol that has mappings; expected \"tcp\", \"udp\" or \"icmp\"")]
pub struct UnknownProtocol(String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let found = Self::ALL.into_iter().find(|protocol| protocol.name() == text);
        found.ok_or_else(|| UnknownProtocol(text.chars().take(60).collect()))
    }
}

/// A value for each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PerProtocol<T> {
    /// That of TCP.
    pub tcp: T,
    /// That of UDP.
    pub udp: T,
    /// That of ICMP queries.
    pub icmp: T,
}

impl<T: Copy> PerProtocol<T> {
    /// The same for each.
    pub const fn all(value: T) -> Self {
        Self {
            tcp: value,
            udp: value,
            icmp: value,
        }
    }
}

impl<T> Index<Protocol> for PerProtocol<T> {
    type Output = T;

    fn index(&self, protocol: Protocol) -> &T {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
            Protocol::Icmp => &self.icmp,
        }
    }
}

impl Protocol {
    pub(super) const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// Its name: `tcp`, `udp` or `icmp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Icmp => protocol::ICMP,
        }
    }

    pub(super) const fn of_number(number: u8) -> Option<Self> {
        match number {
            protocol::TCP => Some(Self::Tcp),
            protocol::UDP => Some(Self::Udp),
            protocol::ICMP => Some(Self::Icmp),
            _ => None,
        }
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(super) enum Direction {
    /// From the inside to the outside.
    Outbound,
    /// From the outside to the inside.
    Inbound,
}

impl From<Role> for Direction {
    /// Which way packets go that arrive on such an interface.
    fn from(arrival: Role) -> Self {
        match arrival {
            Role::Inside => Self::Outbound,
            Role::Outside => Self::Inbound,
        }
    }
}

/// An address and a port; the port is the identifier of an ICMP query on the side of the host that asks, and 0 on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Endpoint {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
}

impl Endpoint {
    /// No endpoint of any packet.
    pub(super) const NONE: Self = Self {
        address: Ipv4Addr::UNSPECIFIED,
        port: 0,
    };
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

/// A packet that can be translated by its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) protocol: Protocol,
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
    /// The flags byte of TCP, 0 for the others.
    pub(super) flags: u8,
    /// The answer to an ICMP query.
    pub(super) is_reply: bool,
}

impl Tuple {
    /// Whether such a packet can go in this direction through a translator: ICMP queries go out, answers come in
    /// (RFC 5508 REQ-1).
    #[inline]
    pub(super) fn can_go(&self, direction: Direction) -> bool {
        self.protocol != Protocol::Icmp || self.is_reply == (direction == Direction::Inbound)
    }

    /// Whether it is the first SYN of a TCP connection.
    #[inline]
    pub(super) fn opens_connection(&self) -> bool {
        self.protocol == Protocol::Tcp && tcp::opens(self.flags)
    }

    /// Whether it may open a session.
    #[inline]
    pub(super) fn opens(&self) -> bool {
        match self.protocol {
            Protocol::Tcp => tcp::opens(self.flags),
            Protocol::Udp => true,
            Protocol::Icmp => !self.is_reply,
        }
    }
}

/// What kind of IPv4 packet it is to the translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has ports.
    Ports(Tuple),
    /// It is an ICMP error, about another packet.
    Error,
    /// It can't be translated.
    Not(DropReason),
}

impl Kind {
    /// The inside endpoint of a packet that has one, as it arrived.
    pub(super) fn source_of(headers: &Headers) -> Endpoint {
        match Self::of(headers) {
            Self::Ports(tuple) => tuple.source,
            Self::Error | Self::Not(_) => Endpoint::NONE,
        }
    }

    /// Looks at a parsed packet.
    #[inline]
    pub(super) fn of(headers: &Headers) -> Self {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (headers.source, headers.destination) else {
            return Self::Not(DropReason::NatNotIpv4);
        };
        if headers.fragment == Fragment::Later {
            return Self::Not(DropReason::NatFragment);
        }
        let (protocol, flags, is_reply) = match headers.transport {
            Transport::Tcp { flags, .. } => (Protocol::Tcp, flags, false),
            Transport::Udp { .. } => (Protocol::Udp, 0, false),
            // ICMP for IPv6 has no meaning in an IPv4 packet.
            Transport::IcmpQuery { reply, .. } if headers.protocol == protocol::ICMP => {
                (Protocol::Icmp, 0, reply)
            }
            Transport::Icmp { kind, .. } if headers.protocol == protocol::ICMP => {
                return match kind {
                    // Its checksum and the packet that it quotes are not all here.
                    3 | 11 | 12 if headers.fragment != Fragment::Whole => Self::Not(DropReason::NatFragment),
                    // Destination unreachable, time exceeded, parameter problem.
                    3 | 11 | 12 => Self::Error,
                    _ => Self::Not(DropReason::NatIcmpKind),
                };
            }
            _ => return Self::Not(DropReason::NatProtocol),
        };
        let (source_port, destination_port) = headers.ports();
        Self::Ports(Tuple {
            protocol,
            source: Endpoint {
                address: source,
                port: source_port,
            },
            destination: Endpoint {
                address: destination,
                port: destination_port,
            },
            flags,
            is_reply,
        })
    }
}
