//! The bounds of a translator: on all inside hosts together, and on each.

use super::super::error::Source;
use super::super::schema;
use super::super::section::Section;
use crate::channel::nat::{HIGHEST_LIMIT, Limits, PerProtocol};

/// Mappings at one time if nothing is said.
const DEFAULT_MAPPINGS: u32 = 65_536;

/// `[channel.limits]`, and the bound on the sessions of one mapping.
pub(super) fn read(table: &Section<'_, '_>, source: &mut Source<'_>) -> (Limits, u32) {
    let table = table.table("limits", &schema::LIMITS, source);
    let mut number = |key, default: u32, highest| {
        table
            .as_ref()
            .map_or(default, |table| table.number(key, default, 1..=highest, source))
    };
    let mappings = number("mappings", DEFAULT_MAPPINGS, HIGHEST_LIMIT);
    // As many as one mapping needs on the whole, and then some.
    let sessions = mappings.saturating_mul(4).min(HIGHEST_LIMIT);
    let sessions = number("sessions", sessions, HIGHEST_LIMIT);
    let sessions_per_mapping = number("sessions_per_mapping", u32::MAX, u32::MAX);
    let limits = Limits {
        mappings,
        sessions,
        mappings_of: PerProtocol {
            tcp: number("tcp_mappings", u32::MAX, u32::MAX),
            udp: number("udp_mappings", u32::MAX, u32::MAX),
            icmp: number("icmp_mappings", u32::MAX, u32::MAX),
        },
        new_mappings_per_second: number("new_mappings_per_second", u32::MAX, u32::MAX),
    };
    (limits, sessions_per_mapping)
}

/// `[channel.host_limits]`.
pub(super) fn read_host(table: &Section<'_, '_>, source: &mut Source<'_>) -> Limits {
    let Some(table) = table.table("host_limits", &schema::HOST_LIMITS, source) else {
        return Limits::NONE;
    };
    let mut number = |key| table.number(key, u32::MAX, 1..=u32::MAX, source);
    Limits {
        mappings: number("mappings"),
        sessions: number("sessions"),
        mappings_of: PerProtocol {
            tcp: number("tcp_mappings"),
            udp: number("udp_mappings"),
            icmp: number("icmp_mappings"),
        },
        new_mappings_per_second: number("new_mappings_per_second"),
    }
}
