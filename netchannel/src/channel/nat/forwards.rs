//! Port forwarding: external ports that always stand for the same ports of an inside host.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::flow::{Endpoint, Protocol};

/// External ports that are an inside host's, whether it sent anything or not. Whoever sends to them is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The external address: one that mappings use too, or one of its own.
    pub external: Ipv4Addr,
    /// The external ports, not 0. Mappings of other hosts never get them.
    pub ports: RangeInclusive<u16>,
    /// The inside host.
    pub inside: Ipv4Addr,
    /// What stands for the first port; the others follow it.
    pub inside_port: u16,
}

impl Forward {
    /// The last port at the inside host.
    pub(super) fn last_inside_port(&self) -> Option<u16> {
        self.inside_port
            .checked_add(self.ports.end() - self.ports.start())
    }

    fn inside_of(&self, protocol: Protocol, external: Endpoint) -> Option<Endpoint> {
        let is_here = self.protocol == protocol
            && self.external == external.address
            && self.ports.contains(&external.port);
        is_here.then(|| Endpoint {
            address: self.inside,
            port: self.inside_port + (external.port - self.ports.start()),
        })
    }

    fn external_of(&self, protocol: Protocol, inside: Endpoint) -> Option<Endpoint> {
        let ports = self.inside_port..=self.last_inside_port()?;
        let is_here =
            self.protocol == protocol && self.inside == inside.address && ports.contains(&inside.port);
        is_here.then(|| Endpoint {
            address: self.external,
            port: self.ports.start() + (inside.port - self.inside_port),
        })
    }

    /// Whether both have an external endpoint in common.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.external == other.external
            && self.ports.start() <= other.ports.end()
            && other.ports.start() <= self.ports.end()
    }
}

/// All forwarded ports, found by both sides. O(log forwards) for an external endpoint, and for an inside one as long as few forwards
/// lead to one host.
pub(super) struct Forwards {
    /// By protocol, external address and port; without overlaps.
    by_external: Vec<Forward>,
    /// Numbers of them by protocol and inside host, in the order in which they were given.
    by_inside: Vec<(Protocol, Ipv4Addr, u32)>,
}

impl Forwards {
    pub(super) fn new(forwards: &[Forward]) -> Self {
        let mut by_external: Vec<(usize, Forward)> = forwards.iter().cloned().enumerate().collect();
        by_external
            .sort_by_key(|(_, forward)| key(forward.protocol, forward.external, *forward.ports.start()));
        let mut by_inside: Vec<_> = by_external
            .iter()
            .enumerate()
            .map(|(place, (given, forward))| {
                let host = (forward.protocol as u8, forward.inside, *given);
                (host, (forward.protocol, forward.inside, place as u32))
            })
            .collect();
        by_inside.sort_unstable_by_key(|(host, _)| *host);
        Self {
            by_external: by_external.into_iter().map(|(_, forward)| forward).collect(),
            by_inside: by_inside.into_iter().map(|(_, entry)| entry).collect(),
        }
    }

    /// Has the forwards of an external address be those of another one.
    pub(super) fn move_to(&mut self, from: Ipv4Addr, to: Ipv4Addr) {
        // In the order in which those of each host were given.
        let places = self.by_inside.iter().map(|&(_, _, place)| place as usize);
        let mut forwards: Vec<Forward> = places.map(|place| self.by_external[place].clone()).collect();
        for forward in forwards.iter_mut().filter(|forward| forward.external == from) {
            forward.external = to;
        }
        *self = Self::new(&forwards);
    }

    /// The inside endpoint that an external one stands for.
    pub(super) fn inside_of(&self, protocol: Protocol, external: Endpoint) -> Option<Endpoint> {
        let wanted = key(protocol, external.address, external.port);
        let after = self.by_external.partition_point(|forward| {
            key(forward.protocol, forward.external, *forward.ports.start()) <= wanted
        });
        self.by_external[..after].last()?.inside_of(protocol, external)
    }

    /// The external endpoints that stand for an inside one, in the order in which they were given.
    pub(super) fn externals_of(
        &self,
        protocol: Protocol,
        inside: Endpoint,
    ) -> impl Iterator<Item = Endpoint> + '_ {
        let host = (protocol as u8, inside.address);
        let first = self
            .by_inside
            .partition_point(|(protocol, address, _)| (*protocol as u8, *address) < host);
        self.by_inside[first..]
            .iter()
            .take_while(move |(protocol, address, _)| (*protocol as u8, *address) == host)
            .filter_map(move |&(_, _, place)| self.by_external[place as usize].external_of(protocol, inside))
    }

    /// The external endpoint that a new session of an inside one gets.
    pub(super) fn external_of(&self, protocol: Protocol, inside: Endpoint) -> Option<Endpoint> {
        self.externals_of(protocol, inside).next()
    }
}

fn key(protocol: Protocol, address: Ipv4Addr, port: u16) -> (u8, Ipv4Addr, u16) {
    (protocol as u8, address, port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forward() -> impl Strategy<Value = Forward> {
        (any::<bool>(), 0u8..3, 1u16..60, 0u16..9, 0u8..3, 1u16..60).prop_map(
            |(tcp, external, first, more, inside, inside_port)| Forward {
                protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
                external: Ipv4Addr::new(192, 0, 2, external),
                ports: first..=first + more,
                inside: Ipv4Addr::new(10, 0, 0, inside),
                inside_port,
            },
        )
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(given in proptest::collection::vec(forward(), 0..20)) {
            let mut forwards: Vec<Forward> = Vec::new();
            for forward in given {
                if !forwards.iter().any(|other| other.overlaps(&forward)) {
                    forwards.push(forward);
                }
            }
            let index = Forwards::new(&forwards);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for (host, port) in (0..3).flat_map(|host| (1..75).map(move |port| (host, port))) {
                    let external = Endpoint { address: Ipv4Addr::new(192, 0, 2, host), port };
                    let expected = forwards.iter().find_map(|forward| forward.inside_of(protocol, external));
                    prop_assert_eq!(index.inside_of(protocol, external), expected);
                    let inside = Endpoint { address: Ipv4Addr::new(10, 0, 0, host), port };
                    let expected: Vec<_> =
                        forwards.iter().filter_map(|forward| forward.external_of(protocol, inside)).collect();
                    let found: Vec<_> = index.externals_of(protocol, inside).collect();
                    prop_assert_eq!(&found, &expected);
                    for external in found {
                        prop_assert_eq!(index.inside_of(protocol, external), Some(inside));
                    }
                }
            }
        }
    }
}
