//! The rules themselves, by index.

use super::pool::{Mark, Pool};
use crate::key::Key;
use crate::range::Range;
use crate::rule::{Match, Rank, RuleId};
use crate::schema::Schema;

#[derive(Debug, Clone)]
pub(super) struct Stored<S: Schema<D>, A, const D: usize> {
    pub(super) ranges: [Range<S::Word>; D],
    pub(super) found: Match<A>,
}

#[derive(Debug, Clone)]
pub(super) struct Rules<S: Schema<D>, A, const D: usize> {
    pool: Pool<Option<Stored<S, A, D>>>,
}

impl<S: Schema<D>, A, const D: usize> Rules<S, A, D> {
    pub(super) const fn new() -> Self {
        Self { pool: Pool::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.pool.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.pool.memory()
    }

    /// Where the next rule goes.
    pub(super) fn next_index(&self) -> u32 {
        self.pool.next_index()
    }

    pub(super) fn insert(&mut self, rule: Stored<S, A, D>) -> u32 {
        self.pool.insert(Some(rule))
    }

    /// Takes out the rule at an index that holds one.
    pub(super) fn remove(&mut self, index: u32) -> Option<Stored<S, A, D>> {
        self.pool.release(index).flatten()
    }

    /// The rule at the index; `None` if there is none.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&Stored<S, A, D>> {
        self.pool.get(index)?.as_ref()
    }

    pub(super) fn by_id(&self, id: RuleId) -> Option<&Stored<S, A, D>> {
        self.get(id.slot()).filter(|rule| rule.found.id == id)
    }

    /// The rule's place in the total order.
    pub(super) fn rank(&self, index: u32) -> Rank {
        self.get(index).map_or(Rank::LAST, |rule| rule.found.rank())
    }

    /// The rule's range in one dimension.
    pub(super) fn range(&self, index: u32, dimension: usize) -> Option<Range<S::Word>> {
        self.get(index)?.ranges.get(dimension).copied()
    }

    /// What the rule answers to a key, of which only the dimensions from `first` on are still to compare.
    #[inline]
    pub(super) fn answer(&self, index: u32, key: &Key<S::Word, D>, first: usize) -> Option<&Match<A>> {
        let rule = self.get(index)?;
        let mut rest = rule.ranges.iter().zip(key.values()).skip(first);
        rest.all(|(range, &value)| range.contains(value))
            .then_some(&rule.found)
    }

    pub(super) fn mark(&self) -> Mark {
        self.pool.mark()
    }

    /// Gives back what was allocated since the mark; see [`Pool::restore`].
    pub(super) fn restore(&mut self, mark: Mark) {
        self.pool.restore(mark);
    }
}
