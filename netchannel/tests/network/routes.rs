//! Routes, compared with what the kernel tells when asked.

use netchannel::network::{Forwarding, Network, RouteKind};

use crate::support::{Followed, address, way};

#[test]
fn the_default_route_is_lost_and_regained() {
    let followed = Followed::new();
    followed.namespace.ethernet("one");
    followed.ip("address add 192.0.2.2/24 dev one");
    for round in 0..10 {
        followed.ip("route add default via 192.0.2.1 mtu 1400");
        followed.wait_until("the default route", |network| {
            way(network, "203.0.113.1").as_deref() == Some("one 192.0.2.1")
        });
        let network = followed.shared.load();
        let Forwarding::Via(path) = network.forwarding(address("203.0.113.1"), 0) else {
            panic!("no way out");
        };
        assert_eq!((path.neighbour_address, path.mtu), (address("192.0.2.1"), 1400));
        // Deleted, and taken by the kernel together with the link's state, which it does not tell.
        if round == 0 {
            followed.ip("route del default");
        } else {
            followed.ip("link set one down");
        }
        followed.wait_until("no default route", |network| {
            way(network, "203.0.113.1").is_none()
        });
        followed.ip("link set one up");
        followed.wait_until("the subnet's route", |network| {
            way(network, "192.0.2.9").as_deref() == Some("one")
        });
    }
    followed.wait_same_routes();
}

#[test]
fn routes_of_both_families_are_followed() {
    let followed = Followed::new();
    for (name, subnet) in [("one", 1), ("two", 2)] {
        followed.namespace.ethernet(name);
        followed.ip(&format!("address add 10.0.{subnet}.2/24 dev {name}"));
        followed.ip(&format!("address add 2001:db8:{subnet}::2/64 dev {name} nodad"));
    }
    followed.ip("route add 172.16.0.0/12 via 10.0.1.1 metric 20");
    followed.ip("route add 172.16.0.0/12 via 10.0.2.1 metric 10");
    followed.ip("route add 2001:db8:f::/48 via 2001:db8:1::1 metric 20");
    followed.ip("route add 2001:db8:f::/48 via 2001:db8:2::1 metric 10");
    followed.wait_until("the routes of the lower metric", |network| {
        way(network, "172.16.0.1").as_deref() == Some("two 10.0.2.1")
            && way(network, "2001:db8:f::1").as_deref() == Some("two 2001:db8:2::1")
    });
    followed.wait_same_routes();

    followed.ip("route replace 172.16.0.0/12 via 10.0.2.9 metric 10");
    followed.ip("route replace 2001:db8:f::/48 via 2001:db8:2::9 metric 10");
    followed.wait_until("the new gateways", |network| {
        way(network, "172.16.0.1").as_deref() == Some("two 10.0.2.9")
            && way(network, "2001:db8:f::1").as_deref() == Some("two 2001:db8:2::9")
    });
    followed.ip("route del 172.16.0.0/12 metric 10");
    followed.ip("route del 2001:db8:f::/48 metric 10");
    followed.wait_until("the routes that are left", |network| {
        way(network, "172.16.0.1").as_deref() == Some("one 10.0.1.1")
            && way(network, "2001:db8:f::1").as_deref() == Some("one 2001:db8:1::1")
    });
    followed.wait_same_routes();

    followed.ip("route add blackhole 172.17.0.0/16");
    followed.ip("route add prohibit 172.18.0.0/16");
    followed.ip("route add unreachable 2001:db8:f:1::/64");
    followed.ip("route add throw 172.19.0.0/16");
    followed.ip("route add 172.20.0.0/16 via 10.0.1.1 table 100");
    followed.ip("route add 172.21.0.0/16 via inet6 2001:db8:1::7 dev one");
    let kind = |network: &Network, destination: &str| {
        network
            .routes
            .lookup(address(destination))
            .map(|route| route.kind)
    };
    followed.wait_until("the routes that refuse", |network| {
        kind(network, "172.17.0.1") == Some(RouteKind::Blackhole)
            && kind(network, "172.18.0.1") == Some(RouteKind::Prohibit)
            && kind(network, "2001:db8:f:1::1") == Some(RouteKind::Unreachable)
            && kind(network, "172.19.0.1").is_none()
            && way(network, "172.21.0.1").as_deref() == Some("one 2001:db8:1::7")
    });
    // Of another table: not followed.
    assert_eq!(
        way(&followed.shared.load(), "172.20.0.1").as_deref(),
        Some("one 10.0.1.1")
    );
    followed.ip("route del blackhole 172.17.0.0/16");
    followed.wait_until("no blackhole", |network| {
        kind(network, "172.17.0.1") == Some(RouteKind::Unicast)
    });
    followed.wait_same_routes();
}

#[test]
fn several_next_hops_are_followed_through_links_going_down_and_up() {
    let followed = Followed::new();
    for (name, subnet) in [("one", 1), ("two", 2)] {
        followed.namespace.ethernet(name);
        followed.ip(&format!("address add 10.0.{subnet}.2/24 dev {name}"));
        followed.ip(&format!("address add 2001:db8:{subnet}::2/64 dev {name} nodad"));
    }
    followed.ip("route add 172.16.0.0/12 nexthop via 10.0.1.1 weight 1 nexthop via 10.0.2.1 weight 3");
    followed.ip("route add 2001:db8:f::/48 via 2001:db8:1::1");
    followed.ip("route append 2001:db8:f::/48 via 2001:db8:2::1");
    let hops = |network: &Network, destination: &str| -> Vec<u16> {
        let route = network.routes.lookup(address(destination));
        route.map_or(Vec::new(), |route| {
            route.next_hops.iter().map(|hop| hop.weight).collect()
        })
    };
    followed.wait_until("two next hops", |network| {
        hops(network, "172.16.0.1") == [1, 3] && hops(network, "2001:db8:f::1") == [1, 1]
    });
    followed.wait_same_routes();
    followed.ip("link set two down");
    followed.wait_until("one next hop", |network| {
        hops(network, "172.16.0.1") == [1] && hops(network, "2001:db8:f::1") == [1]
    });
    followed.ip("link set two up");
    followed.wait_until("the next hop of IPv4 again", |network| {
        hops(network, "172.16.0.1") == [1, 3]
    });
    followed.ip("route del 2001:db8:f::/48 via 2001:db8:1::1");
    followed.wait_same_routes();
    followed.ip("link del one");
    followed.wait_same_routes();
}

/// Changes in an order that no person would choose, a few prefixes and metrics only, so that they meet.
#[test]
fn random_changes_of_routes_end_in_the_kernels_own_table() {
    let followed = Followed::new();
    for (name, subnet) in [("one", 1), ("two", 2)] {
        followed.namespace.ethernet(name);
        followed.ip(&format!("address add 10.0.{subnet}.2/24 dev {name}"));
        followed.ip(&format!("address add 2001:db8:{subnet}::2/64 dev {name} nodad"));
    }
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |choices: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 16) % choices
    };
    for _ in 0..20 {
        let mut commands = String::new();
        for _ in 0..60 {
            let verb = [
                "add", "add", "append", "prepend", "replace", "change", "del", "del",
            ][random(8) as usize];
            let (prefix, metric) = (random(4), random(2) + 1);
            let (subnet, host) = (random(2) + 1, random(3) + 10);
            commands += &match random(20) {
                0 => format!(
                    "link set {0} down\nlink set {0} up\n",
                    ["one", "two-far"][random(2) as usize]
                ),
                1 => format!(
                    "address {} 10.0.{subnet}.2/24 dev {1}\naddress add 2001:db8:{subnet}::2/64 dev {1} nodad\n",
                    ["add", "del"][random(2) as usize],
                    ["one", "two"][subnet as usize - 1],
                ),
                2..=4 => format!("route {verb} blackhole 172.16.{prefix}.0/24 metric {metric}\n"),
                5..=8 => format!(
                    "route {verb} 172.16.{prefix}.0/24 metric {metric} nexthop via 10.0.1.{host} \
                     nexthop via 10.0.2.{host} weight 2\n"
                ),
                9..=12 => {
                    format!("route {verb} 172.16.{prefix}.0/24 metric {metric} via 10.0.{subnet}.{host}\n")
                }
                13..=15 => format!(
                    "route {verb} 2001:db8:f{prefix}::/48 metric {metric} nexthop via 2001:db8:1::{host} \
                     nexthop via 2001:db8:2::{host}\n"
                ),
                _ => format!(
                    "route {verb} 2001:db8:f{prefix}::/48 metric {metric} via 2001:db8:{subnet}::{host}\n"
                ),
            };
        }
        followed.namespace.try_batch(commands);
        followed.wait_same_routes();
    }
    assert!(!followed.shared.load().routes.is_empty());
}

#[test]
fn next_hops_that_routes_share_are_followed() {
    let followed = Followed::new();
    followed.namespace.ethernet("one");
    followed.ip("address add 10.0.1.2/24 dev one");
    followed.ip("address add 2001:db8:1::2/64 dev one nodad");
    if !followed.namespace.tries("nexthop add id 4 via 10.0.1.1 dev one") {
        eprintln!("not tested: this kernel has no next hop objects");
        return;
    }
    followed.ip("nexthop add id 6 via 2001:db8:1::1 dev one");
    followed.ip("route add 172.16.0.0/16 nhid 4");
    followed.ip("route add 2001:db8:f::/48 nhid 6");
    followed.wait_until("the routes", |network| {
        way(network, "172.16.0.1").as_deref() == Some("one 10.0.1.1")
            && way(network, "2001:db8:f::1").as_deref() == Some("one 2001:db8:1::1")
    });
    followed.ip("nexthop replace id 4 via 10.0.1.9 dev one");
    followed.ip("nexthop replace id 6 via 2001:db8:1::9 dev one");
    followed.wait_until("the new gateways", |network| {
        way(network, "172.16.0.1").as_deref() == Some("one 10.0.1.9")
            && way(network, "2001:db8:f::1").as_deref() == Some("one 2001:db8:1::9")
    });
    followed.ip("nexthop del id 4");
    followed.ip("nexthop del id 6");
    followed.wait_until("no routes", |network| {
        way(network, "172.16.0.1").is_none() && way(network, "2001:db8:f::1").is_none()
    });
    followed.wait_same_routes();
}
