//! A translator among the channels: external addresses and ports, filtering, timeouts.

use std::net::Ipv4Addr;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::channel::{Channel, ChannelKind};
use super::error::Source;
use super::interface::{KnownInterfaces, Role};
use super::ports::{PortRange, port_list};
use super::schema;
use super::section::{Section, as_integer, one_of, quoted, refuse};
use super::value::{self, DURATION_EXPECTED, in_units};
use crate::channel::nat::HIGHEST_WELL_KNOWN_PORT;

/// What Linux takes for its own connections unless told otherwise (`net.ipv4.ip_local_port_range`).
const KERNEL_PORTS: PortRange = PortRange {
    first: 32_768,
    last: 60_999,
};

const DEFAULT_PORTS: PortRange = PortRange {
    first: 1_024,
    last: 32_767,
};

const LONGEST_TIMEOUT: Duration = Duration::from_secs(30 * 86_400);

/// Address and port translation, IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Where the external addresses come from.
    pub external: External,
    /// External ports and ICMP identifiers, in ascending order, without overlaps, without port 0; not empty.
    pub ports: Vec<PortRange>,
    /// Which outside hosts may answer.
    pub filtering: Filtering,
    /// Whether inbound packets keep a mapping for UDP or ICMP queries alive (RFC 4787 section 4.3).
    pub refresh_inbound: bool,
    /// Whether a SYN from outside that is for nobody is answered after 6 seconds (RFC 5382 section 4.3).
    pub answer_unsolicited: bool,
    /// Mappings at one time, 1 to 4,194,304.
    pub max_mappings: u32,
    /// How long an idle mapping lives.
    pub timeouts: Timeouts,
}

/// Where a translator's external addresses come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum External {
    /// The first IPv4 address of this outside interface.
    Interface(String),
    /// These addresses; not empty, no duplicates.
    Addresses(Vec<Ipv4Addr>),
}

/// Which outside hosts may send through a mapping (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filtering {
    /// Any.
    EndpointIndependent,
    /// Those whose address the inside host has sent to.
    AddressDependent,
    /// Those whose address and port the inside host has sent to.
    AddressAndPortDependent,
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
    let external = external(table, interfaces, source);
    let ports = nat_ports(table, source);
    let filtering = table.choice(
        "filtering",
        &[
            ("endpoint-independent", Filtering::EndpointIndependent),
            ("address-dependent", Filtering::AddressDependent),
            ("address-and-port-dependent", Filtering::AddressAndPortDependent),
        ],
        source,
    );
    let refresh_inbound = table.boolean("refresh_inbound", true, source);
    let answer_unsolicited = table.boolean("answer_unsolicited", true, source);
    let max_mappings = table.number("max_mappings", 65_536, 1..=4_194_304, source);
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
        ports,
        filtering: filtering.unwrap_or(Filtering::EndpointIndependent),
        refresh_inbound,
        answer_unsolicited,
        max_mappings,
        timeouts,
    })
}

fn external(
    table: &Section<'_, '_>,
    interfaces: &KnownInterfaces,
    source: &mut Source<'_>,
) -> Option<External> {
    let addresses = table.list("addresses", "an IPv4 address", source, value::unicast_ipv4);
    match (table.value("external"), addresses) {
        (None, None) => {
            let expected = "`external`, the name of an outside interface, or `addresses`, a list";
            source.error(
                &table.span,
                "external",
                format!("a nat channel needs external addresses; expected {expected}"),
            );
            None
        }
        (Some(_), Some(_)) => {
            let span = table.key_span("addresses").unwrap_or(table.span.clone());
            source.error(
                &span,
                "addresses",
                "found beside `external`; expected one of the two",
            );
            None
        }
        (None, Some(addresses)) => {
            let mut taken: Vec<Ipv4Addr> = Vec::with_capacity(addresses.len());
            for address in &addresses {
                if taken.contains(address.get_ref()) {
                    let message = format!("\"{}\" is here twice", address.get_ref());
                    source.error(&address.span(), "addresses", message);
                } else {
                    taken.push(*address.get_ref());
                }
            }
            Some(External::Addresses(taken))
        }
        (Some(_), None) => {
            let name = table.string("external", "the name of an outside interface", source)?;
            let outside = interfaces
                .iter()
                .filter(|(_, role)| **role == Some(Role::Outside));
            let mut outside: Vec<&str> = outside.map(|(name, _)| name.as_str()).collect();
            outside.sort_unstable();
            let found = quoted(name.get_ref());
            let message = match interfaces.get(*name.get_ref()) {
                Some(Some(Role::Outside) | None) => {
                    return Some(External::Interface(name.into_inner().to_owned()));
                }
                Some(Some(Role::Inside)) => format!("{found} is an inside interface"),
                None => format!("{found} is not an [[interface]] of this file"),
            };
            let expected = if outside.is_empty() {
                "an [[interface]] with role = \"outside\"".to_owned()
            } else {
                format!("an outside one: {}", one_of(outside))
            };
            source.error(
                &name.span(),
                "external",
                format!("{message}; expected {expected}"),
            );
            None
        }
    }
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
    claimed: Vec<(External, Vec<PortRange>, String)>,
}

impl Externals {
    pub(super) fn claim(&mut self, channel: &Channel, table: &Section<'_, '_>, source: &mut Source<'_>) {
        let ChannelKind::Nat(nat) = &channel.kind else {
            return;
        };
        let overlap = self.claimed.iter().find(|(external, ports, _)| {
            same_addresses(external, &nat.external)
                && ports
                    .iter()
                    .any(|range| nat.ports.iter().any(|own| own.overlaps(range)))
        });
        if let Some((_, _, other)) = overlap {
            let span = table
                .value("ports")
                .map_or(table.span.clone(), |value| value.span());
            let message = format!(
                "channel {} already translates to some of these ports of the same address; expected ports of its own",
                quoted(other)
            );
            source.error(&span, "ports", message);
        }
        self.claimed
            .push((nat.external.clone(), nat.ports.clone(), channel.name.clone()));
    }
}

fn same_addresses(a: &External, b: &External) -> bool {
    match (a, b) {
        (External::Interface(a), External::Interface(b)) => a == b,
        (External::Addresses(a), External::Addresses(b)) => a.iter().any(|address| b.contains(address)),
        _ => false,
    }
}
