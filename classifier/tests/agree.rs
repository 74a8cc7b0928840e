//! Every structure gives the answers of linear search, through any sequence of changes, in 1 to 6
//! dimensions of either word.

use std::fmt::Debug;
use std::marker::PhantomData;

use classifier::interval::Interval;
use classifier::linear::Linear;
use classifier::live::Mirrored;
use classifier::trie::Trie;
use classifier::tuple::{Instructions, Tuple};
use classifier::{
    Classifier, InsertError, Ipv4FiveTuple, Ipv6FiveTuple, Key, Lookup, Match, Range, Rule, RuleId, Schema,
    Word,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// Words that tests can make from any number.
trait TestWord: Word {
    fn cut(value: u128) -> Self;
}

impl TestWord for u32 {
    fn cut(value: u128) -> Self {
        value as u32
    }
}

impl TestWord for u128 {
    fn cut(value: u128) -> Self {
        value
    }
}

macro_rules! schema {
    ($name:ident, $word:ty, $dimensions:literal, $widths:expr) => {
        #[derive(Debug, Clone, Copy)]
        struct $name;
        impl Schema<$dimensions> for $name {
            type Word = $word;
            const WIDTHS: [u32; $dimensions] = $widths;
        }
    };
}

schema!(OneShort, u32, 1, [5]);
schema!(One, u32, 1, [32]);
schema!(OneWide, u128, 1, [128]);
schema!(TwoShort, u32, 2, [3, 4]);
schema!(Two, u32, 2, [32, 16]);
schema!(TwoWide, u128, 2, [128, 48]);
schema!(Three, u32, 3, [4, 32, 8]);
schema!(ThreeWide, u128, 3, [64, 8, 128]);
schema!(Four, u32, 4, [3, 3, 16, 2]);
schema!(FourWide, u128, 4, [8, 16, 128, 3]);
schema!(SixWithFlag, u32, 6, [32, 8, 16, 3, 8, 1]);
schema!(Eleven, u32, 11, [32, 32, 16, 16, 8, 8, 16, 32, 12, 6, 2]);

/// A change to a set of rules.
#[derive(Debug, Clone)]
enum Change<W, const D: usize> {
    Insert(Rule<W, D, u32>),
    /// One of the rules that are there.
    Remove(Index),
}

/// Values close to the ends, the middle and a few more places, so that rules meet.
fn value(width: u32) -> impl Strategy<Value = u128> + Clone {
    let highest = u128::MAX >> (128 - width);
    let near = (0..6u128, any::<bool>());
    let middle = highest / 2 + 1;
    prop_oneof![
        3 => near.clone().prop_map(|(offset, _)| offset),
        3 => near.clone().prop_map(move |(offset, _)| highest.saturating_sub(offset)),
        4 => near.prop_map(move |(offset, up)| if up { middle + offset } else { middle.saturating_sub(offset) }),
        1 => any::<u128>(),
    ]
    .prop_map(move |value| value & highest)
}

/// Boxed, since arrays of such large strategies overflow a test's stack.
fn range<W: TestWord>(width: u32) -> BoxedStrategy<Range<W>> {
    let highest = u128::MAX >> (128 - width);
    let between =
        |a: u128, b: u128| Range::new(W::cut(a.min(b)), W::cut(a.max(b))).expect("the lower end comes first");
    prop_oneof![
        4 => Just(Range::any(width)),
        4 => value(width).prop_map(|value| Range::exact(W::cut(value))),
        6 => (value(width), 0..=width).prop_map(move |(value, length)| {
            Range::prefix(W::cut(value), length, width).expect("the value is within the width")
        }),
        3 => (value(width), 1..7u128).prop_map(move |(value, more)| {
            between(value, value.saturating_add(more).min(highest))
        }),
        1 => (value(width), value(width)).prop_map(move |(a, b)| between(a, b)),
    ]
    .boxed()
}

fn rule<S: Schema<D, Word: TestWord>, const D: usize>() -> impl Strategy<Value = Rule<S::Word, D, u32>> {
    (S::WIDTHS.map(range::<S::Word>), 0..4u32, any::<u32>())
        .prop_map(|(ranges, priority, action)| Rule::new(ranges, priority, action))
}

fn changes<S: Schema<D, Word: TestWord>, const D: usize>() -> impl Strategy<Value = Vec<Change<S::Word, D>>> {
    let change = prop_oneof![
        3 => rule::<S, D>().prop_map(Change::Insert),
        1 => any::<Index>().prop_map(Change::Remove),
    ];
    prop::collection::vec(change, 1..50)
}

fn keys<S: Schema<D, Word: TestWord>, const D: usize>() -> impl Strategy<Value = Vec<Key<S::Word, D>>> {
    let key = S::WIDTHS
        .map(value)
        .prop_map(|values| Key::new(values.map(S::Word::cut)));
    prop::collection::vec(key, 1..40)
}

/// Keys at the corners of a rule and one step outside, also beyond the width of the dimension.
fn corners<W: Word, const D: usize, A>(rule: &Rule<W, D, A>) -> Vec<Key<W, D>> {
    let low = rule.ranges.map(|range| range.low());
    let high = rule.ranges.map(|range| range.high());
    let mut keys = vec![Key::new(low), Key::new(high)];
    for inside in [low, high] {
        for dimension in 0..D {
            for (end, below) in [(low, true), (low, false), (high, true), (high, false)] {
                let end = end[dimension];
                let step = if below {
                    (end > W::ZERO).then(|| end - W::ONE)
                } else {
                    (end < W::MAX).then(|| end + W::ONE)
                };
                for value in [Some(end), step].into_iter().flatten() {
                    let mut values = inside;
                    values[dimension] = value;
                    keys.push(Key::new(values));
                }
            }
        }
    }
    keys
}

/// What an answer says; ids of two structures only share their sequence.
fn answer(found: &Match<u32>) -> (u64, u32, u32) {
    (found.id.sequence(), found.priority, found.action)
}

/// A structure and the oracle, changed together.
struct Pair<S: Schema<D>, C, const D: usize> {
    oracle: Linear<S, u32, D>,
    structure: C,
    live: Vec<(RuleId, RuleId)>,
    schema: PhantomData<S>,
}

impl<S: Schema<D>, C, const D: usize> Pair<S, C, D>
where
    C: Classifier<S::Word, D, Action = u32> + Debug,
{
    fn new(structure: C) -> Self {
        Self {
            oracle: Linear::new(),
            structure,
            live: Vec::new(),
            schema: PhantomData,
        }
    }

    fn apply(&mut self, change: &Change<S::Word, D>) -> Result<(), TestCaseError> {
        match change {
            Change::Insert(rule) => {
                let memory = self.structure.memory();
                match self.structure.insert(*rule) {
                    Ok(id) => {
                        let reference = self
                            .oracle
                            .insert(*rule)
                            .expect("the oracle takes what the structure takes");
                        prop_assert_eq!(id.sequence(), reference.sequence());
                        prop_assert_eq!(self.structure.get(id), self.oracle.get(reference));
                        self.live.push((id, reference));
                    }
                    Err(error) => {
                        let expected = matches!(
                            error,
                            InsertError::TooManyPrefixes { .. } | InsertError::OutOfMemory { .. }
                        );
                        prop_assert!(expected, "{error}");
                        prop_assert_eq!(self.structure.memory(), memory, "refused");
                    }
                }
            }
            Change::Remove(index) if !self.live.is_empty() => self.remove(index.index(self.live.len()))?,
            Change::Remove(_) => {}
        }
        prop_assert_eq!(self.structure.len(), self.live.len());
        prop_assert_eq!(self.structure.is_empty(), self.live.is_empty());
        Ok(())
    }

    fn remove(&mut self, place: usize) -> Result<(), TestCaseError> {
        let (id, reference) = self.live.swap_remove(place);
        let removed = self.structure.remove(id);
        prop_assert!(removed.is_some());
        prop_assert_eq!(removed, self.oracle.remove(reference));
        prop_assert_eq!(self.structure.remove(id), None);
        prop_assert_eq!(self.structure.get(id), None);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), TestCaseError> {
        self.structure.clear();
        self.oracle.clear();
        prop_assert!(self.structure.is_empty());
        for (id, _) in self.live.drain(..) {
            prop_assert_eq!(self.structure.get(id), None);
        }
        Ok(())
    }

    fn compare(&self, keys: &[Key<S::Word, D>]) -> Result<(), TestCaseError> {
        let mut batch = vec![None; keys.len()];
        self.structure.lookup_batch(keys, &mut batch);
        for (key, in_batch) in keys.iter().zip(batch) {
            let expected = self.oracle.lookup(key).map(answer);
            prop_assert_eq!(self.structure.lookup(key).map(answer), expected, "key {:?}", key);
            prop_assert_eq!(in_batch.map(answer), expected, "key {:?} in a batch", key);
            let all: Vec<_> = self.structure.all_matches(key).into_iter().map(answer).collect();
            let expected: Vec<_> = self.oracle.all_matches(key).into_iter().map(answer).collect();
            prop_assert_eq!(all, expected, "all matches of key {:?}", key);
        }
        Ok(())
    }
}

/// Changes one by one, lookups in between and at every rule's corners, and everything removed again, one
/// by one and at once.
fn agrees<S, C, const D: usize>(
    structure: C,
    changes: &[Change<S::Word, D>],
    keys: &[Key<S::Word, D>],
) -> Result<(), TestCaseError>
where
    S: Schema<D>,
    C: Classifier<S::Word, D, Action = u32> + Debug,
{
    let mut pair = Pair::<S, C, D>::new(structure);
    let empty = pair.structure.memory();
    for (change, key) in changes.iter().zip(keys.iter().cycle()) {
        pair.apply(change)?;
        pair.compare(&[*key])?;
        if let Change::Insert(rule) = change {
            pair.compare(&corners(rule))?;
        }
    }
    pair.compare(keys)?;
    let corner_keys: Vec<_> = pair
        .live
        .iter()
        .filter_map(|&(id, _)| pair.structure.get(id))
        .flat_map(|rule| corners(&rule))
        .collect();
    pair.compare(&corner_keys)?;
    for round in 0..pair.live.len() {
        pair.remove(round % pair.live.len())?;
        pair.compare(keys)?;
    }
    prop_assert_eq!(pair.structure.memory(), empty);
    for change in changes {
        pair.apply(change)?;
    }
    pair.clear()?;
    pair.compare(keys)?;
    prop_assert_eq!(pair.structure.memory(), empty);
    // Ids go on where they were.
    changes.iter().try_for_each(|change| pair.apply(change))
}

macro_rules! agree {
    ($structure:ident: $($cases:tt)*) => {
        agree! { $structure default (): $($cases)* }
    };
    ($structure:ident $new:ident $arguments:tt: $($name:ident $schema:ident $dimensions:literal $cases:literal,)*) => {
        $(proptest! {
            #![proptest_config(ProptestConfig::with_cases($cases))]
            #[test]
            fn $name(
                changes in changes::<$schema, $dimensions>(),
                keys in keys::<$schema, $dimensions>(),
            ) {
                let structure = $structure::<$schema, u32, $dimensions>::$new $arguments;
                agrees::<$schema, _, $dimensions>(structure, &changes, &keys)?;
            }
        })*
    };
}

mod trie {
    use super::*;

    agree! { Trie:
        one_dimension_of_5_bits OneShort 1 200,
        one_dimension_of_32_bits One 1 200,
        one_dimension_of_128_bits OneWide 1 200,
        two_dimensions_of_few_bits TwoShort 2 200,
        two_dimensions Two 2 100,
        two_dimensions_with_wide_words TwoWide 2 60,
        three_dimensions Three 3 60,
        three_dimensions_with_wide_words ThreeWide 3 30,
        four_dimensions Four 4 60,
        four_dimensions_with_wide_words FourWide 4 30,
        ipv4_five_tuples Ipv4FiveTuple 5 30,
        ipv6_five_tuples Ipv6FiveTuple 5 20,
        six_dimensions SixWithFlag 6 30,
    }
}

mod tuple {
    use super::*;

    agree! { Tuple:
        one_dimension_of_5_bits OneShort 1 200,
        one_dimension_of_32_bits One 1 200,
        one_dimension_of_128_bits OneWide 1 200,
        two_dimensions_of_few_bits TwoShort 2 200,
        two_dimensions Two 2 100,
        two_dimensions_with_wide_words TwoWide 2 60,
        three_dimensions Three 3 60,
        three_dimensions_with_wide_words ThreeWide 3 30,
        four_dimensions Four 4 60,
        four_dimensions_with_wide_words FourWide 4 30,
        ipv4_five_tuples Ipv4FiveTuple 5 30,
        ipv6_five_tuples Ipv6FiveTuple 5 20,
        six_dimensions SixWithFlag 6 30,
        eleven_dimensions Eleven 11 10,
    }
}

mod tuple_avx2 {
    use super::*;

    agree! { Tuple with_instructions (Instructions::Avx2):
        one_dimension_of_5_bits OneShort 1 50,
        ipv4_five_tuples Ipv4FiveTuple 5 30,
        eleven_dimensions Eleven 11 10,
    }
}

mod tuple_portable {
    use super::*;

    agree! { Tuple with_instructions (Instructions::Portable):
        one_dimension_of_5_bits OneShort 1 50,
        ipv4_five_tuples Ipv4FiveTuple 5 30,
        eleven_dimensions Eleven 11 10,
    }
}

mod mirrored {
    use super::*;

    type MirroredTrie<S, A, const D: usize> = Mirrored<Trie<S, A, D>>;

    agree! { MirroredTrie:
        one_dimension_of_5_bits OneShort 1 50,
        two_dimensions_with_wide_words TwoWide 2 20,
        ipv4_five_tuples Ipv4FiveTuple 5 10,
    }
}

mod interval {
    use super::*;

    agree! { Interval:
        one_dimension_of_5_bits OneShort 1 200,
        one_dimension_of_32_bits One 1 200,
        one_dimension_of_128_bits OneWide 1 200,
        two_dimensions_of_few_bits TwoShort 2 200,
        two_dimensions Two 2 100,
        two_dimensions_with_wide_words TwoWide 2 60,
        three_dimensions Three 3 60,
        three_dimensions_with_wide_words ThreeWide 3 30,
        four_dimensions Four 4 60,
        four_dimensions_with_wide_words FourWide 4 30,
        ipv4_five_tuples Ipv4FiveTuple 5 30,
        ipv6_five_tuples Ipv6FiveTuple 5 20,
        six_dimensions SixWithFlag 6 30,
    }
}

/// With so little memory that some insertions are refused, and change nothing.
mod limited_interval {
    use super::*;

    agree! { Interval with_memory_limit (6_000):
        one_dimension_of_32_bits One 1 50,
        one_dimension_of_128_bits OneWide 1 50,
        two_dimensions Two 2 50,
        two_dimensions_with_wide_words TwoWide 2 30,
        three_dimensions Three 3 30,
        three_dimensions_with_wide_words ThreeWide 3 20,
        four_dimensions Four 4 40,
        ipv4_five_tuples Ipv4FiveTuple 5 30,
        ipv6_five_tuples Ipv6FiveTuple 5 20,
        six_dimensions SixWithFlag 6 20,
    }
}
