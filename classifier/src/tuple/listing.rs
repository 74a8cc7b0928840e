//! All rules of a set at one instant, to build tables of.

use crate::range::Range;
use crate::rule::{Match, Rank};
use crate::word::Word;

/// Rules in their order: their ranges, and what lookups that find them answer.
#[derive(Debug)]
pub(super) struct Listing<W, A, const D: usize> {
    pub(super) ranges: Vec<[Range<W>; D]>,
    pub(super) found: Vec<Match<A>>,
}

impl<W: Word, A: Copy, const D: usize> Listing<W, A, D> {
    /// These rules, in their order; one that is there several times once.
    pub(super) fn sorted(rules: Vec<([Range<W>; D], Match<A>)>) -> Self {
        let mut order: Vec<(Rank, u32)> = rules.iter().map(|(_, found)| found.rank()).zip(0..).collect();
        order.sort_unstable();
        order.dedup_by_key(|(rank, _)| *rank);
        let (ranges, found) = order.iter().map(|&(_, index)| rules[index as usize]).unzip();
        Self { ranges, found }
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// The rules in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[Range<W>; D], &Match<A>)> {
        self.ranges.iter().zip(&self.found)
    }
}
