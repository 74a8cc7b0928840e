//! Frames of 64 bytes, each a UDP datagram of one of many flows.

use std::net::Ipv4Addr;

/// Bytes of a frame, without its check sequence.
pub const FRAME: usize = 64;
/// Source ports that flows have: with more flows, each is used for several destination ports.
pub const SOURCES: u32 = 8192;
/// Destination ports at most.
pub(crate) const DESTINATIONS: u32 = 16_384;
/// Flows at most.
pub const MOST_FLOWS: u32 = SOURCES * DESTINATIONS;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
pub(crate) const SOURCE_PORT: usize = ETHERNET + IPV4;
pub(crate) const DESTINATION_PORT: usize = SOURCE_PORT + 2;
/// First bytes of payload: the complements of the ports, so that the checksum is the same for all flows.
pub(crate) const COMPLEMENTS: usize = SOURCE_PORT + UDP;

/// Where the datagrams come from and go to.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Source and destination MAC address.
    pub hardware: ([u8; 6], [u8; 6]),
    /// Source and destination address.
    pub addresses: (Ipv4Addr, Ipv4Addr),
    /// First source port and destination port.
    pub ports: (u16, u16),
}

/// The frame of the first flow.
pub(crate) fn frame(flow: &Flow) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let ((source_mac, destination_mac), (source, destination)) = (flow.hardware, flow.addresses);
    frame[..6].copy_from_slice(&destination_mac);
    frame[6..12].copy_from_slice(&source_mac);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let total = ((FRAME - ETHERNET) as u16).to_be_bytes();
    let mut header = [
        0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&destination.octets());
    let checksum = !sum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame[ETHERNET..ETHERNET + IPV4].copy_from_slice(&header);

    set_flow(&mut frame, flow.ports, 0);
    let length = ((FRAME - ETHERNET - IPV4) as u16).to_be_bytes();
    let udp = &mut frame[SOURCE_PORT..];
    udp[4..6].copy_from_slice(&length);
    let mut pseudo = [0, 17, length[0], length[1], 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    pseudo[4..8].copy_from_slice(&source.octets());
    pseudo[8..12].copy_from_slice(&destination.octets());
    pseudo.extend_from_slice(udp);
    // Zero would say that there is no checksum.
    let checksum = match !sum(&pseudo) {
        0 => 0xffff,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// Makes a frame one of the flow with this number, 0 to [`MOST_FLOWS`] - 1; its checksum stays right.
pub(crate) fn set_flow(frame: &mut [u8; FRAME], first_ports: (u16, u16), number: u32) {
    let ports = [
        (SOURCE_PORT, COMPLEMENTS, first_ports.0, number % SOURCES),
        (DESTINATION_PORT, COMPLEMENTS + 2, first_ports.1, number / SOURCES),
    ];
    for (at, complement, first, number) in ports {
        let port = first.wrapping_add(number as u16);
        frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
        frame[complement..complement + 2].copy_from_slice(&(!port).to_be_bytes());
    }
}

/// Ones' complement sum of 16-bit words, RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_hold_for_every_flow() {
        let flow = Flow {
            hardware: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
            addresses: (Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(198, 51, 100, 2)),
            ports: (1024, 9),
        };
        let mut frame = frame(&flow);
        assert_eq!(sum(&frame[ETHERNET..ETHERNET + IPV4]), 0xffff);
        for number in [0, 1, 4_711, 8_191, 8_192, 99_999, MOST_FLOWS - 1] {
            set_flow(&mut frame, flow.ports, number);
            let mut summed = vec![0, 17];
            summed.extend_from_slice(&frame[SOURCE_PORT + 4..SOURCE_PORT + 6]);
            summed.extend_from_slice(&frame[ETHERNET + 12..]);
            assert_eq!(sum(&summed), 0xffff, "flow {number}");
        }
    }

    #[test]
    fn flows_differ_in_their_ports() {
        let mut frame = [0; FRAME];
        let mut seen = std::collections::HashSet::new();
        for number in 0..100_000 {
            set_flow(&mut frame, (20_000, 9), number);
            seen.insert(<[u8; 4]>::try_from(&frame[SOURCE_PORT..COMPLEMENTS - 4]).expect("two ports"));
        }
        assert_eq!(seen.len(), 100_000);
    }
}
