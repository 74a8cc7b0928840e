//! What values the keys take.

use serde_json::{Value, json};

use Shape::{
    Flag, FlagOrWord, List, Number, NumberOrText, OneOrList, OneOrMore, PowerOfTwo, ShortTime, Text, Time,
    Words,
};

use crate::channel::nat::{HIGHEST_LIMIT, HIGHEST_WELL_KNOWN_PORT, MOST_BLOCKS, SMALLEST_BLOCK};
use crate::config::{HIGHEST_CPU, MAX_WORKERS};
use crate::dispatch::dimensions::{FIELDS, Notation};

/// The kind of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Text,
    Flag,
    /// True, false or this word.
    FlagOrWord(&'static str),
    Number(u64, u64),
    PowerOfTwo(u64, u64),
    /// A number within limits, or text such as a range or a name.
    NumberOrText(u64, u64),
    Words(&'static [&'static str]),
    /// A number of seconds, or text with units.
    Time,
    /// Text with one of the units us and ms.
    ShortTime,
    OneOrList(&'static Shape),
    /// The same, but the list may be empty.
    OneOrMore(&'static Shape),
    List(&'static Shape),
}

impl Shape {
    pub(super) fn to_json(self) -> Value {
        match self {
            Text => json!({ "type": "string", "minLength": 1 }),
            Flag => json!({ "type": "boolean" }),
            FlagOrWord(word) => json!({ "enum": [true, false, word] }),
            Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            PowerOfTwo(least, most) => {
                let all = (0..u64::BITS)
                    .map(|bit| 1u64 << bit)
                    .filter(|it| (least..=most).contains(it));
                json!({ "enum": all.collect::<Vec<_>>() })
            }
            NumberOrText(least, most) => json!({ "anyOf": [Number(least, most).to_json(), Text.to_json()] }),
            Words(words) => json!({ "enum": words }),
            Time => json!({
                "anyOf": [
                    { "type": "integer", "minimum": 0 },
                    { "type": "string", "pattern": "^[0-9]+(s|m|h|d)([0-9]+(s|m|h|d))*$" },
                ]
            }),
            ShortTime => json!({ "type": "string", "pattern": "^[0-9]+ *(us|ms)$" }),
            OneOrList(shape) => {
                let one = shape.to_json();
                json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
            }
            OneOrMore(shape) => json!({ "anyOf": [shape.to_json(), List(shape).to_json()] }),
            List(shape) => json!({ "type": "array", "items": shape.to_json() }),
        }
    }
}

const PORT: Shape = NumberOrText(0, 65_535);
const LIMIT: Shape = Number(1, HIGHEST_LIMIT as u64);
const COUNT: Shape = Number(1, u32::MAX as u64);
const RING: Shape = PowerOfTwo(64, 32_768);
const BEHAVIORS: Shape = Words(&[
    "endpoint-independent",
    "address-dependent",
    "address-and-port-dependent",
]);
/// A VLAN, a code point, a type: the parser knows the limits of each.
const FIELD: Shape = NumberOrText(0, 65_535);

/// What a key takes besides tables of its own; `None` if nothing.
pub(super) fn of(table: &str, key: &str) -> Option<Shape> {
    Some(match (table, key) {
        ("", "include") => OneOrMore(&Text),
        ("control", "socket") | ("state", "directory" | "pins") => Text,
        ("control", "group") | ("service", "user") => NumberOrText(0, u32::MAX as u64 - 1),
        ("metrics", "listen") => NumberOrText(1, 65_535),
        ("state", "interval" | "takeover") => Time,
        ("workers", "count") => NumberOrText(1, MAX_WORKERS as u64),
        ("workers", "cpus") => OneOrList(&NumberOrText(0, HIGHEST_CPU as u64)),
        ("workers", "wait") => Words(&["interrupt", "adaptive", "busy-poll"]),
        ("workers", "spin" | "busy_poll_time") => ShortTime,
        ("workers", "busy_poll_budget") => Number(1, 65_535),
        ("memory", "frames") => PowerOfTwo(256, 1 << 20),
        ("memory", "huge_pages") => FlagOrWord("auto"),
        ("rings", _) => RING,
        ("flow_table", "capacity") => Number(1_024, 1 << 24),
        ("flow_table", "offload") => Words(&["auto", "off"]),
        ("flow_table", "offloaded_flows") => Number(1_024, 1 << 22),
        ("flow_table", "limit_new_flows") => Flag,
        ("interface", "name") => Text,
        ("interface", "role") => Words(&["inside", "outside"]),
        ("interface", "prefixes") => OneOrList(&Text),
        ("interface", "mode") => Words(&["auto", "native", "generic"]),
        ("interface", "zero_copy") => Words(&["auto", "on", "off"]),
        ("interface", "icmp_errors") => Flag,
        ("channel", "name") => Text,
        ("channel", "type") => Words(&["nat", "forward", "custom"]),
        ("channel", "external") => OneOrList(&Text),
        ("channel", "pooling") => Words(&["paired", "arbitrary"]),
        ("channel", "ports" | "reserved_ports") => OneOrList(&PORT),
        (
            "channel",
            "soft_pairing" | "preserve_ports" | "preserve_parity" | "preserve_class" | "refresh_inbound"
            | "answer_unsolicited",
        ) => Flag,
        ("channel", "port_hold") | ("channel.blocks", "hold") => Time,
        ("channel", "port_hold_count") | ("channel.blocks", "hold_count") => Number(0, 1 << 22),
        ("channel", "mapping" | "filtering") | ("channel.mapping" | "channel.filtering", _) => BEHAVIORS,
        ("channel", "mss_clamp") => NumberOrText(536, 65_495),
        ("channel", "max_held_fragments") => Number(0, 4_096),
        ("channel", "refusal") => Words(&["prohibited", "host-unreachable", "silent"]),
        ("channel.deterministic", "inside") => OneOrList(&Text),
        ("channel.deterministic", "ports_per_host") => Number(1, 65_535),
        ("channel.deterministic", "spare_ports") => Number(0, 65_535),
        ("channel.blocks", "size") => Number(SMALLEST_BLOCK as u64, 65_535),
        ("channel.blocks", "most") => Number(1, MOST_BLOCKS as u64),
        ("channel.forward", "protocol") => OneOrList(&Words(&["tcp", "udp"])),
        ("channel.forward", "external" | "to") | ("channel.one_to_one", _) => Text,
        ("channel.forward", "ports") => PORT,
        ("channel.forward", "to_port") => Number(1, 65_535),
        (
            "channel.limits" | "channel.host_limits",
            "mappings" | "tcp_mappings" | "udp_mappings" | "icmp_mappings",
        ) => LIMIT,
        ("channel.limits" | "channel.host_limits", _) => COUNT,
        ("channel.timeouts", "udp_to_port") => return None,
        ("channel.timeouts", "allow_noncompliant") => Flag,
        ("channel.timeouts", _) | ("channel.timeouts.udp_to_port", "time") => Time,
        ("channel.timeouts.udp_to_port", "port") => Number(0, HIGHEST_WELL_KNOWN_PORT as u64),
        ("channel.log", "events") => OneOrList(&Words(&["mappings", "sessions", "blocks", "limits"])),
        ("channel.log", "log_destinations") => Flag,
        ("channel.log", "buffer") => Number(1_024, 1 << 24),
        ("channel.log", "file") | ("channel.log.ipfix", "collector") => Text,
        ("channel.log.ipfix", "observation_domain") => Number(0, u32::MAX as u64),
        ("channel.log.ipfix", "template_interval") => Time,
        ("channel.log.ipfix", "message_size") => Number(512, 65_507),
        ("set", "name") => Text,
        ("set", "addresses") => OneOrList(&Text),
        ("set", "ports") => OneOrList(&PORT),
        ("rules", "files") => OneOrMore(&Text),
        ("rule", "priority") => Number(0, u32::MAX as u64),
        ("rule", "from" | "to") => OneOrList(&Text),
        ("rule", "protocol") => OneOrList(&NumberOrText(0, 255)),
        ("rule", "source_ports" | "destination_ports") => OneOrList(&PORT),
        ("rule", "channel" | "comment") => Text,
        ("rule", "filtering") => BEHAVIORS,
        ("rule", field) => match FIELDS.iter().find(|known| known.key == field)?.notation {
            Notation::Numbers { .. } => OneOrList(&FIELD),
            Notation::Names(_) | Notation::Interfaces | Notation::TcpFlags => OneOrList(&Text),
        },
        ("replay.interface", "mtu") => Number(68, 65_535),
        ("replay.interface", "addresses") => List(&Text),
        ("replay.interface", _) => Text,
        _ => return None,
    })
}

/// Keys that a table can't be without.
pub(super) fn required(table: &str) -> &'static [&'static str] {
    match table {
        "" => &["interface"],
        "state" => &["directory"],
        "interface" => &["name", "role"],
        "channel" => &["name", "type"],
        "channel.forward" => &["to"],
        "channel.one_to_one" => &["external", "inside"],
        "channel.deterministic" => &["inside"],
        "channel.timeouts.udp_to_port" => &["port", "time"],
        "channel.log.ipfix" => &["collector"],
        "set" => &["name"],
        "rule" => &["channel"],
        "replay.interface" => &["name"],
        _ => &[],
    }
}
