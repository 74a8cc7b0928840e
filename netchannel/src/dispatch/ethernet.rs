//! The Ethernet header of a packet that leaves.

use super::routing::Departure;
use crate::interface::Interface;
use crate::packet::{ETHERNET_HEADER, VLAN_TAG, VlanTags, ethertype};
use crate::port::{Frame, FrameTooSmall};

/// Sets addresses and VLAN tags for `egress`, whatever tags the packet came with, and returns where the IP header is then.
/// `network` is where it was.
///
/// # Errors
/// If a tag more does not fit in the frame.
#[inline(always)]
pub(crate) fn encapsulate(
    frame: &mut Frame,
    network: usize,
    egress: &Interface,
    departure: &Departure,
) -> Result<usize, FrameTooSmall> {
    if network == ETHERNET_HEADER && egress.vlan == VlanTags::default() {
        // No tags came and none leave: the Ethernet type stays.
        if let Some(addresses) = frame.bytes_mut().first_chunk_mut::<12>() {
            addresses[0..6].copy_from_slice(&departure.destination);
            addresses[6..12].copy_from_slice(&departure.source);
        }
        return Ok(network);
    }
    set_tags(frame, network, egress, departure)
}

fn set_tags(
    frame: &mut Frame,
    network: usize,
    egress: &Interface,
    departure: &Departure,
) -> Result<usize, FrameTooSmall> {
    let wanted = ETHERNET_HEADER + VLAN_TAG * tag_count(egress.vlan);
    if wanted > network {
        frame.insert(network, wanted - network)?;
    } else if wanted < network {
        frame.remove(wanted, network - wanted);
    }
    let ip_version = frame.bytes()[wanted] >> 4;
    let bytes = frame.bytes_mut();
    bytes[0..6].copy_from_slice(&departure.destination);
    bytes[6..12].copy_from_slice(&departure.source);
    let mut at = 12;
    let VlanTags { outer, inner } = egress.vlan;
    for (tag, protocol) in [(outer, egress.vlan_protocol), (inner, ethertype::VLAN)] {
        if tag != 0 {
            bytes[at..at + 2].copy_from_slice(&protocol.to_be_bytes());
            bytes[at + 2..at + 4].copy_from_slice(&tag.to_be_bytes());
            at += VLAN_TAG;
        }
    }
    let kind = if ip_version == 4 {
        ethertype::IPV4
    } else {
        ethertype::IPV6
    };
    bytes[at..at + 2].copy_from_slice(&kind.to_be_bytes());
    Ok(wanted)
}

fn tag_count(vlan: VlanTags) -> usize {
    usize::from(vlan.outer != 0) + usize::from(vlan.inner != 0)
}
