//! What the packet path has learned from the kernel: routes and neighbours.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::network::{self, InterfaceIndex, Links, NeighbourState, RouteKind};

/// Answer to [`Request::Routes`](super::super::Request::Routes): one page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// The page, those of IPv4 first; each prefix is in exactly one page.
    pub routes: Vec<Route>,
    /// `after` for the next page; `None` on the last page. Never the `after` of this page.
    pub next: Option<String>,
}

/// A route of the kernel's main table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The addresses that it is for.
    pub destination: IpNet,
    /// `unicast`, `local`, `blackhole`, `unreachable`, `prohibit`, `throw` or `encapsulated`.
    pub kind: String,
    /// Of two routes for the same prefix, the one with the lower metric wins.
    pub metric: u32,
    /// The source address of the box's own packets that take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_source: Option<IpAddr>,
    /// The longest packets that take it, in bytes, where the link's own MTU is not the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Where its packets go; none for a route that refuses them.
    pub next_hops: Vec<NextHop>,
}

/// One way out of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// The interface.
    pub interface: String,
    /// The router; none where the destination is on the link itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The share of flows, relative to the other next hops.
    pub weight: u16,
}

/// Answer to [`Request::Neighbours`](super::super::Request::Neighbours): one page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// The page, by interface number and address.
    pub neighbours: Vec<Neighbour>,
    /// `after` for the next page; `None` on the last page. Never the `after` of this page.
    pub next: Option<String>,
}

/// What the kernel knows of a neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The interface.
    pub interface: String,
    /// The neighbour's IP address.
    pub address: IpAddr,
    /// Its Ethernet address, such as `02:00:00:00:00:01`, while it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// `fresh`, `stale`, `incomplete` or `failed`.
    pub state: String,
}

/// The name of a link, or its number if it is gone.
fn link_name(links: &Links, index: InterfaceIndex) -> String {
    links
        .get(index)
        .map_or_else(|| index.to_string(), |link| link.name.clone())
}

impl Route {
    pub(crate) fn of(route: &network::Route, links: &Links) -> Self {
        let kind = match route.kind {
            RouteKind::Unicast => "unicast",
            RouteKind::Local => "local",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Unreachable => "unreachable",
            RouteKind::Prohibit => "prohibit",
            RouteKind::Throw => "throw",
            RouteKind::Encapsulated => "encapsulated",
        };
        let next_hops = route.next_hops.iter().map(|next_hop| NextHop {
            interface: link_name(links, next_hop.interface),
            gateway: next_hop.gateway,
            weight: next_hop.weight,
        });
        Self {
            destination: route.destination,
            kind: kind.to_owned(),
            metric: route.metric,
            preferred_source: route.preferred_source,
            mtu: route.mtu,
            next_hops: next_hops.collect(),
        }
    }
}

impl Neighbour {
    pub(crate) fn of(
        index: InterfaceIndex,
        address: IpAddr,
        neighbour: network::Neighbour,
        links: &Links,
    ) -> Self {
        let state = match neighbour.state {
            NeighbourState::Fresh => "fresh",
            NeighbourState::Stale => "stale",
            NeighbourState::Incomplete => "incomplete",
            NeighbourState::Failed => "failed",
        };
        let mac = neighbour
            .mac
            .map(|[a, b, c, d, e, f]| format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"));
        Self {
            interface: link_name(links, index),
            address,
            mac,
            state: state.to_owned(),
        }
    }
}
