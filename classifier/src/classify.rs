//! What every structure can do.

use thiserror::Error;

use crate::key::Key;
use crate::range::Range;
use crate::rule::{Match, Rule, RuleId};
use crate::schema::Schema;
use crate::word::Word;

/// The most keys in one [`Lookup::lookup_batch`] that a structure works on together. Longer slices are
/// answered too, piece by piece.
pub const MAX_BATCH: usize = 256;

/// Asking a set of rules. Answers borrow from what is asked, so nothing changes while one is held.
pub trait Lookup<W: Word, const D: usize> {
    /// What the rules hold for their caller.
    type Action;

    /// The best rule that accepts the key: lowest priority number, then inserted first.
    fn lookup(&self, key: &Key<W, D>) -> Option<&Match<Self::Action>>;

    /// The best rule for each of the keys: `results[i]` answers `keys[i]`. Meant for 1 to [`MAX_BATCH`]
    /// keys. If one slice is longer, its excess is left alone.
    fn lookup_batch<'rules>(
        &'rules self,
        keys: &[Key<W, D>],
        results: &mut [Option<&'rules Match<Self::Action>>],
    ) {
        for (key, result) in keys.iter().zip(results) {
            *result = self.lookup(key);
        }
    }

    /// All rules that accept the key, best first.
    fn all_matches(&self, key: &Key<W, D>) -> Vec<&Match<Self::Action>>;

    /// The rule of that id, if it is still there.
    fn get(&self, id: RuleId) -> Option<Rule<W, D, &Self::Action>>;

    /// How many rules there are.
    fn len(&self) -> usize;

    /// Whether there is no rule.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory in use, in bytes, what is allocated but not filled included. Memory that the actions own
    /// elsewhere is not counted.
    fn memory(&self) -> usize;
}

/// Changing a set of rules.
pub trait Classifier<W: Word, const D: usize>: Lookup<W, D> {
    /// Adds a rule. It stands behind all rules of the same priority that are there. Equal rules are
    /// rules of their own.
    ///
    /// # Errors
    ///
    /// See [`InsertError`]. Nothing has changed then.
    fn insert(&mut self, rule: Rule<W, D, Self::Action>) -> Result<RuleId, InsertError>;

    /// Takes a rule out and returns it. `None` if it is no longer there.
    fn remove(&mut self, id: RuleId) -> Option<Rule<W, D, Self::Action>>;

    /// Takes all rules out. Their ids are not given again.
    fn clear(&mut self);

    /// Does at once what insertions and removals left for later, after which lookups are as fast as they
    /// get. A structure that leaves nothing does nothing.
    fn settle(&mut self) {}
}

/// Why a rule was not inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InsertError {
    /// A range holds values that its dimension does not have.
    #[error("the range of dimension {dimension} ends at {high}, but that dimension has {width} bits")]
    TooWide {
        /// The index of the dimension.
        dimension: usize,
        /// Its width in bits.
        width: u32,
        /// The highest value of the range.
        high: u128,
    },
    /// The rule's ranges split into too many prefixes.
    #[error(
        "the rule's ranges split into {prefixes} combinations of prefixes, the limit is {limit}: \
         use ranges that start and end on round binary values, or several rules"
    )]
    TooManyPrefixes {
        /// The numbers of prefixes of all dimensions, multiplied (`u64::MAX` if above that).
        prefixes: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// The structure's indices are used up.
    #[error("the structure is full with {rules} rules: remove some first")]
    Full {
        /// How many rules there are.
        rules: usize,
    },
    /// The structure would need more memory than it may use.
    #[error(
        "the rule would take memory use to {needed} bytes or more, the limit is {limit}: raise the limit, \
         remove rules that overlap others, or use another structure"
    )]
    OutOfMemory {
        /// What was needed in all when the insertion was given up, in bytes.
        needed: usize,
        /// How much is allowed, in bytes.
        limit: usize,
    },
}

/// Refuses ranges that are wider than their dimensions.
pub(crate) fn check_ranges<S: Schema<D>, const D: usize>(
    ranges: &[Range<S::Word>; D],
) -> Result<(), InsertError> {
    for (dimension, (range, width)) in ranges.iter().zip(S::WIDTHS).enumerate() {
        if range.high().significant_bits() > width {
            return Err(InsertError::TooWide {
                dimension,
                width,
                high: range.high().into(),
            });
        }
    }
    Ok(())
}
