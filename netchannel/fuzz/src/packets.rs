//! Packets, and what must hold for those that leave.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use netchannel::packet::{Fragment, Headers, Transport, checksum, protocol};

use super::common::{HOST_MAC, LAN_MAC, WAN_MAC};

pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// The box's own address outside.
pub const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

pub fn at(address: [u8; 4], port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address.into(), port)
}

/// A transport header with 12 bytes of payload: TCP with these flags, UDP, or an ICMP query of this type.
#[derive(Clone, Copy)]
pub enum Body {
    Tcp(u8),
    Udp,
    Query(u8),
}

/// An IPv4 packet with right checksums.
pub fn packet(body: Body, source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let payload = b"twelve bytes";
    let (number, mut segment, sum_at) = match body {
        Body::Tcp(flags) => {
            let fixed = [
                0, 0, 0, 1, 0, 0, 0, 2, 0x60, flags, 16, 0, 0, 0, 0, 0, 2, 4, 5, 0xb4,
            ];
            (protocol::TCP, [&ports[..], &fixed, payload].concat(), 16)
        }
        Body::Udp => (protocol::UDP, [&ports[..], &[0, 20, 0, 0], payload].concat(), 6),
        Body::Query(kind) => {
            let identifier = (source.port() | destination.port()).to_be_bytes();
            let fixed = [kind, 0, 0, 0, identifier[0], identifier[1], 0, 1];
            (protocol::ICMP, [&fixed[..], payload].concat(), 2)
        }
    };
    let pseudo = if number == protocol::ICMP {
        0
    } else {
        let (from, to) = ((*source.ip()).into(), (*destination.ip()).into());
        checksum::pseudo_sum(from, to, number, segment.len() as u64)
    };
    let sum = !checksum::add(pseudo, checksum::sum(&segment));
    segment[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    ipv4(number, *source.ip(), *destination.ip(), &segment)
}

/// An IPv4 packet around a segment.
pub fn ipv4(number: u8, source: Ipv4Addr, destination: Ipv4Addr, segment: &[u8]) -> Vec<u8> {
    let total = (20 + segment.len()) as u16;
    let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, number, 0, 0];
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend_from_slice(segment);
    repair_header(&mut bytes);
    bytes
}

/// Makes the checksum of the IPv4 header at the start right, if there is one.
pub fn repair_header(packet: &mut [u8]) {
    let Some(&first) = packet.first() else { return };
    let length = usize::from(first & 0x0f) * 4;
    if let Some(header) = packet.get_mut(..length).filter(|header| header.len() >= 20) {
        header[10..12].fill(0);
        let sum = checksum::of(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes the checksum of the ICMP message at the start right.
pub fn repair_message(message: &mut [u8]) {
    if message.len() >= 4 {
        message[2..4].fill(0);
        let sum = checksum::of(message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// In a frame to the box, from inside or from outside.
pub fn frame(from_inside: bool, packet: &[u8]) -> Vec<u8> {
    let to = if from_inside { LAN_MAC } else { WAN_MAC };
    [&to[..], &HOST_MAC, &[0x08, 0x00], packet].concat()
}

/// Whether the transport checksum of a whole packet is right; `None` if there is none to look at.
pub fn checksum_is_right(frame: &[u8]) -> Option<bool> {
    let headers = Headers::parse(frame).ok()?;
    let segment = frame.get(usize::from(headers.transport_start)..usize::from(headers.end))?;
    if headers.fragment != Fragment::Whole {
        return None;
    }
    let pseudo = checksum::pseudo_sum(
        headers.source,
        headers.destination,
        headers.protocol,
        segment.len() as u64,
    );
    match (headers.transport, headers.is_ipv4()) {
        (Transport::Udp { .. }, true) if segment[6..8] == [0, 0] => None,
        (Transport::Tcp { .. } | Transport::Udp { .. }, _) => {
            Some(checksum::add(pseudo, checksum::sum(segment)) == 0xffff)
        }
        (Transport::IcmpQuery { .. } | Transport::Icmp { .. }, true) => {
            Some(checksum::sum(segment) == 0xffff)
        }
        _ => None,
    }
}

/// What left to the outside says nothing of the inside: not where it is from, nor where the packet that it quotes went.
pub fn assert_nothing_leaks(frame: &[u8]) {
    let headers = Headers::parse(frame).expect("what leaves is well formed");
    let IpAddr::V4(source) = headers.source else {
        return;
    };
    assert!([EXTERNAL, OWN].contains(&source), "{headers:?}");
    let is_error = matches!(
        headers.transport,
        Transport::Icmp {
            kind: 3 | 11 | 12,
            ..
        }
    );
    let quoted = usize::from(headers.transport_start) + 8;
    if is_error && let Some(octets) = frame.get(quoted + 16..).and_then(|rest| rest.first_chunk::<4>()) {
        assert!([EXTERNAL, OWN].contains(&Ipv4Addr::from(*octets)), "{frame:x?}");
    }
}
