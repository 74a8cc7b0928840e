//! What a translator lets in without being asked: forwarded ports, and inside hosts with external addresses of their own.

use std::net::Ipv4Addr;

use toml::de::DeValue;

use super::super::error::Source;
use super::super::ports::one_port_range;
use super::super::schema;
use super::super::section::{Section, describe};
use super::super::value;
use crate::channel::nat::{OneToOne, Protocol};
use crate::rules::{AddressRange, PortRange};

/// Ports of an external address that are forwarded to an inside host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// TCP, UDP or both.
    pub protocols: Vec<Protocol>,
    /// The external address; the first one of the channel if it is none.
    pub external: Option<Ipv4Addr>,
    /// The external ports, without port 0.
    pub ports: PortRange,
    /// The inside host.
    pub to: Ipv4Addr,
    /// What stands for the first port; the others follow it, up to 65535 at most.
    pub to_port: u16,
}

const HOST_EXPECTED: &str = "the IPv4 address of a host, such as \"10.0.0.5\"";
const HOSTS_EXPECTED: &str = "an IPv4 address, a prefix or a range \"FIRST-LAST\"";

/// `[[channel.forward]]`.
pub(super) fn forwards(table: &Section<'_, '_>, source: &mut Source<'_>) -> Vec<PortForward> {
    let mut forwards = Vec::new();
    for table in &table.tables("forward", &schema::FORWARD, source) {
        let to = host(table, "to", source);
        if table.value("to").is_none() {
            table.missing("to", HOST_EXPECTED, source);
        }
        let external = host(table, "external", source);
        let protocols = table.list("protocol", "\"tcp\" or \"udp\"", source, protocol);
        let ports = ports(table, source);
        let highest = u16::MAX - (ports.last - ports.first);
        let to_port = table.number("to_port", ports.first.into(), 1..=highest.into(), source);
        let both = || vec![Protocol::Tcp, Protocol::Udp];
        forwards.extend(to.map(|to| PortForward {
            protocols: protocols.map_or_else(both, |given| {
                given.into_iter().map(toml::Spanned::into_inner).collect()
            }),
            external,
            ports,
            to,
            to_port: to_port as u16,
        }));
    }
    forwards
}

fn protocol(value: &DeValue<'_>) -> Result<Protocol, String> {
    match value.as_str() {
        Some("tcp") => Ok(Protocol::Tcp),
        Some("udp") => Ok(Protocol::Udp),
        _ => Err(format!(
            "{} can not be forwarded by port; expected \"tcp\", \"udp\" or both in a list",
            describe(value)
        )),
    }
}

fn ports(table: &Section<'_, '_>, source: &mut Source<'_>) -> PortRange {
    let all = PortRange {
        first: 1,
        last: u16::MAX,
    };
    let Some(value) = table.value("ports") else {
        return all;
    };
    match one_port_range(value.get_ref()) {
        Ok(ports) if ports.first > 0 => return ports,
        Ok(_) => source.error(
            &value.span(),
            "ports",
            "port 0 is reserved; expected ports from 1 to 65535",
        ),
        Err(message) => source.error(&value.span(), "ports", message),
    }
    all
}

fn host(table: &Section<'_, '_>, key: &'static str, source: &mut Source<'_>) -> Option<Ipv4Addr> {
    match hosts(table, key, HOST_EXPECTED, source)? {
        (first, last) if first == last => Some(first),
        _ => {
            let span = table.value(key).map_or(table.span.clone(), |value| value.span());
            source.error(
                &span,
                key,
                format!("are several addresses; expected {HOST_EXPECTED}"),
            );
            None
        }
    }
}

/// The IPv4 addresses of a key, all of them such as hosts have. `None` if it is absent, or wrong and that was said.
fn hosts(
    table: &Section<'_, '_>,
    key: &'static str,
    expected: &str,
    source: &mut Source<'_>,
) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let value = table.value(key)?;
    let found = describe(value.get_ref());
    let message = match value::addresses(value.get_ref()) {
        Ok(AddressRange::V4(first, last)) => {
            let why = [first, last]
                .map(value::check_unicast)
                .into_iter()
                .find_map(Result::err);
            match why {
                None => return Some((first, last)),
                Some(why) => format!("{found} {why}; expected {expected}"),
            }
        }
        Ok(AddressRange::V6(..)) => format!("{found} is IPv6; expected {expected}"),
        Err(message) => message,
    };
    source.error(&value.span(), key, message);
    None
}

/// `[[channel.one_to_one]]`.
pub(super) fn one_to_one(table: &Section<'_, '_>, source: &mut Source<'_>) -> Vec<OneToOne> {
    let mut all = Vec::new();
    for table in &table.tables("one_to_one", &schema::ONE_TO_ONE, source) {
        for key in ["external", "inside"] {
            if table.value(key).is_none() {
                table.missing(key, HOSTS_EXPECTED, source);
            }
        }
        let external = hosts(table, "external", HOSTS_EXPECTED, source);
        let inside = hosts(table, "inside", HOSTS_EXPECTED, source);
        let Some((external, inside)) = external.zip(inside) else {
            continue;
        };
        let count = |(first, last): (Ipv4Addr, Ipv4Addr)| u64::from(last.to_bits() - first.to_bits()) + 1;
        if count(external) != count(inside) {
            let message = format!(
                "{} external addresses do not stand for {} inside hosts one to one; expected as many",
                count(external),
                count(inside)
            );
            source.error(&table.span, "external", message);
            continue;
        }
        all.push(OneToOne {
            external: external.0..=external.1,
            inside: inside.0,
        });
    }
    all
}
