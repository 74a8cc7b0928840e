//! Links and their addresses: appearing, changing, vanishing.

use netchannel::network::{Forwarding, Network, NetworkEvent, VlanTag};

use crate::support::{Followed, Namespace, address, has_address, link, pair, way};

#[test]
fn what_is_there_at_the_start_is_in_the_first_snapshot() {
    let namespace = Namespace::new();
    namespace.ip("link add one type veth peer name one-far");
    namespace.ip("address add 192.0.2.1/24 dev one");
    namespace.ip("link set one-far up");
    namespace.ip("link set one up");
    let followed = Followed::of(namespace);
    let network = followed.shared.load();
    assert_eq!(followed.shared.version(), 2);
    assert!(has_address(&network, "one", "192.0.2.1/24"));
    assert!(network.links.is_local(address("192.0.2.1")));
    assert!(network.links.by_name("lo").is_some_and(|link| !link.up));
    assert_eq!(way(&network, "192.0.2.9").as_deref(), Some("one"));
    assert_eq!(
        network.links.by_name("one").unwrap().kind.as_deref(),
        Some("veth")
    );
}

#[test]
fn links_and_addresses_appear_change_and_vanish() {
    let followed = Followed::new();
    followed.ip("link add one address 02:00:00:00:00:01 type veth peer name one-far");
    let index = followed.wait("the link", |network| {
        link(network, "one")
            .filter(|link| link.mac == [2, 0, 0, 0, 0, 1] && !link.up)
            .map(|link| link.index)
    });
    let name = || "one".to_owned();
    followed.wait_event(&NetworkEvent::LinkAdded { index, name: name() });

    followed.ip("link set one-far up");
    followed.ip("link set one up mtu 9000");
    followed.wait_until("up, with its MTU", |network| {
        link(network, "one").is_some_and(|link| link.is_usable() && link.mtu == 9000)
    });
    followed.wait_event(&NetworkEvent::LinkUp { index, name: name() });

    followed.ip("address add 192.0.2.1/24 dev one");
    followed.ip("address add 2001:db8::1/64 dev one nodad");
    followed.ip("address add 198.51.100.1 peer 198.51.100.2/32 dev one");
    followed.wait_until("the addresses", |network| {
        ["192.0.2.1/24", "2001:db8::1/64", "198.51.100.1/32"]
            .iter()
            .all(|address| has_address(network, "one", address))
    });
    followed.wait_event(&NetworkEvent::AddressesChanged { index, name: name() });
    assert!(followed.shared.load().links.is_local(address("2001:db8::1")));
    assert!(followed.shared.load().links.is_broadcast(address("192.0.2.255")));

    followed.ip("address del 192.0.2.1/24 dev one");
    followed.wait_until("one address less", |network| {
        !has_address(network, "one", "192.0.2.1/24")
    });
    assert!(!followed.shared.load().links.is_local(address("192.0.2.1")));
    followed.wait_same_routes();

    followed.ip("link set one name two");
    followed.wait_event(&NetworkEvent::LinkRenamed {
        index,
        from: name(),
        to: "two".into(),
    });
    assert!(has_address(&followed.shared.load(), "two", "2001:db8::1/64"));

    followed.ip("link del two");
    followed.wait_event(&NetworkEvent::LinkRemoved {
        index,
        name: "two".into(),
    });
    let network = followed.shared.load();
    assert!(network.links.get(index).is_none() && link(&network, "two").is_none());
    assert!(!network.links.is_local(address("2001:db8::1")));
    followed.wait_same_routes();
}

#[test]
fn a_link_that_moves_to_another_namespace_is_gone() {
    let followed = Followed::new();
    followed.ip("link add one type veth peer name one-far");
    let index = followed.wait("the link", |network| link(network, "one").map(|link| link.index));
    let elsewhere = Namespace::new();
    followed.ip(&format!("link set one netns {}", elsewhere.thread_id));
    followed.wait_event(&NetworkEvent::LinkRemoved {
        index,
        name: "one".into(),
    });
    assert!(
        elsewhere
            .run(|| Network::read().unwrap())
            .links
            .by_name("one")
            .is_some()
    );
}

#[test]
fn vlan_links_have_their_parent_and_tag() {
    let followed = Followed::new();
    followed.ip("link add base type veth peer name base-far");
    if !followed
        .namespace
        .tries("link add link base name outer type vlan id 100 protocol 802.1ad")
    {
        eprintln!("not tested: this kernel has no VLAN links (8021q)");
        return;
    }
    followed.ip("link add link outer name inner type vlan id 7");
    let tags = followed.wait("the inner VLAN link", |network| {
        let inner = link(network, "inner")?;
        let (below, tags) = network.links.underlying(inner.index)?;
        assert_eq!(below.name, "base");
        assert_eq!(inner.vlan?.parent, link(network, "outer")?.index);
        Some(tags)
    });
    assert_eq!(
        tags,
        [
            VlanTag {
                id: 100,
                protocol: 0x88a8
            },
            VlanTag {
                id: 7,
                protocol: 0x8100
            }
        ]
    );
    followed.ip("link del outer");
    followed.wait_until("no VLAN links", |network| {
        link(network, "inner").is_none() && link(network, "outer").is_none()
    });
}

#[test]
fn the_carrier_is_followed() {
    let (followed, far) = pair();
    let index = link(&followed.shared.load(), "near").unwrap().index;
    let name = || "near".to_owned();
    far.ip("link set far down");
    followed.wait_event(&NetworkEvent::LinkDown { index, name: name() });
    let network = followed.shared.load();
    assert!(link(&network, "near").is_some_and(|link| link.up && !link.running));
    assert!(matches!(
        network.forwarding(address("192.0.2.15"), 0),
        Forwarding::LinkDown(_)
    ));
    far.ip("link set far up");
    followed.wait_event(&NetworkEvent::LinkUp { index, name: name() });
    far.ip("link del far");
    followed.wait_event(&NetworkEvent::LinkRemoved { index, name: name() });
}

#[test]
fn veth_peers_are_known_where_they_can_be_reached() {
    let (followed, far) = pair();
    followed.ip("link add left type veth peer name right");
    let right = followed.wait("both ends", |network| {
        let left = link(network, "left")?.index;
        network.links.veth_peer(left).map(|right| right.name.clone())
    });
    assert_eq!(right, "right");
    let network = followed.shared.load();
    let near = link(&network, "near").unwrap();
    let peer = near.peer.unwrap();
    assert!(!peer.same_namespace);
    assert_eq!(network.links.veth_peer(near.index), None);
    let there = far.run(|| Network::read().unwrap());
    assert_eq!(there.links.by_name("far").map(|far| far.index), Some(peer.index));
}
