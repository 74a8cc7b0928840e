//! What a router does with a packet for a destination: links, routes and neighbours in one answer.

use std::net::IpAddr;

use super::Network;
use super::link::Link;
use super::neighbour::Neighbour;
use super::route::RouteKind;

/// The way out for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'a> {
    /// The link to leave through. It may be a VLAN link: see [`Links::underlying`](super::Links::underlying).
    pub link: &'a Link,
    /// Whose Ethernet address the frame bears: the router's, or the destination's own.
    pub neighbour_address: IpAddr,
    /// What is known of that neighbour; none if the kernel was not asked yet.
    pub neighbour: Option<Neighbour>,
    /// The largest IP packet that fits, in bytes: the smaller of the link's and the route's.
    pub mtu: u32,
}

/// What happens to a packet for a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding<'a> {
    /// It is for the box itself.
    Local,
    /// It is for all hosts of a subnet, and not forwarded (RFC 1812 section 5.3.5.2, RFC 2644).
    Broadcast,
    /// There is no route.
    NoRoute,
    /// A route says that it does not go on: blackhole, unreachable, prohibit, or a route that only the
    /// kernel can follow.
    Refused(RouteKind),
    /// It would leave through this link, which is down.
    LinkDown(&'a Link),
    /// It goes on.
    Via(Path<'a>),
}

impl Network {
    /// The way for a packet to `destination`. `flow_hash` chooses among several next hops, as in
    /// [`Route::next_hop`](super::Route::next_hop). Costs a route lookup and some hash lookups: meant for the first
    /// packet of a flow.
    pub fn forwarding(&self, destination: IpAddr, flow_hash: u32) -> Forwarding<'_> {
        if self.links.is_local(destination) {
            return Forwarding::Local;
        }
        if self.links.is_broadcast(destination) {
            return Forwarding::Broadcast;
        }
        let Some(route) = self.routes.lookup(destination) else {
            return Forwarding::NoRoute;
        };
        match route.kind {
            RouteKind::Unicast => {}
            RouteKind::Local => return Forwarding::Local,
            refused => return Forwarding::Refused(refused),
        }
        let Some(next_hop) = route.next_hop(flow_hash) else {
            return Forwarding::NoRoute;
        };
        let Some(link) = self.links.get(next_hop.interface) else {
            return Forwarding::NoRoute;
        };
        if !link.is_usable() {
            return Forwarding::LinkDown(link);
        }
        let neighbour_address = next_hop.gateway.unwrap_or(destination);
        Forwarding::Via(Path {
            link,
            neighbour_address,
            neighbour: self.neighbours.lookup(link.index, neighbour_address),
            mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{InterfaceIndex, NetworkBuilder, NextHop, Route};
    use super::*;

    #[test]
    fn every_way_out_is_told() {
        let (inside, outside, down) = (InterfaceIndex(1), InterfaceIndex(2), InterfaceIndex(3));
        let router: IpAddr = "192.0.2.1".parse().unwrap();
        let refusing = |prefix: &str, kind| Route::refusing(prefix.parse().unwrap(), kind);
        let mut unplugged = Link::ethernet(down, "down", [2; 6]);
        unplugged.running = false;
        let mut default = Route::unicast("0.0.0.0/0".parse().unwrap(), NextHop::via(outside, router));
        default.mtu = Some(1400);
        let network = NetworkBuilder::new()
            .link(Link::ethernet(inside, "inside", [2; 6]))
            .link(Link::ethernet(outside, "outside", [2; 6]))
            .link(unplugged)
            .address(inside, "10.0.0.1/24".parse().unwrap())
            .address(outside, "192.0.2.2/24".parse().unwrap())
            .address(down, "10.9.0.1/24".parse().unwrap())
            .route(default)
            .route(refusing("203.0.113.0/25", RouteKind::Blackhole))
            .route(refusing("203.0.113.128/25", RouteKind::Local))
            .route(Route::unicast(
                "100.64.0.0/10".parse().unwrap(),
                NextHop::connected(InterfaceIndex(9)),
            ))
            .neighbour(outside, router, [2, 0, 0, 0, 0, 1])
            .build();
        let to = |destination: &str| network.forwarding(destination.parse().unwrap(), 0);
        assert_eq!(to("10.0.0.1"), Forwarding::Local);
        assert_eq!(to("203.0.113.200"), Forwarding::Local);
        assert_eq!(to("10.0.0.255"), Forwarding::Broadcast);
        assert_eq!(to("2001:db8::1"), Forwarding::NoRoute);
        assert_eq!(to("100.64.0.1"), Forwarding::NoRoute);
        assert_eq!(to("203.0.113.5"), Forwarding::Refused(RouteKind::Blackhole));
        assert!(matches!(to("10.9.0.5"), Forwarding::LinkDown(link) if link.index == down));
        let Forwarding::Via(path) = to("198.51.100.7") else {
            panic!("no way out")
        };
        assert_eq!(
            (path.link.index, path.neighbour_address, path.mtu),
            (outside, router, 1400)
        );
        assert_eq!(path.neighbour, Some(Neighbour::fresh([2, 0, 0, 0, 0, 1])));
        let Forwarding::Via(path) = to("10.0.0.7") else {
            panic!("no way in")
        };
        assert_eq!((path.link.index, path.mtu, path.neighbour), (inside, 1500, None));
        assert_eq!(path.neighbour_address, "10.0.0.7".parse::<IpAddr>().unwrap());
    }
}
