//! Mappings and sessions together: opening, finding, keeping alive and ending them. Everything is exact: what has reached its timeout is
//! not found any more, whether or not its timer has come up.

mod former;
mod memory;

use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;
use std::ops::Range;

use rand::rngs::StdRng;

use super::chain::Chains;
use super::events::EndReason;
use super::flow::{Direction, Endpoint, Protocol, Tuple};
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
use crate::drop_reason::DropReason;
use crate::time::Time;

/// Timers that are looked at when a session is opened: more than one, so that ending keeps up with opening.
const TIMERS_PER_OPENING: usize = 2;
/// Sessions at their timeout that one lookup clears away.
const MOST_CLOSED_BY_LOOKUP: usize = 64;
/// Timers that are looked at when there is no room for what is opened.
const TIMERS_WHEN_FULL: usize = 64;
/// What both may clear away in one burst: less than a tick does. The packets of the burst wait for it.
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

    /// Whether a packet that goes this way is of a session that has not ended; it may be at its timeout. Those of forwarded ports are not looked for
    /// on their way out. O(1).
    pub(super) fn knows(&self, tuple: &Tuple, direction: Direction) -> bool {
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
    pub(super) fn find(&mut self, mapping: u32, remote: Endpoint, now: Time) -> Option<u32> {
        let index = self.session_with(mapping, remote)?;
        self.if_alive(index, now)
    }

    /// The mapping of an inside endpoint towards an outside one. O(1), amortised over the sessions that end.
    pub(super) fn of_inside(
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
    pub(super) fn session_of_inside(
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
    pub(super) fn of_external(&mut self, protocol: Protocol, external: Endpoint, now: Time) -> Option<u32> {
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

    /// Another burst begins.
    #[inline]
    pub(super) fn start_burst(&mut self) {
        self.clearing = MOST_CLEARED_PER_BURST;
    }

    /// Sessions that one lookup may clear away: at least one, as the first one that it looks at must be right.
    fn lookup_may_close(&self) -> usize {
        self.clearing.clamp(1, MOST_CLOSED_BY_LOOKUP)
    }

    /// Whether a mapping has a session with this outside address, at any port. Only for filtering that asks for it. O(1).
    pub(super) fn knows_peer(&mut self, mapping: u32, address: Ipv4Addr, now: Time) -> bool {
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

    /// Opens a session for a packet from inside, and a mapping if the inside endpoint has none, which filters so.
    pub(super) fn open_outbound(
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
    pub(super) fn open_inbound(&mut self, mapping: u32, remote: Endpoint, now: Time) -> Option<u32> {
        self.expire(now, TIMERS_PER_OPENING);
        let Mapping { sessions, host, .. } = *self.mappings.get(mapping);
        let has_room = self.sessions.len() < self.limit_for_outside
            && sessions < self.limit_per_mapping
            && self.mappings.hosts.has_room_for_session(Some(host));
        has_room.then(|| self.open(mapping, remote, Direction::Inbound, now))
    }

    /// Opens a session for a packet from outside to a forwarded port that has no mapping as yet. `None` if there is no room left.
    pub(super) fn open_forwarded(&mut self, tuple: &Tuple, inside: Endpoint, now: Time) -> Option<u32> {
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

    fn add(&mut self, session: Session, now: Time) -> u32 {
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
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// A session with a mapping of its own, all tables at their size for so many: at most 256 bytes, and ten million in less than 4 GiB.
    #[test]
    fn ten_million_sessions_fit_in_four_gibibytes() {
        for count in [1_000_000, 3_200_000, 10_000_000usize] {
            let index = Index::for_entries(count).bytes();
            // By key; the list of the mapping; the timer and its slot.
            let session = Slab::<Session>::BYTES * count + index + (8 + 8 + 2) * count;
            // By inside endpoint; the external port.
            let mapping = Slab::<Mapping>::BYTES * count + index + 4 * count;
            let all = session + mapping;
            assert!(all <= 256 * count, "{} bytes a session", all / count);
            assert!(count < 10_000_000 || all < 4 << 30);
        }
    }

    #[test]
    fn a_note_leads_to_its_session_and_no_other() {
        let settings = NatSettings::new(vec![Ipv4Addr::new(192, 0, 2, 1)]);
        let mut table = Table::new(&settings, StdRng::seed_from_u64(1));
        let endpoint = |address: [u8; 4]| Endpoint {
            address: address.into(),
            port: 5000,
        };
        let (inside, remote) = (endpoint([10, 0, 0, 2]), endpoint([8, 8, 8, 8]));
        let mut open = |now| {
            let session = table
                .open_outbound(Protocol::Udp, inside, remote, Filtering::EndpointIndependent, now)
                .unwrap();
            let note = table.cookie(session, Direction::Outbound).to_note();
            assert_eq!(table.noted(note, Direction::Outbound, now), Some(session));
            assert_eq!(table.noted(note, Direction::Inbound, now), None);
            assert_eq!(table.noted(0, Direction::Outbound, now), None);
            (session, note)
        };
        let (first, note) = open(Time::ZERO);
        // The next one takes the place of the first.
        let later = Time::from_secs(300);
        let (second, _) = open(later);
        assert_eq!(first, second);
        assert_eq!(table.noted(note, Direction::Outbound, later), None);
    }
}
