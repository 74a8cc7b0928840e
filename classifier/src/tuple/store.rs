//! All rules of a set by their ids: the writer's own list, that nothing searches.
#![allow(unsafe_code)]

use super::arena::Arena;
use super::listing::Listing;
use crate::range::Range;
use crate::rule::{Match, Rule, RuleId};
use crate::word::Word;

/// A rule of the set, or one that was. With five 32-bit dimensions and an action of 32 bits, a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Stored<W, A, const D: usize> {
    rule: Rule<W, D, A>,
    sequence: u64,
    /// Whether it is in the set.
    present: bool,
}

/// Rules in slots, that are used again.
#[derive(Debug)]
pub(super) struct Store<W, A, const D: usize> {
    slots: Arena<Stored<W, A, D>>,
    /// Slots that were ever used; the others hold nothing.
    used: usize,
    vacant: Vec<u32>,
    len: usize,
}

impl<W: Word, A: Copy, const D: usize> Stored<W, A, D> {
    /// What a lookup that finds the rule answers.
    fn found(&self, slot: usize) -> Match<A> {
        Match {
            id: RuleId::new(self.sequence, slot as u32),
            priority: self.rule.priority,
            action: self.rule.action,
        }
    }
}

impl<W: Word, A: Copy, const D: usize> Store<W, A, D> {
    pub(super) fn new() -> Self {
        Self {
            slots: Arena::new(0),
            used: 0,
            vacant: Vec::new(),
            len: 0,
        }
    }

    /// Rules in the set.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory(&self) -> usize {
        self.slots.memory() + self.vacant.capacity() * size_of::<u32>()
    }

    /// Stores a rule and returns its slot. There must be fewer than 2^32 − 1.
    pub(super) fn insert(&mut self, rule: Rule<W, D, A>, sequence: u64) -> u32 {
        let stored = Stored {
            rule,
            sequence,
            present: true,
        };
        self.len += 1;
        if let Some(slot) = self.vacant.pop() {
            *self.slot_mut(slot as usize) = stored;
            return slot;
        }
        if self.used == self.slots.capacity() {
            // By a quarter, not by doubling: of a large set the room to grow is a part of its memory.
            self.reserve((self.used / 4).max(16));
        }
        // SAFETY: below the capacity; nobody has a reference to what was there.
        unsafe { self.slots.write(self.used, stored) };
        self.used += 1;
        (self.used - 1) as u32
    }

    /// Makes room for that many rules more.
    pub(super) fn reserve(&mut self, rules: usize) {
        // SAFETY: all slots that were used were written.
        self.slots = unsafe { self.slots.copied(self.used, self.used + rules) };
    }

    fn slot(&self, slot: usize) -> Option<&Stored<W, A, D>> {
        // SAFETY: all slots that were used were written, and `self` is borrowed.
        (slot < self.used).then(|| unsafe { self.slots.get(slot) })
    }

    fn slot_mut(&mut self, slot: usize) -> &mut Stored<W, A, D> {
        assert!(slot < self.used);
        // SAFETY: all slots that were used were written, and `self` is borrowed mutably.
        unsafe { self.slots.get_mut(slot) }
    }

    /// The rule of that id, if it is in the set.
    pub(super) fn get(&self, id: RuleId) -> Option<&Rule<W, D, A>> {
        self.slot(id.slot() as usize)
            .filter(|stored| stored.present && stored.sequence == id.sequence())
            .map(|stored| &stored.rule)
    }

    /// The ranges of the rule that is or was in a slot, and what lookups that find it answer.
    pub(super) fn at(&self, slot: u32) -> Option<(&[Range<W>; D], Match<A>)> {
        let stored = self.slot(slot as usize)?;
        Some((&stored.rule.ranges, stored.found(slot as usize)))
    }

    /// Takes a rule out of the set. Its slot stays as it is until it is [vacated](Self::vacate).
    pub(super) fn remove(&mut self, id: RuleId) -> Option<Rule<W, D, A>> {
        let rule = *self.get(id)?;
        self.slot_mut(id.slot() as usize).present = false;
        self.len -= 1;
        Some(rule)
    }

    /// Gives back the slot of a rule that was taken out.
    pub(super) fn vacate(&mut self, slot: u32) {
        self.vacant.push(slot);
    }

    /// All rules of the set.
    pub(super) fn listing(&self) -> Listing<W, A, D> {
        let stored = (0..self.used).filter_map(|slot| Some((self.slot(slot)?, slot)));
        Listing::sorted(
            stored
                .filter(|(stored, _)| stored.present)
                .map(|(stored, slot)| (stored.rule.ranges, stored.found(slot)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Store;
    use crate::{Ipv4FiveTuple, Rule, RuleId};

    #[test]
    fn ids_are_of_one_rule_alone() {
        let mut store = Store::new();
        let mut insert = |priority, sequence| {
            let slot = store.insert(Rule::any::<Ipv4FiveTuple>(priority, ()), sequence);
            RuleId::new(sequence, slot)
        };
        let ids = [insert(5, 0), insert(3, 1), insert(5, 2)];
        let order: Vec<_> = store.listing().found.iter().map(|found| found.id).collect();
        assert_eq!(order, [ids[1], ids[0], ids[2]]);
        assert_eq!(store.remove(ids[1]).map(|rule| rule.priority), Some(3));
        assert!(store.remove(ids[1]).is_none());
        assert_eq!(
            store.insert(Rule::any::<Ipv4FiveTuple>(9, ()), 3),
            3,
            "not yet vacant"
        );
        store.vacate(ids[1].slot());
        assert_eq!(store.insert(Rule::any::<Ipv4FiveTuple>(9, ()), 4), 1);
        assert!(store.get(ids[1]).is_none() && store.get(RuleId::new(4, 1)).is_some());
        assert_eq!((store.len(), store.listing().found.len()), (4, 4));
        for slot in 0..100 {
            store.insert(Rule::any::<Ipv4FiveTuple>(slot, ()), 5 + u64::from(slot));
        }
        assert_eq!(store.get(ids[2]).map(|rule| rule.priority), Some(5));
    }
}
