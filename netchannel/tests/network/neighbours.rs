//! Neighbours: asked for, found, lost.

use std::time::{Duration, Instant};

use netchannel::network::{InterfaceIndex, NeighbourState, Network};

use crate::support::{DEADLINE, address, link, pair};

#[test]
fn neighbours_are_resolved_when_asked_for_and_followed() {
    let (followed, _far) = pair();
    let resolver = followed.handle.resolver();
    let near = link(&followed.shared.load(), "near").unwrap().index;
    for destination in [address("192.0.2.15"), address("2001:db8::15")] {
        assert_eq!(followed.shared.load().neighbours.lookup(near, destination), None);
        resolver.resolve(near, destination);
        followed.wait_until("the resolved neighbour", |network| {
            let neighbour = network.neighbours.lookup(near, destination);
            neighbour.is_some_and(|neighbour| {
                neighbour.state == NeighbourState::Fresh && neighbour.mac == Some([2, 0, 0, 0, 0, 15])
            })
        });
    }
    // Nobody has this address.
    resolver.resolve(near, address("192.0.2.77"));
    followed.wait_until("given up", |network| {
        let neighbour = network.neighbours.lookup(near, address("192.0.2.77"));
        neighbour
            .is_some_and(|neighbour| neighbour.mac.is_none() && neighbour.state == NeighbourState::Failed)
    });
    // No such link: refused by the kernel, and nothing else happens.
    resolver.resolve(InterfaceIndex(9999), address("192.0.2.77"));

    followed.ip("neighbour replace 192.0.2.15 lladdr 02:00:00:00:00:0f dev near nud stale");
    let is = move |network: &Network, state: NeighbourState| {
        let neighbour = network.neighbours.lookup(near, address("192.0.2.15"));
        neighbour.is_some_and(|neighbour| neighbour.state == state && neighbour.mac.is_some())
    };
    followed.wait_until("stale", |network| is(network, NeighbourState::Stale));
    // Asked for again, until the second since the first request is over.
    let deadline = Instant::now() + DEADLINE;
    while !is(&followed.shared.load(), NeighbourState::Fresh) {
        assert!(Instant::now() < deadline, "never confirmed");
        resolver.resolve(near, address("192.0.2.15"));
        let _ = followed.changes.recv_timeout(Duration::from_millis(50));
    }

    followed.ip("neighbour replace 192.0.2.99 lladdr 02:00:00:00:00:63 dev near");
    followed.wait_until("the permanent one", |network| {
        let neighbour = network.neighbours.lookup(near, address("192.0.2.99"));
        neighbour.is_some_and(|neighbour| neighbour.mac == Some([2, 0, 0, 0, 0, 0x63]))
    });
    followed.ip("neighbour del 192.0.2.99 dev near");
    followed.wait_until("the permanent one gone", |network| {
        network
            .neighbours
            .lookup(near, address("192.0.2.99"))
            .is_none_or(|neighbour| neighbour.mac.is_none())
    });
    followed.ip("link set near down");
    followed.wait_until("no neighbours", |network| {
        network.neighbours.lookup(near, address("192.0.2.15")).is_none()
    });
}
