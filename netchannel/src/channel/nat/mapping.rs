//! Mappings: which external endpoint stands for which inside endpoint, whatever is on the other side (endpoint-independent mapping,
//! RFC 4787 REQ-1, RFC 5382 REQ-1, RFC 5508 REQ-1 (a)).

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use ahash::RandomState;
use rand::rngs::StdRng;

use super::chain::NONE;
use super::flow::{Endpoint, Protocol};
use super::pool::{AddressId, Pool};
use super::slab::Slab;
use crate::drop_reason::DropReason;
use crate::time::Time;

/// One mapping. It lives as long as it has a session.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) protocol: Protocol,
    pub(super) inside: Endpoint,
    pub(super) external: Endpoint,
    pub(super) opened: Time,
    /// Sessions in its list, and the head of the list.
    pub(super) sessions: u32,
    pub(super) first_session: u32,
    address: AddressId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct InsideKey(Protocol, Endpoint);

impl Hash for InsideKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self(protocol, endpoint) = *self;
        let ports = u64::from(protocol as u8) << 16 | u64::from(endpoint.port);
        state.write_u64(u64::from(endpoint.address.to_bits()) << 32 | ports);
    }
}

/// The external address that an inside host has, and for how many mappings.
struct Host {
    address: AddressId,
    mappings: u32,
}

/// All mappings, found by inside endpoint (a hash) and by external endpoint (an index). Everything is O(1).
pub(super) struct Mappings {
    table: Slab<Mapping>,
    by_inside: HashMap<InsideKey, u32, RandomState>,
    hosts: HashMap<Ipv4Addr, Host, RandomState>,
    pub(super) pool: Pool,
    count: [u32; 3],
    limit: u32,
    random: StdRng,
}

impl Mappings {
    pub(super) fn new(pool: Pool, limit: u32, random: StdRng) -> Self {
        let ports = pool.ranges().len() as usize * pool.addresses().count() * Protocol::ALL.len();
        let capacity = ports.min(limit as usize);
        Self {
            table: Slab::with_capacity(capacity),
            by_inside: HashMap::with_capacity_and_hasher(capacity, RandomState::new()),
            hosts: HashMap::with_capacity_and_hasher(capacity, RandomState::new()),
            pool,
            count: [0; 3],
            limit,
            random,
        }
    }

    /// Mappings of one protocol; each has one external port.
    pub(super) fn count(&self, protocol: Protocol) -> u32 {
        self.count[protocol as usize]
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> &Mapping {
        self.table.get(index)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut Mapping {
        self.table.get_mut(index)
    }

    pub(super) fn iter_from(&self, start: usize) -> impl Iterator<Item = (u32, &Mapping)> {
        self.table.iter_from(start)
    }

    #[inline]
    pub(super) fn of_inside(&self, protocol: Protocol, inside: Endpoint) -> Option<u32> {
        self.by_inside.get(&InsideKey(protocol, inside)).copied()
    }

    #[inline]
    pub(super) fn of_external(&self, protocol: Protocol, external: Endpoint) -> Option<u32> {
        self.pool.mapping(protocol, external)
    }

    /// Makes a mapping for an inside endpoint that has none.
    pub(super) fn open(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        now: Time,
    ) -> Result<u32, DropReason> {
        if self.table.len() >= self.limit as usize {
            return Err(DropReason::NatMappingLimit);
        }
        let address = match self.hosts.get(&inside.address) {
            Some(host) => Some(host.address),
            None => self.pool.first_with_room(protocol),
        };
        let (address, external) = address
            .and_then(|address| {
                let port = self.pool.take(address, protocol, inside.port, &mut self.random)?;
                Some((address, port))
            })
            .ok_or(DropReason::NatPortsExhausted)?;
        let index = self.table.insert(Mapping {
            protocol,
            inside,
            external,
            opened: now,
            sessions: 0,
            first_session: NONE,
            address,
        });
        self.pool.assign(address, protocol, external.port, index);
        self.by_inside.insert(InsideKey(protocol, inside), index);
        let host = self.hosts.entry(inside.address);
        host.or_insert(Host { address, mappings: 0 }).mappings += 1;
        self.count[protocol as usize] += 1;
        Ok(index)
    }

    /// Ends a mapping.
    pub(super) fn close(&mut self, index: u32) {
        let Some(mapping) = self.table.remove(index) else {
            return;
        };
        let Mapping {
            protocol,
            inside,
            external,
            address,
            ..
        } = mapping;
        self.by_inside.remove(&InsideKey(protocol, inside));
        self.pool.free(address, protocol, external.port);
        self.count[protocol as usize] -= 1;
        if let Some(host) = self.hosts.get_mut(&inside.address) {
            host.mappings -= 1;
            if host.mappings == 0 {
                self.hosts.remove(&inside.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ports::PortRanges;
    use super::*;
    use rand::SeedableRng;

    fn endpoint(last: u8, port: u16) -> Endpoint {
        Endpoint {
            address: Ipv4Addr::new(10, 0, 0, last),
            port,
        }
    }

    fn mappings(limit: u32) -> Mappings {
        let addresses = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
        let pool = Pool::new(&addresses, PortRanges::new(&[5000..=5009]));
        Mappings::new(pool, limit, StdRng::seed_from_u64(1))
    }

    fn open(mappings: &mut Mappings, inside: Endpoint) -> Result<Endpoint, DropReason> {
        let index = mappings.open(Protocol::Udp, inside, Time::ZERO)?;
        let external = mappings.get(index).external;
        assert_eq!(mappings.of_inside(Protocol::Udp, inside), Some(index));
        assert_eq!(mappings.of_external(Protocol::Udp, external), Some(index));
        assert_eq!(mappings.of_external(Protocol::Tcp, external), None);
        Ok(external)
    }

    /// RFC 4787 REQ-2, RFC 7857 §4.
    #[test]
    fn rfc_4787_2_a_host_keeps_its_address_even_when_that_runs_out_of_ports() {
        let mut mappings = mappings(100);
        let first = Ipv4Addr::new(192, 0, 2, 1);
        for port in 0..9 {
            assert_eq!(open(&mut mappings, endpoint(2, port)).unwrap().address, first);
        }
        assert_eq!(open(&mut mappings, endpoint(3, 1)).unwrap().address, first);
        // The first address is full: old hosts get no more, new ones another address.
        assert_eq!(
            open(&mut mappings, endpoint(2, 9)),
            Err(DropReason::NatPortsExhausted)
        );
        assert_eq!(
            open(&mut mappings, endpoint(4, 1)).unwrap().address,
            Ipv4Addr::new(192, 0, 2, 2)
        );
        // A host without mappings is free to get any address.
        let only = mappings.of_inside(Protocol::Udp, endpoint(4, 1)).unwrap();
        mappings.close(only);
        let other = mappings.of_inside(Protocol::Udp, endpoint(3, 1)).unwrap();
        mappings.close(other);
        assert_eq!(open(&mut mappings, endpoint(4, 1)).unwrap().address, first);
        assert_eq!(mappings.count(Protocol::Udp), 10);
    }

    /// RFC 6056 §4: a port is kept if it can be, and another one is chosen only on conflict.
    #[test]
    fn rfc_6056_4b_ports_are_preserved_while_free() {
        let mut mappings = mappings(100);
        assert_eq!(open(&mut mappings, endpoint(2, 5005)).unwrap().port, 5005);
        assert_ne!(open(&mut mappings, endpoint(3, 5005)).unwrap().port, 5005);
    }

    #[test]
    fn the_limit_holds() {
        let mut mappings = mappings(1);
        open(&mut mappings, endpoint(2, 1)).unwrap();
        assert_eq!(
            open(&mut mappings, endpoint(2, 2)),
            Err(DropReason::NatMappingLimit)
        );
    }

    #[test]
    fn a_mapping_is_as_large_as_the_documentation_says() {
        assert!(size_of::<Mapping>() <= 40, "{}", size_of::<Mapping>());
    }
}
