//! Frames to show to the program.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, LaxIpv4Slice};

pub(crate) const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub(crate) const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

pub(crate) fn v4(address: &str) -> Ipv4Addr {
    address.parse().expect("an IPv4 address")
}

pub(crate) fn v6(address: &str) -> Ipv6Addr {
    address.parse().expect("an IPv6 address")
}

/// An Ethernet frame with VLAN tags in front of its payload, each with EtherType and identifier.
pub(crate) fn ethernet(tags: &[(u16, u16)], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [MAC, PEER_MAC].concat();
    for (tag, identifier) in tags {
        frame.extend(tag.to_be_bytes());
        // With a priority, which the program has to ignore.
        frame.extend((0xe000 | identifier).to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet; `change` may change the header before it is written.
pub(crate) fn ipv4(
    source: &str,
    destination: &str,
    protocol: IpNumber,
    payload: &[u8],
    change: impl FnOnce(&mut Ipv4Header),
) -> Vec<u8> {
    let mut header = Ipv4Header::new(
        payload.len() as u16,
        64,
        protocol,
        v4(source).octets(),
        v4(destination).octets(),
    )
    .expect("a short payload");
    header.dont_fragment = false;
    change(&mut header);
    header.header_checksum = header.calc_header_checksum();
    let mut packet = Vec::new();
    header.write_raw(&mut packet).expect("writing to memory");
    packet.extend(payload);
    packet
}

/// An IPv6 packet.
pub(crate) fn ipv6(source: &str, destination: &str, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        payload_length: payload.len() as u16,
        next_header: IpNumber(next_header),
        hop_limit: 64,
        source: v6(source).octets(),
        destination: v6(destination).octets(),
        ..Default::default()
    };
    let mut packet = header.to_bytes().to_vec();
    packet.extend(payload);
    packet
}

/// An IPv6 extension header of `length` × 8 bytes in front of a payload.
pub(crate) fn extension(next_header: u8, length: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; usize::from(length) * 8];
    packet[0] = next_header;
    packet[1] = length - 1;
    packet.extend(payload);
    packet
}

/// An IPv6 fragment header in front of a payload; the offset is in units of 8 bytes.
pub(crate) fn fragment(
    next_header: u8,
    offset: u16,
    more: bool,
    identification: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![next_header, 0];
    packet.extend((offset << 3 | u16::from(more)).to_be_bytes());
    packet.extend(identification.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A UDP datagram without checksum; its first bytes serve as those of a TCP segment too.
pub(crate) fn ports(source: u16, destination: u16) -> Vec<u8> {
    let mut datagram = Vec::new();
    for field in [source, destination, 8 + 12, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend([0; 12]);
    datagram
}

/// An ICMP or ICMPv6 message: type, code 0, no checksum, the second word of the header, and the rest.
pub(crate) fn icmp(kind: u8, identifier: u16, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1]);
    message.extend(rest);
    message
}

/// A UDP frame from one address to another, untagged.
pub(crate) fn udp4(source: &str, destination: &str) -> Vec<u8> {
    udp4_ports(source, destination, 4000, 5000)
}

pub(crate) fn udp4_ports(
    source: &str,
    destination: &str,
    source_port: u16,
    destination_port: u16,
) -> Vec<u8> {
    let packet = ipv4(
        source,
        destination,
        IpNumber::UDP,
        &ports(source_port, destination_port),
        |_| {},
    );
    assert!(LaxIpv4Slice::from_slice(&packet).is_ok());
    ethernet(&[], 0x0800, &packet)
}

pub(crate) fn udp6(source: &str, destination: &str) -> Vec<u8> {
    ethernet(&[], 0x86dd, &ipv6(source, destination, 17, &ports(4000, 5000)))
}
