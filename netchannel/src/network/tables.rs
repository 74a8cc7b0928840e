//! The network as the messages so far tell it: what the snapshots are made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use netlink_packet_core::NLM_F_APPEND;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteMessage;

use super::Network;
use super::link::{InterfaceIndex, Link, Links};
use super::message::{self, NextHops};
use super::neighbour::Neighbours;
use super::route::Routes;
use super::route_edit::{self, Outcome};

/// What has to be read anew, because the messages do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reread {
    Nothing,
    Routes,
    Everything,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Changed {
    links: bool,
    routes: bool,
    neighbours: bool,
}

/// Links, addresses, routes and neighbours, changed by messages one after the other.
#[derive(Debug)]
pub(super) struct Tables {
    links: BTreeMap<InterfaceIndex, Link>,
    addresses: BTreeMap<InterfaceIndex, Vec<IpNet>>,
    routes: Routes,
    neighbours: Neighbours,
    changed: Changed,
    reread: Reread,
}

impl Tables {
    /// Without anything, all of it to be published.
    pub(super) fn new() -> Self {
        Self {
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            routes: Routes::default(),
            neighbours: Neighbours::default(),
            changed: Changed {
                links: true,
                routes: true,
                neighbours: true,
            },
            reread: Reread::Nothing,
        }
    }

    /// Whether the last snapshot is out of date.
    pub(super) fn is_changed(&self) -> bool {
        self.changed != Changed::default()
    }

    /// What has to be read anew and was not yet.
    pub(super) fn reread(&self) -> Reread {
        self.reread
    }

    /// Asks for at least that to be read anew.
    pub(super) fn ask_reread(&mut self, what: Reread) {
        self.reread = self.reread.max(what);
    }

    pub(super) fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// Takes over what was read anew: everything, or the routes alone.
    pub(super) fn take_in(&mut self, read: Self, everything: bool) {
        if everything {
            *self = read;
        } else {
            self.routes = read.routes;
            self.changed.routes = true;
            self.reread = read.reread;
        }
    }

    /// A message that is part of the answer to a question for a whole table.
    pub(super) fn read(&mut self, message: &RouteNetlinkMessage) {
        let reread = self.reread;
        // Routes are told in the kernel's order.
        self.apply(message, NLM_F_APPEND);
        // What is just being read needs no reading again.
        self.reread = reread;
    }

    /// A message about a change, with the flags of its header.
    pub(super) fn apply(&mut self, message: &RouteNetlinkMessage, flags: u16) {
        match message {
            RouteNetlinkMessage::NewLink(message) => {
                if let Some(link) = message::link(message) {
                    self.set_link(link);
                }
            }
            RouteNetlinkMessage::DelLink(message) => {
                if let Some(link) = message::link(message) {
                    self.remove_link(link.index);
                }
            }
            RouteNetlinkMessage::NewAddress(message) => {
                if let Some((interface, address)) = message::address(message) {
                    self.add_address(interface, address);
                }
            }
            RouteNetlinkMessage::DelAddress(message) => {
                if let Some((interface, address)) = message::address(message) {
                    self.remove_address(interface, address);
                }
            }
            RouteNetlinkMessage::NewRoute(message) => self.add_route(message, flags),
            RouteNetlinkMessage::DelRoute(message) => self.remove_route(message),
            RouteNetlinkMessage::NewNeighbour(message) => {
                if let (Some((interface, address)), Some(neighbour)) =
                    (message::neighbour_key(message), message::neighbour(message))
                {
                    self.changed.neighbours |= self.neighbours.insert(interface, address, neighbour);
                }
            }
            RouteNetlinkMessage::DelNeighbour(message) => {
                if let Some((interface, address)) = message::neighbour_key(message) {
                    self.changed.neighbours |= self.neighbours.remove(interface, address);
                }
            }
            _ => {}
        }
    }

    fn set_link(&mut self, link: Link) {
        let old = self.links.get(&link.index);
        if old == Some(&link) {
            return;
        }
        // The kernel drops and revives routes of IPv4, and next hops of both, without a message.
        if old.is_some_and(|old| (old.up, old.running) != (link.up, link.running)) {
            self.ask_reread(Reread::Routes);
        }
        self.links.insert(link.index, link);
        self.changed.links = true;
    }

    fn remove_link(&mut self, index: InterfaceIndex) {
        if self.links.remove(&index).is_some() {
            self.addresses.remove(&index);
            self.changed.links = true;
            self.changed.neighbours |= self.neighbours.remove_link(index);
            self.ask_reread(Reread::Routes);
        }
    }

    fn add_address(&mut self, interface: InterfaceIndex, address: IpNet) {
        let addresses = self.addresses.entry(interface).or_default();
        if addresses.contains(&address) {
            return;
        }
        // With its first address a link takes part in IPv4 again, and next hops through it come back untold.
        let first = address.addr().is_ipv4() && !addresses.iter().any(|other| other.addr().is_ipv4());
        addresses.push(address);
        self.changed.links = true;
        if first {
            self.ask_reread(Reread::Routes);
        }
    }

    fn remove_address(&mut self, interface: InterfaceIndex, address: IpNet) {
        let Some(addresses) = self.addresses.get_mut(&interface) else {
            return;
        };
        let before = addresses.len();
        addresses.retain(|other| *other != address);
        if addresses.len() != before {
            self.changed.links = true;
            // With its last address a link leaves IPv4, and its routes go untold; so do, in older kernels, those
            // with that preferred source.
            if address.addr().is_ipv4() {
                self.ask_reread(Reread::Routes);
            }
        }
    }

    fn add_route(&mut self, message: &RouteMessage, flags: u16) {
        let Some(route) = message::route(message, NextHops::Alive) else {
            return;
        };
        let placement = message::placement(flags);
        let add = if route.destination.addr().is_ipv4() {
            route_edit::add_ipv4
        } else {
            route_edit::add_ipv6
        };
        let destination = route.destination;
        let outcome = self
            .routes
            .edit(&destination, |routes| add(routes, route, placement));
        self.note(outcome);
    }

    fn remove_route(&mut self, message: &RouteMessage) {
        let Some(gone) = message::route(message, NextHops::All) else {
            return;
        };
        let remove = if gone.destination.addr().is_ipv4() {
            route_edit::remove_ipv4
        } else {
            route_edit::remove_ipv6
        };
        let outcome = self
            .routes
            .edit(&gone.destination, |routes| remove(routes, &gone));
        self.note(outcome);
    }

    fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Unchanged => {}
            Outcome::Changed => self.changed.routes = true,
            Outcome::Unclear => {
                self.changed.routes = true;
                self.ask_reread(Reread::Routes);
            }
        }
    }

    /// The snapshot that follows on `previous`, with which it shares what has not changed.
    pub(super) fn snapshot(&mut self, previous: &Network) -> Network {
        let changed = std::mem::take(&mut self.changed);
        let links = if changed.links {
            Arc::new(self.link_snapshot())
        } else {
            previous.links.clone()
        };
        let routes = if changed.routes {
            Arc::new(self.routes.clone())
        } else {
            previous.routes.clone()
        };
        let neighbours = if changed.neighbours {
            Arc::new(self.neighbours.clone())
        } else {
            previous.neighbours.clone()
        };
        Network {
            links,
            routes,
            neighbours,
        }
    }

    fn link_snapshot(&self) -> Links {
        Links::new(self.links.values().map(|link| {
            let addresses = self.addresses.get(&link.index).cloned().unwrap_or_default();
            Arc::new(Link {
                addresses,
                ..link.clone()
            })
        }))
    }
}
