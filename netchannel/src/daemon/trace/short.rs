//! Packets in one line.

use std::net::{IpAddr, SocketAddr};

use crate::packet::{Fragment, Headers, Transport, ethertype};
use crate::rules::protocol_name;

/// A packet in short: `tcp 10.0.0.2:40000 > 192.0.2.1:443 syn`; what is no IP packet by its Ethernet type.
pub(in crate::daemon) fn of_frame(headers: Option<&Headers>, frame: &[u8]) -> String {
    match headers {
        Some(headers) => of_packet(headers, frame),
        None => of_ethernet(frame),
    }
}

fn of_packet(headers: &Headers, frame: &[u8]) -> String {
    let protocol = protocol_name(headers.protocol);
    let addresses = format!("{} > {}", headers.source, headers.destination);
    match headers.transport {
        Transport::Tcp {
            source,
            destination,
            flags,
        } => {
            let ends = ends(headers, source, destination);
            format!("{protocol} {ends} {}{}", flag_names(flags), part(headers))
        }
        Transport::Udp { source, destination } => {
            format!(
                "{protocol} {}{}",
                ends(headers, source, destination),
                part(headers)
            )
        }
        Transport::IcmpQuery { identifier, .. } => {
            let (kind, code) = headers.icmp_type_and_code(frame);
            let name = icmp_name(headers.is_ipv4(), kind, code);
            format!("{protocol} {addresses} {name}, id {identifier}{}", part(headers))
        }
        Transport::Icmp { kind, code } => {
            let name = icmp_name(headers.is_ipv4(), kind, code);
            format!("{protocol} {addresses} {name}{}", part(headers))
        }
        Transport::None => format!("{protocol} {addresses}{}", part(headers)),
    }
}

fn ends(headers: &Headers, source: u16, destination: u16) -> String {
    let end = |address: IpAddr, port| SocketAddr::new(address, port);
    let (source, destination) = (end(headers.source, source), end(headers.destination, destination));
    format!("{source} > {destination}")
}

fn part(headers: &Headers) -> &'static str {
    match headers.fragment {
        Fragment::Whole => "",
        Fragment::First => ", first fragment",
        Fragment::Later => ", later fragment",
    }
}

/// `syn,ack`; `-` for none.
pub(super) fn flag_names(flags: u8) -> String {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    let set = NAMES.iter().enumerate().filter(|(bit, _)| flags & 1 << bit != 0);
    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(",")
    }
}

/// What a type and code of ICMP are called (RFC 792, RFC 1812, RFC 4443, RFC 4861).
fn icmp_name(is_ipv4: bool, kind: u8, code: u8) -> String {
    let name = match (is_ipv4, kind, code) {
        (true, 0, _) | (false, 129, _) => "echo reply",
        (true, 8, _) | (false, 128, _) => "echo request",
        (true, 3, 0) => "net unreachable",
        (true, 3, 1) => "host unreachable",
        (true, 3, 2) => "protocol unreachable",
        (true, 3, 3) | (false, 1, 4) => "port unreachable",
        (true, 3, 4) => "fragmentation needed",
        (true, 3, 9 | 10 | 13) | (false, 1, 1) => "administratively prohibited",
        (true, 11, 0) | (false, 3, 0) => "time to live exceeded",
        (true, 11, 1) | (false, 3, 1) => "fragment reassembly time exceeded",
        (true, 13, _) => "timestamp request",
        (true, 14, _) => "timestamp reply",
        (false, 1, 0) => "no route to destination",
        (false, 1, 3) => "address unreachable",
        (false, 2, _) => "packet too big",
        (false, 133, _) => "router solicitation",
        (false, 134, _) => "router advertisement",
        (false, 135, _) => "neighbour solicitation",
        (false, 136, _) => "neighbour advertisement",
        _ => return format!("type {kind} code {code}"),
    };
    name.to_owned()
}

fn of_ethernet(frame: &[u8]) -> String {
    let Some(header) = frame.first_chunk::<14>() else {
        return "a frame without a whole Ethernet header".to_owned();
    };
    let (destination, source) = (mac(&header[..6]), mac(&header[6..12]));
    let kind = match u16::from_be_bytes([header[12], header[13]]) {
        0x0806 => "ARP".to_owned(),
        ethertype::IPV4 => "malformed IPv4".to_owned(),
        ethertype::IPV6 => "malformed IPv6".to_owned(),
        ethertype::VLAN | ethertype::SERVICE_VLAN => "with a VLAN tag".to_owned(),
        kind => format!("Ethernet type {kind:#06x}"),
    };
    format!("frame {source} > {destination}, {kind}")
}

pub(super) fn mac(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn short(frame: &[u8]) -> String {
        of_frame(Headers::parse(frame).ok().as_ref(), frame)
    }

    #[test]
    fn packets_fit_in_a_line() {
        let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ipv4 = || ethernet().ipv4([10, 0, 0, 2], [192, 0, 2, 1], 64);
        let ipv6 = || ethernet().ipv6([0; 16], [1; 16], 64);
        let mut frame = Vec::new();
        ipv4()
            .tcp(5000, 443, 7, 100)
            .syn()
            .ack(3)
            .write(&mut frame, b"")
            .unwrap();
        assert_eq!(short(&frame), "tcp 10.0.0.2:5000 > 192.0.2.1:443 syn,ack");
        let mut frame = Vec::new();
        ipv6().udp(5000, 53).write(&mut frame, b"?").unwrap();
        assert_eq!(
            short(&frame),
            "udp [::]:5000 > [101:101:101:101:101:101:101:101]:53"
        );
        let mut frame = Vec::new();
        ipv4().icmpv4_echo_request(9, 1).write(&mut frame, b"?").unwrap();
        assert_eq!(short(&frame), "icmp 10.0.0.2 > 192.0.2.1 echo request, id 9");
        let mut frame = Vec::new();
        ipv4().icmpv4_raw(3, 3, [0; 4]).write(&mut frame, b"").unwrap();
        assert_eq!(short(&frame), "icmp 10.0.0.2 > 192.0.2.1 port unreachable");
        frame[14] = 0x95;
        assert_eq!(
            short(&frame),
            "frame 02:00:00:00:00:01 > 02:00:00:00:00:02, malformed IPv4"
        );
        frame[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(short(&frame), "frame 02:00:00:00:00:01 > 02:00:00:00:00:02, ARP");
        assert_eq!(short(&[1, 2]), "a frame without a whole Ethernet header");
    }
}
