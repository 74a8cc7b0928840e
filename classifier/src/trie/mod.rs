//! Multi-dimensional PATRICIA tries: memory in proportion to the rules, cheap changes.
//!
//! There is one trie per dimension. A node stands for a bit prefix; paths without a branch are
//! compressed. A node where some rule's prefix ends points to the trie of the next dimension, which holds
//! just the rules with exactly that prefix; the nodes of the last dimension hold the rules.
//!
//! A lookup walks down the bits of the key. Every node on the way at which rules end leads to a trie of the next
//! dimension that has to be searched too, since a short prefix may belong to a better rule. Each node
//! knows the best rule below it, so subtrees that can't win are left out.
//!
//! Ranges that are no prefix are split into prefixes, and a rule is stored for each combination over the
//! dimensions, up to [`MAX_PREFIXES`].

mod leaf;
mod node;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use crate::classify::{Classifier, InsertError, Lookup, check_ranges};
use crate::key::Key;
use crate::range::{Prefix, Range};
use crate::rule::{Match, Rank, Rule, RuleId};
use crate::schema::{Ipv4FiveTuple, Ipv6FiveTuple, Schema, check_widths};
use crate::slab::{NIL, Slab};
use leaf::{Entry, Leaves};
use node::{Node, find_or_add};

/// How many combinations of prefixes one rule may split into. Two arbitrary port ranges make at most 900,
/// two arbitrary IPv4 address ranges 3,844, both together are refused in the worst case.
pub const MAX_PREFIXES: u64 = 65_536;

/// Rules in multi-dimensional PATRICIA tries; see the [module](self).
#[derive(Clone)]
pub struct Trie<S: Schema<D>, A, const D: usize> {
    /// The root of the first dimension's trie (of the leaf if there are no dimensions).
    root: u32,
    nodes: Slab<Node<S::Word>>,
    leaves: Leaves,
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
            root: NIL,
            nodes: Slab::new(),
            leaves: Leaves::new(),
            rules: Slab::new(),
            next_sequence: 0,
            schema: PhantomData,
        }
    }

    /// How many trie nodes there are, in all dimensions.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Searches the trie at `root` and those behind it for a rule better than `best`.
    fn search(&self, root: u32, values: &[S::Word], best: &mut Entry) {
        let Some((&value, rest)) = values.split_first() else {
            *best = self.leaves.get(root).best().min(*best);
            return;
        };
        let mut index = root;
        while index != NIL {
            let node = &self.nodes[index];
            if node.best >= best.rank || !node.covers(value) {
                return;
            }
            if node.next != NIL {
                self.search(node.next, rest, best);
            }
            index = node.child(value);
        }
    }

    /// Collects the rules of the trie at `root` and those behind it that accept the values.
    fn collect<'trie>(&'trie self, root: u32, values: &[S::Word], found: &mut Vec<&'trie Match<A>>) {
        let Some((&value, rest)) = values.split_first() else {
            found.extend(self.leaves.get(root).iter().filter_map(|entry| self.found(entry)));
            return;
        };
        let mut index = root;
        while index != NIL {
            let node = &self.nodes[index];
            if !node.covers(value) {
                return;
            }
            if node.next != NIL {
                self.collect(node.next, rest, found);
            }
            index = node.child(value);
        }
    }

    /// Adds a rule to the trie at `root` and those behind it; returns the new root.
    fn add(&mut self, mut root: u32, ranges: &[Range<S::Word>], entry: Entry) -> u32 {
        let Some((range, rest)) = ranges.split_first() else {
            return self.leaves.add(root, entry);
        };
        for prefix in range.prefixes() {
            let (new_root, node) = find_or_add(&mut self.nodes, root, prefix, entry.rank);
            root = new_root;
            self.nodes[node].next = self.add(self.nodes[node].next, rest, entry);
        }
        root
    }

    /// Takes a rule out of the trie at `root` and those behind it; returns the new root, or [`NIL`] if
    /// nothing is left.
    fn take(&mut self, mut root: u32, ranges: &[Range<S::Word>], entry: Entry) -> u32 {
        let Some((range, rest)) = ranges.split_first() else {
            return self.leaves.remove(root, entry);
        };
        for prefix in range.prefixes() {
            root = self.take_prefix(root, prefix, rest, entry);
        }
        root
    }

    /// Takes a rule out from behind one prefix in the subtree at `index`; returns what replaces that
    /// subtree. The depth is bounded by the width of the dimension.
    fn take_prefix(
        &mut self,
        index: u32,
        prefix: Prefix<S::Word>,
        rest: &[Range<S::Word>],
        entry: Entry,
    ) -> u32 {
        let node = self.nodes[index];
        if u32::from(node.free) == prefix.free {
            self.nodes[index].next = self.take(node.next, rest, entry);
        } else if let Some(side) = node.side(prefix.bits) {
            self.nodes[index].children[side] = self.take_prefix(node.children[side], prefix, rest, entry);
        }
        let node = self.nodes[index];
        if let (NIL, [child, NIL] | [NIL, child]) = (node.next, node.children) {
            self.nodes.remove(index);
            return child;
        }
        if node.best == entry.rank {
            self.nodes[index].best = self.best_below(&node, rest.is_empty());
        }
        index
    }

    /// The best rule of a node's children and next dimension.
    fn best_below(&self, node: &Node<S::Word>, last_dimension: bool) -> Rank {
        let next = match node.next {
            NIL => Rank::LAST,
            leaf if last_dimension => self.leaves.get(leaf).best().rank,
            root => self.nodes[root].best,
        };
        let children = node.children.into_iter().filter(|&child| child != NIL);
        children.map(|child| self.nodes[child].best).fold(next, Rank::min)
    }

    fn found(&self, entry: Entry) -> Option<&Match<A>> {
        self.rules.get(entry.rule)?.as_ref().map(|rule| &rule.found)
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
        if self.root == NIL {
            return None;
        }
        let mut best = Entry {
            rank: Rank::LAST,
            rule: NIL,
        };
        self.search(self.root, key.values(), &mut best);
        self.found(best)
    }

    fn all_matches(&self, key: &Key<S::Word, D>) -> Vec<&Match<A>> {
        let mut found = Vec::new();
        if self.root != NIL {
            self.collect(self.root, key.values(), &mut found);
            found.sort_unstable_by_key(|found| found.rank());
        }
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
        size_of::<Self>() + self.nodes.memory() + self.leaves.memory() + self.rules.memory()
    }
}

impl<S: Schema<D>, A, const D: usize> Classifier<S::Word, D> for Trie<S, A, D> {
    fn insert(&mut self, rule: Rule<S::Word, D, A>) -> Result<RuleId, InsertError> {
        check_ranges::<S, D>(&rule.ranges)?;
        let counts = rule.ranges.iter().map(|range| range.prefixes().count() as u64);
        let prefixes = counts.fold(1, u64::saturating_mul);
        if prefixes > MAX_PREFIXES {
            return Err(InsertError::TooManyPrefixes {
                prefixes,
                limit: MAX_PREFIXES,
            });
        }
        // Each prefix adds at most a node and a branch in each dimension, and one leaf.
        let most = prefixes as usize;
        if self.nodes.room() < 2 * D * most || self.leaves.room() < most || self.rules.room() == 0 {
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
        self.root = self.add(self.root, &rule.ranges, entry);
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
        self.root = self.take(self.root, &ranges, entry);
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
