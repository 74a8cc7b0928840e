//! Trees of non-crossing intervals: the fastest search, for memory that overlapping rules can multiply.
//!
//! In each dimension the ends of the rules' ranges cut the values into intervals that don't cross
//! (192.168.0.0 to 192.168.0.255 with 192.168.0.10 to 192.168.0.20 inside becomes three), kept in a
//! balanced tree. Each interval holds the tree of the next dimension, built from just the rules that cover
//! it; the intervals of the last dimension name the rules. So a lookup goes straight down: one search
//! among intervals per dimension, without a way back.
//!
//! A rule is in the tree of every interval that it covers: in the worst case memory grows with *N* to the
//! power of *d*, and one insertion can double it. Therefore it is limited: an insertion that would need
//! more is refused, and changes nothing. Memory is saved in two ways:
//!
//! * Parts that are equal are kept once (a decision diagram, as Strehl and Thiele, "Interval diagrams for
//!   efficient symbolic verification of process networks", 2000, and Gouda and Liu, "Firewall design:
//!   consistency, completeness, and compactness", 2004). So what a set of rules needs does not depend on
//!   how it came to be, and neighbours that have become equal are one interval again.
//! * From the second dimension on, up to eight rules are a list, which is compared one by one.
//!
//! ```
//! use classifier::interval::Interval;
//! use classifier::{Classifier, Range, Rule, Schema};
//! use std::net::Ipv4Addr;
//!
//! #[derive(Debug, Clone, Copy)]
//! struct Address;
//!
//! impl Schema<1> for Address {
//!     type Word = u32;
//!     const WIDTHS: [u32; 1] = [32];
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let between = |low: [u8; 4], high: [u8; 4]| {
//!     Range::new(Ipv4Addr::from(low).to_bits(), Ipv4Addr::from(high).to_bits())
//! };
//! let network = between([192, 168, 0, 0], [192, 168, 0, 255])?;
//! let servers = between([192, 168, 0, 10], [192, 168, 0, 20])?;
//!
//! let mut rules = Interval::<Address, &str, 1>::new();
//! rules.insert(Rule::new([network], 20, "network"))?;
//! let inner = rules.insert(Rule::new([servers], 10, "servers"))?;
//! let intervals: Vec<_> = rules.intervals().collect();
//! assert_eq!(
//!     intervals,
//!     [
//!         between([192, 168, 0, 0], [192, 168, 0, 9])?,
//!         between([192, 168, 0, 10], [192, 168, 0, 20])?,
//!         between([192, 168, 0, 21], [192, 168, 0, 255])?,
//!     ]
//! );
//!
//! rules.remove(inner);
//! assert!(rules.intervals().eq([network]));
//! # Ok(())
//! # }
//! ```

mod chunk;
mod diagram;
mod pool;
mod rules;
mod search;
mod set;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::classify::{Classifier, InsertError, Lookup, check_ranges};
use crate::key::Key;
use crate::range::Range;
use crate::rule::{Match, Rule, RuleId};
use crate::schema::{Ipv4FiveTuple, Ipv6FiveTuple, Schema, check_widths};
use diagram::{Diagram, Stopped};
use rules::{Rules, Stored};
use set::{MOST, Set};

/// How much memory [`Interval::new`] allows, in bytes: 2 GiB.
pub const DEFAULT_MEMORY_LIMIT: usize = 2 << 30;

/// Rules in trees of intervals; see the [module](self).
#[derive(Clone)]
pub struct Interval<S: Schema<D>, A, const D: usize> {
    root: Set,
    diagram: Diagram<S::Word>,
    rules: Rules<S, A, D>,
    next_sequence: u64,
    memory_limit: usize,
}

/// Trees of intervals of IPv4 five-tuples.
pub type Ipv4Interval<A> = Interval<Ipv4FiveTuple, A, 5>;

/// Trees of intervals of IPv6 five-tuples.
pub type Ipv6Interval<A> = Interval<Ipv6FiveTuple, A, 5>;

impl<S: Schema<D>, A, const D: usize> Interval<S, A, D> {
    /// No rules, and at most [`DEFAULT_MEMORY_LIMIT`].
    pub fn new() -> Self {
        Self::with_memory_limit(DEFAULT_MEMORY_LIMIT)
    }

    /// No rules, and at most that many bytes of [memory](Lookup::memory); `usize::MAX` for no limit.
    ///
    /// While an insertion runs, what it replaces counts as well. While one is refused, or a removal runs,
    /// more may be in use for a moment.
    pub fn with_memory_limit(bytes: usize) -> Self {
        const { check_widths::<S, D>() }
        Self {
            root: Set::EMPTY,
            diagram: Diagram::new(),
            rules: Rules::new(),
            next_sequence: 0,
            memory_limit: bytes,
        }
    }

    /// How much memory it may use, in bytes.
    pub fn memory_limit(&self) -> usize {
        self.memory_limit
    }

    /// The intervals of the first dimension that rules cover, from low to high.
    pub fn intervals(&self) -> impl Iterator<Item = Range<S::Word>> {
        self.diagram.intervals(self.root).into_iter()
    }

    fn refuse(&self, stopped: Stopped, elsewhere: usize) -> InsertError {
        match stopped {
            Stopped::Memory(needed) => InsertError::OutOfMemory {
                needed: needed.saturating_add(elsewhere),
                limit: self.memory_limit,
            },
            Stopped::Full => InsertError::Full { rules: self.len() },
        }
    }
}

impl<S: Schema<D>, A, const D: usize> Lookup<S::Word, D> for Interval<S, A, D> {
    type Action = A;

    fn lookup(&self, key: &Key<S::Word, D>) -> Option<&Match<A>> {
        let (set, dimension) = self.diagram.find(self.root, key.values());
        self.diagram.best(&self.rules, set, key, dimension)
    }

    fn lookup_batch<'rules>(
        &'rules self,
        keys: &[Key<S::Word, D>],
        results: &mut [Option<&'rules Match<A>>],
    ) {
        for (keys, results) in keys.chunks(search::LANES).zip(results.chunks_mut(search::LANES)) {
            self.diagram.best_of_lanes(&self.rules, self.root, keys, results);
        }
    }

    fn all_matches(&self, key: &Key<S::Word, D>) -> Vec<&Match<A>> {
        let (set, dimension) = self.diagram.find(self.root, key.values());
        self.diagram.all(&self.rules, set, key, dimension)
    }

    fn get(&self, id: RuleId) -> Option<Rule<S::Word, D, &A>> {
        self.rules
            .by_id(id)
            .map(|rule| Rule::new(rule.ranges, rule.found.priority, &rule.found.action))
    }

    fn len(&self) -> usize {
        self.rules.len()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.diagram.memory() + self.rules.memory()
    }
}

impl<S: Schema<D>, A, const D: usize> Classifier<S::Word, D> for Interval<S, A, D> {
    fn insert(&mut self, rule: Rule<S::Word, D, A>) -> Result<RuleId, InsertError> {
        check_ranges::<S, D>(&rule.ranges)?;
        if self.len() >= MOST {
            return Err(InsertError::Full { rules: self.len() });
        }
        let id = RuleId::new(self.next_sequence, self.rules.next_index());
        let mark = self.rules.mark();
        let index = self.rules.insert(Stored {
            ranges: rule.ranges,
            found: Match {
                id,
                priority: rule.priority,
                action: rule.action,
            },
        });
        let elsewhere = size_of::<Self>() + self.rules.memory();
        let limit = self.memory_limit.saturating_sub(elsewhere);
        match self.diagram.add(&self.rules, self.root, index, limit) {
            Ok(root) => self.root = root,
            Err(stopped) => {
                self.rules.remove(index);
                self.rules.restore(mark);
                return Err(self.refuse(stopped, elsewhere));
            }
        }
        self.next_sequence += 1;
        Ok(id)
    }

    fn remove(&mut self, id: RuleId) -> Option<Rule<S::Word, D, A>> {
        self.rules.by_id(id)?;
        self.root = self.diagram.take(&self.rules, self.root, id.slot());
        let Stored { ranges, found } = self.rules.remove(id.slot())?;
        Some(Rule::new(ranges, found.priority, found.action))
    }

    fn clear(&mut self) {
        *self = Self {
            next_sequence: self.next_sequence,
            ..Self::with_memory_limit(self.memory_limit)
        };
    }
}

impl<S: Schema<D>, A, const D: usize> Default for Interval<S, A, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Schema<D>, A, const D: usize> fmt::Debug for Interval<S, A, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval")
            .field("rules", &self.len())
            .field("memory", &self.memory())
            .field("memory_limit", &self.memory_limit)
            .finish_non_exhaustive()
    }
}
