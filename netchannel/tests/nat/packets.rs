//! Packets as hosts send them, and what is looked at in packets that leave the box.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use etherparse::{IpNumber, Ipv4Header, TcpHeader, UdpHeader};
use netchannel::packet::{Fragment, Headers, Transport, checksum, protocol};

use crate::common::{HOST_MAC, LAN_MAC};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

pub fn at(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

pub fn host(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// What is in the IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Udp,
    Tcp(u8),
    /// An ICMP query or reply: its type. The identifier is the port of the host that asks.
    Query(u8),
}

impl Body {
    pub fn number(self) -> u8 {
        match self {
            Self::Udp => protocol::UDP,
            Self::Tcp(_) => protocol::TCP,
            Self::Query(_) => protocol::ICMP,
        }
    }
}

/// An IPv4 packet, all of whose checksums are right.
pub fn ip_packet(body: Body, source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    match body {
        Body::Udp => {
            let mut header =
                UdpHeader::without_ipv4_checksum(source.port(), destination.port(), payload.len()).unwrap();
            header.checksum = header
                .calc_checksum_ipv4_raw(source.ip().octets(), destination.ip().octets(), payload)
                .unwrap();
            header.write(&mut segment).unwrap();
            segment.extend_from_slice(payload);
        }
        Body::Tcp(flags) => {
            let mut header = TcpHeader::new(source.port(), destination.port(), 0x0102_0304, 4096);
            header.fin = flags & FIN != 0;
            header.syn = flags & SYN != 0;
            header.rst = flags & RST != 0;
            header.ack = flags & ACK != 0;
            header.checksum = header
                .calc_checksum_ipv4_raw(source.ip().octets(), destination.ip().octets(), payload)
                .unwrap();
            header.write(&mut segment).unwrap();
            segment.extend_from_slice(payload);
        }
        Body::Query(kind) => {
            let identifier = if matches!(kind, 0 | 14) {
                destination.port()
            } else {
                source.port()
            };
            segment = icmp(kind, 0, [identifier.to_be_bytes(), [0, 1]].concat(), payload);
        }
    }
    ipv4(body.number(), *source.ip(), *destination.ip(), &segment)
}

/// An ICMP message: type, code, four bytes of the header, and the rest.
pub fn icmp(kind: u8, code: u8, rest: impl AsRef<[u8]>, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(rest.as_ref());
    message.extend_from_slice(payload);
    let sum = checksum::of(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An IPv4 packet around a segment.
pub fn ipv4(number: u8, source: Ipv4Addr, destination: Ipv4Addr, segment: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header::new(
        segment.len() as u16,
        64,
        IpNumber(number),
        source.octets(),
        destination.octets(),
    )
    .unwrap();
    // What may be fragmented gets another identification.
    header.dont_fragment = true;
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = Vec::new();
    header.write(&mut bytes).unwrap();
    bytes.extend_from_slice(segment);
    bytes
}

/// An ICMP error from `router` to `to` that quotes a packet.
pub fn error(kind: u8, code: u8, router: &str, to: Ipv4Addr, quoted: &[u8]) -> Vec<u8> {
    let message = icmp(kind, code, [0; 4], quoted);
    ipv4(protocol::ICMP, host(router), to, &message)
}

/// In an Ethernet frame.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    let mut bytes = LAN_MAC.to_vec();
    bytes.extend_from_slice(&HOST_MAC);
    bytes.extend_from_slice(&[0x08, 0x00]);
    bytes.extend_from_slice(packet);
    bytes
}

/// What one of a packet's ends is: the other one of an ICMP query has port 0.
pub fn ends(frame: &[u8]) -> (SocketAddrV4, SocketAddrV4) {
    let headers = Headers::parse(frame).unwrap();
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (headers.source, headers.destination) else {
        panic!("not IPv4");
    };
    let (source_port, destination_port) = headers.ports();
    (
        SocketAddrV4::new(source, source_port),
        SocketAddrV4::new(destination, destination_port),
    )
}

/// The packet that an ICMP error quotes, with a frame around it so that it can be looked at.
pub fn quoted(error: &[u8]) -> Vec<u8> {
    let headers = Headers::parse(error).unwrap();
    let start = usize::from(headers.transport_start) + 8;
    frame(&error[start..usize::from(headers.end)])
}

/// The IPv4 packet in a frame, without what Ethernet adds.
pub fn packet(frame: &[u8]) -> &[u8] {
    let headers = Headers::parse(frame).unwrap();
    &frame[usize::from(headers.network)..usize::from(headers.end)]
}

/// Computes all checksums of a packet in full, and asserts that they are right. The parser has looked at that of the IPv4 header.
#[track_caller]
pub fn assert_checksums(frame: &[u8]) {
    let headers = Headers::parse(frame).unwrap();
    if headers.fragment != Fragment::Whole {
        return;
    }
    let segment = &frame[usize::from(headers.transport_start)..usize::from(headers.end)];
    let pseudo = checksum::pseudo_sum(
        headers.source,
        headers.destination,
        headers.protocol,
        segment.len() as u64,
    );
    match headers.transport {
        Transport::Tcp { .. } => {
            assert_eq!(
                checksum::add(pseudo, checksum::sum(segment)),
                0xffff,
                "TCP checksum"
            );
        }
        Transport::Udp { .. } => {
            let none = segment[6..8] == [0, 0];
            assert!(
                none || checksum::add(pseudo, checksum::sum(segment)) == 0xffff,
                "UDP checksum"
            );
        }
        Transport::IcmpQuery { .. } => assert_eq!(checksum::sum(segment), 0xffff, "ICMP checksum"),
        Transport::Icmp { kind, .. } => {
            assert_eq!(checksum::sum(segment), 0xffff, "ICMP checksum");
            let is_whole = |quote: &[u8]| {
                quote.len() >= 28
                    && usize::from(u16::from_be_bytes([quote[2], quote[3]])) <= quote.len()
                    && usize::from(quote[0] & 0xf) * 4 + 8 <= quote.len()
            };
            if matches!(kind, 3 | 11 | 12) && is_whole(&segment[8..]) {
                assert_checksums(&quoted(frame));
            }
        }
        Transport::None => {}
    }
}
