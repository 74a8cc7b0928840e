//! What of a flow the transport layer tells, and the flows that user space leaves to the kernel.

use xdp_prog::{Flow, Fragment, Verdict};

use super::{Decision, maps, packet::Packet};

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;

/// Ports in network byte order; for ICMP queries the identifier and 0; else 0.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Ports {
    pub(super) source: u16,
    pub(super) destination: u16,
}

impl Ports {
    pub(super) const NONE: Self = Self {
        source: 0,
        destination: 0,
    };
}

/// The part of an ICMP or ICMPv6 header that is the same for all types, and the identifier that queries have
/// behind it (RFC 792; RFC 4443, section 4).
#[repr(C)]
pub(super) struct Icmp {
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) checksum: u16,
    pub(super) identifier: u16,
    pub(super) sequence: u16,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    First,
    Later,
}

/// The ports of a packet that is not a later fragment.
#[inline(always)]
pub(super) fn ports(transport: Packet, protocol: u8) -> Decision<Ports> {
    match protocol {
        TCP | UDP => Ok(*transport.header::<Ports>()?),
        ICMP => {
            let icmp: &Icmp = transport.header()?;
            let query = matches!(icmp.kind, 0 | 8 | 13 | 14);
            Ok(if query {
                Ports {
                    source: icmp.identifier,
                    destination: 0,
                }
            } else {
                Ports::NONE
            })
        }
        ICMPV6 => {
            let icmp: &Icmp = transport.header()?;
            let query = matches!(icmp.kind, 128 | 129);
            Ok(if query {
                Ports {
                    source: icmp.identifier,
                    destination: 0,
                }
            } else {
                Ports::NONE
            })
        }
        _ => Ok(Ports::NONE),
    }
}

/// Asks whether user space leaves this flow to the kernel. Later fragments follow the first one; if that was
/// not seen, user space gets them.
#[inline(always)]
pub(super) fn keep_passed(flow: &Flow, part: Part, fragment: &Fragment) -> Decision {
    if part == Part::Later {
        return match maps::fragment_verdict(fragment) {
            Some(verdict) if verdict != Verdict::Redirected as u32 => Err(Verdict::PassedFlow),
            _ => Ok(()),
        };
    }
    let decision = if maps::passed(flow) {
        Err(Verdict::PassedFlow)
    } else {
        Ok(())
    };
    if part == Part::First {
        remember(fragment, decision);
    }
    decision
}

#[inline(always)]
pub(super) fn remember(fragment: &Fragment, decision: Decision) {
    maps::remember_fragment(fragment, decision.err().unwrap_or(Verdict::Redirected));
}
