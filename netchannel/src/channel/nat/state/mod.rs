//! What a translator has again after a restart: its sessions with their mappings, and the ports that it holds back.
//!
//! A channel gives its [`State`](Part) part by part, each in bounded time, so that packets need not wait for all of it. A [`Writer`] makes a
//! file of the parts, [`Saved`] checks and reads it, and [`restore`](crate::channel::Netchannel::restore) takes up what still fits the
//! settings. Sessions have the timeouts, filtering and limits of the settings that they are taken up under.
//!
//! Each session is a record of its own, with the endpoints of its mapping: so parts that were taken one after the other, with packets between
//! them, make no mapping that never was. Of two that contradict each other the first is taken.

mod format;
mod restore;

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::flow::{Direction, Endpoint, PerProtocol, Protocol};
use super::session::{Phase, Session};
use super::settings::{Filtering, MappingBehavior, NatSettings};
use super::table::Table;
use super::tcp;
use crate::time::Time;

pub use format::{Saved, StateError, VERSION, Writer};
pub(super) use restore::restore;
pub use restore::{LeftOut, Restored};

/// What of the settings decides what the records mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    mapping: PerProtocol<MappingBehavior>,
    filtering: PerProtocol<Filtering>,
}

impl Basis {
    pub(super) fn of(settings: &NatSettings) -> Self {
        Self {
            mapping: settings.mapping,
            filtering: settings.filtering,
        }
    }
}

/// A session, or a port that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record(pub(super) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Session(SessionRecord),
    Held(HeldRecord),
}

/// A session, and the mapping that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    protocol: Protocol,
    /// Which outside hosts may send through the mapping; `None` for a forwarded port.
    filtering: Option<Filtering>,
    opener: Direction,
    /// Of TCP, where the connection stands.
    tcp: Option<tcp::State>,
    inside: Endpoint,
    external: Endpoint,
    remote: Endpoint,
    /// The external address of the inside host's first mapping.
    host_address: Option<Ipv4Addr>,
    /// Milliseconds since the timeout started.
    idle: u64,
    /// Milliseconds since the mapping was opened.
    age: u64,
}

/// An external port that nobody may have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldRecord {
    protocol: Protocol,
    external: Endpoint,
    /// Milliseconds that are left.
    left: u64,
}

/// Part of a translator's state.
#[derive(Clone, Debug)]
pub struct Part {
    /// The same in all parts.
    pub basis: Basis,
    /// In no order.
    pub records: Vec<Record>,
    /// Where to go on, if there is more.
    pub next: Option<u64>,
}

/// Places from this one on are those of held ports.
const HELD: u64 = 1 << 63;

/// What there is in `limit` places from place `after` on. Sessions that have reached their timeout are not there any more.
pub(super) fn part(settings: &NatSettings, table: &Table, after: u64, limit: usize, now: Time) -> Part {
    let limit = limit.max(1);
    let mut records = Vec::new();
    let next = if after < HELD {
        let start = usize::try_from(after).unwrap_or(usize::MAX);
        let end = start.saturating_add(limit);
        let sessions = table.sessions_in(start..end);
        let alive = sessions.filter(|(_, session)| now < table.deadline(session));
        records.extend(alive.map(|(_, session)| Record(Kind::Session(record(table, session, now)))));
        let is_last = end >= table.session_places();
        Some(if is_last { HELD } else { end as u64 })
    } else {
        let start = usize::try_from(after - HELD).unwrap_or(usize::MAX);
        let held = table.mappings.pool.held_from(start).take(limit);
        records.extend(held.map(|(protocol, external, until)| {
            Record(Kind::Held(HeldRecord {
                protocol,
                external,
                left: milliseconds(until.since(now)),
            }))
        }));
        let end = start.saturating_add(limit);
        (end < table.mappings.pool.held()).then_some(HELD + end as u64)
    };
    Part {
        basis: Basis::of(settings),
        records,
        next,
    }
}

fn record(table: &Table, session: &Session, now: Time) -> SessionRecord {
    let mapping = table.mappings.get(session.mapping);
    let address = table.mappings.hosts.get(mapping.host).address;
    SessionRecord {
        protocol: mapping.protocol,
        filtering: mapping.filtering,
        opener: session.opener(),
        tcp: match session.phase {
            Phase::Tcp(state) => Some(state),
            Phase::Udp | Phase::UdpToPort(_) | Phase::Icmp => None,
        },
        inside: mapping.inside,
        external: mapping.external,
        remote: session.remote,
        host_address: address.map(|id| table.mappings.pool.address(id)),
        idle: milliseconds(now.since(session.active)),
        age: milliseconds(now.since(mapping.opened)),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
