//! The external addresses: which port of which address belongs to which mapping.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ahash::RandomState;
use rand::rngs::StdRng;

use super::flow::{Endpoint, Protocol};
use super::ports::{FreePorts, PortRanges};

/// Number of an external address, from 0.
pub(super) type AddressId = u32;

/// All external addresses with their ports.
pub(super) struct Pool {
    ranges: PortRanges,
    addresses: Vec<ExternalAddress>,
    by_address: HashMap<Ipv4Addr, AddressId, RandomState>,
}

struct ExternalAddress {
    address: Ipv4Addr,
    /// By protocol.
    ports: [Ports; 3],
}

struct Ports {
    free: FreePorts,
    /// For each port by its number, the mapping that has it plus 1; 0 for none.
    mappings: Vec<u32>,
}

impl Pool {
    pub(super) fn new(addresses: &[Ipv4Addr], ranges: PortRanges) -> Self {
        let ports = || Ports {
            free: FreePorts::new(&ranges),
            mappings: vec![0; ranges.len() as usize],
        };
        let by_address = addresses
            .iter()
            .enumerate()
            .map(|(id, &address)| (address, id as AddressId))
            .collect();
        let addresses = addresses
            .iter()
            .map(|&address| ExternalAddress {
                address,
                ports: [ports(), ports(), ports()],
            })
            .collect();
        Self {
            ranges,
            addresses,
            by_address,
        }
    }

    /// Whether this is an external address. O(1).
    #[inline]
    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.by_address.contains_key(&address)
    }

    /// Whether ports of this number are given out.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.ranges.number(port).is_some()
    }

    pub(super) fn ranges(&self) -> &PortRanges {
        &self.ranges
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.addresses.iter().map(|external| external.address)
    }

    /// The mapping that has this endpoint. O(log ranges).
    #[inline]
    pub(super) fn mapping(&self, protocol: Protocol, endpoint: Endpoint) -> Option<u32> {
        let &id = self.by_address.get(&endpoint.address)?;
        let number = self.ranges.number(endpoint.port)?;
        let mappings = &self.addresses[id as usize].ports[protocol as usize].mappings;
        mappings[number as usize].checked_sub(1)
    }

    /// The first address with a free port.
    pub(super) fn first_with_room(&self, protocol: Protocol) -> Option<AddressId> {
        self.addresses
            .iter()
            .position(|external| external.ports[protocol as usize].free.taken() < self.ranges.len())
            .map(|id| id as AddressId)
    }

    /// Takes a port of an address, `wanted` if possible. It belongs to no mapping yet.
    pub(super) fn take(
        &mut self,
        id: AddressId,
        protocol: Protocol,
        wanted: u16,
        random: &mut StdRng,
    ) -> Option<Endpoint> {
        let external = &mut self.addresses[id as usize];
        let port = external.ports[protocol as usize]
            .free
            .take(wanted, &self.ranges, random)?;
        Some(Endpoint {
            address: external.address,
            port,
        })
    }

    /// Says which mapping a port that was taken belongs to.
    pub(super) fn assign(&mut self, id: AddressId, protocol: Protocol, port: u16, mapping: u32) {
        if let Some(number) = self.ranges.number(port) {
            self.addresses[id as usize].ports[protocol as usize].mappings[number as usize] = mapping + 1;
        }
    }

    /// Gives a port back.
    pub(super) fn free(&mut self, id: AddressId, protocol: Protocol, port: u16) {
        let ports = &mut self.addresses[id as usize].ports[protocol as usize];
        if let Some(number) = self.ranges.number(port) {
            ports.mappings[number as usize] = 0;
            ports.free.free(port, &self.ranges);
        }
    }
}
