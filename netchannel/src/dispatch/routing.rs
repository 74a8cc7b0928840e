//! Where a packet leaves: the route to its destination, the next hop's link address, and what a router owes the sender.

use std::net::IpAddr;

use crate::drop_reason::DropReason;
use crate::interface::{InterfaceId, Interfaces};
use crate::network::{
    Forwarding, InterfaceIndex, MacAddress, Neighbour, NeighbourState, Network, Path, RouteKind,
};
use crate::packet::Headers;

/// The way out of the box towards a next hop, complete: good until the network changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Departure {
    /// The interface that packets leave by.
    pub interface: InterfaceId,
    /// That interface's Ethernet address.
    pub source: MacAddress,
    /// The next hop's Ethernet address.
    pub destination: MacAddress,
    /// Largest IP packet that fits, in bytes.
    pub mtu: u16,
}

/// What the routing and neighbour tables say about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Packets can leave.
    Open(Departure),
    /// As `Open`, but the kernel should confirm the next hop's address.
    Unconfirmed(Departure, NextHop),
    /// The next hop's address is not known yet.
    Unresolved(NextHop),
    /// The destination is an address of the box itself.
    Local,
    /// There is no way, for this reason.
    None(DropReason),
}

/// A neighbour on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NextHop {
    pub(crate) interface: InterfaceId,
    pub(crate) index: InterfaceIndex,
    pub(crate) address: IpAddr,
}

/// Finds the way to `destination`. O(length of the longest prefix).
pub(crate) fn way_to(network: &Network, interfaces: &Interfaces, destination: IpAddr, flow_hash: u32) -> Way {
    if !is_forwardable(destination) {
        return Way::None(DropReason::NotForwarded);
    }
    let path = match network.forwarding(destination, flow_hash) {
        Forwarding::Via(path) => path,
        Forwarding::Local => return Way::Local,
        Forwarding::Broadcast => return Way::None(DropReason::NotForwarded),
        Forwarding::NoRoute => return Way::None(DropReason::NoRoute),
        Forwarding::Refused(RouteKind::Blackhole) => return Way::None(DropReason::RouteBlackhole),
        Forwarding::Refused(RouteKind::Unreachable) => return Way::None(DropReason::RouteUnreachable),
        Forwarding::Refused(_) => return Way::None(DropReason::RouteProhibited),
        Forwarding::LinkDown(_) => return Way::None(DropReason::InterfaceDown),
    };
    let Some(interface) = interfaces.by_index(path.link.index) else {
        return Way::None(DropReason::EgressNotServed);
    };
    let next_hop = next_hop(&path, interface);
    let departure = |destination| departure(&path, interface, destination);
    match path.neighbour {
        Some(Neighbour {
            mac: Some(mac),
            state: NeighbourState::Fresh,
        }) => Way::Open(departure(mac)),
        Some(Neighbour { mac: Some(mac), .. }) => Way::Unconfirmed(departure(mac), next_hop),
        _ => Way::Unresolved(next_hop),
    }
}

/// The way to `destination`, and the next hop that it leads by; `None` unless packets can leave now.
pub(crate) fn open_way(
    network: &Network,
    interfaces: &Interfaces,
    destination: IpAddr,
    flow_hash: u32,
) -> Option<(Departure, NextHop)> {
    let Forwarding::Via(path) = network.forwarding(destination, flow_hash) else {
        return None;
    };
    let interface = interfaces.by_index(path.link.index)?;
    let mac = path.neighbour?.mac?;
    is_forwardable(destination).then(|| (departure(&path, interface, mac), next_hop(&path, interface)))
}

fn departure(path: &Path<'_>, interface: InterfaceId, destination: MacAddress) -> Departure {
    Departure {
        interface,
        source: path.link.mac,
        destination,
        mtu: u16::try_from(path.mtu).unwrap_or(u16::MAX),
    }
}

fn next_hop(path: &Path<'_>, interface: InterfaceId) -> NextHop {
    NextHop {
        interface,
        index: path.link.index,
        address: path.neighbour_address,
    }
}

/// What chooses among several next hops for a packet's flow.
pub(crate) fn flow_hash(headers: &Headers) -> u32 {
    let (source_port, destination_port) = headers.ports();
    hash_of_ports(source_port, destination_port)
}

/// As [`flow_hash`], of the flow's ports.
pub(crate) fn hash_of_ports(source_port: u16, destination_port: u16) -> u32 {
    u32::from(source_port).wrapping_mul(0x9e37_79b1) ^ u32::from(destination_port)
}

/// Whether routers forward packets to this address (RFC 1812 §4.2.2.11 and §5.3.7, RFC 4291 §2.5).
fn is_forwardable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_loopback()
                || v4.is_unspecified()
                || v4.is_link_local())
        }
        IpAddr::V6(v6) => {
            !(v6.is_multicast() || v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local())
        }
    }
}

/// Whether a packet may come from this address: RFC 1812 §5.3.7 and RFC 4291 §2.5 and §2.7 forbid routers to forward the others.
pub fn is_possible_source(address: IpAddr) -> bool {
    is_forwardable(address)
}

/// Asks the kernel for neighbours' addresses.
pub trait Resolve {
    /// Asks for (or for confirmation of) the link address of `address` on the kernel interface `index`. Must not block.
    fn resolve(&self, index: InterfaceIndex, address: IpAddr);
}
