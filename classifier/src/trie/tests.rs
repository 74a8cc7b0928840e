use proptest::prelude::*;

use std::cmp::Ordering;

use super::node::CHILDREN;
use super::slot::Kind;
use super::*;
use crate::range::Prefix;
use crate::range::RangeError;

#[derive(Debug, Clone, Copy)]
struct Two;

impl Schema<2> for Two {
    type Word = u32;
    const WIDTHS: [u32; 2] = [32, 4];
}

#[derive(Debug, Clone, Copy)]
struct NoDimensions;

impl Schema<0> for NoDimensions {
    type Word = u32;
    const WIDTHS: [u32; 0] = [];
}

type Small = Trie<Two, u32, 2>;

impl<S: Schema<D>, A, const D: usize> Trie<S, A, D> {
    /// Checks every node's place, need and best priority, and that nothing is held that can't be reached.
    fn check(&self) {
        let mut reached = (0, 0);
        if self.root.is_empty() {
            assert!(self.is_empty());
        } else {
            let free = S::WIDTHS.first().copied().unwrap_or(0);
            self.check_slot(self.root, 0, Prefix::new(S::Word::ZERO, free), &mut reached);
        }
        assert_eq!(reached, (self.nodes.len(), self.groups.len()));
    }

    /// Checks what is behind a slot, which is within that prefix of that dimension.
    fn check_slot(
        &self,
        slot: Slot,
        dimension: usize,
        within: Prefix<S::Word>,
        reached: &mut (usize, usize),
    ) {
        match slot.target.kind() {
            Kind::Nothing | Kind::Above(_) => panic!("an empty slot is used"),
            Kind::Rule(rule) => {
                let stored = self.rules.get(rule).and_then(Option::as_ref);
                let stored = stored.expect("the slot's rule is there");
                assert_eq!(slot.priority, stored.found.priority);
                if let Some(range) = stored.ranges.get(dimension) {
                    assert!(range.low() <= within.last() && within.bits <= range.high());
                }
            }
            Kind::Group(group) => {
                reached.1 += 1;
                let entries: Vec<_> = self.groups.get(group).iter().collect();
                assert!(entries.len() > 1 && entries.is_sorted());
                assert_eq!(entries[0].rank.priority, { slot.priority });
                for entry in entries {
                    assert_eq!(self.found(entry.rule).map(Match::rank), Some(entry.rank));
                }
            }
            Kind::Node(index) => {
                reached.0 += 1;
                let node = *self.nodes.get(index);
                let prefix = node.prefix();
                let width = S::WIDTHS[node.dimension()];
                assert_eq!(Prefix::new(prefix.bits, prefix.free), prefix);
                assert_eq!((width - prefix.free) % STRIDE, 0);
                let around = match node.dimension().cmp(&dimension) {
                    Ordering::Less => panic!("a dimension comes again"),
                    Ordering::Equal => within,
                    Ordering::Greater => Prefix::new(S::Word::ZERO, width),
                };
                assert!(around.bits <= prefix.bits && prefix.last() <= around.last());
                let slots: Vec<_> = self.nodes.used_slots(&node).collect();
                let first = slots[0].1;
                if let Kind::Rule(rule) = first.target.kind() {
                    let others = slots.iter().any(|(_, slot)| !slot.target.is_rule(rule));
                    assert!(others, "a node for one rule");
                }
                assert!(
                    slots.len() > 1 || prefix != around || slots[0].0 != 1,
                    "a node that asks for nothing"
                );
                for &(place, slot) in &slots {
                    assert_eq!(self.nodes.slot(&node, place), slot);
                    if place < CHILDREN {
                        let free = S::WIDTHS.get(node.dimension() + 1).copied().unwrap_or(0);
                        let all = Prefix::new(S::Word::ZERO, free);
                        self.check_slot(slot, node.dimension() + 1, all, reached);
                    } else {
                        assert!(prefix.free >= STRIDE);
                        let free = prefix.free - STRIDE;
                        let below = (0..free).fold(S::Word::from(place % CHILDREN), |bits, _| bits + bits);
                        let bits = prefix.bits + below;
                        let child = Prefix { bits, free };
                        self.check_slot(slot, node.dimension(), child, reached);
                    }
                }
                let best = slots.iter().map(|(_, slot)| slot.priority).min();
                assert_eq!(best, Some(slot.priority));
                if node.has_array() {
                    let above = slots.iter().filter(|&&(place, _)| place < CHILDREN);
                    let best = above.map(|(_, slot)| slot.priority).min();
                    assert_eq!(best.unwrap_or(u32::MAX), node.best_above());
                }
            }
        }
    }
}

fn rule(low: u32, high: u32, second: u32, priority: u32) -> Rule<u32, 2, u32> {
    let range = Range::new(low.min(high), low.max(high)).unwrap_or(Range::any(32));
    Rule::new([range, Range::exact(second % 16)], priority, 0)
}

proptest! {
    #[test]
    fn stays_sound_and_returns_all_memory(
        rules in prop::collection::vec((0..64u32, 0..64u32, 0..3u32, 0..3u32), 1..40),
        order in any::<u64>(),
    ) {
        let mut trie = Small::new();
        let empty = trie.memory();
        let mut ids = Vec::new();
        for &(low, high, second, priority) in &rules {
            ids.push(trie.insert(rule(low, high, second, priority))?);
            trie.check();
        }
        while !ids.is_empty() {
            let id = ids.swap_remove(order as usize % ids.len());
            prop_assert!(trie.remove(id).is_some());
            trie.check();
        }
        prop_assert_eq!((trie.nodes(), trie.groups.len(), trie.memory()), (0, 0, empty));
    }
}

#[test]
fn a_refused_rule_changes_nothing() -> Result<(), RangeError> {
    let mut trie = Ipv6Trie::new();
    let worst = Range::new(1, u128::MAX - 1)?;
    let ports = Range::new(1, 65_534)?;
    let mut rule = Rule::any::<Ipv6FiveTuple>(0, ());
    rule.ranges = [worst, worst, ports, ports, Range::any(8)];
    let error = InsertError::TooManyPrefixes {
        prefixes: 254 * 254 * 30 * 30,
        limit: MAX_PREFIXES,
    };
    assert_eq!(trie.insert(rule), Err(error));
    rule.ranges[3] = Range::new(0, 65_536)?;
    assert_eq!(
        trie.insert(rule),
        Err(InsertError::TooWide {
            dimension: 3,
            width: 16,
            high: 65_536
        })
    );
    assert_eq!(
        (trie.len(), trie.nodes(), trie.memory()),
        (0, 0, Ipv6Trie::<()>::new().memory())
    );

    rule.ranges[2..4].fill(Range::any(16));
    let id = trie.insert(rule);
    assert_eq!(
        id.map(RuleId::sequence),
        Ok(0),
        "refused rules take no sequence number"
    );
    assert!(
        trie.lookup(&Key::new([1, u128::MAX - 1, 0, 65_535, 255]))
            .is_some()
    );
    assert!(
        trie.lookup(&Key::new([0, u128::MAX - 1, 0, 65_535, 255]))
            .is_none()
    );
    trie.check();
    Ok(())
}

#[test]
fn the_same_box_many_times() -> Result<(), InsertError> {
    let mut trie = Small::new();
    let ids = (0..2_000)
        .map(|index| trie.insert(rule(5, 5, 1, index % 7)))
        .collect::<Result<Vec<_>, _>>()?;
    trie.check();
    assert_eq!(trie.nodes(), 2);
    let key = Key::new([5, 1]);
    assert_eq!(trie.all_matches(&key).len(), ids.len());
    for (index, &id) in ids.iter().enumerate().filter(|(index, _)| index % 7 == 0) {
        assert_eq!(trie.lookup(&key).map(|found| found.id), Some(id), "rule {index}");
        trie.remove(id);
    }
    assert_eq!(trie.lookup(&key).map(|found| found.id), Some(ids[1]));
    trie.check();
    Ok(())
}

#[test]
fn an_id_is_not_given_again() -> Result<(), InsertError> {
    let mut trie = Small::new();
    let old = trie.insert(rule(0, 9, 1, 0))?;
    assert!(trie.remove(old).is_some());
    let new = trie.insert(rule(0, 9, 1, 0))?;
    assert!(old < new);
    assert_eq!(trie.remove(old), None);
    assert_eq!(trie.len(), 1);
    Ok(())
}

#[test]
fn no_dimensions_at_all() -> Result<(), InsertError> {
    let mut trie = Trie::<NoDimensions, char, 0>::new();
    assert!(trie.lookup(&Key::new([])).is_none());
    let worse = trie.insert(Rule::new([], 2, 'w'))?;
    let better = trie.insert(Rule::new([], 1, 'b'))?;
    assert_eq!(trie.lookup(&Key::new([])).map(|found| found.action), Some('b'));
    trie.remove(better);
    trie.remove(worse);
    trie.check();
    Ok(())
}

#[test]
fn tries_can_be_sent_and_shared() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Ipv4Trie<u16>>();
    check::<Ipv6Trie<u16>>();
}
