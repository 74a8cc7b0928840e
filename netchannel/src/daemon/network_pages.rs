//! Routes and neighbours in pages. They come from the snapshot that the packet path has; the worker is not asked.

use std::net::IpAddr;

use ipnet::IpNet;

use super::inspect::Inspector;
use crate::control::report::{Neighbour, Neighbours, Route, Routes};
use crate::control::{ControlError, NetworkPage};
use crate::network::{InterfaceIndex, Links, Network};

/// Prefixes that are looked at for one page, for little of what there is may be asked for.
const LOOKED_AT: usize = 65_536;

impl Inspector {
    pub(super) fn routes(&self, page: &NetworkPage) -> Result<Routes, ControlError> {
        routes(&self.network.load(), page)
    }

    pub(super) fn neighbours(&self, page: &NetworkPage) -> Result<Neighbours, ControlError> {
        neighbours(&self.network.load(), page)
    }
}

fn no_cursor() -> ControlError {
    ControlError::new("`after` is no cursor; expected the `next` of a page")
}

/// The interface that is asked for, which has to be there.
fn wanted(links: &Links, page: &NetworkPage) -> Result<Option<InterfaceIndex>, ControlError> {
    let Some(name) = &page.interface else {
        return Ok(None);
    };
    let known = links.by_name(name).map(|link| Some(link.index));
    known.ok_or_else(|| {
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        ControlError::new(format!(
            "there is no interface \"{}\"; there are: {}",
            name.chars().take(40).collect::<String>(),
            names.join(", ")
        ))
    })
}

fn routes(network: &Network, page: &NetworkPage) -> Result<Routes, ControlError> {
    let interface = wanted(&network.links, page)?;
    let after = page.after.as_deref().map(str::parse::<IpNet>).transpose();
    let after = after.map_err(|_| no_cursor())?;
    let mut routes = Vec::new();
    let mut next = None;
    let mut last = None;
    for (looked_at, (prefix, of_prefix)) in network.routes.iter_after(after).enumerate() {
        if routes.len() >= page.limit as usize || looked_at >= LOOKED_AT {
            next = last;
            break;
        }
        last = Some(prefix);
        if page.prefix.is_some_and(|wanted| !wanted.contains(&prefix)) {
            continue;
        }
        let leaves = |route: &&crate::network::Route| {
            interface.is_none_or(|index| route.next_hops.iter().any(|hop| hop.interface == index))
        };
        let found = of_prefix.iter().filter(leaves);
        routes.extend(found.map(|route| Route::of(route, &network.links)));
    }
    Ok(Routes {
        routes,
        next: next.map(|prefix| prefix.to_string()),
    })
}

fn neighbours(network: &Network, page: &NetworkPage) -> Result<Neighbours, ControlError> {
    let interface = wanted(&network.links, page)?;
    let after = page.after.as_deref().map(neighbour_cursor).transpose()?;
    let mut keys: Vec<(InterfaceIndex, IpAddr)> = network
        .neighbours
        .iter()
        .map(|(index, address, _)| (index, address))
        .filter(|key| after.is_none_or(|after| *key > after))
        .filter(|(index, _)| interface.is_none_or(|wanted| wanted == *index))
        .filter(|(_, address)| page.prefix.is_none_or(|prefix| prefix.contains(address)))
        .collect();
    let limit = page.limit as usize;
    let is_last = keys.len() <= limit;
    if !is_last {
        keys.select_nth_unstable(limit - 1);
        keys.truncate(limit);
    }
    keys.sort_unstable();
    let next = keys.last().filter(|_| !is_last);
    let next = next.map(|(index, address)| format!("{index} {address}"));
    let entries = keys.iter().filter_map(|&(index, address)| {
        let neighbour = network.neighbours.lookup(index, address)?;
        Some(Neighbour::of(index, address, neighbour, &network.links))
    });
    Ok(Neighbours {
        neighbours: entries.collect(),
        next,
    })
}

fn neighbour_cursor(text: &str) -> Result<(InterfaceIndex, IpAddr), ControlError> {
    let parts = text.split_once(' ').and_then(|(index, address)| {
        let index = index.parse().ok()?;
        Some((InterfaceIndex(index), address.parse().ok()?))
    });
    parts.ok_or_else(no_cursor)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::network::{Link, NetworkBuilder, NextHop};

    fn network(prefixes: &BTreeSet<IpNet>, neighbours: &BTreeSet<(u32, u32)>) -> Network {
        let link = |number: u32| Link::ethernet(InterfaceIndex(number), format!("eth{number}"), [2; 6]);
        let mut builder = NetworkBuilder::new().link(link(1)).link(link(2));
        for (number, prefix) in prefixes.iter().enumerate() {
            let hop = NextHop::connected(InterfaceIndex(1 + number as u32 % 2));
            builder = builder.route(crate::network::Route::unicast(*prefix, hop));
        }
        for &(index, address) in neighbours {
            let address = std::net::Ipv4Addr::from_bits(address).into();
            builder = builder.neighbour(InterfaceIndex(index), address, [2; 6]);
        }
        builder.build()
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (any::<u32>(), 0..=32u8).prop_map(|(bits, length)| IpNet::new(
                IpAddr::from(bits.to_be_bytes()),
                length
            )
            .unwrap()
            .trunc()),
            (any::<u128>(), 0..=128u8).prop_map(|(bits, length)| IpNet::new(
                IpAddr::from(bits.to_be_bytes()),
                length
            )
            .unwrap()
            .trunc()),
        ]
    }

    /// Follows pages to the end.
    fn all<T>(
        mut page: NetworkPage,
        mut take: impl FnMut(&NetworkPage) -> (Vec<T>, Option<String>),
    ) -> Vec<T> {
        let mut found = Vec::new();
        loop {
            let (entries, next) = take(&page);
            found.extend(entries);
            match next {
                Some(next) => {
                    assert_ne!(page.after.as_ref(), Some(&next));
                    page.after = Some(next);
                }
                None => return found,
            }
        }
    }

    proptest! {
        #[test]
        fn pages_hold_each_route_once(
            prefixes in proptest::collection::btree_set(prefix(), 0..120), limit in 1..20u32, within in proptest::option::of(prefix()),
        ) {
            let network = network(&prefixes, &BTreeSet::new());
            let page = NetworkPage { limit, prefix: within, ..NetworkPage::first() };
            let found = all(page.clone(), |page| {
                let page = routes(&network, page).unwrap();
                (page.routes, page.next)
            });
            let mut listed: Vec<IpNet> = found.iter().map(|route| route.destination).collect();
            listed.sort_unstable();
            let expected: Vec<IpNet> = prefixes
                .iter()
                .copied()
                .filter(|prefix| within.is_none_or(|within| within.contains(prefix)))
                .collect();
            prop_assert_eq!(&listed, &expected);
            let by_interface = NetworkPage { interface: Some("eth1".to_owned()), ..page };
            let found = all(by_interface, |page| {
                let page = routes(&network, page).unwrap();
                (page.routes, page.next)
            });
            prop_assert!(found.iter().all(|route| route.next_hops[0].interface == "eth1"));
        }

        #[test]
        fn pages_hold_each_neighbour_once(
            known in proptest::collection::btree_set((1..3u32, any::<u32>()), 0..100), limit in 1..20u32,
        ) {
            let network = network(&BTreeSet::new(), &known);
            let page = NetworkPage { limit, ..NetworkPage::first() };
            let found = all(page, |page| {
                let page = neighbours(&network, page).unwrap();
                (page.neighbours, page.next)
            });
            let listed: Vec<(String, IpAddr)> =
                found.iter().map(|neighbour| (neighbour.interface.clone(), neighbour.address)).collect();
            let expected: Vec<(String, IpAddr)> = known
                .iter()
                .map(|(index, bits)| (format!("eth{index}"), std::net::Ipv4Addr::from_bits(*bits).into()))
                .collect();
            prop_assert_eq!(listed, expected);
        }
    }

    #[test]
    fn what_is_no_cursor_or_interface_is_told_so() {
        let network = network(&BTreeSet::new(), &BTreeSet::new());
        let page = |after: &str| NetworkPage {
            after: Some(after.to_owned()),
            ..NetworkPage::first()
        };
        for after in ["", "x", "1", "1 x", "10.0.0.0/33", "4294967296 10.0.0.1"] {
            assert!(routes(&network, &page(after)).is_err(), "{after}");
            assert!(neighbours(&network, &page(after)).is_err(), "{after}");
        }
        let absent = NetworkPage {
            interface: Some("wan9".to_owned()),
            ..NetworkPage::first()
        };
        let error = routes(&network, &absent).unwrap_err();
        assert_eq!(
            error.message,
            "there is no interface \"wan9\"; there are: eth1, eth2"
        );
    }
}
