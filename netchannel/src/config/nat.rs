//! A translator among the channels: external addresses and ports, filtering, timeouts.

mod blocks;
mod deterministic;
mod external;
mod limits;
mod log;
mod statics;

pub use external::External;
pub use log::{Ipfix, LogFile, NatLog};
pub use statics::PortForward;

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::channel::{Channel, ChannelKind};
use super::error::Source;
use super::interface::{KnownInterfaces, Role};
use super::ports::port_list;
use super::schema;
use super::section::{Section, as_integer, refuse};
use super::value::{self, DURATION_EXPECTED, in_units};
use crate::channel::nat::{
    Deterministic, Filtering, HIGHEST_WELL_KNOWN_PORT, Limits, MappingBehavior, OneToOne, PerProtocol,
    Pooling, PortBlocks, PortHold, Protocol, Refusal, SegmentSize,
};
use crate::rules::{PortRange, TOO_OPEN};
use crate::text::quoted;

/// What Linux takes for its own connections unless told otherwise (`net.ipv4.ip_local_port_range`).
const KERNEL_PORTS: PortRange = PortRange {
    first: 32_768,
    last: 60_999,
};

const DEFAULT_PORTS: PortRange = PortRange {
    first: 1_024,
    last: 32_767,
};

/// From what every host takes (RFC 9293 section 3.7.1) to the largest packet's payload.
const SEGMENT_SIZES: RangeInclusive<u16> = 536..=65_495;

const LONGEST_TIMEOUT: Duration = Duration::from_secs(30 * 86_400);

/// What mappings and filtering may depend on (RFC 4787 sections 4.1 and 5).
const BEHAVIORS: [&str; 3] = [
    "endpoint-independent",
    "address-dependent",
    "address-and-port-dependent",
];

/// Which outside hosts may answer (RFC 4787 section 5).
pub(crate) const FILTERINGS: [(&str, Filtering); 3] = [
    (BEHAVIORS[0], Filtering::EndpointIndependent),
    (BEHAVIORS[1], Filtering::AddressDependent),
    (BEHAVIORS[2], Filtering::AddressAndPortDependent),
];

const REFUSALS: [(&str, Refusal); 3] = [
    ("prohibited", Refusal::Prohibited),
    ("host-unreachable", Refusal::HostUnreachable),
    ("silent", Refusal::Silent),
];

/// The most ports that can be held back from reuse.
const HIGHEST_HOLD_COUNT: u32 = 4_194_304;

/// Address and port translation, IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Where the external addresses come from; not empty, nothing twice.
    pub external: Vec<External>,
    /// Which of them a host gets.
    pub pooling: Pooling,
    /// External ports and ICMP identifiers, in ascending order, without overlaps, without port 0; not empty.
    pub ports: Vec<PortRange>,
    /// Those of them that are not given out; some are left.
    pub reserved_ports: Vec<PortRange>,
    /// Whether mappings keep their inside host's port where it is free.
    pub preserve_ports: bool,
    /// Whether even ports stay even and odd ones odd, where possible.
    pub preserve_parity: bool,
    /// Whether ports up to 1023 stay there and others above, where possible.
    pub preserve_class: bool,
    /// How long a port is held back from reuse.
    pub hold: PortHold,
    /// Ports of its own for each inside host; then all of `external` are addresses.
    pub deterministic: Option<Deterministic>,
    /// Ports in blocks for inside hosts; then not `deterministic`.
    pub blocks: Option<PortBlocks>,
    /// Forwarded ports.
    pub forwards: Vec<PortForward>,
    /// Inside hosts with external addresses of their own.
    pub one_to_one: Vec<OneToOne>,
    /// What mappings depend on.
    pub mapping: PerProtocol<MappingBehavior>,
    /// Which outside hosts may answer; at least as strict as what mappings depend on.
    pub filtering: PerProtocol<Filtering>,
    /// Whether inbound packets keep a mapping for UDP or ICMP queries alive (RFC 4787 section 4.3).
    pub refresh_inbound: bool,
    /// Whether a SYN from outside that is for nobody is answered after 6 seconds (RFC 5382 section 4.3).
    pub answer_unsolicited: bool,
    /// What the largest TCP segment is lowered to; nothing by default.
    pub segment_size: Option<SegmentSize>,
    /// Fragments kept until the first one of their datagram comes, 0 to 4,096.
    pub max_held_fragments: u16,
    /// Bounds on all inside hosts together; those on mappings and sessions are 1 to 67,108,864.
    pub limits: Limits,
    /// Sessions of one mapping.
    pub sessions_per_mapping: u32,
    /// Bounds on each inside host.
    pub host_limits: Limits,
    /// What inside hosts are told that are refused for want of room.
    pub refusal: Refusal,
    /// How long an idle mapping lives.
    pub timeouts: Timeouts,
    /// The log of what happens, if there is to be one.
    pub log: Option<NatLog>,
}

/// How long an idle mapping lives, in whole seconds, at most 30 days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP; at least 2 minutes (RFC 4787 section 4.3), 5 by default.
    pub udp: Duration,
    /// UDP that an inside host sends to one of these ports, 0 to 1023, each once; empty by default.
    pub udp_to_port: Vec<(u16, Duration)>,
    /// TCP until both sides have sent a SYN; 4 minutes by default, less is allowed (RFC 7857 section 2.2).
    pub tcp_opening: Duration,
    /// TCP while both sides may send; at least 2 hours 4 minutes (RFC 5382 section 5), the default.
    pub tcp_established: Duration,
    /// TCP after both sides have sent a FIN or after a reset; at least 4 minutes (RFC 5382 section 5), the default.
    pub tcp_closing: Duration,
    /// ICMP queries; at least 60 seconds (RFC 5508 section 3.2), the default.
    pub icmp: Duration,
    /// Whether values below those floors were asked for.
    pub allow_noncompliant: bool,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            udp: Duration::from_secs(300),
            udp_to_port: Vec::new(),
            tcp_opening: Duration::from_secs(240),
            tcp_established: Duration::from_secs(7_440),
            tcp_closing: Duration::from_secs(240),
            icmp: Duration::from_secs(60),
            allow_noncompliant: false,
        }
    }
}

pub(super) fn read(
    table: &Section<'_, '_>,
    interfaces: &KnownInterfaces,
    source: &mut Source<'_>,
) -> Option<Nat> {
    let external = external::read(table, interfaces, source);
    let pooling = pooling(table, source);
    let ports = nat_ports(table, source);
    let reserved_ports = reserved_ports(table, &ports, source);
    let (mapping, filtering) = behaviors(table, source);
    let refresh_inbound = table.boolean("refresh_inbound", true, source);
    let answer_unsolicited = table.boolean("answer_unsolicited", true, source);
    let segment_size = segment_size(table, source);
    let max_held_fragments = table.number("max_held_fragments", 256, 0..=4_096, source) as u16;
    let (limits, sessions_per_mapping) = limits::read(table, source);
    let host_limits = limits::read_host(table, source);
    let deterministic = deterministic::read(table, external.as_deref(), source);
    let blocks = blocks::read(table, &ports, deterministic.as_ref(), source);
    let timeouts = table.table("timeouts", &schema::TIMEOUTS, source);
    let timeouts = timeouts.map_or_else(Timeouts::default, |table| timeouts_in(&table, source));
    let known = |role| {
        interfaces
            .values()
            .any(|known| known.is_none_or(|known| known == role))
    };
    if !known(Role::Inside) {
        let message = "a nat channel translates what inside hosts send; expected an [[interface]] with \
                       role = \"inside\"";
        source.error(&table.span, "type", message);
    }
    Some(Nat {
        external: external?,
        pooling,
        ports,
        reserved_ports,
        preserve_ports: table.boolean("preserve_ports", true, source),
        preserve_parity: table.boolean("preserve_parity", false, source),
        preserve_class: table.boolean("preserve_class", true, source),
        hold: hold(table, source),
        deterministic,
        blocks,
        forwards: statics::forwards(table, source),
        one_to_one: statics::one_to_one(table, source),
        mapping,
        filtering,
        refresh_inbound,
        answer_unsolicited,
        segment_size,
        max_held_fragments,
        limits,
        sessions_per_mapping,
        host_limits,
        refusal: table
            .choice("refusal", &REFUSALS, source)
            .unwrap_or(Refusal::Prohibited),
        timeouts,
        log: log::read(table, blocks.is_some(), source),
    })
}

/// What mappings depend on, and who may answer.
fn behaviors(
    table: &Section<'_, '_>,
    source: &mut Source<'_>,
) -> (PerProtocol<MappingBehavior>, PerProtocol<Filtering>) {
    let [independent, address, both] = BEHAVIORS;
    let mapping = per_protocol(
        table,
        "mapping",
        &schema::MAPPING,
        &[
            (independent, MappingBehavior::EndpointIndependent),
            (address, MappingBehavior::AddressDependent),
            (both, MappingBehavior::AddressAndPortDependent),
        ],
        source,
    );
    let filtering = per_protocol(table, "filtering", &schema::FILTERING, &FILTERINGS, source);
    let too_open = |protocol| filtering[protocol].is_too_open(mapping[protocol]);
    if [Protocol::Tcp, Protocol::Udp].into_iter().any(too_open) {
        let span = table
            .key_span("filtering")
            .or_else(|| table.key_span("mapping"))
            .unwrap_or(table.span.clone());
        source.error(&span, "filtering", TOO_OPEN);
    }
    (mapping, filtering)
}

/// One word for all protocols, or a table with one for each; the first choice where nothing is said.
fn per_protocol<T: Copy>(
    table: &Section<'_, '_>,
    key: &'static str,
    schema: &'static schema::Schema,
    choices: &[(&str, T); 3],
    source: &mut Source<'_>,
) -> PerProtocol<T> {
    let default = choices[0].1;
    let is_table = table
        .value(key)
        .is_some_and(|value| value.get_ref().as_table().is_some());
    if !is_table {
        return PerProtocol::all(table.choice(key, choices, source).unwrap_or(default));
    }
    let table = table.table(key, schema, source);
    let mut one = |protocol| {
        let word = table
            .as_ref()
            .filter(|table| table.may_have(protocol))
            .and_then(|table| table.choice(protocol, choices, source));
        word.unwrap_or(default)
    };
    PerProtocol {
        tcp: one("tcp"),
        udp: one("udp"),
        icmp: one("icmp"),
    }
}

fn pooling(table: &Section<'_, '_>, source: &mut Source<'_>) -> Pooling {
    let soft = table.boolean("soft_pairing", false, source);
    let paired = Pooling::Paired { soft };
    let choices = [("paired", paired), ("arbitrary", Pooling::Arbitrary)];
    let pooling = table.choice("pooling", &choices, source).unwrap_or(paired);
    if pooling == Pooling::Arbitrary
        && let Some(span) = table.key_span("soft_pairing")
    {
        let message = "arbitrary pooling pairs nothing; expected it with pooling = \"paired\" only";
        source.error(&span, "soft_pairing", message);
    }
    pooling
}

fn hold(table: &Section<'_, '_>, source: &mut Source<'_>) -> PortHold {
    let default = PortHold::default();
    PortHold {
        time: hold_time(table, "port_hold", default.time, source),
        count: table.number("port_hold_count", default.count, 0..=HIGHEST_HOLD_COUNT, source),
    }
}

fn hold_time(
    table: &Section<'_, '_>,
    key: &'static str,
    default: Duration,
    source: &mut Source<'_>,
) -> Duration {
    let Some(value) = table.value(key) else {
        return default;
    };
    match value::duration(value.get_ref()) {
        Ok(given) if given <= LONGEST_TIMEOUT => return given,
        Ok(given) => {
            let longest = in_units(LONGEST_TIMEOUT);
            let message = format!("{} is too long; expected at most {longest}", in_units(given));
            source.error(&value.span(), key, message);
        }
        Err(message) => source.error(&value.span(), key, message),
    }
    default
}

fn reserved_ports(table: &Section<'_, '_>, ports: &[PortRange], source: &mut Source<'_>) -> Vec<PortRange> {
    let reserved = port_list(table, "reserved_ports", source).unwrap_or_default();
    let is_reserved = |port| reserved.iter().any(|range| range.get_ref().contains(port));
    let mut all = ports.iter().flat_map(|range| range.first..=range.last);
    if let Some(value) = table.value("reserved_ports")
        && all.all(is_reserved)
    {
        let message = "takes all of `ports`; expected some of them to be left";
        source.error(&value.span(), "reserved_ports", message);
    }
    reserved.into_iter().map(Spanned::into_inner).collect()
}

fn nat_ports(table: &Section<'_, '_>, source: &mut Source<'_>) -> Vec<PortRange> {
    let Some(mut ports) = port_list(table, "ports", source) else {
        return vec![DEFAULT_PORTS];
    };
    for range in &ports {
        if range.get_ref().first == 0 {
            source.error(
                &range.span(),
                "ports",
                "port 0 is reserved; expected ports from 1 to 65535",
            );
        } else if range.get_ref().overlaps(&KERNEL_PORTS) {
            let message = format!(
                "\"{}\" takes from {KERNEL_PORTS}, which Linux uses for the box's own connections; answers to those \
                 are lost unless net.ipv4.ip_local_port_range is moved",
                range.get_ref()
            );
            source.warning(&range.span(), "ports", message);
        } else if range.get_ref().first < DEFAULT_PORTS.first {
            let message = format!(
                "\"{}\" takes well-known ports, at which services of the box itself may listen; these are not \
                 reachable at the external address then",
                range.get_ref()
            );
            source.warning(&range.span(), "ports", message);
        }
    }
    ports.sort_by_key(|range| *range.get_ref());
    ports.into_iter().map(Spanned::into_inner).collect()
}

fn timeouts_in(table: &Section<'_, '_>, source: &mut Source<'_>) -> Timeouts {
    let floors = Timeouts {
        udp: Duration::from_secs(120),
        tcp_opening: Duration::ZERO,
        ..Timeouts::default()
    };
    let any = table.boolean("allow_noncompliant", false, source);
    let mut timeouts = Timeouts {
        allow_noncompliant: any,
        udp_to_port: udp_to_port(table, source),
        ..Timeouts::default()
    };
    let mut take = |key: &str, time: &mut Duration, floor: Duration, origin: &str| {
        let Some(value) = table.value(key) else { return };
        match lifetime(value.get_ref()) {
            Ok(given) if given < floor && !any => {
                let message = format!(
                    "{} is shorter than {origin} allows; expected at least \"{}\", or allow_noncompliant = true",
                    in_units(given),
                    in_units(floor)
                );
                source.error(&value.span(), key, message);
            }
            Ok(given) => *time = given,
            Err(message) => source.error(&value.span(), key, message),
        }
    };
    take("udp", &mut timeouts.udp, floors.udp, "RFC 4787 section 4.3");
    take(
        "tcp_opening",
        &mut timeouts.tcp_opening,
        floors.tcp_opening,
        "RFC 7857 section 2.2",
    );
    take(
        "tcp_established",
        &mut timeouts.tcp_established,
        floors.tcp_established,
        "RFC 5382 section 5",
    );
    take(
        "tcp_closing",
        &mut timeouts.tcp_closing,
        floors.tcp_closing,
        "RFC 5382 section 5",
    );
    take("icmp", &mut timeouts.icmp, floors.icmp, "RFC 5508 section 3.2");
    timeouts
}

fn segment_size(table: &Section<'_, '_>, source: &mut Source<'_>) -> Option<SegmentSize> {
    let value = table.value("mss_clamp")?;
    if let Some(word) = value.get_ref().as_str() {
        match word {
            "off" => return None,
            "mtu" => return Some(SegmentSize::Fitting),
            _ => {}
        }
    }
    let given = as_integer(value.get_ref())
        .and_then(|bytes| u16::try_from(bytes).ok())
        .filter(|bytes| SEGMENT_SIZES.contains(bytes));
    if given.is_none() {
        let expected = format!(
            "\"off\", \"mtu\" or {} to {} bytes",
            SEGMENT_SIZES.start(),
            SEGMENT_SIZES.end()
        );
        refuse(value, "mss_clamp", &expected, source);
    }
    given.map(SegmentSize::AtMost)
}

/// How long a mapping may live.
fn lifetime(value: &DeValue<'_>) -> Result<Duration, String> {
    let given = value::duration(value)?;
    if given > LONGEST_TIMEOUT {
        return Err(format!(
            "{} is too long; expected at most {}",
            in_units(given),
            in_units(LONGEST_TIMEOUT)
        ));
    }
    if given.is_zero() {
        return Err(format!(
            "a mapping can not live for no time; expected {DURATION_EXPECTED}"
        ));
    }
    Ok(given)
}

/// Times of their own for UDP to well-known ports: no floor, but no other ports either (RFC 4787 REQ-5 (a)).
fn udp_to_port(table: &Section<'_, '_>, source: &mut Source<'_>) -> Vec<(u16, Duration)> {
    let mut taken: Vec<(u16, Duration)> = Vec::new();
    for entry in table.tables("udp_to_port", &schema::UDP_TO_PORT, source) {
        let (Some(port), Some(time)) = (entry.value("port"), entry.value("time")) else {
            let missing = if entry.value("port").is_none() {
                "port"
            } else {
                "time"
            };
            entry.missing(missing, "a port and how long its mappings live", source);
            continue;
        };
        let number = as_integer(port.get_ref())
            .and_then(|number| u16::try_from(number).ok())
            .filter(|&number| number <= HIGHEST_WELL_KNOWN_PORT);
        let Some(number) = number else {
            let expected = format!(
                "a well-known port, 0 to {HIGHEST_WELL_KNOWN_PORT}: RFC 4787 section 4.3 allows shorter times for no others"
            );
            refuse(port, "port", &expected, source);
            continue;
        };
        if taken.iter().any(|&(other, _)| other == number) {
            source.error(
                &port.span(),
                "port",
                format!("{number} is here twice; expected each port once"),
            );
        }
        match lifetime(time.get_ref()) {
            Ok(time) => taken.push((number, time)),
            Err(message) => source.error(&time.span(), "time", message),
        }
    }
    taken
}

/// Which channel translates to which external ports: two can not share one.
#[derive(Default)]
pub(super) struct Externals {
    claimed: Vec<(Box<Nat>, String)>,
}

impl Externals {
    pub(super) fn claim(&mut self, channel: &Channel, table: &Section<'_, '_>, source: &mut Source<'_>) {
        let ChannelKind::Nat(nat) = &channel.kind else {
            return;
        };
        if let Some((_, other)) = self.claimed.iter().find(|(other, _)| share_a_port(nat, other)) {
            let span = table
                .value("ports")
                .map_or(table.span.clone(), |value| value.span());
            let message = format!(
                "channel {} already translates to some of these ports of the same address; expected ports of its own",
                quoted(other)
            );
            source.error(&span, "ports", message);
        }
        self.claimed.push((nat.clone(), channel.name.clone()));
    }
}

fn share_a_port(a: &Nat, b: &Nat) -> bool {
    let ports = a
        .ports
        .iter()
        .any(|ports| b.ports.iter().any(|other| ports.overlaps(other)));
    let addresses = || {
        a.external
            .iter()
            .any(|external| b.external.iter().any(|other| external.overlaps(other)))
    };
    ports && addresses()
}
