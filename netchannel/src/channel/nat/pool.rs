//! The external addresses: which port of which address belongs to which mapping, and which address a host gets.

mod held;
mod others;

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ahash::RandomState;
use rand::RngExt;
use rand::rngs::StdRng;

use super::address_set::{AddressId, AddressSet};
use super::flow::{Endpoint, Protocol};
use super::forwards::Forward;
use super::ports::{Choice, FreePorts, Span, Wish};
use super::settings::{NatSettings, PortHold, is_stand_in};
use crate::channel::listing::PortCounts;
use held::Held;
use others::Others;

/// All external addresses with their ports. Memory for the ports of an address is taken when it gets its first mapping of a protocol.
pub(super) struct Pool {
    /// The ports that may be given out, the same at every address.
    usable: FreePorts,
    /// Those of them that other workers count.
    others: Others,
    /// Those that mappings are given, then those that have forwarded ports only.
    addresses: Vec<ExternalAddress>,
    /// How many of them mappings are given.
    given: AddressId,
    by_address: HashMap<Ipv4Addr, AddressId, RandomState>,
    /// By protocol: the addresses that have a free port.
    with_room: [AddressSet; 3],
    /// Which addresses a host may get, by its own.
    preference: RandomState,
    choice: Choice,
    hold: PortHold,
    /// Ports that nobody may have yet, the one that is free first in front.
    held: VecDeque<Held>,
}

struct ExternalAddress {
    address: Ipv4Addr,
    /// Whether mappings are given its ports now.
    is_open: bool,
    /// By protocol.
    ports: [Option<Ports>; 3],
}

impl ExternalAddress {
    fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            is_open: !is_stand_in(address),
            ports: [None, None, None],
        }
    }
}

struct Ports {
    free: FreePorts,
    /// For each port, the mapping that has it plus 1; 0 for none. The pages of ports that were never used take no memory.
    mappings: Vec<u32>,
    /// Ports held back from reuse.
    held: u32,
    /// Forwarded ports that mappings would be given otherwise.
    forwarded: u32,
}

impl Pool {
    pub(super) fn new(settings: &NatSettings, random: &mut StdRng) -> Self {
        let external = settings.external_addresses();
        let mut addresses: Vec<ExternalAddress> = external.map(ExternalAddress::new).collect();
        let given = addresses.len();
        let mut by_address: HashMap<Ipv4Addr, AddressId, RandomState> = addresses
            .iter()
            .enumerate()
            .map(|(id, external)| (external.address, id as AddressId))
            .collect();
        for forward in &settings.forwards {
            by_address.entry(forward.external).or_insert_with(|| {
                addresses.push(ExternalAddress::new(forward.external));
                (addresses.len() - 1) as AddressId
            });
        }
        let usable = settings.usable_ports();
        let others = Others::of(settings, &usable);
        let with_room = AddressSet::all(if usable.len() > 0 { given } else { 0 });
        let mut seed = || random.random();
        let mut pool = Self {
            usable,
            others,
            by_address,
            with_room: [with_room.clone(), with_room.clone(), with_room],
            addresses,
            preference: RandomState::with_seeds(seed(), seed(), seed(), seed()),
            choice: Choice {
                preserve: settings.preserve_ports,
                parity: settings.preserve_parity,
                class: settings.preserve_class,
            },
            hold: settings.hold,
            held: VecDeque::with_capacity(settings.hold.count as usize),
            given: given as AddressId,
        };
        for forward in &settings.forwards {
            pool.set_aside(forward);
        }
        for id in 0..pool.given {
            pool.set_room(id);
        }
        pool
    }

    /// Whether mappings are given the ports of any address now.
    pub(super) fn is_open(&self) -> bool {
        let given = self.given as usize;
        self.addresses[..given].iter().any(|external| external.is_open)
    }

    /// Gives no more ports of an address.
    pub(super) fn close(&mut self, id: AddressId) {
        self.addresses[id as usize].is_open = false;
        self.set_room(id);
    }

    /// Has an address of which no mapping has a port be another one, whose ports mappings are given unless it is a stand-in. Ports of it that
    /// were held back are free.
    pub(super) fn replace(&mut self, id: AddressId, address: Ipv4Addr) {
        self.release_all_of(id);
        let external = &mut self.addresses[id as usize];
        self.by_address.remove(&external.address);
        external.address = address;
        external.is_open = !is_stand_in(address);
        self.by_address.insert(address, id);
        self.set_room(id);
    }

    /// Notes for each protocol whether an address has room.
    fn set_room(&mut self, id: AddressId) {
        for protocol in Protocol::ALL {
            let has_room = self.addresses[id as usize].is_open && self.free_at(id, protocol) > 0;
            let with_room = &mut self.with_room[protocol as usize];
            if has_room {
                with_room.insert(id);
            } else {
                with_room.remove(id);
            }
        }
    }

    /// Takes forwarded ports from those that mappings are given.
    fn set_aside(&mut self, forward: &Forward) {
        let Some(&id) = self.by_address.get(&forward.external) else {
            return;
        };
        let ports = self.ports_at(id, forward.protocol);
        for port in forward.ports.clone() {
            ports.forwarded += u32::from(ports.free.remove(port));
        }
        if ports.free.len() == 0 && id < self.given {
            self.with_room[forward.protocol as usize].remove(id);
        }
    }

    /// The ports of an address, whose memory is taken if that was not done yet.
    fn ports_at(&mut self, id: AddressId, protocol: Protocol) -> &mut Ports {
        let ports = &mut self.addresses[id as usize].ports[protocol as usize];
        ports.get_or_insert_with(|| Ports {
            free: if id < self.given {
                self.usable.clone()
            } else {
                FreePorts::new(&[], &[])
            },
            mappings: vec![0; 1 << 16],
            held: 0,
            forwarded: 0,
        })
    }

    /// Whether this is an external address. O(1).
    #[inline]
    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.by_address.contains_key(&address)
    }

    /// Whether ports of this number are given out.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.usable.contains(port)
    }

    /// The ports that are given out.
    pub(super) fn port_ranges(&self) -> Vec<RangeInclusive<u16>> {
        self.usable.ranges()
    }

    /// Ports, or identifiers, that there are for each protocol at each address.
    pub(super) fn ports_per_address(&self) -> u32 {
        self.usable.len()
    }

    /// The address of this number.
    pub(super) fn address(&self, id: AddressId) -> Ipv4Addr {
        self.addresses[id as usize].address
    }

    /// Ports, or identifiers, that there are for each protocol, without those that other workers count.
    pub(super) fn ports_per_protocol(&self) -> u64 {
        u64::from(self.usable.len()) * u64::from(self.given) - self.others.count()
    }

    /// Addresses that mappings are given.
    pub(super) fn given(&self) -> AddressId {
        self.given
    }

    /// How the ports of one of these are used, without those that other workers count.
    pub(super) fn port_counts(&self, id: AddressId, protocol: Protocol) -> PortCounts {
        let all = self.usable.len();
        let others = self.others.at(id as usize, protocol);
        match &self.addresses[id as usize].ports[protocol as usize] {
            None => PortCounts {
                free: all - others,
                ..PortCounts::default()
            },
            Some(ports) => PortCounts {
                used: all - ports.forwarded - ports.free.len() - ports.held,
                free: ports.free.len() - others,
                held: ports.held,
            },
        }
    }

    /// The mapping that has this endpoint. O(1).
    #[inline]
    pub(super) fn mapping(&self, protocol: Protocol, endpoint: Endpoint) -> Option<u32> {
        let &id = self.by_address.get(&endpoint.address)?;
        let ports = self.addresses[id as usize].ports[protocol as usize].as_ref()?;
        ports.mappings[usize::from(endpoint.port)].checked_sub(1)
    }

    /// An address with a free port for a host that has none yet: of two that the host's own address leads to, the one with more free ports, so
    /// that the load spreads and a host that comes again often gets the same; if both are full, the next one that is not. O(1).
    pub(super) fn address_for(&self, inside: Ipv4Addr, protocol: Protocol) -> Option<AddressId> {
        self.roomier(self.addresses_for(inside), protocol)
    }

    /// Two addresses that a host's own leads to. O(1).
    pub(super) fn addresses_for(&self, inside: Ipv4Addr) -> [AddressId; 2] {
        let hash = self.preference.hash_one(inside.to_bits());
        let count = u64::from(self.given);
        [hash >> 32, hash & 0xffff_ffff].map(|half| ((half * count) >> 32) as AddressId)
    }

    /// The roomier one of two addresses drawn by lot. O(1).
    pub(super) fn any_address(&self, protocol: Protocol, random: &mut StdRng) -> Option<AddressId> {
        self.roomier(self.any_addresses(random), protocol)
    }

    /// Two addresses drawn by lot. O(1).
    pub(super) fn any_addresses(&self, random: &mut StdRng) -> [AddressId; 2] {
        let count = self.given;
        [random.random_range(0..count), random.random_range(0..count)]
    }

    fn roomier(&self, [first, second]: [AddressId; 2], protocol: Protocol) -> Option<AddressId> {
        let best = if self.free_at(second, protocol) > self.free_at(first, protocol) {
            second
        } else {
            first
        };
        self.with_room[protocol as usize].next_from(best)
    }

    fn free_at(&self, id: AddressId, protocol: Protocol) -> u32 {
        let ports = self.addresses[id as usize].ports[protocol as usize].as_ref();
        ports.map_or(self.usable.len(), |ports| ports.free.len())
    }

    /// The number of an external address.
    pub(super) fn id_of(&self, address: Ipv4Addr) -> Option<AddressId> {
        self.by_address.get(&address).copied()
    }

    /// Takes a port of an address, `wanted` if possible, of those `within`. It belongs to no mapping yet.
    pub(super) fn take(
        &mut self,
        id: AddressId,
        protocol: Protocol,
        wanted: u16,
        within: (u16, u16),
        random: &mut StdRng,
    ) -> Option<Endpoint> {
        let choice = self.choice;
        let ExternalAddress { address, is_open, .. } = self.addresses[id as usize];
        if !is_open {
            return None;
        }
        let ports = self.ports_at(id, protocol);
        let port = ports.free.take(wanted, within, choice, random)?;
        if ports.free.len() == 0 {
            self.with_room[protocol as usize].remove(id);
        }
        Some(Endpoint { address, port })
    }

    /// Takes this very port of an address that mappings are given. `false` if it isn't free.
    pub(super) fn take_this(&mut self, id: AddressId, protocol: Protocol, port: u16) -> bool {
        if !self.is_given(id) || !self.addresses[id as usize].is_open {
            return false;
        }
        let ports = self.ports_at(id, protocol);
        let taken = ports.free.remove(port);
        if ports.free.len() == 0 {
            self.with_room[protocol as usize].remove(id);
        }
        taken
    }

    /// Takes any port of several spans, `wanted` if possible, with equal chance of all that will do. It belongs to no mapping yet. O(spans).
    pub(super) fn take_of(
        &mut self,
        spans: impl Iterator<Item = (AddressId, Span)> + Clone,
        protocol: Protocol,
        wanted: u16,
        random: &mut StdRng,
    ) -> Option<(AddressId, Endpoint)> {
        let choice = self.choice;
        let own = spans
            .clone()
            .filter(|(_, span)| choice.preserve && (span.0..=span.1).contains(&wanted));
        for (id, _) in own {
            if self.take_this(id, protocol, wanted) {
                return Some((id, self.endpoint(id, wanted)));
            }
        }
        let (id, port) = choice
            .wishes(wanted)
            .find_map(|wish| self.any_of(spans.clone(), protocol, wish, random))?;
        self.take_this(id, protocol, port)
            .then(|| (id, self.endpoint(id, port)))
    }

    /// Any free port of several spans, with equal chance.
    fn any_of(
        &self,
        mut spans: impl Iterator<Item = (AddressId, Span)> + Clone,
        protocol: Protocol,
        wish: Wish,
        random: &mut StdRng,
    ) -> Option<(AddressId, u16)> {
        let free_at = |id: AddressId| {
            let ports = self.addresses[id as usize].ports[protocol as usize].as_ref();
            ports.map_or(&self.usable, |ports| &ports.free)
        };
        let count = |(id, span): (AddressId, Span)| match self.addresses[id as usize].is_open {
            true => free_at(id).count_of(span, wish),
            false => 0,
        };
        let free: u32 = spans.clone().map(count).sum();
        if free == 0 {
            return None;
        }
        let mut rank = random.random_range(0..free);
        spans.find_map(|(id, span)| {
            let here = count((id, span));
            if rank < here {
                return Some((id, free_at(id).nth_of(span, wish, rank)?));
            }
            rank -= here;
            None
        })
    }

    fn endpoint(&self, id: AddressId, port: u16) -> Endpoint {
        let address = self.address(id);
        Endpoint { address, port }
    }

    /// Whether mappings are given the ports of this address.
    pub(super) fn is_given(&self, id: AddressId) -> bool {
        id < self.given
    }

    /// Says which mapping an endpoint that was taken belongs to.
    pub(super) fn assign(&mut self, protocol: Protocol, endpoint: Endpoint, mapping: u32) {
        if let Some((_, ports)) = self.ports_of(protocol, endpoint.address) {
            ports.mappings[usize::from(endpoint.port)] = mapping + 1;
        }
    }

    /// Takes a forwarded endpoint from its mapping.
    pub(super) fn unassign(&mut self, protocol: Protocol, endpoint: Endpoint) {
        if let Some((_, ports)) = self.ports_of(protocol, endpoint.address) {
            ports.mappings[usize::from(endpoint.port)] = 0;
        }
    }

    fn put(&mut self, id: AddressId, protocol: Protocol, port: u16) {
        if let Some(ports) = &mut self.addresses[id as usize].ports[protocol as usize] {
            ports.free.put(port);
            if self.addresses[id as usize].is_open {
                self.with_room[protocol as usize].insert(id);
            }
        }
    }

    fn ports_of(&mut self, protocol: Protocol, address: Ipv4Addr) -> Option<(AddressId, &mut Ports)> {
        let &id = self.by_address.get(&address)?;
        let ports = self.addresses[id as usize].ports[protocol as usize].as_mut()?;
        Some((id, ports))
    }
}

#[cfg(test)]
mod tests;
