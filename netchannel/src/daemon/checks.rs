//! What is looked at before anything is opened: does the configuration fit the kernel and the devices?

use super::DaemonError;
use crate::config::{ChannelKind, Config, FRAME_SIZE};
use crate::network::Links;
use crate::port::afxdp::{HEADROOM, LONGEST_ETHERNET_HEADER, MOST_CHUNKS};
use crate::setup::{Device, Layout};
use crate::xdp::{Pins, XdpError, XdpProgram};

/// Replies to the box's own connections would go to the translator if it used the ports that the kernel gives them.
pub(super) fn warn_of_kernel_ports(config: &Config) {
    let Ok(range) = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range") else {
        return;
    };
    let mut ends = range
        .split_whitespace()
        .filter_map(|port| port.parse::<u16>().ok());
    let (Some(first), Some(last)) = (ends.next(), ends.next()) else {
        return;
    };
    for channel in &config.channels {
        if let ChannelKind::Nat(nat) = &channel.kind
            && let Some(ports) = nat
                .ports
                .iter()
                .find(|ports| ports.first <= last && first <= ports.last)
        {
            log::warn!(
                "channel {}: ports {ports} overlap those that the kernel gives to the box's own connections \
                 ({first}-{last}, net.ipv4.ip_local_port_range): such a connection from the external address may lose its replies",
                channel.name
            );
        }
    }
}

/// The largest MTU whose packets fit in one frame, with an Ethernet header and two VLAN tags.
pub(crate) fn mtu_of_one_frame() -> u32 {
    FRAME_SIZE - HEADROOM - LONGEST_ETHERNET_HEADER
}

/// The largest MTU that is served: what a packet may be spread over.
pub(crate) fn largest_mtu() -> u32 {
    MOST_CHUNKS * (FRAME_SIZE - HEADROOM) - LONGEST_ETHERNET_HEADER
}

/// Bytes of the longest packet on the devices, with an Ethernet header and two VLAN tags; at least what fits in one frame.
pub(super) fn longest_packet(layout: &Layout, links: &Links) -> Result<u32, DaemonError> {
    let mut longest = mtu_of_one_frame();
    for device in &layout.devices {
        refuse_if_too_large(device, links, largest_mtu() + LONGEST_ETHERNET_HEADER)?;
        longest = longest.max(links.get(device.index).map_or(0, |link| link.mtu));
    }
    Ok(longest + LONGEST_ETHERNET_HEADER)
}

/// Refuses a device with packets that are longer than those that are taken.
pub(super) fn refuse_if_too_large(
    device: &Device,
    links: &Links,
    longest_packet: u32,
) -> Result<(), DaemonError> {
    let longest = longest_packet - LONGEST_ETHERNET_HEADER;
    match links.get(device.index) {
        Some(link) if link.mtu > longest => Err(DaemonError::Mtu {
            interface: device.name.clone(),
            mtu: link.mtu,
            longest,
        }),
        _ => Ok(()),
    }
}

/// Refuses a device that has an XDP program already, before anything is opened on it.
pub(super) fn refuse_if_taken(device: &str, pins: &Pins) -> Result<(), DaemonError> {
    match XdpProgram::attached_to(device)? {
        Some(_) if pins.hold(device)? => Ok(()),
        Some(program) => Err(XdpError::AlreadyAttached {
            interface: device.to_owned(),
            program,
        }
        .into()),
        None => Ok(()),
    }
}
