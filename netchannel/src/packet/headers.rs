//! What the parser learns of a frame: addresses, ports, and where the headers are.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{Ipv6ExtensionsSlice, Ipv6HeaderSlice, TcpHeaderSlice};

use super::checksum;

/// Length of an Ethernet header without tags, in bytes.
pub const ETHERNET_HEADER: usize = 14;
/// Length of a VLAN tag, in bytes.
pub const VLAN_TAG: usize = 4;

/// IP protocol numbers that the packet path tells apart (IANA protocol numbers).
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// Ethernet types (IEEE 802 numbers).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q customer VLAN tag.
    pub const VLAN: u16 = 0x8100;
    /// IEEE 802.1ad service VLAN tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// Up to two VLAN identifiers, outermost first; 0 stands for no tag, as a priority tag does (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTags {
    /// Identifier of the outer tag, 0 to 4094.
    pub outer: u16,
    /// Identifier of the inner tag, 0 to 4094.
    pub inner: u16,
}

/// Which part of an IP datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// The whole datagram.
    Whole,
    /// The first of several fragments: it has the transport header.
    First,
    /// A later fragment, without a transport header.
    Later,
}

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, with its flags byte (RFC 9293 §3.1).
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from the highest bit down.
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// An ICMP query or its reply: echo, and on IPv4 timestamp (RFC 792, RFC 4443 §4).
    IcmpQuery {
        /// The identifier, which takes the place of a port.
        identifier: u16,
        /// Whether this is the reply.
        reply: bool,
    },
    /// Any other ICMP message; errors carry the start of the packet that they are about.
    Icmp {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// A protocol without ports, or a later fragment.
    None,
}

/// A parsed packet: offsets count bytes from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// VLAN tags of the frame.
    pub vlan: VlanTags,
    /// Where the IP header starts.
    pub network: u16,
    /// Where the transport header (or the payload, if there is none) starts.
    pub transport_start: u16,
    /// Where the IP packet ends; what follows is Ethernet padding.
    pub end: u16,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number of the transport header.
    pub protocol: u8,
    /// Time to live (IPv4) or hop limit (IPv6).
    pub ttl: u8,
    /// Which part of the datagram this is.
    pub fragment: Fragment,
    /// IPv4: the don't-fragment bit. IPv6: always true.
    pub dont_fragment: bool,
    /// What the transport header says.
    pub transport: Transport,
}

/// Why a frame is no packet that can be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Shorter than its Ethernet header and tags.
    #[error("the frame ends inside of its Ethernet header")]
    ShortEthernet,
    /// Neither IPv4 nor IPv6 (or more than two VLAN tags).
    #[error("the Ethernet type {0:#06x} is not IP")]
    NotIp(u16),
    /// The IPv4 header is cut off, has an impossible length, or the wrong version.
    #[error("the IPv4 header is malformed")]
    Ipv4Header,
    /// The IPv4 header's checksum is wrong (RFC 1812 §5.2.2 has a router check it).
    #[error("the IPv4 header checksum is wrong")]
    Ipv4Checksum,
    /// The IPv6 header or one of its extension headers is cut off or malformed.
    #[error("the IPv6 header is malformed")]
    Ipv6Header,
    /// The frame is shorter than the IP header says.
    #[error("the frame is shorter than the IP packet that it holds")]
    Truncated,
    /// The fragment's offset and length lead beyond 65535 bytes.
    #[error("the fragment reaches beyond the largest datagram")]
    FragmentOverrun,
    /// The TCP header is cut off or has an impossible length.
    #[error("the TCP header is malformed")]
    TcpHeader,
    /// The UDP header is cut off or its length is impossible.
    #[error("the UDP header is malformed")]
    UdpHeader,
    /// The ICMP header is cut off.
    #[error("the ICMP header is malformed")]
    IcmpHeader,
}

impl Headers {
    /// Those of no packet.
    pub(crate) const EMPTY: Self = Self {
        vlan: VlanTags { outer: 0, inner: 0 },
        network: 0,
        transport_start: 0,
        end: 0,
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        protocol: 0,
        ttl: 0,
        fragment: Fragment::Whole,
        dont_fragment: false,
        transport: Transport::None,
    };

    /// Parses a frame from its Ethernet header on. Checks lengths and the IPv4 header checksum; transport checksums
    /// are not looked at. O(length of the headers).
    ///
    /// # Errors
    /// One [`ParseError`] per way to be malformed.
    pub fn parse(frame: &[u8]) -> Result<Self, ParseError> {
        let mut headers = Self::EMPTY;
        headers.read(frame)?;
        Ok(headers)
    }

    /// As [`parse`](Self::parse), to where the headers are kept: to move them costs as much as to parse them. What they are after an error is
    /// not said.
    ///
    /// # Errors
    /// As `parse`.
    #[inline(always)]
    pub(crate) fn read(&mut self, frame: &[u8]) -> Result<(), ParseError> {
        let mut offset = 12;
        let mut tags = [0u16; 2];
        let mut depth = 0;
        let ethertype = loop {
            let kind = read_u16(frame, offset).ok_or(ParseError::ShortEthernet)?;
            offset += 2;
            if (kind != ethertype::VLAN && kind != ethertype::SERVICE_VLAN) || depth == 2 {
                break kind;
            }
            tags[depth] = read_u16(frame, offset).ok_or(ParseError::ShortEthernet)? & 0x0fff;
            depth += 1;
            offset += 2;
        };
        // A priority tag in front says nothing about the VLAN.
        let vlan = if tags[0] == 0 {
            VlanTags {
                outer: tags[1],
                inner: 0,
            }
        } else {
            VlanTags {
                outer: tags[0],
                inner: tags[1],
            }
        };
        self.vlan = vlan;
        self.network = offset as u16;
        let packet = &frame[offset..];
        match ethertype {
            ethertype::IPV4 => self.read_ipv4(packet, offset),
            ethertype::IPV6 => self.read_ipv6(packet, offset),
            other => Err(ParseError::NotIp(other)),
        }
    }

    #[inline(always)]
    fn read_ipv4(&mut self, packet: &[u8], offset: usize) -> Result<(), ParseError> {
        let header = packet.first_chunk::<20>().ok_or(ParseError::Ipv4Header)?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 4 != 4 || header_len < header.len() || total < header_len {
            return Err(ParseError::Ipv4Header);
        }
        let sum = if header_len == header.len() {
            checksum::sum_of_header(header)
        } else {
            checksum::sum(packet.get(..header_len).ok_or(ParseError::Ipv4Header)?)
        };
        if sum != 0xffff {
            return Err(ParseError::Ipv4Checksum);
        }
        let payload = packet.get(header_len..total).ok_or(ParseError::Truncated)?;
        let part = u16::from_be_bytes([header[6], header[7]]);
        let (dont_fragment, more_fragments) = (part & 0x4000 != 0, part & 0x2000 != 0);
        let fragment_offset = usize::from(part & 0x1fff) * 8;
        let fragment = match (fragment_offset, more_fragments) {
            (0, false) => Fragment::Whole,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        };
        if fragment_offset + total > 0xffff {
            return Err(ParseError::FragmentOverrun);
        }
        let protocol = header[9];
        let transport = match fragment {
            Fragment::Later => Transport::None,
            _ => Transport::parse(protocol, payload, fragment)?,
        };
        let address = |at: usize| {
            IpAddr::V4(Ipv4Addr::new(
                header[at],
                header[at + 1],
                header[at + 2],
                header[at + 3],
            ))
        };
        self.transport_start = (offset + header_len) as u16;
        self.end = end(offset + total)?;
        self.source = address(12);
        self.destination = address(16);
        self.protocol = protocol;
        self.ttl = header[8];
        self.fragment = fragment;
        self.dont_fragment = dont_fragment;
        self.transport = transport;
        Ok(())
    }

    fn read_ipv6(&mut self, packet: &[u8], offset: usize) -> Result<(), ParseError> {
        let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| ParseError::Ipv6Header)?;
        let header_len = header.slice().len();
        let total = header_len + usize::from(header.payload_length());
        let body = packet.get(header_len..total).ok_or(ParseError::Truncated)?;
        let (extensions, protocol, payload) = Ipv6ExtensionsSlice::from_slice(header.next_header(), body)
            .map_err(|_| ParseError::Ipv6Header)?;
        let fragment = ipv6_fragment(extensions);
        let transport = match fragment {
            Fragment::Later => Transport::None,
            _ => Transport::parse(protocol.0, payload, fragment)?,
        };
        self.transport_start = end(offset + total - payload.len())?;
        self.end = end(offset + total)?;
        self.source = IpAddr::V6(header.source_addr());
        self.destination = IpAddr::V6(header.destination_addr());
        self.protocol = protocol.0;
        self.ttl = header.hop_limit();
        self.fragment = fragment;
        self.dont_fragment = true;
        self.transport = transport;
        Ok(())
    }

    /// Length of the IP packet in bytes, without Ethernet header, tags and padding.
    #[inline]
    pub fn network_len(&self) -> usize {
        usize::from(self.end - self.network)
    }

    /// Source and destination port; the identifier of an ICMP query stands on the side of the host that asked.
    /// Zeros for everything without ports.
    #[inline]
    pub fn ports(&self) -> (u16, u16) {
        match self.transport {
            Transport::Tcp {
                source, destination, ..
            }
            | Transport::Udp { source, destination } => (source, destination),
            Transport::IcmpQuery {
                identifier,
                reply: false,
            } => (identifier, 0),
            Transport::IcmpQuery {
                identifier,
                reply: true,
            } => (0, identifier),
            Transport::Icmp { .. } | Transport::None => (0, 0),
        }
    }

    /// The differentiated services code point, 0 to 63 (RFC 2474), of the frame that these are the headers of.
    pub fn dscp(&self, frame: &[u8]) -> u8 {
        let first = read_u16(frame, self.network.into()).unwrap_or(0);
        // IPv4 has its byte behind version and header length, IPv6 its traffic class right behind the version.
        let traffic_class = if self.is_ipv4() { first } else { first >> 4 };
        (traffic_class as u8) >> 2
    }

    /// Type and code of an ICMP message, of the frame that these are the headers of; zeros for anything else.
    pub fn icmp_type_and_code(&self, frame: &[u8]) -> (u8, u8) {
        match self.transport {
            Transport::Icmp { kind, code } => (kind, code),
            Transport::IcmpQuery { .. } => {
                let [kind, code] = read_u16(frame, self.transport_start.into())
                    .unwrap_or(0)
                    .to_be_bytes();
                (kind, code)
            }
            Transport::Tcp { .. } | Transport::Udp { .. } | Transport::None => (0, 0),
        }
    }

    /// Whether source and destination are IPv4 addresses.
    #[inline]
    pub fn is_ipv4(&self) -> bool {
        self.source.is_ipv4()
    }
}

impl Transport {
    /// Parses the transport header at the start of `payload`, which a fragment may cut off behind the header.
    #[inline(always)]
    fn parse(protocol: u8, payload: &[u8], fragment: Fragment) -> Result<Self, ParseError> {
        match protocol {
            protocol::TCP => {
                let tcp = TcpHeaderSlice::from_slice(payload).map_err(|_| ParseError::TcpHeader)?;
                let flags = tcp.slice()[13];
                Ok(Self::Tcp {
                    source: tcp.source_port(),
                    destination: tcp.destination_port(),
                    flags,
                })
            }
            protocol::UDP => {
                let udp = payload.first_chunk::<8>().ok_or(ParseError::UdpHeader)?;
                let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
                // RFC 768: the length counts the header; a whole datagram can't be shorter than it.
                if length < 8 || (fragment == Fragment::Whole && length > payload.len()) {
                    return Err(ParseError::UdpHeader);
                }
                Ok(Self::Udp {
                    source: u16::from_be_bytes([udp[0], udp[1]]),
                    destination: u16::from_be_bytes([udp[2], udp[3]]),
                })
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let icmp = payload.first_chunk::<8>().ok_or(ParseError::IcmpHeader)?;
                let identifier = u16::from_be_bytes([icmp[4], icmp[5]]);
                Ok(match (protocol, icmp[0]) {
                    (protocol::ICMP, 8 | 13) | (protocol::ICMPV6, 128) => Self::IcmpQuery {
                        identifier,
                        reply: false,
                    },
                    (protocol::ICMP, 0 | 14) | (protocol::ICMPV6, 129) => Self::IcmpQuery {
                        identifier,
                        reply: true,
                    },
                    _ => Self::Icmp {
                        kind: icmp[0],
                        code: icmp[1],
                    },
                })
            }
            _ => Ok(Self::None),
        }
    }
}

fn ipv6_fragment(extensions: Ipv6ExtensionsSlice<'_>) -> Fragment {
    for extension in extensions {
        if let etherparse::Ipv6ExtensionSlice::Fragment(fragment) = extension {
            return match (fragment.fragment_offset().value(), fragment.more_fragments()) {
                (0, false) => Fragment::Whole,
                (0, true) => Fragment::First,
                _ => Fragment::Later,
            };
        }
    }
    Fragment::Whole
}

/// Offsets are 16 bits wide: no frame is longer than that.
#[inline]
fn end(offset: usize) -> Result<u16, ParseError> {
    u16::try_from(offset).map_err(|_| ParseError::Truncated)
}

#[inline]
fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
