//! What changes in the kernel's network, told to those who watch.

use std::cell::RefCell;
use std::sync::Arc;

use crate::control::report::{Neighbour, Route};
use crate::events::{Address, Events, Kind, Kinds, Link, What};
use crate::network::{Link as NetworkLink, Network, OnChange, SharedNetwork, differences};

/// Changes of one kind that are told of one snapshot; the rest is told as lost, so that the network is followed in time.
const MOST: usize = 4096;

/// Publishes what differs whenever there is a new snapshot. Without anyone who watches it costs next to nothing.
pub(super) fn publisher(network: SharedNetwork, events: Events) -> OnChange {
    let before = RefCell::new(network.load());
    let wanted = events.wanted();
    let followed: Kinds = [Kind::Links, Kind::Routes, Kind::Neighbours]
        .into_iter()
        .collect();
    Box::new(move || {
        let after = network.load();
        let before = before.replace(Arc::clone(&after));
        if wanted.all().has_any(followed) {
            for kind in followed.iter().filter(|&kind| wanted.has(kind)) {
                publish(kind, changes(kind, &before, &after), &events);
            }
        }
    })
}

fn publish(kind: Kind, mut changes: Vec<What>, events: &Events) {
    events.lose(kind, changes.len().saturating_sub(MOST) as u64);
    changes.truncate(MOST);
    for what in changes {
        events.publish(kind, || what);
    }
}

fn changes(kind: Kind, before: &Network, after: &Network) -> Vec<What> {
    match kind {
        Kind::Links if !Arc::ptr_eq(&before.links, &after.links) => links(before, after),
        Kind::Routes if !Arc::ptr_eq(&before.routes, &after.routes) => routes(before, after),
        Kind::Neighbours if !Arc::ptr_eq(&before.neighbours, &after.neighbours) => neighbours(before, after),
        _ => Vec::new(),
    }
}

fn links(before: &Network, after: &Network) -> Vec<What> {
    use crate::network::NetworkEvent as Changed;
    let link = |interface: String| Link {
        interface,
        from: None,
    };
    let mut all = Vec::new();
    for change in differences(&before.links, &after.links) {
        match change {
            Changed::LinkAdded { name, .. } => all.push(What::LinkAdded(link(name))),
            Changed::LinkRemoved { name, .. } => all.push(What::LinkRemoved(link(name))),
            Changed::LinkRenamed { from, to, .. } => all.push(What::LinkRenamed(Link {
                interface: to,
                from: Some(from),
            })),
            Changed::LinkUp { name, .. } => all.push(What::LinkUp(link(name))),
            Changed::LinkDown { name, .. } => all.push(What::LinkDown(link(name))),
            Changed::LinkChanged { name, .. } => all.push(What::LinkChanged(link(name))),
            Changed::AddressesChanged { index, .. } => {
                addresses(before.links.get(index), after.links.get(index), &mut all);
            }
            Changed::Missed | Changed::MonitorFailed { .. } => {}
        }
    }
    all
}

fn addresses(before: Option<&NetworkLink>, after: Option<&NetworkLink>, all: &mut Vec<What>) {
    let of = |link: Option<&NetworkLink>| link.map_or_else(Vec::new, |link| link.addresses.clone());
    let (old, new) = (of(before), of(after));
    let Some(link) = after.or(before) else { return };
    let address = |address| Address {
        interface: link.name.clone(),
        address,
    };
    let gone = old.iter().filter(|address| !new.contains(address));
    all.extend(gone.map(|gone| What::AddressRemoved(address(*gone))));
    let added = new.iter().filter(|address| !old.contains(address));
    all.extend(added.map(|added| What::AddressAdded(address(*added))));
}

fn routes(before: &Network, after: &Network) -> Vec<What> {
    let mut all = Vec::new();
    before.routes.differences(&after.routes, |old, new| {
        let gone = old.iter().filter(|route| !new.contains(route));
        all.extend(gone.map(|route| What::RouteRemoved(Route::of(route, &before.links))));
        let added = new.iter().filter(|route| !old.contains(route));
        all.extend(added.map(|route| What::RouteAdded(Route::of(route, &after.links))));
    });
    all
}

fn neighbours(before: &Network, after: &Network) -> Vec<What> {
    let known = |network: &Network, index, address| network.neighbours.lookup(index, address);
    let mut all = Vec::new();
    for (index, address, neighbour) in before.neighbours.iter() {
        if known(after, index, address).is_none() {
            let neighbour = Neighbour::of(index, address, neighbour, &before.links);
            all.push(What::NeighbourRemoved(neighbour));
        }
    }
    for (index, address, neighbour) in after.neighbours.iter() {
        if known(before, index, address) != Some(neighbour) {
            let neighbour = Neighbour::of(index, address, neighbour, &after.links);
            all.push(What::NeighbourChanged(neighbour));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Heard;
    use crate::network::{InterfaceIndex, NetworkBuilder, NextHop};
    use std::time::Duration;

    fn eth(number: u32) -> NetworkLink {
        NetworkLink::ethernet(
            InterfaceIndex(number),
            format!("eth{number}"),
            [2, 0, 0, 0, 0, number as u8],
        )
    }

    fn unicast(destination: &str, gateway: &str) -> crate::network::Route {
        let next_hop = NextHop::via(InterfaceIndex(1), gateway.parse().unwrap());
        crate::network::Route::unicast(destination.parse().unwrap(), next_hop)
    }

    fn heard(kind: Kind, before: NetworkBuilder, after: NetworkBuilder) -> Vec<String> {
        let (events, network) = (Events::new(), SharedNetwork::new(before.build()));
        let on_change = publisher(network.clone(), events.clone());
        let mut listener = events.subscribe([kind].into_iter().collect());
        network.publish(after.build());
        on_change();
        on_change();
        let next = || match listener.next(Duration::ZERO) {
            Heard::Event(event) => Some(serde_json::to_string(&event.what).unwrap()),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_differs_is_told() {
        let index = InterfaceIndex(1);
        let before = || {
            NetworkBuilder::new()
                .link(eth(1))
                .address(index, "192.0.2.1/24".parse().unwrap())
        };
        let mut down = eth(1);
        down.running = false;
        let after = || {
            NetworkBuilder::new()
                .link(down.clone())
                .link(eth(2))
                .address(index, "192.0.2.2/24".parse().unwrap())
        };
        assert_eq!(
            heard(Kind::Links, before(), after()),
            [
                r#"{"event":"link-down","interface":"eth1"}"#,
                r#"{"event":"address-removed","interface":"eth1","address":"192.0.2.1/24"}"#,
                r#"{"event":"address-added","interface":"eth1","address":"192.0.2.2/24"}"#,
                r#"{"event":"link-added","interface":"eth2"}"#,
                r#"{"event":"link-up","interface":"eth2"}"#,
            ]
        );

        let before = || {
            NetworkBuilder::new()
                .link(eth(1))
                .route(unicast("0.0.0.0/0", "192.0.2.254"))
                .route(unicast("10.0.0.0/8", "192.0.2.7"))
                .route(unicast("10.1.0.0/16", "192.0.2.7"))
        };
        let after = NetworkBuilder::new()
            .link(eth(1))
            .route(unicast("0.0.0.0/0", "192.0.2.253"))
            .route(unicast("10.1.0.0/16", "192.0.2.7"))
            .route(unicast("2001:db8::/32", "2001:db8::1"));
        let mut routes = heard(Kind::Routes, before(), after);
        routes.sort();
        let route = |event: &str, destination: &str, gateway: &str| {
            format!(
                r#"{{"event":"{event}","destination":"{destination}","kind":"unicast","metric":0,"next_hops":[{{"interface":"eth1","gateway":"{gateway}","weight":1}}]}}"#
            )
        };
        assert_eq!(
            routes,
            [
                route("route-added", "0.0.0.0/0", "192.0.2.253"),
                route("route-added", "2001:db8::/32", "2001:db8::1"),
                route("route-removed", "0.0.0.0/0", "192.0.2.254"),
                route("route-removed", "10.0.0.0/8", "192.0.2.7"),
            ]
        );
        assert_eq!(heard(Kind::Routes, before(), before()), [""; 0]);
    }

    #[test]
    fn neighbours_come_change_and_go() {
        use crate::network::{Neighbour, NeighbourState};
        let index = InterfaceIndex(1);
        let at = |last: u8| std::net::IpAddr::from([192, 0, 2, last]);
        let base = || NetworkBuilder::new().link(eth(1));
        let fresh = Neighbour::fresh([2, 0, 0, 0, 0, 9]);
        let failed = Neighbour {
            mac: None,
            state: NeighbourState::Failed,
        };
        let before = base()
            .neighbour_entry(index, at(1), fresh)
            .neighbour_entry(index, at(2), fresh)
            .neighbour_entry(index, at(3), fresh);
        let after = base()
            .neighbour_entry(index, at(1), fresh)
            .neighbour_entry(index, at(2), failed);
        assert_eq!(
            heard(Kind::Neighbours, before, after),
            [
                r#"{"event":"neighbour-removed","interface":"eth1","address":"192.0.2.3","mac":"02:00:00:00:00:09","state":"fresh"}"#,
                r#"{"event":"neighbour-changed","interface":"eth1","address":"192.0.2.2","state":"failed"}"#,
            ]
        );
    }
}
