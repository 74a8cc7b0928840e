//! Random rules for tests: all that the internal form can say.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{
    AddressRange, FieldRange, FlagMatch, MAX_RULE_BOXES, NamedSet, PortRange, Rule, RuleList, Values,
};
use crate::channel::nat::Filtering;
use crate::dispatch::dimensions::{FIELDS, LATER, Notation};

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A list of up to eight rules with up to eight sets, the same for the same seed.
pub(crate) fn list(seed: u64) -> RuleList {
    let mut random = StdRng::seed_from_u64(seed);
    let mut list = RuleList::default();
    for number in 0..random.random_range(0..4_u32) {
        let is_ipv4 = random.random();
        // Sets have values of their own, so that those of a rule don't overlap.
        let values = addresses(&mut random, is_ipv4, number + 1, 20);
        list.address_sets.push(set(format!("hosts-{number}"), values));
    }
    for number in 0..random.random_range(0..4_u32) {
        let values = ports(&mut random, number + 1, 20);
        list.port_sets.push(set(format!("ports_{number}.x"), values));
    }
    for _ in 0..random.random_range(0..8) {
        let rule = rule(&mut random, &list);
        if rule.boxes() <= MAX_RULE_BOXES {
            list.rules.push(rule);
        }
    }
    list
}

fn set<T>(name: String, values: Vec<T>) -> Arc<NamedSet<T>> {
    Arc::new(NamedSet {
        name: name.into(),
        values,
    })
}

/// Ranges that do not overlap, at least one, in any order, of numbers below a limit.
fn ranges(random: &mut StdRng, limit: u32, most: u32) -> Vec<(u32, u32)> {
    let mut ranges = Vec::new();
    let mut start = random.random_range(0..limit / 2 + 1);
    for _ in 0..random.random_range(1..=most) {
        if start >= limit {
            break;
        }
        let length = if random.random() {
            0
        } else {
            random.random_range(0..limit / 8 + 1)
        };
        let last = (start + length).min(limit - 1);
        ranges.insert(random.random_range(0..=ranges.len()), (start, last));
        start = last + 1 + random.random_range(0..limit / 8 + 1);
    }
    ranges
}

/// Addresses of one family, in the given of eight parts of the address space.
fn addresses(random: &mut StdRng, is_ipv4: bool, part: u32, most: u32) -> Vec<AddressRange> {
    // Of how many addresses each number stands for.
    let free: u32 = random.random_range(0..24);
    let ranges = ranges(random, 1 << (29 - free), most).into_iter();
    let low = (1_u32 << free) - 1;
    let bits = |number: u32, low: u32| part << 29 | number << free | low;
    let range = |(first, last)| match is_ipv4 {
        true => AddressRange::V4(bits(first, 0).into(), bits(last, low).into()),
        false => AddressRange::V6(v6(bits(first, 0), 0), v6(bits(last, low), u128::MAX)),
    };
    let mut found: Vec<AddressRange> = ranges.map(range).collect();
    if random.random_range(0..20) == 0 && part == 0 {
        found = vec![match is_ipv4 {
            true => AddressRange::V4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
            false => AddressRange::V6(Ipv6Addr::UNSPECIFIED, u128::MAX.into()),
        }];
    }
    found
}

fn v6(high: u32, low: u128) -> Ipv6Addr {
    (u128::from(high) << 96 | low >> 32).into()
}

fn ports(random: &mut StdRng, part: u32, most: u32) -> Vec<PortRange> {
    let ranges = ranges(random, 1 << 13, most).into_iter();
    let port = |number: u32| u16::try_from(part << 13 | number).unwrap();
    let range = |(first, last)| PortRange {
        first: port(first),
        last: port(last),
    };
    ranges.map(range).collect()
}

/// Any value half of the time, else values that are written out and some of the sets.
fn values<T: Clone>(
    random: &mut StdRng,
    sets: Vec<Arc<NamedSet<T>>>,
    listed: impl Fn(&mut StdRng) -> Vec<T>,
) -> Values<T> {
    if random.random() {
        return Values::any();
    }
    let sets: Vec<_> = sets.into_iter().filter(|_| random.random()).collect();
    let listed = if sets.is_empty() || random.random() {
        listed(random)
    } else {
        Vec::new()
    };
    Values { listed, sets }
}

fn rule(random: &mut StdRng, list: &RuleList) -> Rule {
    let channels = ["drop", "pass", "internet", "a.b-c_9", "use", "with"];
    let mut rule = Rule::any(channels[random.random_range(0..channels.len())]);
    if random.random() {
        rule.priority = random.random();
    }
    let is_ipv4 = random.random();
    let sets = || {
        let of_family = list
            .address_sets
            .iter()
            .filter(|set| set.values[0].is_ipv4() == is_ipv4);
        of_family.cloned().collect::<Vec<_>>()
    };
    rule.from = values(random, sets(), |random| addresses(random, is_ipv4, 0, 3));
    rule.to = values(random, sets(), |random| addresses(random, is_ipv4, 0, 3));
    let all: [&[u8]; 7] = [
        &[],
        &[TCP],
        &[17],
        &[TCP, 17],
        &[if is_ipv4 { ICMP } else { ICMPV6 }],
        &[47],
        &[0, 89, 255],
    ];
    rule.protocols = all[random.random_range(0..all.len())].to_vec();
    if !rule.protocols.is_empty() && rule.protocols.iter().all(|protocol| [TCP, 17].contains(protocol)) {
        rule.source_ports = values(random, list.port_sets.clone(), |random| ports(random, 0, 3));
        rule.destination_ports = values(random, list.port_sets.clone(), |random| ports(random, 0, 3));
    }
    let mut has_transport_field = !rule.source_ports.is_any() || !rule.destination_ports.is_any();
    for (index, field) in FIELDS.iter().enumerate() {
        let has_it = |protocol| field.protocols.contains(protocol);
        let may =
            field.protocols.is_empty() || !rule.protocols.is_empty() && rule.protocols.iter().all(has_it);
        if !may || random.random_range(0..3) > 0 {
            continue;
        }
        has_transport_field |= !field.protocols.is_empty();
        let range = |(first, last)| FieldRange { first, last };
        match field.notation {
            Notation::Interfaces => {
                let names = ["lan0", "eth0.100", "any", "br-\u{fc}", "a#b", "x,y"];
                let chosen = names.into_iter().filter(|_| random.random_range(0..4) == 0);
                rule.interfaces = chosen.map(Into::into).collect();
            }
            Notation::TcpFlags => {
                let flags = |random: &mut StdRng| {
                    let mask = random.random_range(1..=u8::MAX);
                    let set = random.random::<u8>() & mask;
                    FlagMatch { set, mask }
                };
                rule.tcp_flags = vec![flags(random)];
                let other = flags(random);
                if other != rule.tcp_flags[0] {
                    rule.tcp_flags.push(other);
                }
            }
            Notation::Numbers { highest, .. } => {
                let ranges = ranges(random, highest + 1, 3).into_iter();
                rule.fields.set(index, ranges.map(range).collect());
            }
            Notation::Names(names) => {
                let values = names.iter().map(|(_, value)| *value);
                let values = values.filter(|value| *value != LATER || !has_transport_field);
                let chosen = values.filter(|_| random.random());
                let chosen: Vec<_> = chosen.map(|value| range((value, value))).collect();
                rule.fields.set(index, chosen);
            }
        }
    }
    if random.random_range(0..4) == 0 && is_ipv4 {
        let filterings = [
            Filtering::EndpointIndependent,
            Filtering::AddressDependent,
            Filtering::AddressAndPortDependent,
        ];
        rule.filtering = Some(filterings[random.random_range(0..3)]);
    }
    if random.random_range(0..3) == 0 {
        let comments = [
            "web",
            "",
            "say \"x\" \\ # { } @a, =",
            "\u{fc}ber \u{1f600}",
            "'; drop",
        ];
        rule.comment = Some(comments[random.random_range(0..comments.len())].into());
    }
    rule
}
