//! IPv6 and its extension headers (RFC 8200).

use xdp_prog::{
    Address, Flow, Fragment, HAS_DESTINATIONS_V6, HAS_PASSED, HAS_SOURCES_V6, Interface, Verdict,
};

use super::{
    Decision,
    flow::{self, ICMPV6, Part, Ports},
    maps,
    packet::Packet,
};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Extension headers that are looked behind; real packets have one or two.
const MAX_EXTENSION_HEADERS: usize = 4;

#[repr(C)]
struct Header {
    version_class_and_label: u32,
    payload_length: u16,
    next_header: u8,
    hop_limit: u8,
    /// As they are in memory.
    source: [u32; 4],
    destination: [u32; 4],
}

#[repr(C)]
struct Extension {
    next_header: u8,
    /// In units of 8 bytes, the first 8 not counted.
    length: u8,
}

#[repr(C)]
struct FragmentHeader {
    next_header: u8,
    reserved: u8,
    offset_and_flags: u16,
    identification: u32,
}

/// What lies behind the extension headers.
struct Upper {
    protocol: u8,
    packet: Packet,
    part: Part,
    identification: u32,
}

#[inline(always)]
pub(super) fn decide(packet: Packet, interface: &Interface) -> Decision {
    let header: &Header = packet.header()?;
    if u32::from_be(header.version_class_and_label) >> 28 != 6 {
        return Err(Verdict::Malformed);
    }
    if u32::from_be(header.destination[0]) >> 24 == 0xff {
        return Err(Verdict::Multicast);
    }
    if is_link_local(&header.source) || is_link_local(&header.destination) {
        return Err(Verdict::LinkLocal);
    }
    let upper = skip_extensions(header.next_header, packet.skip(size_of::<Header>()))?;
    if upper.protocol == ICMPV6 && upper.part != Part::Later {
        let kind: &u8 = upper.packet.header()?;
        if (133..=137).contains(kind) {
            return Err(Verdict::NeighbourDiscovery);
        }
    }
    let destination = Address(header.destination);
    if maps::local(&destination) {
        return Err(Verdict::Local);
    }
    if !asked(header, interface) {
        return Err(Verdict::NotAsked);
    }
    if interface.flags & HAS_PASSED == 0 {
        return Ok(());
    }
    let ports = if upper.part == Part::Later {
        Ports::NONE
    } else {
        flow::ports(upper.packet, upper.protocol)?
    };
    let source = Address(header.source);
    let flow = Flow {
        logical: interface.logical,
        source,
        destination,
        source_port: ports.source,
        destination_port: ports.destination,
        protocol: u32::from(upper.protocol),
    };
    let fragment = Fragment {
        logical: interface.logical,
        source,
        destination,
        identification: upper.identification,
        protocol: 0,
    };
    flow::keep_passed(&flow, upper.part, &fragment)
}

/// fe80::/10
#[inline(always)]
fn is_link_local(address: &[u32; 4]) -> bool {
    u32::from_be(address[0]) >> 22 == 0xfe80 >> 6
}

#[inline(always)]
fn asked(header: &Header, interface: &Interface) -> bool {
    (interface.flags & HAS_SOURCES_V6 != 0 && maps::source_v6(interface.logical, header.source))
        || (interface.flags & HAS_DESTINATIONS_V6 != 0
            && maps::destination_v6(interface.logical, header.destination))
}

#[inline(always)]
fn skip_extensions(next_header: u8, packet: Packet) -> Decision<Upper> {
    let mut upper = Upper {
        protocol: next_header,
        packet,
        part: Part::Whole,
        identification: 0,
    };
    for _ in 0..MAX_EXTENSION_HEADERS {
        match upper.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let extension: &Extension = upper.packet.header()?;
                upper.protocol = extension.next_header;
                upper.packet = upper.packet.skip((usize::from(extension.length) + 1) * 8);
            }
            FRAGMENT => {
                let fragment: &FragmentHeader = upper.packet.header()?;
                let offset_and_flags = u16::from_be(fragment.offset_and_flags);
                upper.protocol = fragment.next_header;
                upper.packet = upper.packet.skip(size_of::<FragmentHeader>());
                upper.identification = fragment.identification;
                if offset_and_flags >> 3 != 0 {
                    upper.part = Part::Later;
                    break;
                }
                if offset_and_flags & 1 != 0 {
                    upper.part = Part::First;
                }
            }
            _ => break,
        }
    }
    Ok(upper)
}
