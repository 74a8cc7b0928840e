//! What is looked for: rules, their identity and their order.

use std::num::NonZeroU64;

use crate::key::Key;
use crate::range::Range;
use crate::schema::Schema;
use crate::word::Word;

/// A box in `D` dimensions, with a priority and an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule<W, const D: usize, A> {
    /// The values that the rule accepts, one range per dimension.
    pub ranges: [Range<W>; D],
    /// Among the rules that match, the one with the lowest number wins; among equals the one that was
    /// inserted first.
    pub priority: u32,
    /// What to do with what matches: the caller's own.
    pub action: A,
}

/// A rule over [`Ipv4FiveTuple`](crate::Ipv4FiveTuple).
pub type Ipv4Rule<A> = Rule<u32, 5, A>;

/// A rule over [`Ipv6FiveTuple`](crate::Ipv6FiveTuple).
pub type Ipv6Rule<A> = Rule<u128, 5, A>;

impl<W: Word, const D: usize, A> Rule<W, D, A> {
    /// The rule that accepts what is in all of the ranges.
    pub const fn new(ranges: [Range<W>; D], priority: u32, action: A) -> Self {
        Self {
            ranges,
            priority,
            action,
        }
    }

    /// The rule that accepts every key of the schema; narrow its ranges to what it shall match.
    pub fn any<S: Schema<D, Word = W>>(priority: u32, action: A) -> Self {
        Self::new(S::any(), priority, action)
    }

    /// Whether every value of the key is in its range.
    pub fn matches(&self, key: &Key<W, D>) -> bool {
        covers(&self.ranges, key)
    }
}

/// Whether every value of the key is in its range.
pub(crate) fn covers<W: Word, const D: usize>(ranges: &[Range<W>; D], key: &Key<W, D>) -> bool {
    ranges
        .iter()
        .zip(key.values())
        .all(|(range, &value)| range.contains(value))
}

/// A rule's identity in the structure that it was inserted into; never given twice by one structure.
///
/// Ids compare by the order of insertion. An id says nothing to another structure.
// Packed: with it a rule of the five-tuple, all included, fills one cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, packed(4))]
pub struct RuleId {
    /// One more than the sequence. Never zero, so that an optional rule takes no more memory than a rule.
    place: NonZeroU64,
    slot: u32,
}

impl RuleId {
    pub(crate) const fn new(sequence: u64, slot: u32) -> Self {
        Self {
            place: NonZeroU64::MIN.saturating_add(sequence),
            slot,
        }
    }

    /// How many rules were inserted into the structure before this one.
    pub const fn sequence(self) -> u64 {
        self.place.get() - 1
    }

    /// Where the structure keeps the rule.
    pub(crate) const fn slot(self) -> u32 {
        self.slot
    }
}

/// The answer to a lookup: a rule that accepts the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<A> {
    /// The rule's identity, as its insertion returned it.
    pub id: RuleId,
    /// The rule's priority.
    pub priority: u32,
    /// The rule's action.
    pub action: A,
}

impl<A> Match<A> {
    pub(crate) const fn rank(&self) -> Rank {
        Rank {
            priority: self.priority,
            sequence: self.id.sequence(),
        }
    }
}

/// A rule's place in the total order; the lowest wins.
// Packed: with a 32-bit index it fills 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
pub(crate) struct Rank {
    pub(crate) priority: u32,
    pub(crate) sequence: u64,
}

impl Rank {
    /// Behind every rule.
    pub(crate) const LAST: Self = Self {
        priority: u32::MAX,
        sequence: u64::MAX,
    };
}

#[cfg(test)]
mod tests {
    use super::{Rank, Rule, RuleId};
    use crate::{Ipv4FiveTuple, Ipv4Key, Ipv6FiveTuple, Ipv6Key, Range, dimension};

    #[test]
    fn order_is_priority_then_insertion() {
        let rank = |priority, sequence| Rank { priority, sequence };
        assert!(rank(1, 9) < rank(2, 0));
        assert!(rank(2, 0) < rank(2, 1));
        assert!(rank(u32::MAX, 7) < Rank::LAST);
        assert_eq!(size_of::<Rank>(), 12);
    }

    #[test]
    fn an_id_leaves_a_value_for_none() {
        assert_eq!(size_of::<Option<RuleId>>(), size_of::<RuleId>());
        let id = RuleId::new(5, 7);
        assert_eq!((id.sequence(), id.slot()), (5, 7));
        assert!(RuleId::new(4, 9) < id);
    }

    #[test]
    fn a_rule_needs_all_dimensions() {
        let mut rule = Rule::any::<Ipv4FiveTuple>(0, ());
        assert!(rule.matches(&Ipv4Key::new([u32::MAX, 0, 65_535, 0, 255])));
        assert!(!rule.matches(&Ipv4Key::new([0, 0, 65_536, 0, 0])));
        rule.ranges[dimension::PROTOCOL] = Range::exact(6);
        assert!(rule.matches(&Ipv4Key::new([0, 0, 0, 0, 6])));
        assert!(!rule.matches(&Ipv4Key::new([0, 0, 0, 0, 17])));
        assert!(Rule::any::<Ipv6FiveTuple>(0, ()).matches(&Ipv6Key::new([u128::MAX, 0, 0, 0, 0])));
    }
}
