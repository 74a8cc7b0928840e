//! Ports between two mappings, which nobody gets for a while.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::address_set::AddressId;
use super::super::flow::{Endpoint, Protocol};
use super::Pool;
use crate::time::Time;

/// A port between two mappings.
pub(super) struct Held {
    until: Time,
    address: AddressId,
    protocol: Protocol,
    port: u16,
}

impl Pool {
    /// Ports that are held back from reuse.
    pub(in super::super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Ports that are held, from the one numbered `start` on: protocol, endpoint, and until when.
    pub(in super::super) fn held_from(
        &self,
        start: usize,
    ) -> impl Iterator<Item = (Protocol, Endpoint, Time)> + '_ {
        self.held.iter().skip(start).map(|held| {
            let endpoint = Endpoint {
                address: self.address(held.address),
                port: held.port,
            };
            (held.protocol, endpoint, held.until)
        })
    }

    /// Holds a free port for `left`, but not longer than ports are held now. `false` if it isn't free, or there is no room.
    pub(in super::super) fn hold_again(
        &mut self,
        protocol: Protocol,
        endpoint: Endpoint,
        left: Duration,
        now: Time,
    ) -> bool {
        let left = left.min(self.hold.time);
        if left.is_zero() || self.held.len() >= self.hold.count as usize {
            return false;
        }
        let id = self.id_of(endpoint.address);
        let Some(id) = id.filter(|&id| self.take_this(id, protocol, endpoint.port)) else {
            return false;
        };
        self.ports_at(id, protocol).held += 1;
        self.held.push_back(Held {
            until: now + left,
            address: id,
            protocol,
            port: endpoint.port,
        });
        true
    }

    /// Takes an endpoint from its mapping. If it is to be held, nobody gets it for a while; of too many held ones the oldest is free at
    /// once (RFC 6888 REQ-8).
    pub(in super::super) fn free(&mut self, protocol: Protocol, endpoint: Endpoint, hold: bool, now: Time) {
        let hold = hold && self.hold.count > 0 && !self.hold.time.is_zero();
        let Some((id, ports)) = self.ports_of(protocol, endpoint.address) else {
            return;
        };
        ports.mappings[usize::from(endpoint.port)] = 0;
        ports.held += u32::from(hold);
        if !hold {
            return self.put(id, protocol, endpoint.port);
        }
        if self.held.len() >= self.hold.count as usize
            && let Some(oldest) = self.held.pop_front()
        {
            self.put_held(&oldest);
        }
        self.held.push_back(Held {
            until: now + self.hold.time,
            address: id,
            protocol,
            port: endpoint.port,
        });
    }

    /// Frees held ports whose time is over, up to `limit`.
    pub(in super::super) fn release(&mut self, now: Time, limit: usize) {
        for _ in 0..limit {
            if self.held.front().is_none_or(|held| now < held.until) {
                return;
            }
            let Some(held) = self.held.pop_front() else {
                return;
            };
            self.put_held(&held);
        }
    }

    /// Frees all held ports of an address. O(held ports).
    pub(super) fn release_all_of(&mut self, id: AddressId) {
        let held = std::mem::replace(&mut self.held, VecDeque::with_capacity(self.hold.count as usize));
        for held in held {
            match held.address == id {
                true => self.put_held(&held),
                false => self.held.push_back(held),
            }
        }
    }

    fn put_held(&mut self, held: &Held) {
        if let Some(ports) = &mut self.addresses[held.address as usize].ports[held.protocol as usize] {
            ports.held -= 1;
        }
        self.put(held.address, held.protocol, held.port);
    }
}
