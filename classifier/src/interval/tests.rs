use proptest::prelude::*;

use super::chunk::{Chunk, Entry};
use super::diagram::FEW;
use super::set::Kind;
use super::*;
use crate::linear::Linear;
use crate::range::RangeError;
use crate::slab::NIL;
use crate::word::Word;

macro_rules! schema {
    ($name:ident, $dimensions:literal, $widths:expr) => {
        #[derive(Debug, Clone, Copy)]
        struct $name;
        impl Schema<$dimensions> for $name {
            type Word = u32;
            const WIDTHS: [u32; $dimensions] = $widths;
        }
    };
}

schema!(NoDimensions, 0, []);
schema!(One, 1, [32]);
schema!(Three, 3, [6, 5, 32]);

type Small = Interval<Three, u32, 3>;

impl<S: Schema<D>, A, const D: usize> Interval<S, A, D> {
    /// Checks every tree's order and need, that each part is used as often as is counted, and that nothing
    /// is held that can't be reached.
    fn check(&self) {
        let mut uses = Uses {
            chunks: vec![0; self.diagram.chunks.places() as usize],
            lists: vec![0; self.diagram.lists.places() as usize],
        };
        self.check_set(self.root, 0, &mut uses);
        assert_eq!(self.root == Set::EMPTY, self.is_empty());
        for (index, &expected) in (0..).zip(&uses.chunks) {
            assert_eq!(self.diagram.chunks.uses(index), expected);
        }
        for (index, &expected) in (0..).zip(&uses.lists) {
            assert_eq!(self.diagram.lists.uses(index), expected);
        }
    }

    /// Returns the rules in the set.
    fn check_set(&self, set: Set, dimension: usize, uses: &mut Uses) -> Vec<u32> {
        let mut members = Vec::new();
        match set.kind() {
            Kind::Empty => {}
            Kind::One(rule) => members.push(rule),
            Kind::List(list) => {
                uses.lists[list as usize] += 1;
                members.extend(&self.diagram.lists[list].0);
                assert!(members.len() > 1);
                assert!(members.is_sorted_by_key(|&rule| self.rules.rank(rule)));
            }
            Kind::Tree(root) if uses.chunks[root as usize] > 0 => {
                // Checked already.
                uses.chunks[root as usize] += 1;
                self.diagram.collect(set, &mut members);
                members.sort_unstable();
                members.dedup();
            }
            Kind::Tree(root) => {
                let mut entries = Vec::new();
                let mut sets = Vec::new();
                self.check_chunk(root, uses, &mut entries, &mut sets);
                assert_eq!({ entries[0].start }, S::Word::ZERO);
                for pair in entries.windows(2) {
                    assert!({ pair[0].start } < { pair[1].start });
                    assert!({ pair[0].set } != { pair[1].set }, "neighbours that are equal");
                }
                for set in sets {
                    self.check_set(set, dimension + 1, uses);
                }
                self.diagram.collect(set, &mut members);
                members.sort_unstable();
                members.dedup();
                let chunk = &self.diagram.chunks[root];
                assert_eq!(chunk.rules as usize, members.len());
                assert!(dimension == 0 || members.len() > FEW);
                assert!(chunk.level == 0 || chunk.entries.len() > 1);
            }
        }
        assert!(matches!(set.kind(), Kind::Tree(_)) || dimension == D || members.len() <= FEW);
        members
    }

    /// Collects all intervals, and the sets of those chunks that were not checked yet.
    fn check_chunk(
        &self,
        index: u32,
        uses: &mut Uses,
        intervals: &mut Vec<Entry<S::Word>>,
        sets: &mut Vec<Set>,
    ) {
        uses.chunks[index as usize] += 1;
        let first = uses.chunks[index as usize] == 1;
        let Chunk { entries, level, .. } = &self.diagram.chunks[index];
        if *level == 0 {
            intervals.extend(entries);
            if first {
                sets.extend(entries.iter().map(|entry| entry.set));
            }
            return;
        }
        for entry in entries {
            let below = { entry.set }.as_tree().unwrap_or(NIL);
            assert_eq!(self.diagram.chunks[below].level + 1, *level);
            assert_eq!({ entry.start }, { self.diagram.chunks[below].entries[0].start });
            self.check_chunk(below, uses, intervals, sets);
            if !first {
                uses.chunks[below as usize] -= 1;
            }
        }
    }

    /// How many chunks and lists there are, and the memory that they and the rules fill.
    fn filled(&self) -> [usize; 3] {
        [
            self.diagram.chunks.len(),
            self.diagram.lists.len(),
            self.diagram.chunks.owned() + self.diagram.lists.owned(),
        ]
    }
}

/// How often each chunk and list is used.
struct Uses {
    chunks: Vec<u32>,
    lists: Vec<u32>,
}

/// Wide ranges over few values, so that many rules overlap.
fn wide(width: u32) -> impl Strategy<Value = Range<u32>> {
    let highest = u32::MAX >> (32 - width);
    prop_oneof![
        2 => Just(Range::any(width)),
        5 => (0..=highest, 0..=highest).prop_map(|(a, b)| {
            Range::new(a.min(b), a.max(b)).expect("the lower end comes first")
        }),
        1 => (0..=highest).prop_map(Range::exact),
    ]
}

fn rule() -> impl Strategy<Value = Rule<u32, 3, u32>> {
    (wide(6), wide(5), wide(32), 0..4u32)
        .prop_map(|(first, second, third, priority)| Rule::new([first, second, third], priority, 0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn stays_sound_and_returns_all_memory(
        rules in prop::collection::vec(rule(), 1..60),
        order in any::<u64>(),
    ) {
        let mut intervals = Small::new();
        let empty = intervals.memory();
        let mut states = Vec::new();
        let mut ids = Vec::new();
        for rule in &rules {
            states.push(intervals.filled());
            ids.push(intervals.insert(*rule)?);
            if ids.len() % 4 == 0 {
                intervals.check();
            }
        }
        // What is there depends on the rules alone: back the same way, all is as it was.
        let middle = rules.len() / 2;
        while let Some(id) = if ids.len() > middle { ids.pop() } else { None } {
            prop_assert!(intervals.remove(id).is_some());
            prop_assert_eq!(Some(intervals.filled()), states.pop());
        }
        intervals.check();
        while !ids.is_empty() {
            let id = ids.swap_remove(order as usize % ids.len());
            prop_assert!(intervals.remove(id).is_some());
            if ids.len() % 4 == 0 {
                intervals.check();
            }
        }
        prop_assert_eq!((intervals.root, intervals.memory()), (Set::EMPTY, empty));
    }

    #[test]
    fn a_refused_rule_changes_nothing(
        rules in prop::collection::vec(rule(), 30..60),
        limit in 1_000..60_000usize,
    ) {
        let mut intervals = Small::with_memory_limit(limit);
        let mut oracle = Linear::<Three, u32, 3>::new();
        let mut refused = 0;
        for rule in rules {
            let before = intervals.clone();
            let memory = intervals.memory();
            match intervals.insert(rule) {
                Ok(id) => prop_assert_eq!(oracle.insert(rule)?.sequence(), id.sequence()),
                Err(error) => {
                    refused += 1;
                    let InsertError::OutOfMemory { needed, limit: said } = error else {
                        return Err(TestCaseError::fail(error.to_string()));
                    };
                    prop_assert!(said == limit && needed > limit);
                    prop_assert_eq!(intervals.memory(), memory);
                    prop_assert_eq!(intervals.root, before.root);
                    prop_assert_eq!(intervals.filled(), before.filled());
                    prop_assert_eq!(intervals.next_sequence, before.next_sequence);
                    intervals.check();
                }
            }
            prop_assert!(intervals.memory() <= limit.max(memory));
            for first in (0..64).step_by(7) {
                for second in (0..32).step_by(5) {
                    let key = Key::new([first, second, 1 << 31]);
                    let found = |found: &Match<u32>| (found.id.sequence(), found.priority);
                    prop_assert_eq!(
                        intervals.lookup(&key).map(found),
                        oracle.lookup(&key).map(found)
                    );
                }
            }
        }
        prop_assert!(limit > 10_000 || refused > 0);
    }
}

#[test]
fn splits_and_merges() -> Result<(), RangeError> {
    let mut intervals = Interval::<One, char, 1>::new();
    let outer = Range::new(100, 200)?;
    let shape = |intervals: &Interval<One, char, 1>| -> Vec<(u32, u32)> {
        intervals.check();
        let ranges = intervals.intervals();
        ranges.map(|range| (range.low(), range.high())).collect()
    };
    let insert =
        |intervals: &mut Interval<One, char, 1>, range| intervals.insert(Rule::new([range], 0, 'x')).ok();
    let first = insert(&mut intervals, outer);
    assert_eq!(shape(&intervals), [(100, 200)]);
    let inner = insert(&mut intervals, Range::new(110, 120)?);
    assert_eq!(shape(&intervals), [(100, 109), (110, 120), (121, 200)]);
    // The same ends once more cut nothing, and keep what others would merge.
    let again = insert(&mut intervals, Range::new(110, 120)?);
    assert_eq!(shape(&intervals), [(100, 109), (110, 120), (121, 200)]);
    let next = insert(&mut intervals, Range::new(121, u32::MAX)?);
    assert_eq!(
        shape(&intervals),
        [(100, 109), (110, 120), (121, 200), (201, u32::MAX)]
    );
    let remove = |intervals: &mut Interval<One, char, 1>, id: Option<RuleId>| {
        id.and_then(|id| intervals.remove(id)).is_some()
    };
    assert!(remove(&mut intervals, inner));
    assert_eq!(
        shape(&intervals),
        [(100, 109), (110, 120), (121, 200), (201, u32::MAX)]
    );
    assert!(remove(&mut intervals, again));
    assert_eq!(shape(&intervals), [(100, 120), (121, 200), (201, u32::MAX)]);
    assert!(remove(&mut intervals, first));
    assert_eq!(shape(&intervals), [(121, u32::MAX)]);
    assert!(remove(&mut intervals, next));
    assert_eq!(shape(&intervals), []);
    Ok(())
}

#[test]
fn many_intervals_are_a_shallow_tree() -> Result<(), InsertError> {
    let mut intervals = Interval::<One, u32, 1>::new();
    let empty = intervals.memory();
    let value = |index: u32| index.wrapping_mul(0x9e37_79b1);
    let ids = (0..5_000)
        .map(|index| intervals.insert(Rule::new([Range::exact(value(index))], 0, index)))
        .collect::<Result<Vec<_>, _>>()?;
    intervals.check();
    let level = intervals
        .root
        .as_tree()
        .map(|root| intervals.diagram.chunks[root].level);
    assert!(level.is_some_and(|level| (2..=5).contains(&level)), "{level:?}");
    for index in 0..5_000 {
        let found = intervals.lookup(&Key::new([value(index)]));
        assert_eq!(found.map(|found| found.action), Some(index));
    }
    for (index, &id) in ids.iter().enumerate().filter(|(index, _)| index % 100 != 0) {
        assert!(intervals.remove(id).is_some(), "rule {index}");
    }
    intervals.check();
    for &id in ids.iter().step_by(100) {
        assert!(intervals.remove(id).is_some());
    }
    assert_eq!(intervals.memory(), empty);
    Ok(())
}

#[test]
fn the_same_box_many_times() -> Result<(), InsertError> {
    let mut intervals = Small::new();
    let rule = |priority| Rule::new([5, 1, 7].map(Range::exact), priority, 0);
    let ids = (0..500)
        .map(|index| intervals.insert(rule(index % 7)))
        .collect::<Result<Vec<_>, _>>()?;
    intervals.check();
    let key = Key::new([5, 1, 7]);
    assert_eq!(intervals.all_matches(&key).len(), ids.len());
    for (index, &id) in ids.iter().enumerate().filter(|(index, _)| index % 7 == 0) {
        assert_eq!(
            intervals.lookup(&key).map(|found| found.id),
            Some(id),
            "rule {index}"
        );
        intervals.remove(id);
    }
    assert_eq!(intervals.lookup(&key).map(|found| found.id), Some(ids[1]));
    intervals.check();
    Ok(())
}

#[test]
fn an_id_is_not_given_again() -> Result<(), InsertError> {
    let mut intervals = Ipv4Interval::new();
    let old = intervals.insert(Rule::any::<Ipv4FiveTuple>(1, ()))?;
    assert!(intervals.remove(old).is_some());
    let new = intervals.insert(Rule::any::<Ipv4FiveTuple>(1, ()))?;
    assert!(old < new);
    assert_eq!(intervals.remove(old), None);
    intervals.clear();
    assert!(new < intervals.insert(Rule::any::<Ipv4FiveTuple>(1, ()))?);
    assert_eq!(intervals.len(), 1);
    Ok(())
}

#[test]
fn no_dimensions_at_all() -> Result<(), InsertError> {
    let mut intervals = Interval::<NoDimensions, char, 0>::new();
    assert!(intervals.lookup(&Key::new([])).is_none());
    let worse = intervals.insert(Rule::new([], 2, 'w'))?;
    let better = intervals.insert(Rule::new([], 1, 'b'))?;
    intervals.check();
    assert_eq!(
        intervals.lookup(&Key::new([])).map(|found| found.action),
        Some('b')
    );
    intervals.remove(better);
    intervals.remove(worse);
    intervals.check();
    Ok(())
}

#[test]
fn the_limit_is_never_passed_and_can_be_none() -> Result<(), InsertError> {
    let rule = |index: u32| Rule::new([Range::any(32)], index, index);
    let mut nothing = Interval::<One, u32, 1>::with_memory_limit(0);
    assert!(matches!(
        nothing.insert(rule(0)),
        Err(InsertError::OutOfMemory { limit: 0, .. })
    ));
    assert_eq!((nothing.len(), nothing.memory()), (0, size_of_val(&nothing)));
    let mut all = Interval::<One, u32, 1>::with_memory_limit(usize::MAX);
    for index in 0..100 {
        all.insert(rule(index))?;
    }
    assert_eq!(
        (all.len(), Small::default().memory_limit()),
        (100, DEFAULT_MEMORY_LIMIT)
    );
    Ok(())
}

#[test]
fn it_can_be_sent_shared_and_copied() -> Result<(), InsertError> {
    fn check<T: Send + Sync + Clone + fmt::Debug>() {}
    check::<Ipv4Interval<u16>>();
    check::<Ipv6Interval<u16>>();
    let mut one = Ipv4Interval::new();
    let id = one.insert(Rule::any::<Ipv4FiveTuple>(1, 'a'))?;
    let other = one.clone();
    one.remove(id);
    assert_eq!(
        other.lookup(&Key::new([0; 5])).map(|found| found.action),
        Some('a')
    );
    Ok(())
}
