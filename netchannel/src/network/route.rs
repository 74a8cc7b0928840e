//! The kernel's main routing table: longest prefix first, then lowest metric.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::link::InterfaceIndex;
use super::prefix_table::PrefixTable;

/// What a route says about the packets that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// They leave through one of its next hops.
    Unicast,
    /// They are for the box itself.
    Local,
    /// They are dropped in silence.
    Blackhole,
    /// They are answered with "host unreachable".
    Unreachable,
    /// They are answered with "administratively prohibited".
    Prohibit,
    /// The table has no answer for them: as if there were no route.
    Throw,
    /// They leave inside another protocol (MPLS, segment routing), which only the kernel can do.
    Encapsulated,
}

/// One way out of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The link to leave through.
    pub interface: InterfaceIndex,
    /// The router to send to; none where the destination itself is on the link. It may be an IPv6 address
    /// in a route of IPv4 (RFC 8950).
    pub gateway: Option<IpAddr>,
    /// The share of the flows that take this way, 1 to 256, relative to the route's other next hops.
    pub weight: u16,
}

impl NextHop {
    /// The destination is on that link.
    pub fn connected(interface: InterfaceIndex) -> Self {
        Self {
            interface,
            gateway: None,
            weight: 1,
        }
    }

    /// Through a router on that link.
    pub fn via(interface: InterfaceIndex, gateway: IpAddr) -> Self {
        Self {
            interface,
            gateway: Some(gateway),
            weight: 1,
        }
    }

    /// Whether both are the same way, whatever their weights.
    pub(super) fn same_way(&self, other: &Self) -> bool {
        self.interface == other.interface && self.gateway == other.gateway
    }
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The addresses that it is for.
    pub destination: IpNet,
    /// What happens to packets for them.
    pub kind: RouteKind,
    /// Of two routes for the same prefix the one with the lower metric wins.
    pub metric: u32,
    /// The source address that the kernel would use for its own packets.
    pub preferred_source: Option<IpAddr>,
    /// Upper limit for packets that take this route, in bytes; none means the link's own.
    pub mtu: Option<u32>,
    /// At least one for [`RouteKind::Unicast`]. Next hops whose link is down are left out.
    pub next_hops: Vec<NextHop>,
}

impl Route {
    /// A route out through one next hop, with metric 0.
    pub fn unicast(destination: IpNet, next_hop: NextHop) -> Self {
        Self {
            next_hops: vec![next_hop],
            ..Self::refusing(destination, RouteKind::Unicast)
        }
    }

    /// A route without next hops, such as a blackhole, with metric 0.
    pub fn refusing(destination: IpNet, kind: RouteKind) -> Self {
        Self {
            destination: destination.trunc(),
            kind,
            metric: 0,
            preferred_source: None,
            mtu: None,
            next_hops: Vec::new(),
        }
    }

    /// The next hop for a flow, chosen by the flow's hash so that flows spread over several next hops by their
    /// weights and each flow keeps to one (RFC 2992). All 32 bits of the hash count, the high ones most.
    /// None for a route without next hops.
    pub fn next_hop(&self, flow_hash: u32) -> Option<&NextHop> {
        if let [only] = self.next_hops.as_slice() {
            return Some(only);
        }
        let total: u64 = self
            .next_hops
            .iter()
            .map(|next_hop| u64::from(next_hop.weight))
            .sum();
        // Scales the hash to 0..total, so that each next hop owns a range as wide as its weight.
        let mut point = (u64::from(flow_hash) * total) >> 32;
        self.next_hops.iter().find(|next_hop| {
            let weight = u64::from(next_hop.weight);
            let mine = point < weight;
            point = point.saturating_sub(weight);
            mine
        })
    }
}

/// The routes of the kernel's main table at one moment, IPv4 and IPv6.
///
/// Policy rules (`ip rule`), other tables and VRFs are not followed, nor are routes that look at more than the
/// destination (TOS, source prefix). What the local table holds is answered by
/// [`Links::is_local`](super::Links::is_local). Routes through next hop objects (`ip nexthop`) need the sysctl
/// `net.ipv4.nexthop_compat_mode` to be 1, as it is unless changed. Cloning is cheap: unchanged parts are shared.
#[derive(Clone, Default)]
pub struct Routes {
    ipv4: PrefixTable<Ipv4Net, Arc<[Route]>>,
    ipv6: PrefixTable<Ipv6Net, Arc<[Route]>>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl Routes {
    /// The route for a destination: the longest matching prefix, then the lowest metric. None where there is no
    /// route, or a `throw` route says so. Some 100 ns; proportional to the depth of the trie, whatever the
    /// number of routes.
    pub fn lookup(&self, destination: IpAddr) -> Option<&Route> {
        let routes = match destination {
            IpAddr::V4(address) => self.ipv4.longest_match(&Ipv4Net::from(address)),
            IpAddr::V6(address) => self.ipv6.longest_match(&Ipv6Net::from(address)),
        };
        routes?.first().filter(|route| route.kind != RouteKind::Throw)
    }

    /// The routes for exactly one prefix, lowest metric first.
    pub fn get(&self, destination: &IpNet) -> &[Route] {
        let routes = match destination {
            IpNet::V4(prefix) => self.ipv4.get(prefix),
            IpNet::V6(prefix) => self.ipv6.get(prefix),
        };
        routes.map_or(&[], Arc::as_ref)
    }

    /// All routes, those of IPv4 first; no further order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.ipv4
            .values()
            .chain(self.ipv6.values())
            .flat_map(|routes| routes.iter())
    }

    /// The prefixes behind `after`, or all, with their routes: IPv4 first, further in an order that stays the same while other prefixes
    /// come and go. To find the place takes time proportional to a small part of the table.
    pub fn iter_after(&self, after: Option<IpNet>) -> impl Iterator<Item = (IpNet, &[Route])> {
        let (ipv4, ipv6) = match after {
            None => (Some(None), None),
            Some(IpNet::V4(prefix)) => (Some(Some(prefix)), None),
            Some(IpNet::V6(prefix)) => (None, Some(prefix)),
        };
        let ipv4 = ipv4.into_iter().flat_map(|after| self.ipv4.iter_after(after));
        let ipv4 = ipv4.map(|(prefix, routes)| (IpNet::V4(prefix), routes.as_ref()));
        let ipv6 = self.ipv6.iter_after(ipv6);
        ipv4.chain(ipv6.map(|(prefix, routes)| (IpNet::V6(prefix), routes.as_ref())))
    }

    /// The number of prefixes that have a route.
    pub fn len(&self) -> usize {
        self.ipv4.len() + self.ipv6.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells of each prefix whose routes are others in `later`: the routes here, and those there. In time proportional to the parts
    /// of both that are not shared.
    pub fn differences(&self, later: &Self, mut tell: impl FnMut(&[Route], &[Route])) {
        fn routes(found: Option<&Arc<[Route]>>) -> &[Route] {
            found.map_or(&[], Arc::as_ref)
        }
        self.ipv4
            .differences(&later.ipv4, |old, new| tell(routes(old), routes(new)));
        self.ipv6
            .differences(&later.ipv6, |old, new| tell(routes(old), routes(new)));
    }

    /// Changes the routes of one prefix, given and left in the order of their metric.
    pub(super) fn edit<T>(&mut self, destination: &IpNet, change: impl FnOnce(&mut Vec<Route>) -> T) -> T {
        let mut routes = self.get(destination).to_vec();
        let answer = change(&mut routes);
        routes.sort_by_key(|route| route.metric);
        if routes == self.get(destination) {
            return answer;
        }
        let routes = (!routes.is_empty()).then(|| Arc::from(routes));
        match (destination, routes) {
            (IpNet::V4(prefix), Some(routes)) => self.ipv4.insert(*prefix, routes),
            (IpNet::V4(prefix), None) => self.ipv4.remove(prefix),
            (IpNet::V6(prefix), Some(routes)) => self.ipv6.insert(*prefix, routes),
            (IpNet::V6(prefix), None) => self.ipv6.remove(prefix),
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::NetworkBuilder;
    use super::*;

    fn link(number: u32) -> NextHop {
        NextHop::connected(InterfaceIndex(number))
    }

    fn route(destination: &str, interface: u32, metric: u32) -> Route {
        Route {
            metric,
            ..Route::unicast(destination.parse().unwrap(), link(interface))
        }
    }

    fn table(routes: impl IntoIterator<Item = Route>) -> Routes {
        let network = routes
            .into_iter()
            .fold(NetworkBuilder::new(), NetworkBuilder::route)
            .build();
        Routes::clone(&network.routes)
    }

    fn way(routes: &Routes, destination: &str) -> Option<u32> {
        let route = routes.lookup(destination.parse().unwrap())?;
        Some(route.next_hop(0)?.interface.0)
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_lowest_metric() {
        let routes = table([
            route("0.0.0.0/0", 1, 100),
            route("10.0.0.0/8", 2, 0),
            route("10.1.0.0/16", 3, 50),
            route("10.1.0.0/16", 4, 20),
            route("10.1.0.0/16", 5, 20),
            route("10.1.2.3/32", 6, 0),
            route("::/0", 7, 0),
            route("2001:db8::/32", 8, 0),
        ]);
        assert_eq!(way(&routes, "192.0.2.1"), Some(1));
        assert_eq!(way(&routes, "10.200.0.1"), Some(2));
        assert_eq!(way(&routes, "10.1.2.4"), Some(4));
        assert_eq!(way(&routes, "10.1.2.3"), Some(6));
        assert_eq!(way(&routes, "2001:db9::1"), Some(7));
        assert_eq!(way(&routes, "2001:db8::1"), Some(8));
        assert_eq!(routes.len(), 6);
        assert_eq!(routes.iter().count(), 8);
    }

    #[test]
    fn without_a_route_there_is_no_answer() {
        let routes = table([route("10.0.0.0/8", 1, 0)]);
        assert_eq!(routes.lookup([11, 0, 0, 1].into()), None);
        assert_eq!(routes.lookup("::1".parse().unwrap()), None);
        assert!(Routes::default().is_empty());
    }

    #[test]
    fn a_throw_route_hides_the_shorter_prefixes() {
        let throw = Route::refusing("10.1.0.0/16".parse().unwrap(), RouteKind::Throw);
        let routes = table([route("10.0.0.0/8", 1, 0), throw]);
        assert_eq!(way(&routes, "10.1.0.1"), None);
        assert_eq!(way(&routes, "10.2.0.1"), Some(1));
    }

    #[test]
    fn a_blackhole_is_found_and_has_no_next_hop() {
        let routes = table([Route::refusing(
            "10.0.0.0/8".parse().unwrap(),
            RouteKind::Blackhole,
        )]);
        let found = routes.lookup([10, 0, 0, 1].into()).unwrap();
        assert_eq!(found.kind, RouteKind::Blackhole);
        assert_eq!(found.next_hop(12345), None);
    }

    #[test]
    fn next_hops_get_flows_by_their_weights() {
        let mut route = route("0.0.0.0/0", 1, 0);
        route.next_hops = vec![
            NextHop { weight: 1, ..link(1) },
            NextHop { weight: 2, ..link(2) },
            NextHop { weight: 5, ..link(3) },
        ];
        let mut counts = [0; 3];
        for step in 0..8000_u32 {
            // Evenly over all hashes.
            let hash = step * (u32::MAX / 8000);
            counts[route.next_hop(hash).unwrap().interface.0 as usize - 1] += 1;
        }
        assert_eq!(counts.iter().sum::<u32>(), 8000);
        for (count, expected) in counts.into_iter().zip([1000, 2000, 5000_u32]) {
            assert!(count.abs_diff(expected) <= 1, "{counts:?}");
        }
        assert_eq!(route.next_hop(0).unwrap().interface.0, 1);
        assert_eq!(route.next_hop(u32::MAX).unwrap().interface.0, 3);
    }

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut routes = table([route("10.0.0.0/8", 1, 0), route("2001:db8::/32", 2, 0)]);
        let copy = routes.clone();
        for destination in ["10.0.0.0/8", "2001:db8::/32"] {
            routes.edit(&destination.parse().unwrap(), Vec::clear);
        }
        assert!(routes.is_empty());
        assert_eq!(
            (way(&copy, "10.0.0.1"), way(&copy, "2001:db8::1")),
            (Some(1), Some(2))
        );
    }

    /// Prefixes and addresses with few different bits, so that they nest and hit.
    fn any_address(ipv6: bool) -> impl Strategy<Value = IpAddr> {
        let byte = || prop::sample::select(vec![0_u8, 1, 2, 0x20, 128, 255]);
        (byte(), byte(), byte(), byte()).prop_map(move |(a, b, c, d)| match ipv6 {
            false => IpAddr::from([a, b, c, d]),
            true => IpAddr::from([a, b, c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, d]),
        })
    }

    fn any_prefix() -> impl Strategy<Value = IpNet> {
        (any::<bool>(), 0..=128_u8).prop_flat_map(|(ipv6, length)| {
            let length = if ipv6 { length } else { length % 33 };
            any_address(ipv6).prop_map(move |address| IpNet::new(address, length).unwrap().trunc())
        })
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_a_linear_scan(
            changes in prop::collection::vec((any_prefix(), 0..3_u32, any::<bool>()), 1..200),
            addresses in prop::collection::vec(any::<bool>().prop_flat_map(any_address), 1..100),
        ) {
            let mut routes = Routes::default();
            let mut list: Vec<Route> = Vec::new();
            for (number, (destination, metric, add)) in changes.into_iter().enumerate() {
                if add {
                    let route = Route { metric, ..Route::unicast(destination, link(number as u32)) };
                    routes.edit(&destination, |routes| routes.push(route.clone()));
                    list.push(route);
                } else {
                    routes.edit(&destination, |routes| routes.retain(|route| route.metric != metric));
                    list.retain(|route| route.destination != destination || route.metric != metric);
                }
            }
            for address in addresses {
                let expected = list
                    .iter()
                    .enumerate()
                    .filter(|(_, route)| route.destination.contains(&address))
                    .min_by_key(|(order, route)| {
                        (u8::MAX - route.destination.prefix_len(), route.metric, *order)
                    })
                    .map(|(_, route)| route);
                prop_assert_eq!(routes.lookup(address), expected);
            }
            prop_assert_eq!(routes.iter().count(), list.len());
        }
    }
}
