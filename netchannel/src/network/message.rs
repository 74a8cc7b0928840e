//! Reads the facts out of the kernel's netlink messages (rtnetlink(7)) and writes the requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as KernelState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHopFlags,
    RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::link::{InterfaceIndex, Link, MacAddress, VethPeer, VlanLink, VlanTag};
use super::neighbour::{Neighbour, NeighbourState};
use super::route::{NextHop, Route, RouteKind};
use super::route_edit::Placement;

/// A link without its addresses. None for messages about a link's role in a bridge, which share the type.
pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link::ethernet(InterfaceIndex(message.header.index), String::new(), [0; 6]);
    link.up = flags.contains(LinkFlags::Up);
    link.running = flags.contains(LinkFlags::Running);
    let (mut below, mut other_namespace) = (None, false);
    let mut tag = VlanTag {
        id: 0,
        protocol: 0x8100,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(address) => link.mac = mac(address).unwrap_or_default(),
            LinkAttribute::Link(index) => below = Some(InterfaceIndex(*index)),
            LinkAttribute::LinkNetNsId(_) => other_namespace = true,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Vlan(facts)) => read_vlan(facts, &mut tag),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    match (link.kind.as_deref(), below) {
        (Some("vlan"), Some(parent)) if !other_namespace => link.vlan = Some(VlanLink { parent, tag }),
        (Some("veth"), Some(index)) => {
            link.peer = Some(VethPeer {
                index,
                same_namespace: !other_namespace,
            });
        }
        _ => {}
    }
    Some(link)
}

fn read_vlan(facts: &[InfoVlan], tag: &mut VlanTag) {
    for fact in facts {
        match fact {
            InfoVlan::Id(id) => tag.id = *id,
            InfoVlan::Protocol(protocol) => tag.protocol = u16::from(*protocol),
            _ => {}
        }
    }
}

fn mac(bytes: &[u8]) -> Option<MacAddress> {
    bytes.try_into().ok()
}

/// An address of a link. On a point-to-point link it is the near end's.
pub(super) fn address(message: &AddressMessage) -> Option<(InterfaceIndex, IpNet)> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(near) => local = Some(*near),
            AddressAttribute::Address(shown) => address = Some(*shown),
            _ => {}
        }
    }
    let address = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some((InterfaceIndex(message.header.index), address))
}

/// Which next hops of a route to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextHops {
    /// Those that the kernel would use.
    Alive,
    /// Also those whose link is down: a message that a route is gone marks them so.
    All,
}

/// A route of the main table that looks at the destination only; none for every other one, and for one
/// without a usable next hop.
pub(super) fn route(message: &RouteMessage, which: NextHops) -> Option<Route> {
    let header = &message.header;
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    if header.tos != 0 || header.source_prefix_length != 0 || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut table = u32::from(header.table);
    let mut destination = unspecified;
    let mut encapsulated = false;
    let (mut metric, mut preferred_source, mut mtu) = (0, None, None);
    let mut next_hops = Vec::new();
    let dead = header.flags.contains(RouteFlags::Dead);
    let mut shared = false;
    let mut single = SingleNextHop::default();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::PrefSource(address) => preferred_source = ip(address),
            RouteAttribute::EncapType(_) => encapsulated = true,
            RouteAttribute::NhId(_) => shared = true,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    if which == NextHops::Alive && hop.flags.contains(RouteNextHopFlags::Dead) {
                        continue;
                    }
                    let mut way = SingleNextHop {
                        interface: Some(hop.interface_index),
                        ..SingleNextHop::default()
                    };
                    hop.attributes.iter().for_each(|attribute| way.read(attribute));
                    encapsulated |= way.encapsulated;
                    next_hops.extend(way.next_hop(u16::from(hop.hops) + 1));
                }
            }
            other => single.read(other),
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    if next_hops.is_empty() && (which == NextHops::All || !dead) {
        next_hops.extend(single.next_hop(1));
    }
    let kind = match header.kind {
        RouteType::Unicast if encapsulated => RouteKind::Encapsulated,
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast => RouteKind::Local,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        _ => return None,
    };
    if kind != RouteKind::Unicast {
        next_hops.clear();
    } else if next_hops.is_empty() {
        if shared && !dead {
            log::warn!(
                "the route to {destination} is not followed, for the kernel does not tell its next hops: \
                 set net.ipv4.nexthop_compat_mode to 1"
            );
        }
        return None;
    }
    let destination = IpNet::new(destination, header.destination_prefix_length)
        .ok()?
        .trunc();
    Some(Route {
        destination,
        kind,
        metric,
        preferred_source,
        mtu,
        next_hops,
    })
}

/// The attributes that describe a next hop, in a route itself or in one of several next hops.
#[derive(Default)]
struct SingleNextHop {
    interface: Option<u32>,
    gateway: Option<IpAddr>,
    encapsulated: bool,
}

impl SingleNextHop {
    fn read(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Oif(index) => self.interface = Some(*index),
            RouteAttribute::Gateway(address) => self.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => self.gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => self.gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::EncapType(_) => self.encapsulated = true,
            _ => {}
        }
    }

    fn next_hop(self, weight: u16) -> Option<NextHop> {
        let gateway = self.gateway.filter(|gateway| !gateway.is_unspecified());
        Some(NextHop {
            interface: InterfaceIndex(self.interface?),
            gateway,
            weight,
        })
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// Where the flags of a message's header place a new route.
pub(super) fn placement(flags: u16) -> Placement {
    if flags & NLM_F_REPLACE != 0 {
        Placement::Replace
    } else if flags & NLM_F_APPEND != 0 {
        Placement::Last
    } else {
        Placement::First
    }
}

/// Which neighbour a message is about; none for entries of bridges and of proxies.
pub(super) fn neighbour_key(message: &NeighbourMessage) -> Option<(InterfaceIndex, IpAddr)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })?;
    Some((InterfaceIndex(message.header.ifindex), address))
}

/// What a message says of a neighbour; none for one that needs no Ethernet address.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let state = match message.header.state {
        KernelState::Reachable
        | KernelState::Delay
        | KernelState::Probe
        | KernelState::Permanent
        | KernelState::Noarp => NeighbourState::Fresh,
        KernelState::Stale => NeighbourState::Stale,
        KernelState::Failed => {
            return Some(Neighbour {
                mac: None,
                state: NeighbourState::Failed,
            });
        }
        _ => {
            return Some(Neighbour {
                mac: None,
                state: NeighbourState::Incomplete,
            });
        }
    };
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => mac(bytes),
        _ => None,
    })?;
    Some(Neighbour {
        mac: Some(address),
        state,
    })
}

/// Asks for all links, without their counters.
pub(super) fn get_links() -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(message)
}

/// Asks for all addresses.
pub(super) fn get_addresses() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

/// Asks for all routes of a family.
pub(super) fn get_routes(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    RouteNetlinkMessage::GetRoute(message)
}

/// Asks for all neighbours of a family.
pub(super) fn get_neighbours(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    RouteNetlinkMessage::GetNeighbour(message)
}

/// Tells the kernel that a neighbour is in use, as if it had a packet for it: it sends an ARP request or a
/// neighbour solicitation, at once for an unknown one, after its delay for a stale one.
pub(super) fn use_neighbour(interface: InterfaceIndex, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.ifindex = interface.0;
    message.header.state = KernelState::None;
    message.header.flags = NeighbourFlags::Use;
    message
        .attributes
        .push(NeighbourAttribute::Destination(address.into()));
    RouteNetlinkMessage::NewNeighbour(message)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NLM_F_CREATE;
    use netlink_packet_route::link::{InfoKind, VlanProtocol};

    use super::*;

    fn vlan_message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.flags = LinkFlags::Up | LinkFlags::Running;
        message.attributes = vec![
            LinkAttribute::IfName("eth0.100".into()),
            LinkAttribute::Mtu(1496),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 7]),
            LinkAttribute::Link(3),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![
                    InfoVlan::Protocol(VlanProtocol::Ieee8021Ad),
                    InfoVlan::Id(100),
                ])),
            ]),
        ];
        message.attributes.extend(attributes);
        message
    }

    #[test]
    fn a_vlan_link_has_its_parent_and_tag() {
        let read = link(&vlan_message(Vec::new())).unwrap();
        let mut expected = Link::ethernet(InterfaceIndex(7), "eth0.100", [2, 0, 0, 0, 0, 7]);
        expected.mtu = 1496;
        expected.kind = Some("vlan".into());
        let tag = VlanTag {
            id: 100,
            protocol: 0x88a8,
        };
        expected.vlan = Some(VlanLink {
            parent: InterfaceIndex(3),
            tag,
        });
        assert_eq!(read, expected);
        // With the parent elsewhere, its index means another link here.
        let elsewhere = link(&vlan_message(vec![LinkAttribute::LinkNetNsId(0)])).unwrap();
        assert_eq!(elsewhere.vlan, None);
    }

    #[test]
    fn messages_about_bridge_ports_are_no_links() {
        let mut message = vlan_message(Vec::new());
        message.header.interface_family = AddressFamily::Bridge;
        assert_eq!(link(&message), None);
    }

    fn route_message(attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 8;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Destination(Ipv4Addr::new(10, 0, 0, 0).into())];
        message.attributes.extend(attributes);
        message
    }

    #[test]
    fn routes_that_are_not_followed_are_left_out() {
        let way = || vec![RouteAttribute::Oif(3)];
        assert!(route(&route_message(way()), NextHops::Alive).is_some());
        let mut with_tos = route_message(way());
        with_tos.header.tos = 8;
        let mut other_table = route_message(way());
        other_table.attributes.push(RouteAttribute::Table(1000));
        let mut source_specific = route_message(way());
        source_specific.header.source_prefix_length = 48;
        let mut multicast = route_message(way());
        multicast.header.kind = RouteType::Multicast;
        let pointless = route_message(Vec::new());
        for message in [with_tos, other_table, source_specific, multicast, pointless] {
            assert_eq!(route(&message, NextHops::Alive), None, "{message:?}");
        }
    }

    #[test]
    fn dead_next_hops_are_read_only_where_asked_for() {
        let mut dead = route_message(vec![RouteAttribute::Oif(3)]);
        dead.header.flags = RouteFlags::Dead;
        assert_eq!(route(&dead, NextHops::Alive), None);
        assert_eq!(
            route(&dead, NextHops::All).unwrap().next_hops,
            [NextHop::connected(InterfaceIndex(3))]
        );
    }

    #[test]
    fn a_route_that_only_the_kernel_can_follow_is_marked() {
        let encapsulation = netlink_packet_route::route::RouteLwEnCapType::Mpls;
        let message = route_message(vec![
            RouteAttribute::Oif(3),
            RouteAttribute::EncapType(encapsulation),
        ]);
        let read = route(&message, NextHops::Alive).unwrap();
        assert_eq!((read.kind, read.next_hops), (RouteKind::Encapsulated, Vec::new()));
    }

    #[test]
    fn flags_say_where_a_route_goes() {
        assert_eq!(placement(NLM_F_CREATE), Placement::First);
        assert_eq!(placement(NLM_F_CREATE | NLM_F_APPEND), Placement::Last);
        assert_eq!(placement(NLM_F_REPLACE), Placement::Replace);
    }
}
