//! Rules that end at the same place in all dimensions.

use std::collections::BTreeSet;

use crate::rule::Rank;
use crate::slab::{NIL, Slab};

/// A rule, by its place in the total order and in the trie's slab of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) rank: Rank,
    pub(super) rule: u32,
}

/// Two or more rules, best first.
#[derive(Debug, Clone)]
pub(super) struct Group {
    best: Entry,
    others: BTreeSet<Entry>,
}

impl Default for Group {
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

impl Group {
    #[inline]
    pub(super) fn best(&self) -> Entry {
        self.best
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        std::iter::once(self.best).chain(self.others.iter().copied())
    }
}

/// What is left of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// A group, with this rule as its best.
    Group(Entry),
    /// One rule, and no group any longer.
    Rule(Entry),
}

/// All groups of a trie.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    groups: Slab<Group>,
    /// What the sets of all groups have allocated, estimated, in bytes.
    sets: usize,
}

impl Groups {
    pub(super) const fn new() -> Self {
        Self {
            groups: Slab::new(),
            sets: 0,
        }
    }

    #[inline]
    pub(super) fn get(&self, group: u32) -> &Group {
        &self.groups[group]
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Makes a group of two rules; returns its index.
    pub(super) fn make(&mut self, one: Entry, other: Entry) -> u32 {
        self.sets += set_memory(1);
        self.groups.insert(Group {
            best: one.min(other),
            others: BTreeSet::from([one.max(other)]),
        })
    }

    pub(super) fn add(&mut self, group: u32, entry: Entry) {
        let Group { best, others } = &mut self.groups[group];
        self.sets -= set_memory(others.len());
        others.insert((*best).max(entry));
        self.sets += set_memory(others.len());
        *best = (*best).min(entry);
    }

    /// Takes one of a group's rules out.
    pub(super) fn remove(&mut self, group: u32, entry: Entry) -> Left {
        let Group { best, others } = &mut self.groups[group];
        self.sets -= set_memory(others.len());
        if *best != entry {
            others.remove(&entry);
        } else if let Some(next) = others.pop_first() {
            *best = next;
        }
        self.sets += set_memory(others.len());
        let best = *best;
        if others.is_empty() {
            self.groups.remove(group);
            return Left::Rule(best);
        }
        Left::Group(best)
    }

    /// Allocated memory in bytes. What the sets need is estimated where they are large.
    pub(super) fn memory(&self) -> usize {
        self.groups.memory() + self.sets
    }
}

/// What a set of that many entries has allocated, in bytes. The nodes of the standard library's B-trees hold up
/// to 11 entries; where there are several, they are between half full and full.
fn set_memory(entries: usize) -> usize {
    const LEAF: usize = 11 * size_of::<Entry>() + 2 * size_of::<usize>();
    const INNER: usize = LEAF + 12 * size_of::<usize>();
    match entries {
        0 => 0,
        1..=11 => LEAF,
        _ => {
            let leaves = entries.div_ceil(8);
            leaves * LEAF + leaves.div_ceil(8) * INNER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Groups, Left};
    use crate::rule::Rank;

    #[test]
    fn best_first_whatever_the_order_of_changes() {
        let entry = |sequence| Entry {
            rank: Rank {
                priority: 1,
                sequence,
            },
            rule: sequence as u32,
        };
        let mut groups = Groups::new();
        let group = groups.make(entry(4), entry(2));
        for sequence in [1, 3] {
            groups.add(group, entry(sequence));
        }
        assert!(groups.get(group).iter().eq([1, 2, 3, 4].map(entry)));
        assert_eq!(groups.remove(group, entry(3)), Left::Group(entry(1)));
        assert_eq!(groups.remove(group, entry(1)), Left::Group(entry(2)));
        assert!(groups.get(group).iter().eq([2, 4].map(entry)));
        assert_eq!(groups.remove(group, entry(2)), Left::Rule(entry(4)));
        assert_eq!((groups.len(), groups.memory()), (0, 0));
    }
}
