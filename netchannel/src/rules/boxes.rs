//! Rules with lists, as single boxes: what a classifier takes.

use super::rule::{Name, Rule, Values};
use super::values::{AddressRange, FieldRange, PortRange};
use crate::dispatch::dimensions::{FIELDS, dimension};
use crate::dispatch::tcp_flags_ranges;

/// The most single boxes that the lists of one rule may multiply to.
pub const MAX_RULE_BOXES: u64 = 65_536;

/// The most single boxes that all rules may multiply to together.
pub const MAX_TOTAL_BOXES: u64 = 1 << 22;

/// The values of one field in each box; a field that is not in a rule has one value, which is any.
type FieldLists = [Vec<FieldRange>; FIELDS.len()];

/// One range in each dimension. Several boxes come from one rule that has lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleBox<'r> {
    /// The rule it comes from.
    pub rule: &'r Rule,
    /// Source addresses; `None` is any.
    pub from: Option<AddressRange>,
    /// Destination addresses; `None` is any.
    pub to: Option<AddressRange>,
    /// The IANA protocol number; `None` is any.
    pub protocol: Option<u8>,
    /// Source ports.
    pub source_ports: PortRange,
    /// Destination ports.
    pub destination_ports: PortRange,
    /// For each of [`FIELDS`] the values; `None` is any.
    pub fields: [Option<FieldRange>; FIELDS.len()],
}

impl Rule {
    /// How many boxes the rule's lists multiply to, at least 1.
    pub fn boxes(&self) -> u64 {
        let lengths = [
            self.from.len(),
            self.to.len(),
            self.protocols.len(),
            self.source_ports.len(),
            self.destination_ports.len(),
            self.interfaces.len(),
            self.flag_ranges().len(),
        ];
        let fields = self.fields.iter().map(|(_, values)| values.len());
        lengths.into_iter().chain(fields).fold(1, |product: u64, length| {
            product.saturating_mul(length.max(1) as u64)
        })
    }

    /// The rule's boxes: the product of its lists. `interfaces` are the names of all interfaces in the order of their numbers; a rule
    /// that names others only has no boxes.
    pub fn expand<'r>(&'r self, interfaces: &[impl AsRef<str>]) -> impl Iterator<Item = RuleBox<'r>> {
        let fields = self.field_lists(interfaces);
        let combinations = fields.as_ref().map_or(0, |lists| {
            let lengths = lists.iter().map(|list| list.len().max(1) as u64);
            lengths.product::<u64>()
        });
        let fields = fields.unwrap_or_default();
        (0..combinations).flat_map(move |number| {
            let fields = combination(&fields, number);
            self.expand_addresses_and_ports()
                .map(move |rule_box| RuleBox { fields, ..rule_box })
        })
    }

    /// The product of the lists of the five-tuple.
    fn expand_addresses_and_ports(&self) -> impl Iterator<Item = RuleBox<'_>> {
        any_of(&self.from).flat_map(move |from| {
            any_of(&self.to).flat_map(move |to| {
                let protocols = any_or(self.protocols.iter().copied(), self.protocols.is_empty());
                protocols.flat_map(move |protocol| {
                    any_of(&self.source_ports).flat_map(move |source_ports| {
                        any_of(&self.destination_ports).map(move |destination_ports| RuleBox {
                            rule: self,
                            from,
                            to,
                            protocol,
                            source_ports: source_ports.unwrap_or(PortRange::ANY),
                            destination_ports: destination_ports.unwrap_or(PortRange::ANY),
                            fields: [None; FIELDS.len()],
                        })
                    })
                })
            })
        })
    }

    /// The values of each of [`FIELDS`] in the order of dimensions; `None` if the rule can't match for it names no interface of these.
    fn field_lists(&self, interfaces: &[impl AsRef<str>]) -> Option<FieldLists> {
        let mut lists = FieldLists::default();
        for (field, values) in self.fields.iter() {
            lists[field] = values.to_vec();
        }
        if !self.tcp_flags.is_empty() {
            lists[dimension::TCP_FLAGS - dimension::FIVE_TUPLE] = self.flag_ranges();
        }
        if !self.interfaces.is_empty() {
            let number = |name: &Name| interfaces.iter().position(|known| *known.as_ref() == **name);
            let numbers = self.interfaces.iter().filter_map(number);
            let numbers: Vec<FieldRange> = numbers.map(|number| FieldRange::exact(number as u32)).collect();
            if numbers.is_empty() {
                return None;
            }
            lists[dimension::INTERFACE - dimension::FIVE_TUPLE] = numbers;
        }
        Some(lists)
    }

    /// What at least one entry of the TCP flags takes, as ranges of values that do not overlap.
    fn flag_ranges(&self) -> Vec<FieldRange> {
        if self.tcp_flags.is_empty() {
            return Vec::new();
        }
        let ranges = tcp_flags_ranges(|flags| self.tcp_flags.iter().any(|wanted| wanted.takes(flags)));
        let range = |range: std::ops::RangeInclusive<u8>| FieldRange {
            first: (*range.start()).into(),
            last: (*range.end()).into(),
        };
        ranges.into_iter().map(range).collect()
    }
}

/// One value of each list: the number, taken apart, is a place in each.
fn combination(lists: &FieldLists, number: u64) -> [Option<FieldRange>; FIELDS.len()] {
    let mut rest = number;
    lists.each_ref().map(|list| {
        let length = list.len().max(1) as u64;
        let place = rest % length;
        rest /= length;
        list.get(place as usize).copied()
    })
}

/// Each value, or one `None` for any.
fn any_of<T: Copy>(values: &Values<T>) -> impl Iterator<Item = Option<T>> + '_ {
    any_or(values.iter().copied(), values.is_any())
}

fn any_or<T>(values: impl Iterator<Item = T>, is_any: bool) -> impl Iterator<Item = Option<T>> {
    values.map(Some).chain(is_any.then_some(None))
}
