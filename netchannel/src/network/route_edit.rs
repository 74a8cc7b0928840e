//! How the kernel's route messages change the routes of one prefix, so that a table that follows them stays equal
//! to the kernel's.

use super::route::{Route, RouteKind};

/// Where a new route goes among those of the same prefix and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    First,
    Last,
    /// In the place of the first.
    Replace,
}

/// Whether the outcome is sure to be the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Changed,
    Unchanged,
    /// The message allows several readings: the table has to be read anew.
    Unclear,
}

/// Adds a route behind its equals.
pub(super) fn append(routes: &mut Vec<Route>, route: Route) {
    let end = routes.partition_point(|other| other.metric <= route.metric);
    routes.insert(end, route);
}

/// The kernel's message that a route of IPv4 is there (`fib_table_insert`).
pub(super) fn add_ipv4(routes: &mut Vec<Route>, route: Route, placement: Placement) -> Outcome {
    let start = routes.partition_point(|other| other.metric < route.metric);
    let end = routes.partition_point(|other| other.metric <= route.metric);
    let known = routes[start..end].iter().position(|other| *other == route);
    match (placement, known) {
        (Placement::Replace, Some(0)) => Outcome::Unchanged,
        (Placement::Replace, Some(_)) => Outcome::Unclear,
        (Placement::Replace, None) if start < end => {
            routes[start] = route;
            Outcome::Changed
        }
        // A message that was already part of what was read.
        (_, Some(_)) => Outcome::Unchanged,
        (Placement::Last, None) => {
            routes.insert(end, route);
            Outcome::Changed
        }
        (_, None) => {
            routes.insert(start, route);
            Outcome::Changed
        }
    }
}

/// The kernel's message that a route of IPv6 is there. It names all next hops that the route has by then.
pub(super) fn add_ipv6(routes: &mut Vec<Route>, route: Route, placement: Placement) -> Outcome {
    let start = routes.partition_point(|other| other.metric < route.metric);
    let end = routes.partition_point(|other| other.metric <= route.metric);
    if routes[start..end].contains(&route) && (placement != Placement::Replace || end - start == 1) {
        return Outcome::Unchanged;
    }
    if placement == Placement::Replace && start < end {
        let clear = end - start == 1;
        routes[start] = route;
        return if clear { Outcome::Changed } else { Outcome::Unclear };
    }
    // Where a next hop joined, the shorter forms of the same route go.
    let mut placed = false;
    routes.retain_mut(|other| {
        if other.metric != route.metric || !part_of(other, &route) {
            return true;
        }
        let first = !std::mem::replace(&mut placed, true);
        if first {
            *other = route.clone();
        }
        first
    });
    if !placed {
        routes.insert(end, route);
    }
    Outcome::Changed
}

/// The kernel's message that a route of IPv4 is gone.
pub(super) fn remove_ipv4(routes: &mut Vec<Route>, gone: &Route) -> Outcome {
    if let Some(position) = routes.iter().position(|other| other == gone) {
        routes.remove(position);
        return Outcome::Changed;
    }
    // Perhaps one that lacks the next hops that were dead when it was told.
    match routes.iter().any(|other| other.metric == gone.metric) {
        true => Outcome::Unclear,
        false => Outcome::Unchanged,
    }
}

/// The kernel's message that a route of IPv6, or some of its next hops, are gone.
pub(super) fn remove_ipv6(routes: &mut Vec<Route>, gone: &Route) -> Outcome {
    if gone.kind != RouteKind::Unicast {
        return remove_ipv4(routes, gone);
    }
    let mut outcome = Outcome::Unchanged;
    routes.retain_mut(|route| {
        if route.metric != gone.metric || route.kind != RouteKind::Unicast {
            return true;
        }
        let before = route.next_hops.len();
        route
            .next_hops
            .retain(|kept| !gone.next_hops.iter().any(|lost| lost.same_way(kept)));
        if route.next_hops.len() != before {
            outcome = Outcome::Changed;
        }
        !route.next_hops.is_empty()
    });
    outcome
}

/// Whether every next hop of `part` is one of `whole`, and both are of one kind.
fn part_of(part: &Route, whole: &Route) -> bool {
    part.kind == whole.kind
        && part
            .next_hops
            .iter()
            .all(|mine| whole.next_hops.iter().any(|other| other.same_way(mine)))
}

#[cfg(test)]
mod tests {
    use super::super::link::InterfaceIndex;
    use super::super::route::NextHop;
    use super::*;

    fn route(metric: u32, interfaces: &[u32]) -> Route {
        let mut route = Route::unicast(
            "2001:db8::/32".parse().unwrap(),
            NextHop::connected(InterfaceIndex(0)),
        );
        route.metric = metric;
        route.next_hops = interfaces
            .iter()
            .map(|&index| NextHop::connected(InterfaceIndex(index)))
            .collect();
        route
    }

    #[test]
    fn ipv4_routes_of_one_metric_keep_the_kernels_order() {
        let mut routes = vec![route(5, &[5]), route(9, &[9])];
        assert_eq!(
            add_ipv4(&mut routes, route(5, &[4]), Placement::First),
            Outcome::Changed
        );
        assert_eq!(
            add_ipv4(&mut routes, route(5, &[6]), Placement::Last),
            Outcome::Changed
        );
        assert_eq!(
            routes,
            [route(5, &[4]), route(5, &[5]), route(5, &[6]), route(9, &[9])]
        );
        assert_eq!(
            add_ipv4(&mut routes, route(5, &[7]), Placement::Replace),
            Outcome::Changed
        );
        assert_eq!(routes[0], route(5, &[7]));
        assert_eq!(
            add_ipv4(&mut routes, route(7, &[7]), Placement::Replace),
            Outcome::Changed
        );
        assert_eq!(
            routes.iter().map(|route| route.metric).collect::<Vec<_>>(),
            [5, 5, 5, 7, 9]
        );
    }

    #[test]
    fn a_message_that_was_read_already_changes_nothing() {
        let mut routes = vec![route(5, &[1]), route(5, &[2])];
        for placement in [Placement::First, Placement::Last] {
            assert_eq!(
                add_ipv4(&mut routes, route(5, &[2]), placement),
                Outcome::Unchanged
            );
            assert_eq!(
                add_ipv6(&mut routes, route(5, &[2]), placement),
                Outcome::Unchanged
            );
        }
        assert_eq!(remove_ipv4(&mut routes, &route(6, &[1])), Outcome::Unchanged);
        assert_eq!(routes.len(), 2);
    }

    #[test]
    fn of_several_ipv4_routes_the_one_with_the_same_next_hops_is_removed() {
        let mut routes = vec![route(5, &[1]), route(5, &[1, 2]), route(5, &[2])];
        assert_eq!(remove_ipv4(&mut routes, &route(5, &[1, 2])), Outcome::Changed);
        assert_eq!(routes, [route(5, &[1]), route(5, &[2])]);
    }

    #[test]
    fn an_ipv4_removal_that_fits_no_route_asks_for_a_new_reading() {
        let mut routes = vec![route(5, &[1])];
        assert_eq!(remove_ipv4(&mut routes, &route(5, &[2])), Outcome::Unclear);
        assert_eq!(routes.len(), 1);
    }

    #[test]
    fn ipv6_next_hops_join_and_leave_a_route() {
        let mut routes = vec![route(5, &[1]), route(6, &[1])];
        assert_eq!(
            add_ipv6(&mut routes, route(5, &[1, 2]), Placement::Last),
            Outcome::Changed
        );
        assert_eq!(
            add_ipv6(&mut routes, route(5, &[1, 2, 3]), Placement::Last),
            Outcome::Changed
        );
        assert_eq!(routes, [route(5, &[1, 2, 3]), route(6, &[1])]);
        assert_eq!(remove_ipv6(&mut routes, &route(5, &[2])), Outcome::Changed);
        assert_eq!(routes, [route(5, &[1, 3]), route(6, &[1])]);
        assert_eq!(remove_ipv6(&mut routes, &route(5, &[1, 3])), Outcome::Changed);
        assert_eq!(routes, [route(6, &[1])]);
    }
}
