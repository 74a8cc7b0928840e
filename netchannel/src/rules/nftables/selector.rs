//! What rules look at in packets, and its values.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::schema::single;
use crate::dispatch::dimensions::{FIELDS, Notation, dimension};
use crate::rules::chains::{Dimension, Family, Region, Spans, highest_value, names};
use crate::rules::{AddressRange, ICMP, ICMPV6};
use crate::text::quoted;

/// What a rule looks at.
#[derive(Clone, Debug)]
pub(super) enum Selector {
    Number(Number),
    /// The interface that packets come in by.
    Arrives,
    /// The interface that they leave by.
    Leaves,
    State,
    /// Whether a connection is one that was translated.
    Status,
    /// The IP version.
    Version,
    /// What kind of address the destination is.
    DestinationKind,
    /// Whether it is a later fragment: the offset, which is 0 for others.
    FragmentOffset,
}

/// A field with numbers for values.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) dimension: Dimension,
    /// The packets that have the field.
    pub(super) base: Region,
    pub(super) highest: u128,
    named: fn(&str) -> Option<u128>,
    /// A mask of the bits that are looked at: the highest so many of an address, any of TCP flags.
    pub(super) mask: Option<u128>,
}

impl Number {
    /// The packets with these values.
    pub(super) fn region(&self, spans: Spans) -> Option<Region> {
        if spans.is_empty() {
            return None;
        }
        let values = match self.dimension {
            Dimension::SourcePorts | Dimension::DestinationPorts => Region::with_ports(self.dimension, spans),
            Dimension::TcpFlags | Dimension::IcmpType | Dimension::IcmpCode => {
                Region::with_header(self.dimension, spans)
            }
            dimension => Region::with(dimension, spans),
        };
        self.base.and(&values)
    }

    /// A number, by name or not.
    pub(super) fn number(&self, value: &Value) -> Result<u128, String> {
        let found = match value {
            Value::Number(number) => number.as_u64().map(u128::from),
            Value::String(text) => (self.named)(text).or_else(|| digits(text)),
            Value::Array(_) | Value::Object(_) if self.dimension == Dimension::TcpFlags => {
                return self.flags(value);
            }
            _ => None,
        };
        found
            .filter(|number| *number <= self.highest)
            .ok_or_else(|| unknown(value))
    }

    /// TCP flags: one, or several in a list or joined by `|`.
    fn flags(&self, value: &Value) -> Result<u128, String> {
        let list = match (value.as_array(), single(value)) {
            (Some(list), _) => list,
            (None, Some(("|", Value::Array(list)))) => list,
            _ => return Err(unknown(value)),
        };
        list.iter().try_fold(0, |flags, one| match one {
            Value::String(_) | Value::Number(_) => Ok(flags | self.number(one)?),
            // Several `|` stand in one another; JSON is not so deep that this could be too much.
            one => Ok(flags | self.flags(one)?),
        })
    }

    /// A value: a number, a range, a prefix.
    pub(super) fn spans(&self, value: &Value) -> Result<Spans, String> {
        match single(value) {
            Some(("range", Value::Array(ends))) => match &ends[..] {
                [first, last] => Ok(Spans::range(self.number(first)?, self.number(last)?)),
                _ => Err(unknown(value)),
            },
            Some(("prefix", prefix)) => {
                let address = prefix
                    .get("addr")
                    .and_then(Value::as_str)
                    .and_then(|text| text.parse::<IpAddr>().ok());
                let length = prefix
                    .get("len")
                    .and_then(Value::as_u64)
                    .and_then(|length| u8::try_from(length).ok());
                let net = address
                    .zip(length)
                    .and_then(|(address, length)| IpNet::new(address, length).ok());
                let net = net.ok_or_else(|| unknown(value))?;
                let (family, first, last) = crate::rules::chains::numbers(&AddressRange::from(net.trunc()));
                if Some(family) != self.base.family {
                    return Err(unknown(value));
                }
                Ok(Spans::range(first, last))
            }
            _ => self.number(value).map(Spans::one),
        }
    }

    /// The values of a set.
    pub(super) fn all<'v>(&self, values: impl IntoIterator<Item = &'v Value>) -> Result<Spans, String> {
        let mut ranges = Vec::new();
        for value in values {
            ranges.extend(self.spans(value)?.iter());
        }
        Ok(Spans::new(ranges))
    }
}

fn digits(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// What to say of a value that is none.
pub(super) fn unknown(value: &Value) -> String {
    format!("{} is no value that rules know here", shown(value))
}

/// JSON in quotes, cut when it is long.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        value => quoted(&value.to_string()),
    }
}

const PORTS_OF: [(&str, u8); 5] = [
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("sctp", 132),
    ("udplite", 136),
];

/// What an expression looks at.
pub(super) fn selector(expression: &Value) -> Result<Selector, String> {
    let refused = || format!("rules do not ask for {}", shown(expression));
    match single(expression) {
        Some(("payload", payload)) => {
            let text = |key| payload.get(key).and_then(Value::as_str);
            let (Some(protocol), Some(field)) = (text("protocol"), text("field")) else {
                return Err(refused());
            };
            self::payload(protocol, field).ok_or_else(|| match (protocol, field) {
                ("ip6", "nexthdr") => {
                    "ip6 nexthdr is the first header behind IPv6's, which may be an extension; expected meta l4proto".to_owned()
                }
                _ => format!("rules do not ask for {protocol} {field}"),
            })
        }
        Some(("meta", meta)) => match meta.get("key").and_then(Value::as_str) {
            Some("l4proto") => Ok(protocol(Region::default())),
            Some("iifname" | "iif") => Ok(Selector::Arrives),
            Some("oifname" | "oif") => Ok(Selector::Leaves),
            Some("nfproto" | "protocol") => Ok(Selector::Version),
            Some(key) => Err(format!("rules do not ask for meta {key}")),
            None => Err(refused()),
        },
        Some(("ct", ct)) => match ct.get("key").and_then(Value::as_str) {
            Some("state") => Ok(Selector::State),
            Some("status") => Ok(Selector::Status),
            Some(key) => Err(format!("rules do not ask for ct {key}")),
            None => Err(refused()),
        },
        Some(("fib", fib)) => {
            let is_type = fib.get("result").and_then(Value::as_str) == Some("type");
            let of_destination = fib
                .get("flags")
                .and_then(Value::as_array)
                .is_some_and(|flags| flags[..] == ["daddr"]);
            match is_type && of_destination {
                true => Ok(Selector::DestinationKind),
                false => Err(
                    "rules do not ask the routing table; the kernel still filters by it what it routes"
                        .to_owned(),
                ),
            }
        }
        Some(("&", Value::Array(parts))) => match &parts[..] {
            [left, mask] => masked(selector(left)?, mask).ok_or_else(refused),
            _ => Err(refused()),
        },
        _ => Err(refused()),
    }
}

fn payload(protocol: &str, field: &str) -> Option<Selector> {
    let of = |family| Region::of(family);
    let with_protocol = |number: u8| Region::with(Dimension::Protocol, Spans::one(number.into()));
    let number = |dimension, base: Region, highest, named| {
        Some(Selector::Number(Number {
            dimension,
            base,
            highest,
            named,
            mask: None,
        }))
    };
    let none: fn(&str) -> Option<u128> = |_| None;
    let family = match protocol {
        "ip6" | "icmpv6" => Family::Ipv6,
        _ => Family::Ipv4,
    };
    let icmp_base = || of(family).and(&with_protocol(if family == Family::Ipv4 { ICMP } else { ICMPV6 }));
    match (protocol, field) {
        ("ip" | "ip6", "saddr" | "daddr") => {
            let side = if field == "saddr" {
                Dimension::From
            } else {
                Dimension::To
            };
            let named: fn(&str) -> Option<u128> = match family {
                Family::Ipv4 => |text| {
                    text.parse::<std::net::Ipv4Addr>()
                        .ok()
                        .map(|address| address.to_bits().into())
                },
                Family::Ipv6 => |text| {
                    text.parse::<std::net::Ipv6Addr>()
                        .ok()
                        .map(|address| address.to_bits())
                },
            };
            number(side, of(family), highest_value(side, family), named)
        }
        ("ip", "protocol") => Some(self::protocol(of(Family::Ipv4))),
        ("ip" | "ip6", "dscp") => {
            let named = |text: &str| {
                let Notation::Numbers { names, .. } =
                    FIELDS[dimension::DSCP - dimension::FIVE_TUPLE].notation
                else {
                    return None;
                };
                names
                    .iter()
                    .find(|(name, _)| *name == text)
                    .map(|(_, number)| u128::from(*number))
            };
            number(Dimension::Dscp, of(family), 63, named)
        }
        ("ip", "frag-off") => Some(Selector::FragmentOffset),
        ("icmp" | "icmpv6", "type") => {
            let named: fn(&str) -> Option<u128> = match family {
                Family::Ipv4 => |text| names::icmp(text).map(|(kind, _)| kind.into()),
                Family::Ipv6 => |text| names::icmpv6(text).map(|(kind, _)| kind.into()),
            };
            number(Dimension::IcmpType, icmp_base()?, 255, named)
        }
        ("icmp" | "icmpv6", "code") => {
            let named: fn(&str) -> Option<u128> = match family {
                Family::Ipv4 => |text| names::icmp(text).and_then(|(_, code)| code).map(u128::from),
                Family::Ipv6 => |text| names::icmpv6(text).and_then(|(_, code)| code).map(u128::from),
            };
            number(Dimension::IcmpCode, icmp_base()?, 255, named)
        }
        ("tcp", "flags") => {
            let named = |text: &str| {
                let flag = crate::dispatch::TCP_FLAGS
                    .iter()
                    .find(|(name, _)| *name == text)?;
                Some(u128::from(flag.1))
            };
            number(Dimension::TcpFlags, with_protocol(6), 255, named)
        }
        (_, "sport" | "dport") => {
            let side = if field == "sport" {
                Dimension::SourcePorts
            } else {
                Dimension::DestinationPorts
            };
            let base = match protocol {
                "th" => Region::default(),
                protocol => with_protocol(PORTS_OF.iter().find(|(name, _)| *name == protocol)?.1),
            };
            number(side, base, u16::MAX.into(), none)
        }
        _ => None,
    }
}

fn protocol(base: Region) -> Selector {
    Selector::Number(Number {
        dimension: Dimension::Protocol,
        base,
        highest: 255,
        named: |text| names::protocol_number(text).map(u128::from),
        mask: None,
    })
}

/// What is looked at of the bits of a mask.
fn masked(selector: Selector, mask: &Value) -> Option<Selector> {
    match selector {
        Selector::Number(number) => {
            let mask = number.number(mask).ok()?;
            let is_address = [Dimension::From, Dimension::To].contains(&number.dimension);
            let free = number.highest & !mask;
            // Of addresses, a prefix.
            let is_prefix = is_address && free & free.wrapping_add(1) == 0;
            (number.dimension == Dimension::TcpFlags || is_prefix).then_some(Selector::Number(Number {
                mask: Some(mask),
                ..number
            }))
        }
        Selector::FragmentOffset => (mask.as_u64() == Some(0x1fff)).then_some(Selector::FragmentOffset),
        _ => None,
    }
}
