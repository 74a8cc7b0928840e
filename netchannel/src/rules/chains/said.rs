//! The packets of a region as rules say them.

use std::collections::BTreeSet;

use super::region::{AnySet, Dimension, Family, Region, addresses};
use super::spans::Spans;
use crate::dispatch::dimensions::{FIRST, WHOLE, dimension};
use crate::dispatch::{TCP_FLAGS, tcp_flags_in_key};
use crate::rules::{AddressRange, FieldRange, FlagMatch, ICMP, ICMPV6, Name, PortRange, Rule, Values};

/// The fields of [`FIELDS`](crate::dispatch::dimensions::FIELDS) that a rule lists as numbers.
const FIELDS: [(Dimension, usize); 5] = [
    (Dimension::IcmpType, dimension::ICMP_TYPE),
    (Dimension::IcmpCode, dimension::ICMP_CODE),
    (Dimension::Vlan, dimension::VLAN),
    (Dimension::Dscp, dimension::DSCP),
    (Dimension::Fragment, dimension::FRAGMENT),
];

impl Region {
    /// The rules that take these packets, and no others: one, or one for each family, or none where packets can't be like that.
    pub(crate) fn rules(&self, channel: &Name) -> Vec<Rule> {
        // What is to the box is not forwarded.
        if self.to_box {
            return Vec::new();
        }
        let protocols = self.values(Dimension::Protocol);
        let names = |number: u8| protocols.is_some_and(|spans| spans.contains(number.into()));
        let single = protocols.is_some_and(|spans| spans.numbers().nth(1).is_none());
        let families = match self.family {
            Some(family) => vec![family],
            // Rules that name one of these protocols are for its family.
            None if single && names(ICMP) => vec![Family::Ipv4],
            None if single && names(ICMPV6) => vec![Family::Ipv6],
            None if names(ICMP) || names(ICMPV6) => vec![Family::Ipv4, Family::Ipv6],
            None => return vec![self.rule(None, channel)],
        };
        let takes_some = |family: &Family| {
            protocols.is_none_or(|spans| spans.numbers().any(|number| number != foreign(*family).into()))
        };
        families
            .into_iter()
            .filter(takes_some)
            .map(|family| self.rule(Some(family), channel))
            .collect()
    }

    fn rule(&self, family: Option<Family>, channel: &Name) -> Rule {
        let mut rule = Rule::any(channel.clone());
        if let Some(protocols) = self.values(Dimension::Protocol) {
            let foreign = family.map(foreign);
            let numbers = protocols.numbers().map(|number| number as u8);
            rule.protocols = numbers.filter(|number| Some(*number) != foreign).collect();
        }
        rule.from = self.addresses(Dimension::From, family);
        rule.to = self.addresses(Dimension::To, family);
        let told_by_protocol =
            matches!(rule.protocols[..], [ICMP] | [ICMPV6]) && rule.from.is_any() && rule.to.is_any();
        if let Some(family) = family
            && rule.from.is_any()
            && rule.to.is_any()
            && !told_by_protocol
        {
            rule.from = vec![addresses(family, 0, family.highest_address())].into();
        }
        rule.source_ports = self.ports(Dimension::SourcePorts);
        rule.destination_ports = self.ports(Dimension::DestinationPorts);
        rule.interfaces = self
            .interfaces()
            .into_iter()
            .flat_map(|names| names.iter().cloned())
            .collect();
        rule.tcp_flags = self
            .values(Dimension::TcpFlags)
            .map(flag_matches)
            .unwrap_or_default();
        // Rules that name one of these take no later fragments anyway.
        let names_header = [Dimension::TcpFlags, Dimension::IcmpType, Dimension::IcmpCode]
            .iter()
            .any(|dimension| self.values(*dimension).is_some());
        for (from, field) in FIELDS {
            if let Some(spans) = self.values(from) {
                if from == Dimension::Fragment
                    && names_header
                    && spans.iter().eq([(WHOLE.into(), FIRST.into())])
                {
                    continue;
                }
                let ranges = spans.iter().map(|(first, last)| FieldRange {
                    first: first as u32,
                    last: last as u32,
                });
                rule.fields.set(field - dimension::FIVE_TUPLE, ranges.collect());
            }
        }
        rule
    }

    fn addresses(&self, side: Dimension, family: Option<Family>) -> Values<AddressRange> {
        let Some((constraint, family)) = self.constraints[side as usize].as_ref().zip(family) else {
            return Values::any();
        };
        if let Some(AnySet::Addresses(set)) = &constraint.set {
            return Values {
                listed: Vec::new(),
                sets: vec![set.clone()],
            };
        }
        if constraint.spans == Spans::up_to(family.highest_address()) {
            return Values::any();
        }
        let ranges = constraint
            .spans
            .iter()
            .map(|(first, last)| addresses(family, first, last));
        ranges.collect::<Vec<_>>().into()
    }

    fn ports(&self, side: Dimension) -> Values<PortRange> {
        let Some(constraint) = &self.constraints[side as usize] else {
            return Values::any();
        };
        if let Some(AnySet::Ports(set)) = &constraint.set {
            return Values {
                listed: Vec::new(),
                sets: vec![set.clone()],
            };
        }
        if constraint.spans == Spans::up_to(u16::MAX.into()) {
            return Values::any();
        }
        let ranges = constraint.spans.iter().map(|(first, last)| PortRange {
            first: first as u16,
            last: last as u16,
        });
        ranges.collect::<Vec<_>>().into()
    }
}

/// The ICMP that rules of a family can't name.
fn foreign(family: Family) -> u8 {
    match family {
        Family::Ipv4 => ICMPV6,
        Family::Ipv6 => ICMP,
    }
}

/// Flags and masks that take these values of the flags byte, each value once. What one mask can say needs one.
fn flag_matches(spans: &Spans) -> Vec<FlagMatch> {
    let mut matches: BTreeSet<(u8, u8)> = spans
        .numbers()
        .map(|flags| (u8::MAX, tcp_flags_in_key(flags as u8)))
        .collect();
    // In the order of a key, the flags that masks name most often come first, so the last ones are merged away first.
    for bit in 0..8 {
        let flag = 1_u8 << bit;
        for (mask, set) in matches.clone() {
            if mask & flag != 0 && set & flag == 0 && matches.contains(&(mask, set | flag)) {
                matches.remove(&(mask, set));
                matches.remove(&(mask, set | flag));
                matches.insert((mask & !flag, set));
            }
        }
    }
    let from_key = |key: u8| {
        let flags = TCP_FLAGS.iter().enumerate();
        flags.fold(0, |byte, (place, (_, flag))| {
            if key >> (7 - place) & 1 == 1 {
                byte | flag
            } else {
                byte
            }
        })
    };
    let found = matches.into_iter().map(|(mask, set)| FlagMatch {
        set: from_key(set),
        mask: from_key(mask),
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_said_in_the_masks_that_they_were_said_in() {
        for mask in 1..=u8::MAX {
            for set in [0, mask, mask & 0x12, mask & 0x55] {
                let taken = (0..=u8::MAX).filter(|flags| flags & mask == set);
                let spans = Spans::new(taken.map(|flags| (flags.into(), flags.into())));
                assert_eq!(flag_matches(&spans), [FlagMatch { set, mask }]);
            }
        }
        let not_syn = Spans::new(
            (0..=u8::MAX)
                .filter(|flags| flags & 0x17 != 0x02)
                .map(|f| (f.into(), f.into())),
        );
        let found = flag_matches(&not_syn);
        assert!(found.len() <= 4, "{found:?}");
        for flags in 0..=u8::MAX {
            let taken = found
                .iter()
                .filter(|wanted| flags & wanted.mask == wanted.set)
                .count();
            assert_eq!(taken, usize::from(not_syn.contains(flags.into())));
        }
    }

    #[test]
    fn rules_are_of_one_family() {
        let channel: Name = "pass".into();
        let both = Region::with(Dimension::Protocol, Spans::new([(1, 1), (6, 6), (58, 58)]));
        let rules = both.rules(&channel);
        assert_eq!(
            rules
                .iter()
                .map(|rule| rule.protocols.clone())
                .collect::<Vec<_>>(),
            [[1, 6], [6, 58]]
        );
        assert!(
            rules.iter().all(|rule| crate::rules::check(rule).is_empty()),
            "{rules:?}"
        );
        assert_eq!(Region::of(Family::Ipv4).and(&Region::of(Family::Ipv6)), None);
        let icmpv6 = Region::with(Dimension::Protocol, Spans::one(58));
        assert!(
            Region::of(Family::Ipv4)
                .and(&icmpv6)
                .unwrap()
                .rules(&channel)
                .is_empty()
        );
    }
}
