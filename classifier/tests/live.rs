//! Sets of rules that change under readers: what a section sees is one of the states that there were, and
//! replacing the whole set is all or nothing.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use classifier::interval::Interval;
use classifier::linear::Linear;
use classifier::live::{Mirrored, Reader, Writer};
use classifier::trie::Trie;
use classifier::tuple::Tuple;
use classifier::{Classifier, InsertError, Key, Lookup, Match, Range, Rule, RuleId, Schema};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Few bits, so that rules often match, and overlap.
#[derive(Debug, Clone, Copy)]
struct Short;

impl Schema<2> for Short {
    type Word = u32;
    const WIDTHS: [u32; 2] = [4, 3];
}

type Oracle = Linear<Short, u32, 2>;

#[derive(Debug, Clone)]
enum Change {
    Insert(Rule<u32, 2, u32>),
    Remove(prop::sample::Index),
    Clear,
    Replace(Vec<Rule<u32, 2, u32>>),
}

fn range(width: u32) -> impl Strategy<Value = Range<u32>> {
    let values = 0..1_u32 << width;
    (values.clone(), values).prop_map(|(one, other)| {
        Range::new(one.min(other), one.max(other)).expect("the lower end comes first")
    })
}

fn rule() -> impl Strategy<Value = Rule<u32, 2, u32>> {
    ([range(4), range(3)], 0..4_u32, any::<u32>())
        .prop_map(|(ranges, priority, action)| Rule::new(ranges, priority, action))
}

/// Sets of rules, every second of which holds one that is refused.
fn rules() -> impl Strategy<Value = Vec<Rule<u32, 2, u32>>> {
    let refused = rule().prop_map(|mut rule| {
        rule.ranges[1] = Range::exact(8);
        rule
    });
    (
        prop::collection::vec(rule(), 0..12),
        prop::option::of((refused, any::<prop::sample::Index>())),
    )
        .prop_map(|(mut rules, refused)| {
            if let Some((refused, place)) = refused {
                rules.insert(place.index(rules.len() + 1), refused);
            }
            rules
        })
}

fn changes(count: usize) -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        8 => rule().prop_map(Change::Insert),
        6 => any::<prop::sample::Index>().prop_map(Change::Remove),
        1 => Just(Change::Clear),
        3 => rules().prop_map(Change::Replace),
    ];
    prop::collection::vec(change, count)
}

/// Every key that there is.
fn keys() -> Vec<Key<u32, 2>> {
    (0..16)
        .flat_map(|x| (0..8).map(move |y| Key::new([x, y])))
        .collect()
}

/// What is answered to all keys: ids of two structures only share their sequence.
type Answers = Vec<Option<(u64, u32, u32)>>;

fn answer(found: &Match<u32>) -> (u64, u32, u32) {
    (found.id.sequence(), found.priority, found.action)
}

fn answers(rules: &impl Lookup<u32, 2, Action = u32>, keys: &[Key<u32, 2>]) -> Answers {
    keys.iter().map(|key| rules.lookup(key).map(answer)).collect()
}

fn answers_in_batch(rules: &impl Lookup<u32, 2, Action = u32>, keys: &[Key<u32, 2>]) -> Answers {
    let mut results = vec![None; keys.len()];
    rules.lookup_batch(keys, &mut results);
    results.into_iter().map(|found| found.map(answer)).collect()
}

/// The oracle: a set replaced as a whole is emptied and filled again.
fn replace_in_oracle(oracle: &mut Oracle, rules: &[Rule<u32, 2, u32>]) -> Result<Vec<RuleId>, InsertError> {
    let mut new = oracle.clone();
    new.clear();
    let ids = rules
        .iter()
        .map(|rule| new.insert(*rule))
        .collect::<Result<_, _>>()?;
    *oracle = new;
    Ok(ids)
}

/// A writer and the oracle, changed together; what ids and errors say is compared.
struct Changed<C> {
    writer: C,
    oracle: Oracle,
    live: Vec<(RuleId, RuleId)>,
}

impl<C: Writer<u32, 2, Action = u32> + Default> Changed<C> {
    fn new() -> Self {
        Self {
            writer: C::default(),
            oracle: Oracle::new(),
            live: Vec::new(),
        }
    }

    /// One change, and no other: a writer may wait for sections with the next.
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Insert(rule) => {
                let ids = [self.writer.insert(*rule), self.oracle.insert(*rule)];
                let [id, reference] = ids.map(|id| id.expect("the rule is within the widths"));
                assert_eq!(id.sequence(), reference.sequence());
                self.live.push((id, reference));
            }
            Change::Remove(_) if self.live.is_empty() => {}
            Change::Remove(index) => {
                let (id, reference) = self.live.swap_remove(index.index(self.live.len()));
                let removed = self.writer.remove(id);
                assert!(removed.is_some());
                assert_eq!(removed, self.oracle.remove(reference));
            }
            Change::Clear => {
                self.writer.clear();
                self.oracle.clear();
                self.live.clear();
            }
            Change::Replace(rules) => {
                let result = self.writer.replace(rules.clone());
                match (result, replace_in_oracle(&mut self.oracle, rules)) {
                    (Ok(ids), Ok(references)) => {
                        assert!(
                            ids.iter()
                                .zip(&references)
                                .all(|(id, reference)| id.sequence() == reference.sequence())
                        );
                        assert_eq!(ids.len(), references.len());
                        for (old, _) in self.live.drain(..) {
                            assert_eq!(self.writer.get(old), None);
                        }
                        self.live = ids.into_iter().zip(references).collect();
                    }
                    (result, expected) => assert_eq!(result.err(), expected.err()),
                }
            }
        }
        assert_eq!(self.writer.len(), self.live.len());
        for &(id, reference) in &self.live {
            assert_eq!(self.writer.get(id), self.oracle.get(reference));
        }
    }
}

/// One change after the other; the writer and a new section agree with the oracle after each. A section
/// that was entered before a change sees what was before.
fn agrees<C: Writer<u32, 2, Action = u32> + Default>(changes: &[Change]) {
    let keys = keys();
    let mut changed = Changed::<C>::new();
    let empty = changed.writer.memory();
    let mut reader = changed.writer.reader();
    let mut before = answers(&changed.oracle, &keys);
    for change in changes {
        let section = reader.enter();
        changed.apply(change);
        assert_eq!(answers(&section, &keys), before);
        drop(section);
        before = answers(&changed.oracle, &keys);
        assert_eq!(answers(&changed.writer, &keys), before);
        assert_eq!(answers_in_batch(&changed.writer, &keys), before);
        let section = reader.enter();
        assert_eq!(answers(&section, &keys), before);
        assert_eq!(answers_in_batch(&section, &keys), before);
        assert_eq!(section.len(), changed.oracle.len());
        for (id, reference) in &changed.live {
            assert_eq!(section.get(*id), changed.oracle.get(*reference));
        }
        for key in &keys {
            let [seen, expected] = [section.all_matches(key), changed.oracle.all_matches(key)];
            assert!(seen.into_iter().map(answer).eq(expected.into_iter().map(answer)));
        }
    }
    for (id, _) in std::mem::take(&mut changed.live) {
        changed.writer.remove(id);
    }
    // Without a section in the way, a writer leaves nothing for later.
    changed.writer.clear();
    assert_eq!(changed.writer.memory(), empty);
    let last = answers(&changed.writer, &keys);
    drop(changed.writer);
    assert_eq!(
        answers(&reader.enter(), &keys),
        last,
        "a reader outlives its writer"
    );
}

/// One writer and several readers: every section sees one state from its start to its end, none older
/// than what was complete when it was entered, and none older than the section before it.
fn sections_are_snapshots<C: Writer<u32, 2, Action = u32> + Default + Send>() {
    let keys = keys();
    let changes = changes(1_000)
        .new_tree(&mut TestRunner::deterministic())
        .expect("no value is refused")
        .current();
    let mut rehearsal = Changed::<Mirrored<Oracle>>::new();
    let states = std::iter::once(None)
        .chain(changes.iter().map(Some))
        .map(|change| {
            change.into_iter().for_each(|change| rehearsal.apply(change));
            answers(&rehearsal.oracle, &keys)
        })
        .collect::<Vec<_>>();

    let mut changed = Changed::<C>::new();
    let [started, completed] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut reader = changed.writer.reader();
            let (keys, states, started, completed) = (&keys, &states, &started, &completed);
            scope.spawn(move || {
                let mut last = 0;
                while last < states.len() - 1 {
                    let lowest = completed.load(SeqCst).max(last);
                    let section = reader.enter();
                    let seen = answers(&section, keys);
                    std::thread::yield_now();
                    assert_eq!(answers_in_batch(&section, keys), seen);
                    drop(section);
                    let highest = started.load(SeqCst);
                    let state = (lowest..=highest).find(|&state| states[state] == seen);
                    assert!(state.is_some(), "{seen:?} is none of {lowest} to {highest}");
                    last = state.unwrap_or(last);
                }
            });
        }
        for (index, change) in changes.iter().enumerate() {
            started.store(index + 1, SeqCst);
            changed.apply(change);
            completed.store(index + 1, SeqCst);
        }
    });
}

macro_rules! live {
    ($($name:ident: $structure:ty,)*) => {
        $(mod $name {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(50))]
                #[test]
                fn agrees(changes in changes(50)) {
                    super::agrees::<$structure>(&changes);
                }
            }

            #[test]
            fn sections_are_snapshots() {
                super::sections_are_snapshots::<$structure>();
            }
        })*
    };
}

live! {
    mirrored_linear: Mirrored<Oracle>,
    mirrored_interval: Mirrored<Interval<Short, u32, 2>>,
    mirrored_trie: Mirrored<Trie<Short, u32, 2>>,
    tuple: Tuple<Short, u32, 2>,
}
