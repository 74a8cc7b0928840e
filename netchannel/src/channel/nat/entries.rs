//! Mappings, sessions and external addresses for `show` and `nat delete`, a slice at a time: packets wait while one is made, so each looks at
//! a bounded number of places and sessions.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::time::Duration;

use super::flow::{Direction, Endpoint, PerProtocol, Protocol};
use super::limits::Limits;
use super::mapping::Mapping;
use super::session::{Phase, Session};
use super::settings::{NatSettings, is_stand_in};
use super::table::Table;
use crate::channel::listing::{AddressEntry, MappingEntry, SessionEntry, Slice, Sliced};
use crate::control::{Filter, report};
use crate::time::Time;

/// Places that are looked at for one slice, taken or not.
const PLACES: usize = 16_384;
/// Sessions that are looked at for one slice of mappings, and mappings for one of sessions: they are anywhere in memory.
const LOOK_UPS: usize = 4_096;
/// Sessions that end in one slice of a deletion.
const ENDINGS: usize = 256;
/// External addresses of one slice.
const ADDRESSES: usize = 1_024;

/// The places of a slice.
fn places(after: u64, count: usize) -> Range<usize> {
    let start = usize::try_from(after).unwrap_or(usize::MAX).min(count);
    start..count.min(start.saturating_add(PLACES))
}

fn next_of(places: &Range<usize>, count: usize) -> Option<u64> {
    (places.end < count).then_some(places.end as u64)
}

pub(super) fn mappings(table: &Table, slice: Slice<'_>, now: Time) -> Sliced<MappingEntry> {
    let count = table.mappings.places();
    let places = places(slice.after, count);
    let next = next_of(&places, count);
    let mut entries = Vec::new();
    let mut looked_at = 0;
    for (index, mapping) in table.mappings.iter_in(places) {
        if entries.len() >= slice.limit || looked_at >= LOOK_UPS {
            let next = Some(u64::from(index));
            return Sliced { entries, next };
        }
        if !is_wanted(slice.filter, mapping, now) {
            continue;
        }
        looked_at += LOOK_UPS.min(mapping.sessions as usize);
        let Some(summary) = Summary::of(table, mapping, now) else {
            continue;
        };
        entries.push(MappingEntry {
            protocol: mapping.protocol,
            inside: mapping.inside.into(),
            external: mapping.external.into(),
            sessions: summary.sessions,
            age: now.since(mapping.opened),
            idle: summary.idle,
            left: summary.left,
            state: summary.phase.state_name(),
        });
    }
    Sliced { entries, next }
}

fn is_wanted(filter: &Filter, mapping: &Mapping, now: Time) -> bool {
    filter.has_endpoints(mapping.protocol, mapping.inside.into(), mapping.external.into())
        && filter.has_age(now.since(mapping.opened).as_secs())
}

pub(super) fn sessions(table: &Table, slice: Slice<'_>, now: Time) -> Sliced<SessionEntry> {
    let count = table.session_places();
    let places = places(slice.after, count);
    let next = next_of(&places, count);
    let mut entries = Vec::new();
    let mut looked_up = 0;
    for (index, session) in table.sessions_in(places) {
        if entries.len() >= slice.limit || looked_up >= LOOK_UPS {
            let next = Some(u64::from(index));
            return Sliced { entries, next };
        }
        let deadline = table.deadline(session);
        if deadline <= now || !has_endpoints(slice.filter, session) {
            continue;
        }
        looked_up += 1;
        let entry = session_entry(table, session, now);
        if slice.filter.has_age(entry.mapping_age.as_secs()) {
            entries.push(entry);
        }
    }
    Sliced { entries, next }
}

/// The session that a note of a flow is about, if it lives.
pub(super) fn noted_session(table: &Table, note: u64, now: Time) -> Option<SessionEntry> {
    let session = table.session_of(note)?;
    (table.deadline(session) > now).then(|| session_entry(table, session, now))
}

fn session_entry(table: &Table, session: &Session, now: Time) -> SessionEntry {
    let mapping = table.mappings.get(session.mapping);
    SessionEntry {
        protocol: mapping.protocol,
        inside: mapping.inside.into(),
        external: mapping.external.into(),
        remote: session.remote.into(),
        is_from_inside: session.opener() == Direction::Outbound,
        mapping_age: now.since(mapping.opened),
        idle: now.since(session.active),
        left: table.deadline(session).since(now),
        state: session.phase.state_name(),
    }
}

/// What can be told without the mapping.
fn has_endpoints(filter: &Filter, session: &Session) -> bool {
    let inside = session.rewrite(Direction::Inbound).to();
    let external = session.rewrite(Direction::Outbound).to();
    filter.has_remote(session.remote.into())
        && filter.has_endpoints(session.phase.protocol(), inside.into(), external.into())
}

/// What the sessions of a mapping that live amount to; of very many, of those that were opened last.
struct Summary {
    sessions: u32,
    idle: Duration,
    left: Duration,
    /// Of the session that has longest to live.
    phase: Phase,
}

impl Summary {
    fn of(table: &Table, mapping: &Mapping, now: Time) -> Option<Self> {
        let mut summary: Option<Self> = None;
        let mut over = 0;
        for session in table.sessions_of(mapping).take(LOOK_UPS) {
            let deadline = table.deadline(session);
            if deadline <= now {
                over += 1;
                continue;
            }
            let (idle, left) = (now.since(session.active), deadline.since(now));
            let so_far = summary.get_or_insert(Self {
                sessions: 0,
                idle,
                left,
                phase: session.phase,
            });
            so_far.idle = so_far.idle.min(idle);
            if left > so_far.left {
                so_far.left = left;
                so_far.phase = session.phase;
            }
        }
        summary.map(|summary| Self {
            sessions: mapping.sessions - over,
            ..summary
        })
    }
}

/// Deletes mappings: returns how many, and the number to go on from.
pub(super) fn delete(table: &mut Table, slice: Slice<'_>, now: Time) -> (u64, Option<u64>) {
    let count = table.mappings.places();
    let places = places(slice.after, count);
    let next = next_of(&places, count);
    let (mut deleted, mut endings, mut looked_at) = (0, ENDINGS, 0);
    for index in places {
        let Some((number, mapping)) = table.mappings.iter_in(index..index + 1).next() else {
            continue;
        };
        if deleted >= slice.limit as u64 || endings == 0 || looked_at >= LOOK_UPS {
            return (deleted, Some(index as u64));
        }
        if !is_wanted(slice.filter, mapping, now) {
            continue;
        }
        looked_at += LOOK_UPS.min(mapping.sessions as usize);
        // What is over already is not to be counted.
        if Summary::of(table, mapping, now).is_none() {
            continue;
        }
        match table.delete(number, endings, now) {
            Some(left) => endings = left,
            None => return (deleted, Some(index as u64)),
        }
        deleted += 1;
    }
    (deleted, next)
}

pub(super) fn pool(settings: &NatSettings, table: &Table) -> report::Pool {
    let mappings = &table.mappings;
    let count = |protocol| u64::from(mappings.count(protocol));
    report::Pool {
        channel: String::new(),
        addresses: mappings.pool.given().into(),
        hosts: mappings.hosts.paired().into(),
        ports_per_protocol: mappings.pool.ports_per_protocol(),
        ports_held: mappings.pool.held() as u64,
        mappings: report::ByProtocol {
            tcp: count(Protocol::Tcp),
            udp: count(Protocol::Udp),
            icmp: count(Protocol::Icmp),
        },
        sessions: table.session_count() as u64,
        limits: limits(&settings.limits),
        host_limits: limits(&settings.host_limits),
        sessions_per_mapping: bound(settings.sessions_per_mapping),
    }
}

fn bound(limit: u32) -> Option<u32> {
    (limit != u32::MAX).then_some(limit)
}

fn limits(limits: &Limits) -> report::Limits {
    report::Limits {
        mappings: bound(limits.mappings),
        mappings_of: report::ByProtocol {
            tcp: bound(limits.mappings_of.tcp),
            udp: bound(limits.mappings_of.udp),
            icmp: bound(limits.mappings_of.icmp),
        },
        sessions: bound(limits.sessions),
        new_mappings_per_second: bound(limits.new_mappings_per_second),
    }
}

pub(super) fn addresses(table: &Table, slice: Slice<'_>) -> Sliced<AddressEntry> {
    let mappings = &table.mappings;
    let count = mappings.pool.given();
    let start = u32::try_from(slice.after).unwrap_or(u32::MAX).min(count);
    let mut entries = Vec::new();
    for id in start..count {
        if entries.len() >= slice.limit || (id - start) as usize >= ADDRESSES {
            let next = Some(id.into());
            return Sliced { entries, next };
        }
        let address = mappings.pool.address(id);
        if is_stand_in(address) || !is_at(slice.filter, address) {
            continue;
        }
        let ports = |protocol| mappings.pool.port_counts(id, protocol);
        entries.push(AddressEntry {
            address,
            hosts: mappings.hosts.paired_with(id),
            ports: PerProtocol {
                tcp: ports(Protocol::Tcp),
                udp: ports(Protocol::Udp),
                icmp: ports(Protocol::Icmp),
            },
            blocks: mappings.blocks.as_ref().map(|blocks| blocks.counts_at(id)),
        });
    }
    Sliced { entries, next: None }
}

fn is_at(filter: &Filter, address: Ipv4Addr) -> bool {
    filter
        .external
        .is_none_or(|external| external.addresses.contains(&address))
}

impl From<Endpoint> for SocketAddrV4 {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.address, endpoint.port)
    }
}
