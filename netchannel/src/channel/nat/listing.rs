//! What `show channels` says about a translator.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::flow::Protocol;
use super::settings::{Filtering, MappingBehavior, NatSettings, is_stand_in};
use super::table::Table;

/// Facts and counts.
pub(super) fn details(settings: &NatSettings, table: &Table) -> BTreeMap<String, Value> {
    let pool = &table.mappings.pool;
    // A worker's own ports lie between those of others.
    let ports = match settings.share {
        None => pool.port_ranges(),
        Some(_) => settings.ports_of_all_workers().ranges(),
    };
    let ports: Vec<String> = ports
        .iter()
        .map(|ports| format!("{}-{}", ports.start(), ports.end()))
        .collect();
    let external = settings
        .external
        .iter()
        .filter(|range| !is_stand_in(*range.start()));
    let addresses: Vec<String> = external.map(range_name).collect();
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
    if let Some(lost) = table.mappings.events.lost() {
        details.insert("log_records_lost", json!(lost));
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
