//! Whole frames, built and read field by field.

use std::net::Ipv4Addr;

use etherparse::{Ipv4Header, Ipv4HeaderSlice, PacketBuilder, UdpHeaderSlice};
use netchannel_benches::measure::hardware_address;
use netchannel_benches::topology::Lab;

/// Bytes of an Ethernet header without tags.
pub(crate) const ETHERNET: usize = 14;

/// The Ethernet addresses of a frame from the inside host to the box: source, destination.
pub(crate) fn to_box(lab: &Lab) -> ([u8; 6], [u8; 6]) {
    (
        hardware_address(&lab.inside, "eth0").expect("an address"),
        hardware_address(&lab.middle, "lan").expect("an address"),
    )
}

/// A UDP datagram in a frame. Its IP header may be changed by `change` before checksums are made.
pub(crate) fn udp(
    (source_mac, destination_mac): ([u8; 6], [u8; 6]),
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    payload: &[u8],
    change: impl FnOnce(&mut Ipv4Header),
) -> Vec<u8> {
    let mut header = Ipv4Header {
        source: source.0.octets(),
        destination: destination.0.octets(),
        time_to_live: 64,
        ..Ipv4Header::default()
    };
    change(&mut header);
    let headers = etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default());
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(source_mac, destination_mac)
        .ip(headers)
        .udp(source.1, destination.1)
        .write_to_vec(&mut frame, payload)
        .expect("a short payload");
    frame
}

/// A UDP datagram as it was found in a frame, its checksums found right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) source: (Ipv4Addr, u16),
    pub(crate) destination: (Ipv4Addr, u16),
    pub(crate) ttl: u8,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// Reads a frame; none if it is not an untagged, whole UDP datagram. Panics on a wrong checksum.
pub(crate) fn read_udp(frame: &[u8]) -> Option<Datagram> {
    if frame.get(12..ETHERNET)? != [8, 0] {
        return None;
    }
    let ip = Ipv4HeaderSlice::from_slice(&frame[ETHERNET..]).ok()?;
    if ip.protocol() != etherparse::IpNumber::UDP || ip.is_fragmenting_payload() {
        return None;
    }
    let header = ip.to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    let transport = &frame[ETHERNET + ip.slice().len()..ETHERNET + usize::from(ip.total_len())];
    let udp = UdpHeaderSlice::from_slice(transport).ok()?.to_header();
    let payload = &transport[8..];
    let checksum = udp.calc_checksum_ipv4(&header, payload).expect("a short payload");
    assert_eq!(udp.checksum, checksum);
    Some(Datagram {
        source: (ip.source_addr(), udp.source_port),
        destination: (ip.destination_addr(), udp.destination_port),
        ttl: ip.ttl(),
        options: ip.options().to_vec(),
        payload: payload.to_vec(),
    })
}
