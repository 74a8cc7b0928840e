//! IPv4 (RFC 791).

use xdp_prog::{
    Address, Flow, Fragment, HAS_DESTINATIONS_V4, HAS_EXTERNAL, HAS_PASSED, HAS_SOURCES_V4, Interface,
    Verdict,
};

use super::{
    Decision, external,
    flow::{self, Part, Ports},
    maps,
    packet::Packet,
};

#[repr(C)]
pub(super) struct Header {
    pub(super) version_and_length: u8,
    pub(super) service: u8,
    pub(super) total_length: u16,
    pub(super) identification: u16,
    pub(super) flags_and_offset: u16,
    pub(super) time_to_live: u8,
    pub(super) protocol: u8,
    pub(super) checksum: u16,
    /// As they are in memory.
    pub(super) source: u32,
    pub(super) destination: u32,
}

impl Header {
    /// The header, and what follows it and its options.
    #[inline(always)]
    pub(super) fn parse(packet: Packet) -> Decision<(&'static Self, Packet)> {
        let header: &Self = packet.header()?;
        let length = usize::from(header.version_and_length & 0x0f) * 4;
        if header.version_and_length >> 4 != 4 || length < size_of::<Self>() {
            return Err(Verdict::Malformed);
        }
        Ok((header, packet.skip(length)))
    }

    #[inline(always)]
    pub(super) fn part(&self) -> Part {
        const OFFSET: u16 = 0x1fff_u16.to_be();
        const MORE_FRAGMENTS: u16 = 0x2000_u16.to_be();
        if self.flags_and_offset & OFFSET != 0 {
            Part::Later
        } else if self.flags_and_offset & MORE_FRAGMENTS != 0 {
            Part::First
        } else {
            Part::Whole
        }
    }

    #[inline(always)]
    pub(super) fn fragment(&self, interface: &Interface) -> Fragment {
        Fragment {
            logical: interface.logical,
            source: Address::mapped(self.source),
            destination: Address::mapped(self.destination),
            identification: u32::from(self.identification),
            protocol: u32::from(self.protocol),
        }
    }
}

#[inline(always)]
pub(super) fn decide(packet: Packet, interface: &Interface) -> Decision {
    let (header, transport) = Header::parse(packet)?;
    if usize::from(u16::from_be(header.total_length)) < usize::from(header.version_and_length & 0x0f) * 4 {
        return Err(Verdict::Malformed);
    }
    // Multicast, reserved and broadcast addresses: 224.0.0.0/3.
    if u32::from_be(header.destination) >> 29 == 0b111 {
        return Err(Verdict::Multicast);
    }
    let external = if interface.flags & HAS_EXTERNAL != 0 {
        maps::external(interface.logical, header.destination)
    } else {
        None
    };
    if let Some(port_set) = external {
        external::decide(header, transport, interface, port_set)?;
    } else {
        if maps::local(&Address::mapped(header.destination)) {
            return Err(Verdict::Local);
        }
        if !asked(header, interface) {
            return Err(Verdict::NotAsked);
        }
    }
    if interface.flags & HAS_PASSED == 0 {
        return Ok(());
    }
    let part = header.part();
    let ports = if part == Part::Later {
        Ports::NONE
    } else {
        flow::ports(transport, header.protocol)?
    };
    let flow = Flow {
        logical: interface.logical,
        source: Address::mapped(header.source),
        destination: Address::mapped(header.destination),
        source_port: ports.source,
        destination_port: ports.destination,
        protocol: u32::from(header.protocol),
    };
    flow::keep_passed(&flow, part, &header.fragment(interface))
}

#[inline(always)]
fn asked(header: &Header, interface: &Interface) -> bool {
    (interface.flags & HAS_SOURCES_V4 != 0 && maps::source_v4(interface.logical, header.source))
        || (interface.flags & HAS_DESTINATIONS_V4 != 0
            && maps::destination_v4(interface.logical, header.destination))
}
