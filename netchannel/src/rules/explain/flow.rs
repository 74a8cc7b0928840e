//! A packet that opens a flow, as people write it.

use std::fmt;
use std::net::IpAddr;

use crate::dispatch::TCP_FLAGS;
use crate::dispatch::dimensions::{FIRST, LATER};
use crate::rules::{ICMP, ICMPV6, Name, WITH_PORTS, protocol_name};

/// The source port of a flow that names none: the first that systems draw for their own connections (RFC 6335).
pub const DEFAULT_SOURCE_PORT: u16 = 49_152;

/// All of a packet that rules ask for.
///
/// As text: `tcp 10.0.0.5:1234 > 1.2.3.4:443 on eth0`, as its implementation of `FromStr` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Of the same family as the destination.
    pub source: IpAddr,
    /// Of the same family as the source.
    pub destination: IpAddr,
    /// The IANA number.
    pub protocol: u8,
    /// 0 without ports.
    pub source_port: u16,
    /// 0 without ports.
    pub destination_port: u16,
    /// The flags byte of the TCP header; 0 for other protocols.
    pub tcp_flags: u8,
    /// Type and code of an ICMP message; 0 for other protocols.
    pub icmp: (u8, u8),
    /// The interface that it came in by, if that is told.
    pub interface: Option<Name>,
    /// The identifier of the outer VLAN tag, 0 to 4094; 0 for none.
    pub vlan: u16,
    /// 0 to 63.
    pub dscp: u8,
    /// [`WHOLE`](crate::dispatch::dimensions::WHOLE), [`FIRST`] or [`LATER`].
    pub fragment: u32,
}

/// As it is read.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_ports = WITH_PORTS.contains(&self.protocol) && self.fragment != LATER;
        write!(f, "{}", protocol_name(self.protocol))?;
        if [ICMP, ICMPV6].contains(&self.protocol) && self.fragment != LATER {
            write!(f, " {}/{}", self.icmp.0, self.icmp.1)?;
        }
        for (sign, address, port) in [
            ("", self.source, self.source_port),
            ("> ", self.destination, self.destination_port),
        ] {
            match address {
                IpAddr::V6(address) if has_ports => write!(f, " {sign}[{address}]:{port}")?,
                address if has_ports => write!(f, " {sign}{address}:{port}")?,
                address => write!(f, " {sign}{address}")?,
            }
        }
        if let Some(interface) = &self.interface {
            write!(f, " on {interface}")?;
        }
        if self.protocol == 6 && self.fragment != LATER && self.tcp_flags != 0x02 {
            let set = TCP_FLAGS.iter().filter(|(_, bit)| self.tcp_flags & bit != 0);
            let names: Vec<&str> = set.map(|(name, _)| *name).collect();
            write!(
                f,
                " flags {}",
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(",")
                }
            )?;
        }
        if self.vlan != 0 {
            write!(f, " vlan {}", self.vlan)?;
        }
        if self.dscp != 0 {
            write!(f, " dscp {}", self.dscp)?;
        }
        match self.fragment {
            FIRST => f.write_str(" fragment first"),
            LATER => f.write_str(" fragment later"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
impl Flow {
    /// Packets that rules with small numbers tell apart.
    pub(crate) fn small() -> impl proptest::strategy::Strategy<Value = Self> {
        use proptest::prelude::*;

        use crate::dispatch::dimensions::WHOLE;

        let protocol = prop_oneof![3 => Just(6_u8), 2 => Just(17), 2 => Just(1), 1 => Just(47)];
        let interface = proptest::option::of(prop_oneof![Just("a"), Just("b"), Just("c")]);
        let fragment = prop_oneof![5 => Just(WHOLE), 1 => Just(FIRST), 1 => Just(LATER)];
        let addresses = (any::<bool>(), 0_u8..8, 0_u8..8);
        let rest = (any::<u8>(), 0_u8..4, 0_u8..3, 0_u16..4, 0_u8..4);
        (addresses, protocol, 0_u16..8, 0_u16..8, interface, fragment, rest).prop_map(
            |((is_ipv4, from, to), protocol, source_port, destination_port, interface, fragment, rest)| {
                let address = |last: u8| match is_ipv4 {
                    true => IpAddr::from([0, 0, 0, last]),
                    false => IpAddr::from(u128::from(last).to_be_bytes()),
                };
                let protocol = if protocol == 1 && !is_ipv4 {
                    ICMPV6
                } else {
                    protocol
                };
                let has_header = fragment != LATER;
                let has_ports = WITH_PORTS.contains(&protocol) && has_header;
                let is_icmp = [ICMP, ICMPV6].contains(&protocol) && has_header;
                let (flags, kind, code, vlan, dscp) = rest;
                Flow {
                    source: address(from),
                    destination: address(to),
                    protocol,
                    source_port: if has_ports { source_port } else { 0 },
                    destination_port: if has_ports { destination_port } else { 0 },
                    tcp_flags: if protocol == 6 && has_header { flags } else { 0 },
                    icmp: if is_icmp { (kind, code) } else { (0, 0) },
                    interface: interface.map(Name::from),
                    vlan,
                    dscp,
                    fragment,
                }
            },
        )
    }
}
