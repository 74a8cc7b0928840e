//! Mappings: which external endpoint stands for which inside endpoint, whatever is on the other side (endpoint-independent mapping,
//! RFC 4787 REQ-1, RFC 5382 REQ-1, RFC 5508 REQ-1 (a)), or, by choice, only towards one outside address or endpoint.

mod former;

use std::hash::{Hash, Hasher};
use std::ops::Range;

use rand::rngs::StdRng;

use super::address_set::AddressId;
use super::blocks::Blocks;
use super::chain::NONE;
use super::deterministic::PortScheme;
use super::events::{EndReason, Events};
use super::flow::{Endpoint, PerProtocol, Protocol};
use super::forwards::Forwards;
use super::hosts::Hosts;
use super::index::Index;
use super::limits::{Counts, Limits, Pace};
use super::pool::Pool;
use super::ports::ANY_PORT;
use super::session::Session;
use super::settings::{Filtering, MappingBehavior, NatSettings, Pooling, is_stand_in};
use super::slab::Slab;
use crate::channel::TableMemory;
use crate::drop_reason::DropReason;
use crate::time::Time;
pub(super) use former::FormerMapping;

/// One mapping. It lives as long as it has a session.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) protocol: Protocol,
    /// Who may send through it: what was in force when it was opened. `None`: whoever sends, as the external endpoint is forwarded.
    pub(super) filtering: Option<Filtering>,
    pub(super) inside: Endpoint,
    pub(super) external: Endpoint,
    /// What it depends on of the outside endpoint.
    remote: Endpoint,
    pub(super) opened: Time,
    /// Sessions in its list, and the head of the list.
    pub(super) sessions: u32,
    pub(super) first_session: u32,
    pub(super) host: u32,
}

impl Mapping {
    /// What it depends on of the outside endpoint: nothing (0 for address and port), the address (and port 0), or both.
    pub(super) fn remote(&self) -> Endpoint {
        self.remote
    }
}

struct InsideKey {
    protocol: Protocol,
    inside: Endpoint,
    remote: Endpoint,
}

impl Hash for InsideKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            protocol,
            inside,
            remote,
        } = self;
        state.write_u64(u64::from(inside.address.to_bits()) << 32 | u64::from(remote.address.to_bits()));
        let ports = u64::from(inside.port) << 16 | u64::from(remote.port);
        state.write_u64(ports << 8 | *protocol as u64);
    }
}

/// All mappings, found by inside endpoint (a hash) and by external endpoint (an index). Everything is O(1).
pub(super) struct Mappings {
    table: Slab<Mapping>,
    by_inside: Index,
    pub(super) hosts: Hosts,
    pub(super) pool: Pool,
    /// The blocks that hosts get their ports in, if they do.
    pub(super) blocks: Option<Blocks>,
    pub(super) forwards: Forwards,
    /// What is told of all this.
    pub(super) events: Events,
    behavior: PerProtocol<MappingBehavior>,
    pub(super) counts: Counts,
    pace: Pace,
    pub(super) limits: Limits,
    pub(super) sessions_per_mapping: u32,
    pub(super) pooling: Pooling,
    /// The ports of each host, if each has its own.
    scheme: Option<PortScheme>,
    /// Whether external ports of UDP may be held back from reuse when their mapping ends.
    holds_ports: bool,
    pub(super) random: StdRng,
}

impl Mappings {
    pub(super) fn new(settings: &NatSettings, mut random: StdRng) -> Self {
        let pool = Pool::new(settings, &mut random);
        let mut blocks = Blocks::new(settings, settings.external_addresses().count());
        if let Some(blocks) = &mut blocks {
            for forward in &settings.forwards {
                let id = pool.id_of(forward.external);
                for (id, port) in id
                    .into_iter()
                    .flat_map(|id| forward.ports.clone().map(move |port| (id, port)))
                {
                    blocks.set_aside(id, port);
                }
            }
            for id in (0..pool.given()).filter(|&id| is_stand_in(pool.address(id))) {
                blocks.set_open(id, false);
            }
        }
        let capacity = settings.mapping_capacity();
        // Hosts are remembered as long as they have a block.
        let held = settings.blocks.map_or(0, |blocks| blocks.hold_count as usize);
        Self {
            table: Slab::with_capacity(capacity),
            by_inside: Index::for_entries(capacity),
            hosts: Hosts::new(capacity + held, settings.host_limits, pool.given()),
            pool,
            blocks,
            forwards: Forwards::new(&settings.forwards),
            events: Events::NONE,
            behavior: settings.mapping,
            counts: Counts::default(),
            pace: Pace::default(),
            limits: settings.limits,
            sessions_per_mapping: settings.sessions_per_mapping,
            pooling: settings.pooling,
            scheme: settings.port_scheme().and_then(Result::ok),
            holds_ports: settings.holds_ports(),
            random,
        }
    }

    /// Mappings of one protocol; each has one external port.
    pub(super) fn count(&self, protocol: Protocol) -> u32 {
        self.counts.mappings[protocol as usize]
    }

    /// Its size.
    pub(super) fn memory(&self) -> TableMemory {
        TableMemory {
            name: "mappings",
            entries: self.table.len() as u64,
            capacity: self.table.capacity() as u64,
            bytes: (self.table.memory() + self.by_inside.memory()) as u64,
        }
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> &Mapping {
        self.table.get(index)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut Mapping {
        self.table.get_mut(index)
    }

    /// The numbers of mappings are below this.
    pub(super) fn places(&self) -> usize {
        self.table.places()
    }

    /// The mappings with these numbers.
    pub(super) fn iter_in(&self, numbers: Range<usize>) -> impl Iterator<Item = (u32, &Mapping)> {
        self.table.iter_in(numbers)
    }

    /// The mapping of an inside endpoint towards an outside one.
    #[inline]
    pub(super) fn of_inside(&self, protocol: Protocol, inside: Endpoint, remote: Endpoint) -> Option<u32> {
        if let Some(external) = self.forwards.external_of(protocol, inside) {
            return self.of_external(protocol, external);
        }
        let key = self.key(protocol, inside, remote);
        self.by_inside.find(&key, |index| {
            let mapping = self.table.get(index);
            mapping.inside == inside && mapping.remote == key.remote && mapping.protocol == protocol
        })
    }

    fn key(&self, protocol: Protocol, inside: Endpoint, remote: Endpoint) -> InsideKey {
        let remote = match self.behavior[protocol] {
            MappingBehavior::EndpointIndependent => Endpoint::NONE,
            MappingBehavior::AddressDependent => Endpoint { port: 0, ..remote },
            MappingBehavior::AddressAndPortDependent => remote,
        };
        InsideKey {
            protocol,
            inside,
            remote,
        }
    }

    #[inline]
    pub(super) fn of_external(&self, protocol: Protocol, external: Endpoint) -> Option<u32> {
        self.pool.mapping(protocol, external)
    }

    /// Makes a mapping for an inside endpoint that has none towards `remote`.
    pub(super) fn open(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        remote: Endpoint,
        filtering: Filtering,
        now: Time,
    ) -> Result<u32, DropReason> {
        if let Some(external) = self.forwards.external_of(protocol, inside) {
            if is_stand_in(external.address) {
                return Err(DropReason::NatNoExternalAddress);
            }
            return self.open_forwarded(protocol, inside, external, now);
        }
        if !self.pool.is_open() {
            return Err(DropReason::NatNoExternalAddress);
        }
        let host = self.check_limits(protocol, inside, now)?;
        let (address, external) = self.take_external(protocol, inside, host)?;
        let host = self
            .hosts
            .add_mapping(host, inside.address, Some(address), protocol, now);
        self.add_to_block(address, external.port, host, now);
        let key = self.key(protocol, inside, remote);
        let index = self.add(
            Mapping {
                protocol,
                filtering: Some(filtering),
                inside,
                external,
                remote: key.remote,
                opened: now,
                sessions: 0,
                first_session: NONE,
                host,
            },
            now,
        );
        self.by_inside.insert(&key, index);
        Ok(index)
    }

    /// Makes the mapping of a forwarded port that has none.
    pub(super) fn open_forwarded(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        external: Endpoint,
        now: Time,
    ) -> Result<u32, DropReason> {
        let host = self.check_limits(protocol, inside, now)?;
        let host = self.hosts.add_mapping(host, inside.address, None, protocol, now);
        let mapping = Mapping {
            protocol,
            filtering: None,
            inside,
            external,
            remote: Endpoint::NONE,
            opened: now,
            sessions: 0,
            first_session: NONE,
            host,
        };
        Ok(self.add(mapping, now))
    }

    /// Whether another mapping may be made. Returns the number of the inside host if it has some already.
    fn check_limits(
        &self,
        protocol: Protocol,
        inside: Endpoint,
        now: Time,
    ) -> Result<Option<u32>, DropReason> {
        let host = self.hosts.find(inside.address);
        self.hosts.check_mapping(host, protocol, now)?;
        if !self.counts.has_room_for_mapping(&self.limits, protocol) {
            return Err(DropReason::NatMappingLimit);
        }
        if !self.pace.allows(self.limits.new_mappings_per_second, now) {
            return Err(DropReason::NatRateLimit);
        }
        Ok(host)
    }

    fn add(&mut self, mapping: Mapping, now: Time) -> u32 {
        self.pace.count(self.limits.new_mappings_per_second, now);
        self.events.mapping_created(&mapping, now);
        self.add_former(mapping)
    }

    fn add_former(&mut self, mapping: Mapping) -> u32 {
        let (protocol, external) = (mapping.protocol, mapping.external);
        let index = self.table.insert(mapping);
        self.pool.assign(protocol, external, index);
        self.counts.mappings[protocol as usize] += 1;
        index
    }

    /// Takes an external endpoint: of the host's own ports or blocks if there are such, else at the host's address if it has one and pooling is paired.
    fn take_external(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        host: Option<u32>,
    ) -> Result<(AddressId, Endpoint), DropReason> {
        if let Some(scheme) = &self.scheme {
            let own = scheme.ports_of(inside.address);
            let own = own.and_then(|own| Some((self.pool.id_of(own.address)?, own.ports)));
            let (address, ports) = own.ok_or(DropReason::NatHostNotServed)?;
            let taken = self.take_at(address, protocol, inside.port, ports.into_inner());
            return match taken {
                Err(_) if self.blocks.is_some() => self.take_of_blocks(protocol, inside, host),
                taken => taken,
            };
        }
        if self.blocks.is_some() {
            return self.take_of_blocks(protocol, inside, host);
        }
        let paired = match self.pooling {
            Pooling::Paired { soft } => host
                .and_then(|host| self.hosts.get(host).address)
                .map(|address| (address, soft)),
            Pooling::Arbitrary => None,
        };
        if let Some((address, soft)) = paired {
            let taken = self.take_at(address, protocol, inside.port, ANY_PORT);
            if taken.is_ok() || !soft {
                return taken;
            }
        }
        let address = match self.pooling {
            Pooling::Paired { .. } => self.pool.address_for(inside.address, protocol),
            Pooling::Arbitrary => self.pool.any_address(protocol, &mut self.random),
        };
        let address = address.ok_or(DropReason::NatPortsExhausted)?;
        self.take_at(address, protocol, inside.port, ANY_PORT)
    }

    fn take_at(
        &mut self,
        address: AddressId,
        protocol: Protocol,
        wanted: u16,
        within: (u16, u16),
    ) -> Result<(AddressId, Endpoint), DropReason> {
        let endpoint = self
            .pool
            .take(address, protocol, wanted, within, &mut self.random);
        let endpoint = endpoint.ok_or(DropReason::NatPortsExhausted)?;
        Ok((address, endpoint))
    }

    /// Tells the log of a session of one of the mappings.
    #[inline]
    pub(super) fn session_created(&mut self, session: &Session, now: Time) {
        let mapping = self.table.get(session.mapping);
        self.events.session_created(mapping, session, now);
    }

    /// Tells the log that a session of one of the mappings has ended.
    #[inline]
    pub(super) fn session_deleted(&mut self, session: &Session, reason: EndReason, now: Time) {
        let mapping = self.table.get(session.mapping);
        self.events.session_deleted(mapping, session, reason, now);
    }

    /// Ends a mapping.
    pub(super) fn close(&mut self, index: u32, reason: EndReason, now: Time) {
        let Some(mapping) = self.table.remove(index) else {
            return;
        };
        self.events.mapping_deleted(&mapping, reason, now);
        let Mapping {
            protocol,
            inside,
            external,
            remote,
            host,
            filtering,
            ..
        } = mapping;
        if let Some(filtering) = filtering {
            let key = InsideKey {
                protocol,
                inside,
                remote,
            };
            self.by_inside.remove(&key, index);
            let lets_anyone_in = protocol == Protocol::Udp && filtering == Filtering::EndpointIndependent;
            self.pool
                .free(protocol, external, self.holds_ports && lets_anyone_in, now);
            self.remove_from_block(external, now);
        } else {
            self.pool.unassign(protocol, external);
        }
        self.counts.mappings[protocol as usize] -= 1;
        self.hosts.remove_mapping(host, protocol, now);
    }

    /// Frees ports and blocks that were held for long enough, and forgets hosts that have nothing; up to `limit` of each.
    pub(super) fn release(&mut self, now: Time, limit: usize) {
        self.pool.release(now, limit);
        self.release_blocks(now, limit);
        self.hosts.release(now, limit);
    }
}

#[cfg(test)]
mod tests;
