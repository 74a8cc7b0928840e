//! Rules with lists, as single boxes: what a classifier takes.

use super::Config;
use super::field::FieldRange;
use super::ports::PortRange;
use super::rule::Rule;
use super::value::AddressRange;
use crate::dispatch::dimensions::FIELDS;

/// One range in each dimension. Several boxes come from one rule that has lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleBox<'c> {
    /// The rule it comes from.
    pub rule: &'c Rule,
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
        ];
        let fields = self.fields.iter().map(Vec::len);
        lengths.into_iter().chain(fields).fold(1, |product: u64, length| {
            product.saturating_mul(length.max(1) as u64)
        })
    }

    /// The rule's boxes: the product of its lists.
    pub fn expand(&self) -> impl Iterator<Item = RuleBox<'_>> {
        any_of(&self.from).flat_map(move |from| {
            any_of(&self.to).flat_map(move |to| {
                any_of(&self.protocols).flat_map(move |protocol| {
                    any_of(&self.source_ports).flat_map(move |source_ports| {
                        any_of(&self.destination_ports).flat_map(move |destination_ports| {
                            self.expand_fields().map(move |fields| RuleBox {
                                rule: self,
                                from,
                                to,
                                protocol,
                                source_ports: source_ports.unwrap_or(PortRange::ANY),
                                destination_ports: destination_ports.unwrap_or(PortRange::ANY),
                                fields,
                            })
                        })
                    })
                })
            })
        })
    }

    /// The product of the lists of all fields: each number, taken apart, is a place in each list.
    fn expand_fields(&self) -> impl Iterator<Item = [Option<FieldRange>; FIELDS.len()]> + '_ {
        let lengths = self.fields.iter().map(|list| list.len().max(1) as u64);
        (0..lengths.product()).map(|number: u64| {
            let mut rest = number;
            self.fields.each_ref().map(|list| {
                let length = list.len().max(1) as u64;
                let place = rest % length;
                rest /= length;
                list.get(place as usize).copied()
            })
        })
    }
}

impl Config {
    /// The boxes of all rules, those that are tried first first.
    pub fn rule_boxes(&self) -> impl Iterator<Item = RuleBox<'_>> {
        self.rules.iter().flat_map(Rule::expand)
    }
}

/// Each entry of a list, or one `None` for an empty list, which takes any.
fn any_of<T: Copy>(list: &[T]) -> impl Iterator<Item = Option<T>> + '_ {
    list.iter()
        .copied()
        .map(Some)
        .chain(list.is_empty().then_some(None))
}
