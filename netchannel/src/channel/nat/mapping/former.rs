//! Mappings that were there before the start.

use std::net::Ipv4Addr;

use super::super::address_set::AddressId;
use super::super::chain::NONE;
use super::super::flow::{Endpoint, Protocol};
use super::super::settings::Filtering;
use super::super::state::LeftOut;
use super::{Mapping, Mappings};
use crate::time::Time;

/// A mapping as it was before the start.
pub(in super::super) struct FormerMapping {
    pub(in super::super) protocol: Protocol,
    /// Which outside hosts may send through it now; `None` for a forwarded port.
    pub(in super::super) filtering: Option<Filtering>,
    pub(in super::super) inside: Endpoint,
    pub(in super::super) external: Endpoint,
    /// An outside endpoint that it is used with.
    pub(in super::super) remote: Endpoint,
    /// The external address that the inside host had.
    pub(in super::super) host_address: Option<Ipv4Addr>,
    pub(in super::super) opened: Time,
}

impl Mappings {
    /// Opens a mapping again that was there before the start, with the same endpoints. For the log it has been there all the time.
    pub(in super::super) fn open_again(&mut self, former: &FormerMapping, now: Time) -> Result<u32, LeftOut> {
        let &FormerMapping {
            protocol,
            filtering,
            inside,
            external,
            remote,
            host_address,
            opened,
        } = former;
        let is_forward = filtering.is_none();
        let host = self.hosts.find(inside.address);
        if self.hosts.check_mapping(host, protocol, now).is_err()
            || !self.counts.has_room_for_mapping(&self.limits, protocol)
        {
            return Err(LeftOut::Limit);
        }
        let key = self.key(protocol, inside, remote);
        if is_forward {
            if self.forwards.inside_of(protocol, external) != Some(inside) {
                return Err(LeftOut::Forward);
            }
        } else {
            if self.forwards.external_of(protocol, inside).is_some() {
                return Err(LeftOut::Forward);
            }
            if self.of_inside(protocol, inside, remote).is_some() {
                return Err(LeftOut::Contradiction);
            }
        }
        let given = |address| self.pool.id_of(address).filter(|&id| self.pool.is_given(id));
        let address = host_address.and_then(given).or_else(|| given(external.address));
        let address = address.filter(|_| !is_forward || host_address.is_some());
        let own = if is_forward {
            None
        } else {
            let id = given(external.address).ok_or(LeftOut::Address)?;
            if !self.has_of_its_own(inside, external)? {
                self.check_block(id, external.port, host)?;
            }
            if !self.pool.take_this(id, protocol, external.port) {
                return Err(LeftOut::Port);
            }
            Some(id)
        };
        let host = self
            .hosts
            .add_former_mapping(host, inside.address, address, protocol);
        if let Some(id) = own {
            self.add_to_former_block(id, external.port, host);
        }
        let mapping = Mapping {
            protocol,
            filtering,
            inside,
            external,
            remote: if is_forward { Endpoint::NONE } else { key.remote },
            opened,
            sessions: 0,
            first_session: NONE,
            host,
        };
        let index = self.add_former(mapping);
        if !is_forward {
            self.by_inside.insert(&key, index);
        }
        Ok(index)
    }

    /// Counts a mapping in the block that its port is in, which is the host's then.
    fn add_to_former_block(&mut self, address: AddressId, port: u16, host: u32) {
        let Some(blocks) = &mut self.blocks else { return };
        blocks.give_of(address, port);
        let owner = self.hosts.get_mut(host);
        if blocks
            .add_mapping((address, port), host, &mut owner.first_block)
            .is_some()
        {
            owner.blocks += 1;
        }
    }

    /// Whether an external endpoint is the host's own by the deterministic scheme.
    fn has_of_its_own(&self, inside: Endpoint, external: Endpoint) -> Result<bool, LeftOut> {
        let Some(scheme) = &self.scheme else {
            return Ok(false);
        };
        let own = scheme.ports_of(inside.address).ok_or(LeftOut::Inside)?;
        let is_own = own.address == external.address && own.ports.contains(&external.port);
        if is_own || self.blocks.is_some() {
            Ok(is_own)
        } else {
            Err(LeftOut::Port)
        }
    }

    /// Whether a port of an address is in a block that the host has, or may have, if ports are given in blocks.
    fn check_block(&self, address: AddressId, port: u16, host: Option<u32>) -> Result<(), LeftOut> {
        let Some(blocks) = &self.blocks else { return Ok(()) };
        match blocks.owner(address, port) {
            Some(owner) if Some(owner) == host => Ok(()),
            Some(_) => Err(LeftOut::Port),
            None if !blocks.may_give(address, port) => Err(LeftOut::Port),
            None if host.map_or(0, |host| self.hosts.get(host).blocks) >= blocks.settings().most => {
                Err(LeftOut::Limit)
            }
            None => Ok(()),
        }
    }

    /// Whether a mapping is that of an inside endpoint towards an outside one.
    pub(in super::super) fn is_of(&self, index: u32, inside: Endpoint, remote: Endpoint) -> bool {
        let mapping = self.get(index);
        mapping.inside == inside
            && (mapping.filtering.is_none()
                || self.key(mapping.protocol, inside, remote).remote == mapping.remote)
    }

    /// Whether a port is held back when the mapping that has it ends.
    pub(in super::super) fn holds(&self, protocol: Protocol) -> bool {
        self.holds_ports && protocol == Protocol::Udp
    }
}
