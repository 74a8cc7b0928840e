//! All rules of a set by their ids: the writer's own list, that nothing searches.

use crate::rule::{Match, Rule, RuleId};
use crate::word::Word;

/// The place of rules of the residual list.
pub(super) const RESIDUAL: u8 = u8::MAX;

/// In place of a sequence: no rule.
const VACANT: u64 = u64::MAX;

/// A rule, and which table it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<W, A, const D: usize> {
    pub(super) rule: Rule<W, D, A>,
    sequence: u64,
    /// The index of its table, or [`RESIDUAL`].
    pub(super) table: u8,
}

/// Rules in slots, that are used again.
#[derive(Debug)]
pub(super) struct Store<W, A, const D: usize> {
    slots: Vec<Stored<W, A, D>>,
    vacant: Vec<u32>,
}

impl<W: Word, A: Copy, const D: usize> Stored<W, A, D> {
    /// What a lookup that finds the rule answers.
    pub(super) fn found(&self, slot: u32) -> Match<A> {
        Match {
            id: RuleId::new(self.sequence, slot),
            priority: self.rule.priority,
            action: self.rule.action,
        }
    }
}

impl<W: Word, A: Copy, const D: usize> Store<W, A, D> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Stored<W, A, D>>() + self.vacant.capacity() * size_of::<u32>()
    }

    /// Stores a rule and returns its slot. There must be fewer than 2^32 − 1.
    pub(super) fn insert(&mut self, rule: Rule<W, D, A>, sequence: u64) -> u32 {
        let stored = Stored {
            rule,
            sequence,
            table: RESIDUAL,
        };
        if let Some(slot) = self.vacant.pop() {
            self.slots[slot as usize] = stored;
            return slot;
        }
        if self.slots.len() == self.slots.capacity() {
            // By a quarter, not by doubling: of a large set the room to grow is a part of its memory.
            self.slots.reserve_exact((self.slots.len() / 4).max(16));
        }
        self.slots.push(stored);
        (self.slots.len() - 1) as u32
    }

    /// Makes room for that many rules.
    pub(super) fn reserve(&mut self, rules: usize) {
        self.slots.reserve_exact(rules);
    }

    pub(super) fn get(&self, id: RuleId) -> Option<&Stored<W, A, D>> {
        self.slots
            .get(id.slot() as usize)
            .filter(|stored| stored.sequence == id.sequence())
    }

    /// The rule in a slot that holds one.
    pub(super) fn at(&self, slot: u32) -> &Stored<W, A, D> {
        &self.slots[slot as usize]
    }

    /// Notes the table of the rule in a slot that holds one.
    pub(super) fn set_table(&mut self, slot: u32, table: u8) {
        self.slots[slot as usize].table = table;
    }

    pub(super) fn remove(&mut self, id: RuleId) -> Option<Stored<W, A, D>> {
        let stored = *self.get(id)?;
        self.slots[id.slot() as usize].sequence = VACANT;
        self.vacant.push(id.slot());
        if self.len() == 0 {
            *self = Self::new();
        }
        Some(stored)
    }

    /// The slots of all rules, in the rules' order.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let mut ranked: Vec<(u32, u64, u32)> = self
            .slots
            .iter()
            .zip(0..)
            .filter(|(stored, _)| stored.sequence != VACANT)
            .map(|(stored, slot)| (stored.rule.priority, stored.sequence, slot))
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, _, slot)| slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Store;
    use crate::{Ipv4FiveTuple, Rule};

    #[test]
    fn ids_are_of_one_rule_alone() {
        let mut store = Store::new();
        let mut insert = |priority, sequence| {
            let slot = store.insert(Rule::any::<Ipv4FiveTuple>(priority, ()), sequence);
            store.at(slot).found(slot).id
        };
        let ids = [insert(5, 0), insert(3, 1), insert(5, 2)];
        assert_eq!(store.in_order(), [1, 0, 2]);
        assert_eq!(store.remove(ids[1]).map(|stored| stored.rule.priority), Some(3));
        assert!(store.remove(ids[1]).is_none());
        assert_eq!(store.insert(Rule::any::<Ipv4FiveTuple>(9, ()), 3), 1);
        assert!(store.get(ids[1]).is_none());
        assert_eq!(store.len(), 3);
        let again = store.at(1).found(1).id;
        for id in [ids[0], ids[2], again] {
            assert!(store.remove(id).is_some());
        }
        assert_eq!((store.len(), store.memory()), (0, 0));
    }
}
