//! Looking keys up, one by one and many at once.

use super::Trie;
use super::node::{Node, members};
use super::slot::{Kind, Slot, Target};
use crate::key::Key;
use crate::rule::{Match, Rank, covers};
use crate::schema::Schema;
use crate::slab::NIL;
use crate::word::Word;

/// How many keys are looked up at once: while one waits for memory, the others go on.
const LANES: usize = 16;
/// How many slots wait in a [`Walk`]. Those that don't fit are walked by recursion.
const WAITING: usize = 16;
/// At most so many slots wait more after a step: a node's child, and one for each shorter prefix in it.
const MOST_ADDED: usize = 7;

/// The best rule so far: its priority and where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Best {
    priority: u32,
    rule: u32,
}

impl Best {
    /// No rule yet.
    const NONE: Self = Self {
        priority: u32::MAX,
        rule: NIL,
    };
}

/// The search for one key.
struct Walk {
    waiting: [Slot; WAITING],
    count: usize,
    best: Best,
}

impl Walk {
    #[inline]
    fn new(best: Best) -> Self {
        Self {
            waiting: [Slot::EMPTY; WAITING],
            count: 0,
            best,
        }
    }

    #[inline]
    fn push(&mut self, slot: Slot) {
        if slot.priority <= self.best.priority {
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
            if slot.priority <= self.best.priority {
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
    pub(super) fn search(&self, key: &Key<S::Word, D>) -> Option<&Match<A>> {
        if !Self::fits(key) {
            return None;
        }
        self.found(self.search_from(self.root, key, Best::NONE).rule)
    }

    fn search_from(&self, mut slot: Slot, key: &Key<S::Word, D>, best: Best) -> Best {
        let mut walk = Walk::new(best);
        loop {
            let below = self.step(&mut walk, slot, key);
            slot = if !below.is_empty() && below.priority <= walk.best.priority {
                below
            } else if let Some(next) = walk.pop() {
                next
            } else {
                return walk.best;
            };
        }
    }

    /// A rule that accepts the key. Among equal priorities, the rules themselves say which is the first.
    #[inline]
    fn offer(&self, best: &mut Best, priority: u32, rule: u32) {
        if priority < best.priority || best.rule == NIL || self.is_before(rule, best.rule) {
            *best = Best { priority, rule };
        }
    }

    fn is_before(&self, rule: u32, other: u32) -> bool {
        let rank = |rule| self.found(rule).map_or(Rank::LAST, Match::rank);
        rank(rule) < rank(other)
    }

    /// Looks at what is behind one slot. Returns what comes next: the child of a node, with the longest prefix.
    #[inline(always)]
    fn step(&self, walk: &mut Walk, slot: Slot, key: &Key<S::Word, D>) -> Slot {
        match slot.target.kind() {
            Kind::Nothing => {}
            Kind::Node(_) | Kind::Above(_) if walk.count + MOST_ADDED > WAITING => {
                walk.best = self.search_from(slot, key, walk.best);
            }
            Kind::Node(index) => {
                let node = self.nodes.get(index);
                let value = key.values()[node.dimension()];
                if node.covers(value) {
                    let child = node.child_of(value);
                    let above = node.above(child);
                    if !node.has_array() || D > 1 {
                        self.push_above(walk, node, above);
                    } else if above != 0 {
                        walk.push(Slot {
                            target: Target::above(index),
                            priority: node.best_above(),
                        });
                    }
                    return self.nodes.slot(node, child);
                }
            }
            Kind::Above(index) => {
                let node = self.nodes.get(index);
                let child = node.child_of(key.values()[node.dimension()]);
                self.push_above(walk, node, node.above(child));
            }
            Kind::Rule(rule) => {
                let stored = self.rules.get(rule).and_then(Option::as_ref);
                if stored.is_some_and(|stored| covers(&stored.ranges, key)) {
                    self.offer(&mut walk.best, slot.priority, rule);
                }
            }
            Kind::Group(group) => {
                let rule = self.groups.get(group).best().rule;
                self.offer(&mut walk.best, slot.priority, rule);
            }
        }
        Slot::EMPTY
    }

    /// Lets the slots of these places wait; the longest prefix is the last, and comes first.
    #[inline(always)]
    fn push_above(&self, walk: &mut Walk, node: &Node<S::Word>, above: u64) {
        for place in members(above) {
            let slot = self.nodes.slot(node, place);
            walk.push(slot);
            // In one dimension it is a rule, and the longest prefix often makes the others needless.
            if D > 1 {
                self.prefetch(slot);
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
            let mut walks: [Walk; LANES] = std::array::from_fn(|_| Walk::new(Best::NONE));
            let mut active: u32 = 0;
            for (lane, key) in keys.iter().take(results.len()).enumerate() {
                walks[lane].push(self.root);
                active |= u32::from(Self::fits(key)) << lane;
            }
            while active != 0 {
                for lane in members(active.into()) {
                    let walk = &mut walks[lane as usize];
                    match walk.pop() {
                        Some(slot) => {
                            let below = self.step(walk, slot, &keys[lane as usize]);
                            if !below.is_empty() {
                                walk.push(below);
                            }
                            if let Some(next) = walk.waiting[..walk.count].last() {
                                self.prefetch(*next);
                            }
                        }
                        None => active &= !(1 << lane),
                    }
                }
            }
            for (walk, result) in walks.iter().zip(results) {
                *result = self.found(walk.best.rule);
            }
        }
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        match slot.target.kind() {
            Kind::Node(index) => self.nodes.prefetch(index),
            Kind::Rule(rule) => self.rules.prefetch(rule),
            Kind::Group(_) | Kind::Nothing | Kind::Above(_) => {}
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
                Kind::Nothing | Kind::Above(_) => {}
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
                            .filter_map(|entry| self.found(entry.rule)),
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
