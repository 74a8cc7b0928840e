//! Finding mappings and sessions by their endpoints.

use std::net::Ipv4Addr;

use super::super::flow::{Direction, Endpoint, Protocol, Tuple};
use super::super::mapping::Mapping;
use super::{SessionKey, Table};
use crate::time::Time;

/// Sessions at their timeout that one lookup clears away.
const MOST_CLOSED_BY_LOOKUP: usize = 64;

impl Table {
    /// Whether a packet that goes this way is of a session that has not ended; it may be at its timeout. Those of forwarded ports are not looked for
    /// on their way out. O(1).
    pub(in super::super) fn knows(&self, tuple: &Tuple, direction: Direction) -> bool {
        let Tuple {
            protocol,
            source,
            destination,
            ..
        } = *tuple;
        let (mapping, remote) = match direction {
            Direction::Outbound => (
                self.mappings.of_inside(protocol, source, destination),
                destination,
            ),
            Direction::Inbound => (self.mappings.of_external(protocol, destination), source),
        };
        mapping.is_some_and(|mapping| self.session_with(mapping, remote).is_some())
    }

    fn session_with(&self, mapping: u32, remote: Endpoint) -> Option<u32> {
        self.by_key.find(&SessionKey { mapping, remote }, |index| {
            let session = self.sessions.get(index);
            session.mapping == mapping && session.remote == remote
        })
    }

    /// The session of a mapping with an outside endpoint. O(1).
    pub(in super::super) fn find(&mut self, mapping: u32, remote: Endpoint, now: Time) -> Option<u32> {
        let index = self.session_with(mapping, remote)?;
        self.if_alive(index, now)
    }

    /// The mapping of an inside endpoint towards an outside one. O(1), amortised over the sessions that end.
    pub(in super::super) fn of_inside(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        remote: Endpoint,
        now: Time,
    ) -> Option<u32> {
        let index = self.mappings.of_inside(protocol, inside, remote)?;
        self.has_session(index, now).then_some(index)
    }

    /// The session of an inside endpoint with an outside one. Several external endpoints may be forwarded to the inside one: any of them may
    /// have the session. O(1), amortised over the sessions that end, and for each such endpoint.
    pub(in super::super) fn session_of_inside(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        remote: Endpoint,
        now: Time,
    ) -> Option<u32> {
        let mut number = 0;
        loop {
            let forwards = &self.mappings.forwards;
            let external = forwards.externals_of(protocol, inside).nth(number);
            let Some(external) = external else { break };
            if let Some(mapping) = self.of_external(protocol, external, now)
                && let Some(session) = self.find(mapping, remote, now)
            {
                return Some(session);
            }
            number += 1;
        }
        if number > 0 {
            return None;
        }
        let mapping = self.of_inside(protocol, inside, remote, now)?;
        self.find(mapping, remote, now)
    }

    /// The mapping of an external endpoint. O(1), amortised over the sessions that end.
    pub(in super::super) fn of_external(
        &mut self,
        protocol: Protocol,
        external: Endpoint,
        now: Time,
    ) -> Option<u32> {
        let index = self.mappings.of_external(protocol, external)?;
        self.has_session(index, now).then_some(index)
    }

    /// Whether a mapping has a session that lives. The last one that does not takes the mapping with it. If a great many have just ended, it
    /// is left to the timers to clear them away: no packet waits for that, and until then the mapping counts as alive.
    fn has_session(&mut self, mapping: u32, now: Time) -> bool {
        for _ in 0..self.lookup_may_close() {
            // The list ends with this loop: `if_alive` takes what has ended out of it.
            let Mapping {
                sessions,
                first_session,
                ..
            } = *self.mappings.get(mapping);
            if self.if_alive(first_session, now).is_some() {
                return true;
            }
            self.clearing = self.clearing.saturating_sub(1);
            if sessions == 1 {
                return false;
            }
        }
        true
    }

    /// Sessions that one lookup may clear away: at least one, as the first one that it looks at must be right.
    fn lookup_may_close(&self) -> usize {
        self.clearing.clamp(1, MOST_CLOSED_BY_LOOKUP)
    }

    /// Whether a mapping has a session with this outside address, at any port. Only for filtering that asks for it. O(1).
    pub(in super::super) fn knows_peer(&mut self, mapping: u32, address: Ipv4Addr, now: Time) -> bool {
        for _ in 0..self.lookup_may_close() {
            let peers = self.peers.as_ref();
            let Some(first) = peers.and_then(|peers| peers.first(&self.sessions, mapping, address)) else {
                return false;
            };
            if self.if_alive(first, now).is_some() {
                return true;
            }
            self.clearing = self.clearing.saturating_sub(1);
        }
        false
    }
}
