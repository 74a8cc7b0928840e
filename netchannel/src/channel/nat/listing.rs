//! What `show channels` and `show mappings` say about a translator.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use super::flow::Protocol;
use super::mapping::Mapping;
use super::session::Phase;
use super::settings::{Filtering, MappingBehavior, NatSettings};
use super::table::Table;
use super::tcp;
use crate::control::report;
use crate::time::Time;

/// Sessions that are looked at for one page: the packets wait while the page is made.
const SESSIONS_PER_PAGE: usize = 16_384;

/// Facts and counts.
pub(super) fn details(settings: &NatSettings, table: &Table) -> BTreeMap<String, Value> {
    let pool = &table.mappings.pool;
    let ports: Vec<String> = pool
        .port_ranges()
        .iter()
        .map(|ports| format!("{}-{}", ports.start(), ports.end()))
        .collect();
    let addresses: Vec<String> = settings.external.iter().map(range_name).collect();
    let mut details = BTreeMap::from([
        ("external", json!(addresses)),
        ("ports", json!(ports)),
        (
            "mapping_behavior",
            by_protocol(|protocol| json!(mapping_name(settings.mapping[protocol]))),
        ),
        (
            "filtering",
            by_protocol(|protocol| json!(filtering_name(settings.filtering[protocol]))),
        ),
        // A mapping has one external port, so these are the ports in use as well.
        (
            "mappings",
            by_protocol(|protocol| json!(table.mappings.count(protocol))),
        ),
        ("ports_per_protocol", json!(pool.ports_per_protocol())),
        ("ports_held", json!(pool.held())),
        ("sessions", json!(table.session_count())),
        ("max_mappings", json!(settings.limits.mappings)),
        ("max_sessions", json!(settings.limits.sessions)),
    ]);
    if let Some(blocks) = &table.mappings.blocks {
        let (given, held) = blocks.given();
        let blocks = json!({
            "size": blocks.settings().size,
            "most_per_host": blocks.settings().most,
            "count": blocks.count(),
            "given": given,
            "held": held,
        });
        details.insert("blocks", blocks);
    }
    details
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn by_protocol(value: impl Fn(Protocol) -> Value) -> Value {
    Protocol::ALL
        .into_iter()
        .map(|protocol| (protocol.name().to_owned(), value(protocol)))
        .collect::<serde_json::Map<String, Value>>()
        .into()
}

fn mapping_name(behavior: MappingBehavior) -> &'static str {
    match behavior {
        MappingBehavior::EndpointIndependent => "endpoint-independent",
        MappingBehavior::AddressDependent => "address-dependent",
        MappingBehavior::AddressAndPortDependent => "address-and-port-dependent",
    }
}

fn filtering_name(filtering: Filtering) -> &'static str {
    match filtering {
        Filtering::EndpointIndependent => "endpoint-independent",
        Filtering::AddressDependent => "address-dependent",
        Filtering::AddressAndPortDependent => "address-and-port-dependent",
    }
}

fn range_name(range: &RangeInclusive<Ipv4Addr>) -> String {
    if range.start() == range.end() {
        range.start().to_string()
    } else {
        format!("{}-{}", range.start(), range.end())
    }
}

/// A page of mappings, from number `after` on, without the channel's name.
pub(super) fn mappings(
    table: &Table,
    after: u64,
    limit: usize,
    now: Time,
) -> (Vec<report::Mapping>, Option<u64>) {
    let mut page = Vec::new();
    let mut looked_at = 0;
    for (index, mapping) in table
        .mappings
        .iter_from(usize::try_from(after).unwrap_or(usize::MAX))
    {
        if page.len() >= limit || looked_at >= SESSIONS_PER_PAGE {
            return (page, Some(u64::from(index)));
        }
        looked_at += mapping.sessions as usize;
        let Some(summary) = Summary::of(table, mapping, now) else {
            continue;
        };
        page.push(report::Mapping {
            channel: String::new(),
            protocol: mapping.protocol.name().to_owned(),
            inside: mapping.inside.to_string(),
            external: mapping.external.to_string(),
            sessions: summary.sessions,
            age_seconds: now.since(mapping.opened).as_secs(),
            idle_seconds: summary.idle.as_secs(),
            expires_in_seconds: summary.left.as_secs(),
            state: summary.state.map(|state| state.name().to_owned()),
        });
    }
    (page, None)
}

/// What the sessions of a mapping that live amount to.
struct Summary {
    sessions: u64,
    idle: Duration,
    left: Duration,
    /// Of TCP, where the connection stands that has longest to live.
    state: Option<tcp::State>,
}

impl Summary {
    fn of(table: &Table, mapping: &Mapping, now: Time) -> Option<Self> {
        let mut summary: Option<Self> = None;
        for session in table.sessions_of(mapping) {
            let deadline = table.deadline(session);
            if deadline <= now {
                continue;
            }
            let (idle, left) = (now.since(session.active), deadline.since(now));
            let state = match session.phase {
                Phase::Tcp(state) => Some(state),
                Phase::Udp | Phase::UdpToPort(_) | Phase::Icmp => None,
            };
            let so_far = summary.get_or_insert(Self {
                sessions: 0,
                idle,
                left,
                state,
            });
            so_far.sessions += 1;
            so_far.idle = so_far.idle.min(idle);
            if left > so_far.left {
                so_far.left = left;
                so_far.state = state;
            }
        }
        summary
    }
}
