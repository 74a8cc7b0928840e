//! Ethernet and VLAN tags (IEEE 802.1Q, 802.1ad), and the marker of injected frames.

use aya_ebpf::{helpers, programs::XdpContext};
use xdp_prog::{MARKER_ETHER_TYPE, MARKER_LENGTH, Verdict};

use super::{Decision, maps, packet::Packet};

/// EtherTypes as they are in memory.
pub(super) const IPV4: u16 = 0x0800_u16.to_be();
pub(super) const IPV6: u16 = 0x86dd_u16.to_be();
pub(super) const MARKER: u16 = MARKER_ETHER_TYPE.to_be();
const VLAN: u16 = 0x8100_u16.to_be();
const SERVICE_VLAN: u16 = 0x88a8_u16.to_be();
const VLAN_IDENTIFIER: u16 = 0x0fff;

#[repr(C)]
struct Header {
    destination: [u8; 6],
    source: [u8; 6],
    ether_type: u16,
}

#[repr(C)]
struct Tag {
    control: u16,
    ether_type: u16,
}

pub(super) struct Frame {
    /// To a multicast or the broadcast address.
    pub(super) to_group: bool,
    /// 0 if untagged.
    pub(super) outer_vlan: u16,
    /// 0 if there are less than two tags.
    pub(super) inner_vlan: u16,
    /// That of the payload.
    pub(super) ether_type: u16,
}

/// The headers of the link layer and what follows them. A tag with identifier 0 carries a priority only; the
/// frame counts as one without that tag.
#[inline(always)]
pub(super) fn parse(packet: &Packet) -> Decision<(Frame, Packet)> {
    let header: &Header = packet.header()?;
    let mut frame = Frame {
        to_group: header.destination[0] & 1 != 0,
        outer_vlan: 0,
        inner_vlan: 0,
        ether_type: header.ether_type,
    };
    let mut rest = packet.skip(size_of::<Header>());
    if is_vlan(frame.ether_type) {
        let tag: &Tag = rest.header()?;
        frame.outer_vlan = u16::from_be(tag.control) & VLAN_IDENTIFIER;
        frame.ether_type = tag.ether_type;
        rest = rest.skip(size_of::<Tag>());
        if is_vlan(frame.ether_type) {
            let tag: &Tag = rest.header()?;
            let identifier = u16::from_be(tag.control) & VLAN_IDENTIFIER;
            if frame.outer_vlan == 0 {
                frame.outer_vlan = identifier;
            } else {
                frame.inner_vlan = identifier;
            }
            frame.ether_type = tag.ether_type;
            rest = rest.skip(size_of::<Tag>());
        }
    }
    Ok((frame, rest))
}

#[inline(always)]
fn is_vlan(ether_type: u16) -> bool {
    ether_type == VLAN || ether_type == SERVICE_VLAN
}

/// Takes the marker off a frame that user space injected. Anybody else's frame of this EtherType stays as it
/// is: only user space knows the cookie.
#[inline(always)]
pub(super) fn take_marker(ctx: &XdpContext, rest: Packet) -> Verdict {
    match rest.header::<u64>() {
        Ok(cookie) if *cookie == maps::MARKER_COOKIE.load() => {}
        _ => return Verdict::NotIp,
    }
    // SAFETY: the helper checks the new start against the frame's end; no packet pointer is used after it.
    if unsafe { helpers::generated::bpf_xdp_adjust_head(ctx.ctx, MARKER_LENGTH as i32) } != 0 {
        return Verdict::Malformed;
    }
    Verdict::Injected
}
