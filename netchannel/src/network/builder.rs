//! Networks made by hand, for tests and for the replay of captures.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::link::{InterfaceIndex, Link, Links, MacAddress};
use super::neighbour::{Neighbour, Neighbours};
use super::route::{NextHop, Route, Routes};
use super::{Network, route_edit};

/// Builds a [`Network`] without a kernel.
///
/// ```
/// use netchannel::network::{Forwarding, InterfaceIndex, Link, NetworkBuilder, NextHop, Route};
///
/// let outside = InterfaceIndex(2);
/// let router = "192.0.2.1".parse()?;
/// let network = NetworkBuilder::new()
///     .link(Link::ethernet(outside, "outside", [2, 0, 0, 0, 0, 2]))
///     .address(outside, "192.0.2.7/24".parse()?)
///     .route(Route::unicast("0.0.0.0/0".parse()?, NextHop::via(outside, router)))
///     .neighbour(outside, router, [2, 0, 0, 0, 0, 1])
///     .build();
/// let Forwarding::Via(path) = network.forwarding("198.51.100.9".parse()?, 0) else { panic!() };
/// assert_eq!(path.neighbour_address, router);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NetworkBuilder {
    links: BTreeMap<InterfaceIndex, Link>,
    addresses: Vec<(InterfaceIndex, IpNet)>,
    routes: Routes,
    neighbours: Neighbours,
}

impl NetworkBuilder {
    /// A network without anything in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a link; one of the same index is replaced.
    pub fn link(mut self, link: Link) -> Self {
        self.links.insert(link.index, link);
        self
    }

    /// Gives a link an address, and as the kernel does, the route to the subnet that comes with it.
    /// Without effect if no such link is added by the time of [`build`](Self::build).
    pub fn address(mut self, interface: InterfaceIndex, address: IpNet) -> Self {
        self.addresses.push((interface, address));
        let mut route = Route::unicast(address, NextHop::connected(interface));
        route.preferred_source = Some(address.addr());
        self.route(route)
    }

    /// Adds a route, after those of the same prefix and metric.
    pub fn route(mut self, route: Route) -> Self {
        let destination = route.destination.trunc();
        self.routes.edit(&destination, |routes| {
            route_edit::append(routes, Route { destination, ..route })
        });
        self
    }

    /// Adds a neighbour whose Ethernet address is known.
    pub fn neighbour(self, interface: InterfaceIndex, address: IpAddr, mac: MacAddress) -> Self {
        self.neighbour_entry(interface, address, Neighbour::fresh(mac))
    }

    /// Adds a neighbour in any state.
    pub fn neighbour_entry(
        mut self,
        interface: InterfaceIndex,
        address: IpAddr,
        neighbour: Neighbour,
    ) -> Self {
        self.neighbours.insert(interface, address, neighbour);
        self
    }

    /// The network as a snapshot.
    pub fn build(mut self) -> Network {
        for (interface, address) in self.addresses {
            if let Some(link) = self.links.get_mut(&interface) {
                link.addresses.push(address);
            }
        }
        Network {
            links: Arc::new(Links::new(self.links.into_values().map(Arc::new))),
            routes: Arc::new(self.routes),
            neighbours: Arc::new(self.neighbours),
        }
    }
}
