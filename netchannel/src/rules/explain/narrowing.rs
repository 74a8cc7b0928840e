//! How a lookup narrows the rules down, dimension by dimension.

use serde::{Deserialize, Serialize};

use super::flow::Flow;
use crate::dispatch::dimensions::{DIMENSIONS, FIELDS, LATER, dimension};
use crate::dispatch::tcp_flags_in_key;
use crate::rules::{AddressRange, RuleBox, RuleList};

/// What a dimension leaves of the rules. The bounds of all boxes cut its values into intervals, each a leaf of a tree of intervals; all
/// values of one have the same rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowing {
    /// The dimension, as the configuration calls it.
    pub dimension: String,
    /// The packet's value.
    pub value: String,
    /// The interval that it is in, first and last value.
    pub interval: (String, String),
    /// How many intervals there are.
    pub intervals: usize,
    /// How many boxes that the dimensions before left are still candidates.
    pub boxes: usize,
    /// Of how many rules they are.
    pub rules: usize,
}

/// The names of all dimensions.
fn name(number: usize) -> &'static str {
    match number {
        dimension::SOURCE_ADDRESS => "from",
        dimension::DESTINATION_ADDRESS => "to",
        dimension::SOURCE_PORT => "source_ports",
        dimension::DESTINATION_PORT => "destination_ports",
        dimension::PROTOCOL => "protocol",
        other => FIELDS[other - dimension::FIVE_TUPLE].key,
    }
}

/// Follows a packet through the dimensions in their order, with the boxes of all rules that are for its IP version. `interfaces` are the names
/// of all interfaces. Takes time for each box.
pub fn narrow(list: &RuleList, flow: &Flow, interfaces: &[&str]) -> Vec<Narrowing> {
    let is_ipv4 = flow.source.is_ipv4();
    let mut boxes = Vec::new();
    for (number, rule) in list.rules.iter().enumerate() {
        let families = rule.families();
        if if is_ipv4 { families.ipv4 } else { families.ipv6 } {
            boxes.extend(
                rule.expand(interfaces)
                    .map(|rule_box| (number, bounds(&rule_box))),
            );
        }
    }
    let key = key(flow, interfaces);
    let mut steps = Vec::new();
    for dimension in 0..DIMENSIONS {
        let value = key[dimension];
        let highest = highest(dimension, is_ipv4, interfaces.len());
        let mut starts = vec![0];
        for (_, bounds) in &boxes {
            if let Some((first, last)) = bounds[dimension] {
                starts.extend(
                    [Some(first), last.checked_add(1).filter(|next| *next <= highest)]
                        .into_iter()
                        .flatten(),
                );
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let after = starts.partition_point(|start| *start <= value);
        let interval = (
            starts.get(after.wrapping_sub(1)).copied().unwrap_or(0),
            starts.get(after).map_or(highest, |next| next - 1),
        );
        boxes.retain(|(_, bounds)| {
            bounds[dimension].is_none_or(|(first, last)| (first..=last).contains(&value))
        });
        let mut rules: Vec<usize> = boxes.iter().map(|(rule, _)| *rule).collect();
        rules.dedup();
        let shown = |value: u128| shown(dimension, value, is_ipv4, interfaces);
        steps.push(Narrowing {
            dimension: name(dimension).to_owned(),
            value: shown(value),
            interval: (shown(interval.0), shown(interval.1)),
            intervals: starts.len(),
            boxes: boxes.len(),
            rules: rules.len(),
        });
    }
    steps
}

fn highest(number: usize, is_ipv4: bool, interfaces: usize) -> u128 {
    match number {
        dimension::SOURCE_ADDRESS | dimension::DESTINATION_ADDRESS if is_ipv4 => u32::MAX.into(),
        dimension::SOURCE_ADDRESS | dimension::DESTINATION_ADDRESS => u128::MAX,
        dimension::SOURCE_PORT | dimension::DESTINATION_PORT => u16::MAX.into(),
        dimension::PROTOCOL => u8::MAX.into(),
        // One more than there are, for a packet by another one.
        dimension::INTERFACE => interfaces as u128,
        dimension::FRAGMENT => LATER.into(),
        other => (1 << FIELDS[other - dimension::FIVE_TUPLE].width) - 1,
    }
}

fn shown(number: usize, value: u128, is_ipv4: bool, interfaces: &[&str]) -> String {
    match number {
        dimension::SOURCE_ADDRESS | dimension::DESTINATION_ADDRESS if is_ipv4 => {
            std::net::Ipv4Addr::from_bits(value as u32).to_string()
        }
        dimension::SOURCE_ADDRESS | dimension::DESTINATION_ADDRESS => {
            std::net::Ipv6Addr::from_bits(value).to_string()
        }
        dimension::INTERFACE => interfaces
            .get(value as usize)
            .map_or_else(|| "another".to_owned(), |name| (*name).to_owned()),
        dimension::FRAGMENT => ["whole", "first", "later"]
            .get(value as usize)
            .copied()
            .unwrap_or("later")
            .to_owned(),
        _ => value.to_string(),
    }
}

fn bounds(rule_box: &RuleBox<'_>) -> [Option<(u128, u128)>; DIMENSIONS] {
    let mut bounds = [None; DIMENSIONS];
    let addresses = |range: AddressRange| match range {
        AddressRange::V4(first, last) => (first.to_bits().into(), last.to_bits().into()),
        AddressRange::V6(first, last) => (first.to_bits(), last.to_bits()),
    };
    bounds[dimension::SOURCE_ADDRESS] = rule_box.from.map(addresses);
    bounds[dimension::DESTINATION_ADDRESS] = rule_box.to.map(addresses);
    for (number, ports) in [
        (dimension::SOURCE_PORT, rule_box.source_ports),
        (dimension::DESTINATION_PORT, rule_box.destination_ports),
    ] {
        bounds[number] = Some((ports.first.into(), ports.last.into()));
    }
    bounds[dimension::PROTOCOL] = rule_box
        .protocol
        .map(|protocol| (protocol.into(), protocol.into()));
    for (index, values) in rule_box.fields.iter().enumerate() {
        let Some(values) = values else { continue };
        bounds[dimension::FIVE_TUPLE + index] = Some((values.first.into(), values.last.into()));
        if !FIELDS[index].protocols.is_empty() {
            // Later fragments don't have the header that is asked for. The fragment's own field comes last and may say more.
            bounds[dimension::FRAGMENT] = Some((0, u128::from(LATER) - 1));
        }
    }
    bounds
}

fn key(flow: &Flow, interfaces: &[&str]) -> [u128; DIMENSIONS] {
    let mut key = [0; DIMENSIONS];
    let address = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => u128::from(address.to_bits()),
        std::net::IpAddr::V6(address) => address.to_bits(),
    };
    let interface = flow.interface.as_deref();
    let interface = interfaces
        .iter()
        .position(|name| Some(*name) == interface)
        .unwrap_or(interfaces.len());
    key[dimension::SOURCE_ADDRESS] = address(flow.source);
    key[dimension::DESTINATION_ADDRESS] = address(flow.destination);
    key[dimension::SOURCE_PORT] = flow.source_port.into();
    key[dimension::DESTINATION_PORT] = flow.destination_port.into();
    key[dimension::PROTOCOL] = flow.protocol.into();
    key[dimension::TCP_FLAGS] = tcp_flags_in_key(flow.tcp_flags).into();
    key[dimension::ICMP_TYPE] = flow.icmp.0.into();
    key[dimension::ICMP_CODE] = flow.icmp.1.into();
    key[dimension::INTERFACE] = interface as u128;
    key[dimension::VLAN] = flow.vlan.into();
    key[dimension::DSCP] = flow.dscp.into();
    key[dimension::FRAGMENT] = flow.fragment.into();
    key
}
