//! Looking keys up, one by one and many at once.

use super::Trie;
use super::group::Entry;
use super::node::members;
use super::slot::{Kind, Slot};
use crate::key::Key;
use crate::rule::{Match, covers};
use crate::schema::Schema;
use crate::word::Word;

/// How many keys are looked up at once: while one waits for memory, the others go on.
const LANES: usize = 16;
/// How many slots wait in a [`Walk`]. Those that don't fit are walked by recursion.
const WAITING: usize = 32;
/// A node adds a child, and a slot for each shorter prefix in it.
const MOST_ADDED: usize = 7;

/// The search for one key.
struct Walk {
    waiting: [Slot; WAITING],
    count: usize,
    best: Entry,
}

impl Walk {
    fn new(root: Slot, best: Entry) -> Self {
        let mut walk = Self {
            waiting: [Slot::EMPTY; WAITING],
            count: 1,
            best,
        };
        walk.waiting[0] = root;
        walk
    }

    #[inline]
    fn push(&mut self, slot: Slot) {
        if slot.priority <= self.best.rank.priority {
            self.waiting[self.count] = slot;
            self.count += 1;
        }
    }

    /// The next slot that may hold a better rule.
    #[inline]
    fn pop(&mut self) -> Option<Slot> {
        while self.count > 0 {
            self.count -= 1;
            let slot = self.waiting[self.count];
            if slot.priority <= self.best.rank.priority {
                return Some(slot);
            }
        }
        None
    }
}

impl<S: Schema<D>, A, const D: usize> Trie<S, A, D> {
    /// Whether a key's values fit into their dimensions.
    #[inline]
    fn fits(key: &Key<S::Word, D>) -> bool {
        key.values()
            .iter()
            .zip(S::WIDTHS)
            .all(|(&value, width)| value <= S::Word::low_bits(width))
    }

    /// The best rule that accepts the key.
    pub(super) fn search(&self, key: &Key<S::Word, D>) -> Entry {
        if !Self::fits(key) {
            return Entry::LAST;
        }
        self.search_from(self.root, key, Entry::LAST)
    }

    fn search_from(&self, slot: Slot, key: &Key<S::Word, D>, best: Entry) -> Entry {
        let mut walk = Walk::new(slot, best);
        while let Some(slot) = walk.pop() {
            self.step(&mut walk, slot, key);
        }
        walk.best
    }

    /// Looks at what is behind one slot.
    #[inline]
    fn step(&self, walk: &mut Walk, slot: Slot, key: &Key<S::Word, D>) {
        match slot.target.kind() {
            Kind::Nothing => {}
            Kind::Rule(rule) => {
                if let Some(stored) = self.rules.get(rule).and_then(Option::as_ref) {
                    let rank = stored.found.rank();
                    if rank < walk.best.rank && covers(&stored.ranges, key) {
                        walk.best = Entry { rank, rule };
                    }
                }
            }
            Kind::Group(group) => walk.best = walk.best.min(self.groups.get(group).best()),
            Kind::Node(_) if walk.count + MOST_ADDED > WAITING => {
                walk.best = self.search_from(slot, key, walk.best);
            }
            Kind::Node(index) => {
                let node = self.nodes.get(index);
                let value = key.values()[node.dimension()];
                if node.covers(value) {
                    let child = node.child_of(value);
                    for place in members(node.above(child)) {
                        walk.push(self.nodes.slot(node, place));
                    }
                    let slot = self.nodes.slot(node, child);
                    if !slot.is_empty() {
                        walk.push(slot);
                    }
                }
            }
        }
    }

    /// Looks up all keys, several at once.
    pub(super) fn search_all<'rules>(
        &'rules self,
        keys: &[Key<S::Word, D>],
        results: &mut [Option<&'rules Match<A>>],
    ) {
        for (keys, results) in keys.chunks(LANES).zip(results.chunks_mut(LANES)) {
            let mut walks: [Walk; LANES] = std::array::from_fn(|_| Walk::new(self.root, Entry::LAST));
            let mut active: u32 = 0;
            for (lane, key) in keys.iter().take(results.len()).enumerate() {
                active |= u32::from(Self::fits(key)) << lane;
            }
            while active != 0 {
                for lane in members(active.into()) {
                    let walk = &mut walks[lane as usize];
                    match walk.pop() {
                        Some(slot) => {
                            self.step(walk, slot, &keys[lane as usize]);
                            if let Some(next) = walk.waiting[..walk.count].last() {
                                self.prefetch(*next);
                            }
                        }
                        None => active &= !(1 << lane),
                    }
                }
            }
            for (walk, result) in walks.iter().zip(results) {
                *result = self.found(walk.best);
            }
        }
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        match slot.target.kind() {
            Kind::Node(index) => self.nodes.prefetch(index),
            Kind::Rule(rule) => self.rules.prefetch(rule),
            Kind::Group(_) | Kind::Nothing => {}
        }
    }

    /// Collects the rules that accept the key, in no order.
    pub(super) fn collect<'rules>(&'rules self, key: &Key<S::Word, D>, found: &mut Vec<&'rules Match<A>>) {
        let mut waiting = vec![self.root];
        if !Self::fits(key) {
            return;
        }
        while let Some(slot) = waiting.pop() {
            match slot.target.kind() {
                Kind::Nothing => {}
                Kind::Rule(rule) => {
                    let stored = self.rules.get(rule).and_then(Option::as_ref);
                    found.extend(
                        stored
                            .filter(|stored| covers(&stored.ranges, key))
                            .map(|stored| &stored.found),
                    );
                }
                Kind::Group(group) => {
                    found.extend(
                        self.groups
                            .get(group)
                            .iter()
                            .filter_map(|entry| self.found(entry)),
                    );
                }
                Kind::Node(index) => {
                    let node = self.nodes.get(index);
                    let value = key.values()[node.dimension()];
                    if node.covers(value) {
                        let child = node.child_of(value);
                        let places = members(node.above(child)).chain([child]);
                        waiting.extend(places.map(|place| self.nodes.slot(node, place)));
                    }
                }
            }
        }
    }
}
