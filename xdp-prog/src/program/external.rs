//! Packets to a NAT's external address: its ports are the NAT's, all else is the box's own.

use xdp_prog::{Interface, Verdict};

use super::{
    Decision,
    flow::{self, ICMP, Icmp, Part, Ports, TCP, UDP},
    ipv4::Header,
    maps,
    packet::Packet,
};

/// Asks whether the packet is for one of the NAT's ports. Later fragments follow the first one.
#[inline(always)]
pub(super) fn decide(header: &Header, transport: Packet, interface: &Interface, port_set: u32) -> Decision {
    let part = header.part();
    if part == Part::Whole {
        return decide_by_port(header.protocol, transport, interface, port_set);
    }
    let fragment = header.fragment(interface);
    if part == Part::Later {
        return match maps::fragment_verdict(&fragment) {
            Some(verdict) if verdict == Verdict::ExternalOther as u32 => Err(Verdict::ExternalOther),
            // If that was not seen yet, the NAT keeps this one until it was.
            _ => Ok(()),
        };
    }
    let decision = decide_by_port(header.protocol, transport, interface, port_set);
    flow::remember(&fragment, decision);
    decision
}

#[inline(always)]
fn decide_by_port(protocol: u8, transport: Packet, interface: &Interface, port_set: u32) -> Decision {
    let (port_set, port) = match protocol {
        TCP | UDP => (port_set, transport.header::<Ports>()?.destination),
        ICMP => {
            let icmp: &Icmp = transport.header()?;
            match icmp.kind {
                // Echo reply, timestamp reply.
                0 | 14 => (port_set, icmp.identifier),
                // Destination unreachable, source quench, time exceeded, parameter problem.
                3 | 4 | 11 | 12 => embedded_source(transport.skip(size_of::<Icmp>()), interface)?,
                // Requests among them: the box answers its own ping.
                _ => return Err(Verdict::ExternalOther),
            }
        }
        _ => return Err(Verdict::ExternalOther),
    };
    if maps::in_port_set(port_set, u16::from_be(port)) {
        Ok(())
    } else {
        Err(Verdict::ExternalOther)
    }
}

/// Who sent the packet that an ICMP error carries: the port set of the address, and the port.
#[inline(always)]
fn embedded_source(packet: Packet, interface: &Interface) -> Decision<(u32, u16)> {
    let (header, transport) = Header::parse(packet)?;
    let port_set = maps::external(interface.logical, header.source).ok_or(Verdict::ExternalOther)?;
    if header.part() == Part::Later {
        return Err(Verdict::ExternalOther);
    }
    match header.protocol {
        TCP | UDP => Ok((port_set, transport.header::<Ports>()?.source)),
        ICMP => {
            let icmp: &Icmp = transport.header()?;
            match icmp.kind {
                0 | 8 | 13 | 14 => Ok((port_set, icmp.identifier)),
                _ => Err(Verdict::ExternalOther),
            }
        }
        _ => Err(Verdict::ExternalOther),
    }
}
