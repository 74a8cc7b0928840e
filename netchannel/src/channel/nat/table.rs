//! Mappings and sessions together: opening, finding, keeping alive and ending them. Everything is exact: what has reached its timeout is
//! not found any more, whether or not its timer has come up.

mod former;
mod lookup;
mod memory;
mod opening;

use std::hash::{Hash, Hasher};
use std::ops::Range;

use rand::rngs::StdRng;

use super::chain::Chains;
use super::events::EndReason;
use super::flow::{Direction, Endpoint};
use super::index::Index;
use super::mapping::{Mapping, Mappings};
use super::peers::Peers;
use super::session::{Cookie, Lifetimes, Phase, Session};
use super::settings::{Filtering, NatSettings};
use super::slab::Slab;
use super::timers::Wheel;
use super::translate::Rewrite;
use crate::dispatch::Departure;
use crate::dispatch::ways::Ways;
use crate::time::Time;

/// What lookups, and openings for which there is no room, may clear away in one burst: less than a tick does. The packets of the burst wait for it.
const MOST_CLEARED_PER_BURST: usize = 1024;

struct SessionKey {
    mapping: u32,
    remote: Endpoint,
}

impl Hash for SessionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.mapping) << 32 | u64::from(self.remote.address.to_bits()));
        state.write_u16(self.remote.port);
    }
}

/// A packet whose session was noted, and that neither opens nor ends a connection.
pub(super) struct Passing {
    pub(super) cookie: Cookie,
    /// Of the IP packet, in bytes.
    pub(super) length: usize,
    pub(super) network_version: u64,
}

/// The translator's state.
pub(super) struct Table {
    pub(super) mappings: Mappings,
    sessions: Slab<Session>,
    by_key: Index,
    /// The sessions of each mapping.
    chains: Chains,
    peers: Option<Peers>,
    wheel: Wheel,
    lifetimes: Lifetimes,
    ways: Ways,
    pub(super) refresh_inbound: bool,
    /// Notes of carried flows that are wanted back.
    pub(super) recalled: Vec<u64>,
    /// What is left of [`MOST_CLEARED_PER_BURST`].
    clearing: usize,
    /// Sessions that there may be.
    limit: usize,
    limit_per_mapping: u32,
    /// Sessions above which outside hosts open no more.
    limit_for_outside: usize,
}

impl Table {
    pub(super) fn new(settings: &NatSettings, random: StdRng) -> Self {
        let limit = settings.limits.sessions as usize;
        Self {
            mappings: Mappings::new(settings, random),
            sessions: Slab::with_capacity(limit),
            by_key: Index::for_entries(limit),
            chains: Chains::with_capacity(limit),
            peers: settings
                .may_filter_by(Filtering::AddressDependent)
                .then(|| Peers::for_sessions(limit)),
            wheel: Wheel::with_capacity(limit),
            lifetimes: Lifetimes::from(&settings.timeouts),
            ways: Ways::default(),
            refresh_inbound: settings.refresh_inbound,
            recalled: Vec::new(),
            clearing: MOST_CLEARED_PER_BURST,
            limit,
            limit_per_mapping: settings.sessions_per_mapping,
            limit_for_outside: limit - limit / 4,
        }
    }

    /// Sessions, those included that have reached their timeout and were not cleared away yet.
    pub(super) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The numbers of sessions are below this.
    pub(super) fn session_places(&self) -> usize {
        self.sessions.places()
    }

    /// The sessions with these numbers, also those at their timeout.
    pub(super) fn sessions_in(&self, numbers: Range<usize>) -> impl Iterator<Item = (u32, &Session)> {
        self.sessions.iter_in(numbers)
    }

    #[inline]
    pub(super) fn session(&self, index: u32) -> &Session {
        self.sessions.get(index)
    }

    pub(super) fn session_mut(&mut self, index: u32) -> &mut Session {
        self.sessions.get_mut(index)
    }

    /// The way out of a session in this direction that was found last, if the network is still the same.
    #[inline]
    pub(super) fn way_of(
        &self,
        session: &Session,
        direction: Direction,
        network_version: u64,
    ) -> Option<&Departure> {
        self.ways
            .get(network_version, session.way(direction, network_version)?)
    }

    /// Keeps the way out of a session for its next packets.
    pub(super) fn set_way(
        &mut self,
        index: u32,
        direction: Direction,
        network_version: u64,
        departure: Departure,
    ) {
        let way = self.ways.number_of(network_version, departure);
        self.sessions
            .get_mut(index)
            .set_way(direction, network_version, way);
    }

    /// The sessions of a mapping, also those at their timeout.
    pub(super) fn sessions_of(&self, mapping: &Mapping) -> impl Iterator<Item = &Session> {
        self.chains
            .iter(mapping.first_session)
            .map(|index| self.sessions.get(index))
    }

    pub(super) fn deadline(&self, session: &Session) -> Time {
        session.deadline(&self.lifetimes)
    }

    /// What to note about a flow of this session.
    pub(super) fn cookie(&self, index: u32, direction: Direction) -> Cookie {
        Cookie {
            index,
            stamp: self.sessions.stamp(index),
            direction,
        }
    }

    /// What a packet needs to be sent on at once, and keeps its session alive. `None`, with nothing changed, if the session opens or has ended, has no
    /// way out, leads to another inside host, or if the packet is too big for the way.
    #[inline(always)]
    pub(super) fn pass(&mut self, packet: &Passing, now: Time) -> Option<(&Rewrite, &Departure)> {
        let Passing {
            cookie,
            length,
            network_version,
        } = *packet;
        let direction = cookie.direction;
        let session = self.sessions.get_stamped_mut(cookie.index, cookie.stamp)?;
        if now >= session.deadline(&self.lifetimes)
            || (session.is_hairpin && direction == Direction::Outbound)
        {
            return None;
        }
        let way = session.way(direction, network_version)?;
        let departure = self.ways.get(network_version, way)?;
        if length > usize::from(departure.mtu) {
            return None;
        }
        match session.phase {
            // It opens or has ended: the packet may change that.
            Phase::Tcp(state) if !state.is_established() => return None,
            Phase::Udp | Phase::UdpToPort(_) | Phase::Icmp
                if direction == Direction::Inbound && !self.refresh_inbound => {}
            _ => session.active = now,
        }
        Some((session.rewrite(direction), departure))
    }

    /// The session that was noted about a flow in this direction, if it lives.
    #[inline]
    pub(super) fn noted(&mut self, note: u64, direction: Direction, now: Time) -> Option<u32> {
        let cookie = Cookie::from_note(note);
        if cookie.direction != direction || !self.sessions.holds(cookie.index, cookie.stamp) {
            return None;
        }
        self.if_alive(cookie.index, now)
    }

    /// The session that was noted about a flow, if it has not ended; it may be at its timeout.
    pub(super) fn session_of(&self, note: u64) -> Option<&Session> {
        let cookie = Cookie::from_note(note);
        let is_there = self.sessions.holds(cookie.index, cookie.stamp);
        is_there.then(|| self.sessions.get(cookie.index))
    }

    /// Starts to load the session that was noted about a flow.
    #[inline]
    pub(super) fn prefetch(&self, note: u64) {
        self.sessions.prefetch(Cookie::from_note(note).index);
    }

    /// Another burst begins.
    #[inline]
    pub(super) fn start_burst(&mut self) {
        self.clearing = MOST_CLEARED_PER_BURST;
    }

    /// The session, unless it has reached its timeout; then it ends.
    #[inline]
    fn if_alive(&mut self, index: u32, now: Time) -> Option<u32> {
        if now < self.sessions.get(index).deadline(&self.lifetimes) {
            return Some(index);
        }
        self.wheel.remove(index);
        self.close(index, now);
        None
    }

    /// Ends a session that has reached its timeout.
    fn close(&mut self, index: u32, now: Time) {
        let reason = self.sessions.get(index).phase.end_reason();
        self.end(index, reason, now);
    }

    /// Ends a session that is not in the wheel, and its mapping with the last one.
    fn end(&mut self, index: u32, reason: EndReason, now: Time) {
        self.recall(index);
        let session = self.sessions.get(index);
        let Session { mapping, remote, .. } = *session;
        self.mappings.session_deleted(session, reason, now);
        self.by_key.remove(&SessionKey { mapping, remote }, index);
        let owner = self.mappings.get_mut(mapping);
        self.chains.remove(&mut owner.first_session, index);
        owner.sessions -= 1;
        let (host, is_last) = (owner.host, owner.sessions == 0);
        if owner.filtering == Some(Filtering::AddressDependent)
            && let Some(peers) = &mut self.peers
        {
            peers.remove(&self.sessions, index);
        }
        self.mappings.hosts.remove_session(host);
        if is_last {
            self.mappings.close(mapping, reason, now);
        }
        self.sessions.remove(index);
    }

    /// Deletes a mapping with its sessions, at most `limit` of them; returns what is left of the limit, `None` if the mapping has more.
    pub(super) fn delete(&mut self, mapping: u32, limit: usize, now: Time) -> Option<usize> {
        for left in (0..limit).rev() {
            let Mapping {
                sessions,
                first_session,
                ..
            } = *self.mappings.get(mapping);
            self.wheel.remove(first_session);
            // The last one takes the mapping with it.
            self.end(first_session, EndReason::Deleted, now);
            if sessions == 1 {
                return Some(left);
            }
        }
        None
    }

    /// A packet of the session was sent on.
    #[inline]
    pub(super) fn touch(&mut self, index: u32, direction: Direction, flags: u8, now: Time) {
        let refresh_inbound = self.refresh_inbound;
        let session = self.sessions.get_mut(index);
        let Phase::Tcp(state) = session.phase else {
            if direction == Direction::Outbound || refresh_inbound {
                session.active = now;
            }
            return;
        };
        let (next, refreshed) = state.after(direction, flags);
        if !refreshed {
            return;
        }
        session.active = now;
        if next == state {
            return;
        }
        let before = session.deadline(&self.lifetimes);
        session.phase = Phase::Tcp(next);
        let deadline = session.deadline(&self.lifetimes);
        self.recall(index);
        if deadline < before {
            // The timer would come up too late.
            self.wheel.remove(index);
            self.wheel.insert(index, deadline, now);
        }
    }

    /// Ends what has reached its timeout, and frees ports that were held for long enough; looks at up to `limit` of either.
    pub(super) fn expire(&mut self, now: Time, limit: usize) {
        self.mappings.release(now, limit);
        for _ in 0..limit {
            let Some(index) = self.wheel.next_due(now) else {
                return;
            };
            let deadline = self.sessions.get(index).deadline(&self.lifetimes);
            if now < deadline {
                self.wheel.insert(index, deadline, now);
            } else {
                self.close(index, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
