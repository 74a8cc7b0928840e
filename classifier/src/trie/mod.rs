//! Multi-dimensional PATRICIA tries: memory in proportion to the rules, cheap changes.
//!
//! There is one trie per dimension. A node stands for a bit prefix and looks at the six bits behind it at
//! once, so it has a place for each of the 63 prefixes that are up to five bits longer than its own, and for
//! 64 children; paths without a branch are compressed. Behind a prefix where some rule's range ends is the
//! trie of the next dimension, which holds just the rules with exactly that prefix.
//!
//! Two things keep the tries small. What leads to a single rule holds no more nodes, in this and all
//! further dimensions, until a second rule comes; the rule itself says what is left to compare. And a
//! dimension in which all rules behind a prefix accept any value takes no node.
//!
//! A lookup walks down the bits of the key. Every prefix on the way at which rules end leads to a trie of the
//! next dimension that has to be searched too, since a short prefix may belong to a better rule. The
//! longest is searched first. Each place knows the best priority behind it, so what can't win is left out: if
//! priorities follow the lengths of the prefixes, as in a table of routes, that is all but the longest.
//! [`lookup_batch`](Lookup::lookup_batch) searches for several keys at once, so that their waits for memory
//! overlap.
//!
//! Ranges that are no prefix are split into prefixes, as far as rules share nodes, up to
//! [`MAX_PREFIXES`] combinations over the dimensions.

mod change;
mod group;
mod node;
mod search;
mod slot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use crate::classify::{Classifier, InsertError, Lookup, check_ranges};
use crate::key::Key;
use crate::range::Range;
use crate::rule::{Match, Rule, RuleId};
use crate::schema::{Ipv4FiveTuple, Ipv6FiveTuple, Schema, check_widths};
use crate::slab::Slab;
use crate::word::Word;
use group::{Entry, Groups};
use node::{Nodes, STRIDE};
pub(crate) use slot::Slot;
use slot::Target;

/// How many combinations of prefixes one rule may split into at worst. Two arbitrary port ranges make at most 900,
/// two arbitrary IPv4 address ranges 3,844, both together are refused in the worst case.
pub const MAX_PREFIXES: u64 = 65_536;

/// Rules in multi-dimensional PATRICIA tries; see the [module](self).
#[derive(Clone)]
pub struct Trie<S: Schema<D>, A, const D: usize> {
    /// What holds all rules.
    root: Slot,
    nodes: Nodes<S::Word>,
    groups: Groups,
    rules: Slab<Option<Stored<S, A, D>>>,
    next_sequence: u64,
    schema: PhantomData<S>,
}

/// A trie of IPv4 five-tuples.
pub type Ipv4Trie<A> = Trie<Ipv4FiveTuple, A, 5>;

/// A trie of IPv6 five-tuples.
pub type Ipv6Trie<A> = Trie<Ipv6FiveTuple, A, 5>;

#[derive(Clone)]
struct Stored<S: Schema<D>, A, const D: usize> {
    ranges: [Range<S::Word>; D],
    found: Match<A>,
}

impl<S: Schema<D>, A, const D: usize> Trie<S, A, D> {
    /// No rules.
    pub fn new() -> Self {
        const { check_widths::<S, D>() }
        Self {
            root: Slot::EMPTY,
            nodes: Nodes::new(),
            groups: Groups::new(),
            rules: Slab::new(),
            next_sequence: 0,
            schema: PhantomData,
        }
    }

    /// How many trie nodes there are, in all dimensions.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    #[inline]
    fn found(&self, rule: u32) -> Option<&Match<A>> {
        self.rules.get(rule)?.as_ref().map(|rule| &rule.found)
    }

    fn stored(&self, id: RuleId) -> Option<&Stored<S, A, D>> {
        self.rules
            .get(id.slot())?
            .as_ref()
            .filter(|rule| rule.found.id == id)
    }
}

impl<S: Schema<D>, A, const D: usize> Lookup<S::Word, D> for Trie<S, A, D> {
    type Action = A;

    fn lookup(&self, key: &Key<S::Word, D>) -> Option<&Match<A>> {
        self.search(key)
    }

    fn lookup_batch<'rules>(
        &'rules self,
        keys: &[Key<S::Word, D>],
        results: &mut [Option<&'rules Match<A>>],
    ) {
        self.search_all(keys, results);
    }

    fn all_matches(&self, key: &Key<S::Word, D>) -> Vec<&Match<A>> {
        let mut found = Vec::new();
        self.collect(key, &mut found);
        found.sort_unstable_by_key(|found| found.rank());
        found
    }

    fn get(&self, id: RuleId) -> Option<Rule<S::Word, D, &A>> {
        self.stored(id)
            .map(|rule| Rule::new(rule.ranges, rule.found.priority, &rule.found.action))
    }

    fn len(&self) -> usize {
        self.rules.len()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.nodes.memory() + self.groups.memory() + self.rules.memory()
    }
}

impl<S: Schema<D>, A, const D: usize> Classifier<S::Word, D> for Trie<S, A, D> {
    fn insert(&mut self, rule: Rule<S::Word, D, A>) -> Result<RuleId, InsertError> {
        check_ranges::<S, D>(&rule.ranges)?;
        let prefixes = if rule.ranges.iter().all(Range::is_prefix) {
            1
        } else {
            let counts = rule.ranges.iter().map(|range| range.prefixes().count() as u64);
            counts.fold(1, u64::saturating_mul)
        };
        if prefixes > MAX_PREFIXES {
            return Err(InsertError::TooManyPrefixes {
                prefixes,
                limit: MAX_PREFIXES,
            });
        }
        // In each dimension, a prefix adds at most two nodes, and one slot to each node on its path.
        let most = prefixes as usize * D;
        let path = (S::Word::BITS / STRIDE + 1) as usize;
        if !self.nodes.have_room(2 * most, path * most) || self.rules.len() >= Target::LIMIT as usize {
            return Err(InsertError::Full { rules: self.len() });
        }

        let id = RuleId::new(self.next_sequence, self.rules.next_index());
        self.next_sequence += 1;
        let found = Match {
            id,
            priority: rule.priority,
            action: rule.action,
        };
        let entry = Entry {
            rank: found.rank(),
            rule: id.slot(),
        };
        self.add(&rule.ranges, entry);
        self.rules.insert(Some(Stored {
            ranges: rule.ranges,
            found,
        }));
        Ok(id)
    }

    fn remove(&mut self, id: RuleId) -> Option<Rule<S::Word, D, A>> {
        self.stored(id)?;
        let Stored { ranges, found } = self.rules.remove(id.slot())?;
        let entry = Entry {
            rank: found.rank(),
            rule: id.slot(),
        };
        self.take(&ranges, entry);
        Some(Rule::new(ranges, found.priority, found.action))
    }

    fn clear(&mut self) {
        *self = Self {
            next_sequence: self.next_sequence,
            ..Self::new()
        };
    }
}

impl<S: Schema<D>, A, const D: usize> Default for Trie<S, A, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Schema<D>, A, const D: usize> fmt::Debug for Trie<S, A, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trie")
            .field("rules", &self.len())
            .field("nodes", &self.nodes())
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}
