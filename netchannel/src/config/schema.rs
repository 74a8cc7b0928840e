//! The tables and keys that a file may hold, and what was meant by a key that is none of them.

use crate::dispatch::dimensions::FIELDS;
use crate::text::{nearest, quoted};

/// The keys that one kind of table may hold.
#[derive(Debug)]
pub(super) struct Schema {
    /// How the table is opened in the file; empty for the file's top level.
    pub(super) header: &'static str,
    pub(super) keys: &'static [&'static str],
}

/// The file's top level: each key is a table but for `include`.
pub(super) const FILE: Schema = Schema {
    header: "",
    keys: &[
        "include",
        "control",
        "metrics",
        "service",
        "state",
        "workers",
        "memory",
        "rings",
        "flow_table",
        "interface",
        "channel",
        "set",
        "rule",
        "rules",
        "replay",
    ],
};
pub(super) const CONTROL: Schema = Schema {
    header: "[control]",
    keys: &["socket", "group"],
};
pub(super) const SERVICE: Schema = Schema {
    header: "[service]",
    keys: &["user"],
};
pub(super) const METRICS: Schema = Schema {
    header: "[metrics]",
    keys: &["listen"],
};
pub(super) const STATE: Schema = Schema {
    header: "[state]",
    keys: &["directory", "interval", "takeover", "pins"],
};
pub(super) const WORKERS: Schema = Schema {
    header: "[workers]",
    keys: &[
        "count",
        "cpus",
        "wait",
        "spin",
        "busy_poll_budget",
        "busy_poll_time",
    ],
};
pub(super) const MEMORY: Schema = Schema {
    header: "[memory]",
    keys: &["frames", "huge_pages"],
};
pub(super) const RINGS: Schema = Schema {
    header: "[rings]",
    keys: &["receive", "transmit", "fill", "completion"],
};
pub(super) const FLOW_TABLE: Schema = Schema {
    header: "[flow_table]",
    keys: &["capacity", "offload", "offloaded_flows", "limit_new_flows"],
};
pub(super) const INTERFACE: Schema = Schema {
    header: "[[interface]]",
    keys: &["name", "role", "prefixes", "mode", "zero_copy", "icmp_errors"],
};
pub(super) const CHANNEL: Schema = Schema {
    header: "[[channel]]",
    keys: &[
        "name",
        "type",
        "external",
        "pooling",
        "soft_pairing",
        "ports",
        "reserved_ports",
        "preserve_ports",
        "preserve_parity",
        "preserve_class",
        "port_hold",
        "port_hold_count",
        "deterministic",
        "blocks",
        "forward",
        "one_to_one",
        "mapping",
        "filtering",
        "refresh_inbound",
        "answer_unsolicited",
        "mss_clamp",
        "max_held_fragments",
        "refusal",
        "limits",
        "host_limits",
        "timeouts",
        "log",
    ],
};
pub(super) const MAPPING: Schema = Schema {
    header: "[channel.mapping]",
    keys: &["tcp", "udp", "icmp"],
};
pub(super) const FILTERING: Schema = Schema {
    header: "[channel.filtering]",
    keys: &["tcp", "udp"],
};
pub(super) const DETERMINISTIC: Schema = Schema {
    header: "[channel.deterministic]",
    keys: &["inside", "ports_per_host", "spare_ports"],
};
pub(super) const BLOCKS: Schema = Schema {
    header: "[channel.blocks]",
    keys: &["size", "most", "hold", "hold_count"],
};
pub(super) const FORWARD: Schema = Schema {
    header: "[[channel.forward]]",
    keys: &["protocol", "external", "ports", "to", "to_port"],
};
pub(super) const ONE_TO_ONE: Schema = Schema {
    header: "[[channel.one_to_one]]",
    keys: &["external", "inside"],
};
pub(super) const LIMITS: Schema = Schema {
    header: "[channel.limits]",
    keys: &[
        "mappings",
        "tcp_mappings",
        "udp_mappings",
        "icmp_mappings",
        "sessions",
        "sessions_per_mapping",
        "new_mappings_per_second",
    ],
};
pub(super) const HOST_LIMITS: Schema = Schema {
    header: "[channel.host_limits]",
    keys: &[
        "mappings",
        "tcp_mappings",
        "udp_mappings",
        "icmp_mappings",
        "sessions",
        "new_mappings_per_second",
    ],
};
pub(super) const TIMEOUTS: Schema = Schema {
    header: "[channel.timeouts]",
    keys: &[
        "udp",
        "udp_to_port",
        "tcp_opening",
        "tcp_established",
        "tcp_closing",
        "icmp",
        "allow_noncompliant",
    ],
};
pub(super) const UDP_TO_PORT: Schema = Schema {
    header: "[[channel.timeouts.udp_to_port]]",
    keys: &["port", "time"],
};
pub(super) const LOG: Schema = Schema {
    header: "[channel.log]",
    keys: &["events", "log_destinations", "buffer", "file", "ipfix"],
};
pub(super) const IPFIX: Schema = Schema {
    header: "[channel.log.ipfix]",
    keys: &[
        "collector",
        "observation_domain",
        "template_interval",
        "message_size",
    ],
};
pub(super) const SET: Schema = Schema {
    header: "[[set]]",
    keys: &["name", "addresses", "ports"],
};
pub(super) const RULES: Schema = Schema {
    header: "[rules]",
    keys: &["files"],
};
/// Keys of a rule besides those of the fields.
const RULE_OWN_KEYS: [&str; 9] = [
    "priority",
    "from",
    "to",
    "protocol",
    "source_ports",
    "destination_ports",
    "channel",
    "filtering",
    "comment",
];
const RULE_KEYS: [&str; RULE_OWN_KEYS.len() + FIELDS.len()] = {
    let mut keys = [""; RULE_OWN_KEYS.len() + FIELDS.len()];
    let mut index = 0;
    while index < keys.len() {
        keys[index] = match index.checked_sub(RULE_OWN_KEYS.len()) {
            None => RULE_OWN_KEYS[index],
            Some(field) => FIELDS[field].key,
        };
        index += 1;
    }
    keys
};
pub(super) const RULE: Schema = Schema {
    header: "[[rule]]",
    keys: &RULE_KEYS,
};
pub(super) const REPLAY: Schema = Schema {
    header: "[replay]",
    keys: &["interface"],
};
pub(super) const REPLAY_INTERFACE: Schema = Schema {
    header: "[[replay.interface]]",
    keys: &["name", "mac", "addresses", "mtu", "gateway", "neighbour_mac"],
};

/// Every table that a file may hold.
pub(super) const SCHEMAS: &[&Schema] = &[
    &FILE,
    &CONTROL,
    &METRICS,
    &SERVICE,
    &STATE,
    &WORKERS,
    &MEMORY,
    &RINGS,
    &FLOW_TABLE,
    &INTERFACE,
    &CHANNEL,
    &MAPPING,
    &FILTERING,
    &DETERMINISTIC,
    &BLOCKS,
    &FORWARD,
    &ONE_TO_ONE,
    &LIMITS,
    &HOST_LIMITS,
    &TIMEOUTS,
    &UDP_TO_PORT,
    &LOG,
    &IPFIX,
    &SET,
    &RULE,
    &RULES,
    &REPLAY,
    &REPLAY_INTERFACE,
];

/// What to say of a key that a table does not have.
pub(super) fn unknown_key(name: &str, schema: &Schema) -> String {
    let shown = quoted(name).replace('"', "`");
    let near = nearest(name, schema.keys.iter().copied());
    if schema.header.is_empty() {
        return match near {
            Some(near) => format!("unknown table {shown}, did you mean `{}`?", header_of(near)),
            None => format!(
                "unknown key {shown} outside of any table; expected {}",
                known_tables()
            ),
        };
    }
    let found = format!("unknown key {shown} in {}", schema.header);
    if let Some(near) = near {
        return format!("{found}, did you mean `{near}`?");
    }
    if let Some(home) = SCHEMAS
        .iter()
        .find(|other| !other.header.is_empty() && other.keys.contains(&name))
    {
        return format!("{found}; it belongs in {}", home.header);
    }
    let known: Vec<String> = schema.keys.iter().map(|key| format!("`{key}`")).collect();
    format!("{found}; expected {}", known.join(", "))
}

fn known_tables() -> String {
    FILE.keys
        .iter()
        .map(|key| header_of(key))
        .collect::<Vec<_>>()
        .join(", ")
}

/// How the table of a top-level key is opened.
fn header_of(key: &str) -> &str {
    let inner = |header: &str| header.trim_start_matches('[').trim_end_matches(']') == key;
    SCHEMAS
        .iter()
        .find(|schema| inner(schema.header))
        .map_or(key, |schema| schema.header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested() {
        assert_eq!(nearest("prot", CHANNEL.keys.iter().copied()), Some("ports"));
        assert_eq!(
            nearest("Zero-Copy", INTERFACE.keys.iter().copied()),
            Some("zero_copy")
        );
        assert_eq!(nearest("colour", CHANNEL.keys.iter().copied()), None);
    }

    #[test]
    fn an_unknown_key_says_where_it_belongs() {
        assert_eq!(
            unknown_key("prot", &CHANNEL),
            "unknown key `prot` in [[channel]], did you mean `ports`?"
        );
        assert_eq!(
            unknown_key("frames", &RINGS),
            "unknown key `frames` in [rings]; it belongs in [memory]"
        );
        assert_eq!(
            unknown_key("interfaces", &FILE),
            "unknown table `interfaces`, did you mean `[[interface]]`?"
        );
        assert_eq!(
            unknown_key("colour", &MEMORY),
            "unknown key `colour` in [memory]; expected `frames`, `huge_pages`"
        );
    }
}
