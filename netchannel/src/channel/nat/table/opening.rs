//! Opening sessions, and mappings where there are none, within the limits.

use super::super::flow::{Direction, Endpoint, Protocol, Tuple};
use super::super::mapping::Mapping;
use super::super::session::Session;
use super::super::settings::Filtering;
use super::{SessionKey, Table};
use crate::drop_reason::DropReason;
use crate::time::Time;

/// Timers that are looked at when a session is opened: more than one, so that ending keeps up with opening.
const TIMERS_PER_OPENING: usize = 2;
/// Timers that are looked at when there is no room for what is opened.
const TIMERS_WHEN_FULL: usize = 64;

impl Table {
    /// Opens a session for a packet from inside, and a mapping if the inside endpoint has none, which filters so.
    pub(in super::super) fn open_outbound(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        remote: Endpoint,
        filtering: Filtering,
        now: Time,
    ) -> Result<u32, DropReason> {
        self.expire(now, TIMERS_PER_OPENING);
        match self.try_open_outbound(protocol, inside, remote, filtering, now) {
            Ok(session) => Ok(session),
            Err(_) => {
                // Perhaps what has reached its timeout takes the room.
                let limit = self.clearing.min(TIMERS_WHEN_FULL);
                self.clearing -= limit;
                self.expire(now, limit);
                self.try_open_outbound(protocol, inside, remote, filtering, now)
                    .inspect_err(|&limit| self.mappings.refused(limit, protocol, inside.address, now))
            }
        }
    }

    fn try_open_outbound(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        remote: Endpoint,
        filtering: Filtering,
        now: Time,
    ) -> Result<u32, DropReason> {
        if self.sessions.len() >= self.limit {
            return Err(DropReason::NatSessionLimit);
        }
        let host = self.mappings.hosts.find(inside.address);
        if !self.mappings.hosts.has_room_for_session(host) {
            return Err(DropReason::NatHostSessionLimit);
        }
        let mapping = match self.of_inside(protocol, inside, remote, now) {
            Some(mapping) if self.mappings.get(mapping).sessions >= self.limit_per_mapping => {
                return Err(DropReason::NatMappingSessionLimit);
            }
            Some(mapping) => mapping,
            None => self.mappings.open(protocol, inside, remote, filtering, now)?,
        };
        Ok(self.open(mapping, remote, Direction::Outbound, now))
    }

    /// Opens a session for a packet from outside to a mapping that lives. `None` if there is no room left for such sessions.
    pub(in super::super) fn open_inbound(
        &mut self,
        mapping: u32,
        remote: Endpoint,
        now: Time,
    ) -> Option<u32> {
        self.expire(now, TIMERS_PER_OPENING);
        let Mapping { sessions, host, .. } = *self.mappings.get(mapping);
        let has_room = self.sessions.len() < self.limit_for_outside
            && sessions < self.limit_per_mapping
            && self.mappings.hosts.has_room_for_session(Some(host));
        has_room.then(|| self.open(mapping, remote, Direction::Inbound, now))
    }

    /// Opens a session for a packet from outside to a forwarded port that has no mapping as yet. `None` if there is no room left.
    pub(in super::super) fn open_forwarded(
        &mut self,
        tuple: &Tuple,
        inside: Endpoint,
        now: Time,
    ) -> Option<u32> {
        let Tuple {
            protocol,
            source,
            destination,
            ..
        } = *tuple;
        self.expire(now, TIMERS_PER_OPENING);
        let host = self.mappings.hosts.find(inside.address);
        let has_room =
            self.sessions.len() < self.limit_for_outside && self.mappings.hosts.has_room_for_session(host);
        if !has_room {
            return None;
        }
        let mapping = self
            .mappings
            .open_forwarded(protocol, inside, destination, now)
            .ok()?;
        Some(self.open(mapping, source, Direction::Inbound, now))
    }

    fn open(&mut self, mapping: u32, remote: Endpoint, opener: Direction, now: Time) -> u32 {
        let is_hairpin = self.mappings.pool.contains(remote.address);
        let owner = self.mappings.get(mapping);
        let session = Session::new(mapping, owner, remote, opener, is_hairpin, &self.lifetimes, now);
        self.mappings.session_created(&session, now);
        self.add(session, now)
    }

    pub(super) fn add(&mut self, session: Session, now: Time) -> u32 {
        let Session { mapping, remote, .. } = session;
        let deadline = session.deadline(&self.lifetimes);
        let index = self.sessions.insert(session);
        let owner = self.mappings.get_mut(mapping);
        self.chains.push(&mut owner.first_session, index);
        owner.sessions += 1;
        let host = owner.host;
        let needs_peers = owner.filtering == Some(Filtering::AddressDependent);
        self.mappings.hosts.add_session(host);
        self.by_key.insert(&SessionKey { mapping, remote }, index);
        if needs_peers && let Some(peers) = &mut self.peers {
            peers.add(&self.sessions, index);
        }
        self.wheel.insert(index, deadline, now);
        index
    }
}
