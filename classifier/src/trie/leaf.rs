//! The rules that end at one node of the last dimension.

use std::collections::BTreeSet;

use crate::rule::Rank;
use crate::slab::{NIL, Slab};

/// A rule, by its place in the total order and in the trie's slab of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) rank: Rank,
    pub(super) rule: u32,
}

/// One or more rules of the same box, best first.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    best: Entry,
    /// Boxes rarely occur twice, so this rarely allocates; when one does many times, changes stay
    /// logarithmic.
    others: BTreeSet<Entry>,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            best: Entry {
                rank: Rank::LAST,
                rule: NIL,
            },
            others: BTreeSet::new(),
        }
    }
}

impl Leaf {
    #[inline]
    pub(super) fn best(&self) -> Entry {
        self.best
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        std::iter::once(self.best).chain(self.others.iter().copied())
    }
}

/// All leaves of a trie.
#[derive(Debug, Clone)]
pub(super) struct Leaves {
    leaves: Slab<Leaf>,
    /// Entries in `others` of all leaves.
    others: usize,
}

impl Leaves {
    pub(super) const fn new() -> Self {
        Self {
            leaves: Slab::new(),
            others: 0,
        }
    }

    #[inline]
    pub(super) fn get(&self, leaf: u32) -> &Leaf {
        &self.leaves[leaf]
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.leaves.len()
    }

    pub(super) fn room(&self) -> usize {
        self.leaves.room()
    }

    /// Adds to a leaf, or makes one if there is none yet; returns its index.
    pub(super) fn add(&mut self, leaf: u32, entry: Entry) -> u32 {
        if leaf == NIL {
            return self.leaves.insert(Leaf {
                best: entry,
                others: BTreeSet::new(),
            });
        }
        let Leaf { best, others } = &mut self.leaves[leaf];
        others.insert((*best).max(entry));
        *best = (*best).min(entry);
        self.others += 1;
        leaf
    }

    /// Takes an entry out; returns the leaf's index, or [`NIL`] if nothing is left of it.
    pub(super) fn remove(&mut self, leaf: u32, entry: Entry) -> u32 {
        let Leaf { best, others } = &mut self.leaves[leaf];
        if *best != entry {
            self.others -= usize::from(others.remove(&entry));
        } else if let Some(next) = others.pop_first() {
            *best = next;
            self.others -= 1;
        } else {
            self.leaves.remove(leaf);
            return NIL;
        }
        leaf
    }

    /// Allocated memory in bytes. What sets of equal boxes need is estimated: their nodes are between
    /// half full and full.
    pub(super) fn memory(&self) -> usize {
        self.leaves.memory() + self.others * size_of::<Entry>() * 3 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Leaves};
    use crate::rule::Rank;
    use crate::slab::NIL;

    #[test]
    fn best_first_whatever_the_order_of_changes() {
        let entry = |sequence| Entry {
            rank: Rank {
                priority: 1,
                sequence,
            },
            rule: sequence as u32,
        };
        let mut leaves = Leaves::new();
        let leaf = leaves.add(NIL, entry(2));
        for sequence in [4, 1, 3] {
            assert_eq!(leaves.add(leaf, entry(sequence)), leaf);
        }
        assert!(leaves.get(leaf).iter().eq([1, 2, 3, 4].map(entry)));
        assert_eq!(leaves.remove(leaf, entry(3)), leaf);
        assert_eq!(leaves.remove(leaf, entry(1)), leaf);
        assert!(leaves.get(leaf).iter().eq([2, 4].map(entry)));
        assert_eq!(leaves.remove(leaf, entry(2)), leaf);
        assert_eq!(leaves.remove(leaf, entry(4)), NIL);
        assert_eq!((leaves.len(), leaves.memory()), (0, 0));
    }
}
