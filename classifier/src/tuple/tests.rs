//! Sets that are large enough for tables, and sets that change under readers.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::random::Random;
use super::{Instructions, Ipv4Tuple, Tuple};
use crate::linear::Linear;
use crate::live::{Reader, Writer};
use crate::{
    Classifier, InsertError, Ipv4FiveTuple, Ipv6FiveTuple, Key, Lookup, Match, Range, Rule, RuleId, Schema,
    Word, dimension,
};

/// How rules are drawn.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// Nested prefixes under few networks, exact ports and wildcards: what tables are for.
    Prefixes,
    /// Wide arbitrary ranges in all dimensions, that overlap each other: what tables are not for.
    WideRanges,
    /// The same few boxes again and again.
    Equal,
}

fn below(random: &mut Random, bound: u64) -> u64 {
    random.next() % bound
}

fn prefix<W: Word>(random: &mut Random, width: u32) -> Range<W> {
    let length =
        [0, width / 4, width / 2, width * 3 / 4, width - width / 16, width][below(random, 6) as usize];
    // Few networks, so that prefixes nest.
    let network = u128::from(below(random, 6).wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64;
    let value = network ^ u128::from(below(random, 64));
    let value = W::truncated(value >> 128u32.saturating_sub(width).min(64)) & W::low_bits(width);
    Range::prefix(value, length, width).expect("not longer than the width")
}

fn wide<W: Word>(random: &mut Random, width: u32) -> Range<W> {
    let [a, b] = [(); 2].map(|()| {
        W::truncated(u128::from(random.next()) << 64 | u128::from(random.next())) & W::low_bits(width)
    });
    Range::between(a.min(b), a.max(b))
}

fn rule<S: Schema<D>, const D: usize>(
    random: &mut Random,
    style: Style,
    action: u32,
) -> Rule<S::Word, D, u32> {
    let ranges = std::array::from_fn(|dimension| {
        let width = S::WIDTHS[dimension];
        match style {
            Style::WideRanges => wide(random, width),
            Style::Equal => Range::any(width),
            Style::Prefixes => prefix(random, width),
        }
    });
    // Many of equal priority, so that the order of insertion decides.
    Rule::new(ranges, below(random, 50) as u32, action)
}

fn answer(found: Option<&Match<u32>>) -> Option<(u64, u32, u32)> {
    found.map(|found| (found.id.sequence(), found.priority, found.action))
}

/// The same changes to a tuple and to the oracle, and the same answers, singly and in bursts.
fn agrees<S: Schema<D>, const D: usize>(style: Style, instructions: Instructions, rules: usize) {
    let mut random = Random::new(rules as u64);
    let mut oracle = Linear::<S, u32, D>::new();
    let mut tuple = Tuple::<S, u32, D>::with_instructions(instructions);
    let empty = tuple.memory();
    let mut reader = tuple.reader();
    let mut live: Vec<(RuleId, RuleId)> = Vec::new();
    for step in 0..rules * 3 {
        // It grows, churns, and shrinks to nothing.
        let remove = match step / rules {
            0 => below(&mut random, 5) == 0,
            1 => below(&mut random, 2) == 0,
            _ => true,
        };
        if remove && !live.is_empty() {
            let (id, reference) = live.swap_remove(below(&mut random, live.len() as u64) as usize);
            assert_eq!(tuple.remove(id), oracle.remove(reference));
            assert_eq!(tuple.remove(id), None);
        } else {
            let rule = rule::<S, D>(&mut random, style, step as u32);
            let id = tuple.insert(rule).expect("there is room");
            live.push((id, oracle.insert(rule).expect("there is room")));
        }
        // Builders overlap the changes, more of them than there would be.
        match below(&mut random, 400) {
            0 => tuple.start_builder(),
            1 => tuple.await_builder(),
            _ => {}
        }
        if step % (rules / 16) == 0 {
            let keys: Vec<Key<S::Word, D>> = (0..300)
                .map(|number| {
                    let any = (S::any(), ());
                    let ranges = match live.get(below(&mut random, live.len().max(1) as u64) as usize) {
                        Some((id, _)) if number % 4 > 0 => tuple.get(*id).expect("it is there").ranges,
                        _ => any.0,
                    };
                    Key::new(random.point(&ranges))
                })
                .collect();
            let section = reader.enter();
            for lookup in [&tuple as &dyn Lookup<S::Word, D, Action = u32>, &section] {
                let mut results = vec![None; keys.len()];
                lookup.lookup_batch(&keys, &mut results);
                assert_eq!(lookup.len(), oracle.len());
                for (key, result) in keys.iter().zip(results) {
                    let expected = answer(oracle.lookup(key));
                    assert_eq!(answer(result), expected, "{style:?} {key:?}");
                    assert_eq!(answer(lookup.lookup(key)), expected, "{style:?} {key:?}");
                }
                let all: Vec<_> = lookup
                    .all_matches(&keys[0])
                    .into_iter()
                    .map(|found| answer(Some(found)))
                    .collect();
                let expected: Vec<_> = oracle
                    .all_matches(&keys[0])
                    .into_iter()
                    .map(|found| answer(Some(found)))
                    .collect();
                assert_eq!(all, expected);
            }
            if let Some(&(id, _)) = live.first() {
                assert_eq!(section.get(id), tuple.get(id));
            }
        }
    }
    for (id, _) in live.drain(..) {
        assert!(tuple.remove(id).is_some());
    }
    assert_eq!(tuple.memory(), empty);
}

#[test]
fn large_sets_agree_with_the_oracle() {
    for instructions in Instructions::ALL {
        agrees::<Ipv4FiveTuple, 5>(Style::Prefixes, instructions, 1_500);
    }
    agrees::<Ipv6FiveTuple, 5>(Style::Prefixes, Instructions::Portable, 600);
}

#[test]
fn sets_without_structure_agree_with_the_oracle() {
    for instructions in Instructions::ALL {
        agrees::<Ipv4FiveTuple, 5>(Style::WideRanges, instructions, 800);
        agrees::<Ipv4FiveTuple, 5>(Style::Equal, instructions, 400);
    }
    agrees::<Ipv6FiveTuple, 5>(Style::WideRanges, Instructions::Portable, 400);
}

#[test]
fn rules_that_nothing_tells_apart_stay_linear_in_memory() {
    let mut tuple = Ipv4Tuple::new();
    let mut random = Random::new(7);
    let rules: Vec<_> = (0..5_000)
        .map(|action| rule::<Ipv4FiveTuple, 5>(&mut random, Style::WideRanges, action))
        .collect();
    tuple.replace(rules).expect("there is room");
    assert!(tuple.memory() < 5_000 * 250, "{} bytes", tuple.memory());
}

#[test]
fn a_refused_replacement_changes_nothing() {
    let mut tuple = Ipv4Tuple::new();
    let id = tuple
        .insert(Rule::any::<Ipv4FiveTuple>(1, 1))
        .expect("there is room");
    let mut wrong = Rule::any::<Ipv4FiveTuple>(0, 2);
    wrong.ranges[dimension::PROTOCOL] = Range::exact(256);
    let refused = tuple.replace(vec![Rule::any::<Ipv4FiveTuple>(0, 3), wrong]);
    assert!(matches!(refused, Err(InsertError::TooWide { dimension: 4, .. })));
    assert!(tuple.insert(wrong).is_err());
    let key = Key::new([0; 5]);
    assert_eq!(tuple.lookup(&key).map(|found| found.action), Some(1));
    let ids = tuple
        .replace(vec![Rule::any::<Ipv4FiveTuple>(0, 4)])
        .expect("there is room");
    assert!(ids[0] > id && tuple.get(id).is_none());
    assert_eq!(tuple.lookup(&key).map(|found| found.action), Some(4));
}

#[test]
fn a_section_sees_one_state_and_outlives_the_writer() {
    let mut tuple = Ipv4Tuple::new();
    let key = Key::new([1, 2, 3, 4, 6]);
    let ids: Vec<_> = (0..200)
        .map(|action| {
            let rule = Rule::any::<Ipv4FiveTuple>(action, action);
            tuple.insert(rule).expect("there is room")
        })
        .collect();
    let mut reader = tuple.reader();
    let section = reader.enter();
    // Removals and insertions after it began, but no new generation: that would wait for it.
    for id in &ids[..20] {
        tuple.remove(*id);
    }
    assert_eq!(section.lookup(&key).map(|found| found.action), Some(0));
    assert_eq!(section.len(), 200);
    assert_eq!(tuple.lookup(&key).map(|found| found.action), Some(20));
    tuple
        .insert(Rule::any::<Ipv4FiveTuple>(0, 999))
        .expect("there is room");
    assert_eq!(section.lookup(&key).map(|found| found.action), Some(0));
    drop(tuple);
    assert_eq!(section.all_matches(&key).len(), 200);
    drop(section);
    assert_eq!(reader.enter().lookup(&key).map(|found| found.action), Some(999));
    assert_eq!(reader.enter().len(), 181);
}

/// Whether the answers for all keys are those of one state: state *n* has the rules from *n* on, of which
/// the best answers, and one rule each for the others.
fn sections_see_each_state_whole(instructions: Instructions) {
    const RULES: u32 = 300;
    const KEYS: u32 = 8;
    let mut tuple = Ipv4Tuple::with_instructions(instructions);
    // Rules for the same eight keys in different tables: state `n` answers `n` for all of them.
    let in_state = |state: u32| {
        (0..KEYS).map(move |key| {
            let mut rule = Rule::any::<Ipv4FiveTuple>(RULES - state, state);
            rule.ranges[0] = Range::prefix(key << 24, 8 + state % 25, 32).expect("short enough");
            rule.ranges[1] = Range::prefix(0, state * 7 % 33, 32).expect("short enough");
            rule
        })
    };
    let keys: Vec<_> = (0..KEYS).map(|key| Key::new([key << 24, 0, 0, 0, 6])).collect();
    // Something else, so that there are tables.
    let mut random = Random::new(3);
    for action in 0..300 {
        let mut other = rule::<Ipv4FiveTuple, 5>(&mut random, Style::Prefixes, action);
        other.ranges[4] = Range::exact(17);
        tuple.insert(other).expect("there is room");
    }
    let mut before: Vec<RuleId> = tuple_insert(&mut tuple, in_state(0));
    let stop = AtomicBool::new(false);
    let seen = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            let mut reader = tuple.reader();
            let (keys, stop, seen) = (&keys, &stop, &seen);
            scope.spawn(move || {
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let section = reader.enter();
                    let mut results = [None; KEYS as usize];
                    section.lookup_batch(keys, &mut results);
                    let states = results.map(|found| found.expect("there is always one").action);
                    // Insertions of one state may have been seen in part: from the first key on.
                    let (first, end) = (states[0], states[KEYS as usize - 1]);
                    assert!(states.is_sorted_by(|a, b| a >= b), "{states:?}");
                    assert!(first - end <= 1, "{states:?}");
                    assert!(last <= end, "{last} then {states:?}");
                    // The same section answers the same, whatever happens meanwhile.
                    for (key, found) in keys.iter().zip(results) {
                        assert_eq!(answer(section.lookup(key)), answer(found));
                    }
                    last = end;
                    seen.fetch_max(last, Ordering::Relaxed);
                }
            });
        }
        for state in 1..RULES {
            let ids = tuple_insert(&mut tuple, in_state(state));
            for id in std::mem::replace(&mut before, ids) {
                assert!(tuple.remove(id).is_some());
            }
            match state % 100 {
                99 => tuple.tune(),
                21 | 71 => tuple.start_builder(),
                50 => tuple.await_builder(),
                _ => {}
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        seen.load(Ordering::Relaxed) > 0,
        "no reader ran while the writer did"
    );
}

#[test]
fn readers_see_each_state_whole() {
    sections_see_each_state_whole(Instructions::best());
}

/// For ThreadSanitizer, which doesn't know what instructions for vectors load.
#[test]
fn portable_readers_see_each_state_whole() {
    sections_see_each_state_whole(Instructions::Portable);
}

fn tuple_insert(tuple: &mut Ipv4Tuple<u32>, rules: impl Iterator<Item = Rule<u32, 5, u32>>) -> Vec<RuleId> {
    rules
        .map(|rule| tuple.insert(rule).expect("there is room"))
        .collect()
}

#[test]
fn a_replacement_appears_at_once() {
    let mut tuple = Ipv4Tuple::new();
    let set = |number: u32| {
        (0..100u32)
            .map(|index| {
                let mut rule = Rule::any::<Ipv4FiveTuple>(index, number);
                rule.ranges[1] = Range::prefix(index << 16, 8 + index % 25, 32).expect("short enough");
                rule
            })
            .collect::<Vec<_>>()
    };
    let keys: Vec<_> = (0..100u32)
        .map(|index| Key::new([0, index << 16, 0, 0, 0]))
        .collect();
    tuple.replace(set(0)).expect("there is room");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut reader = tuple.reader();
        let (keys, stop) = (&keys, &stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let section = reader.enter();
                let mut results = vec![None; keys.len()];
                section.lookup_batch(keys, &mut results);
                let numbers: Vec<_> = results.iter().flatten().map(|found| found.action).collect();
                assert_eq!(numbers.len(), keys.len());
                assert!(numbers.iter().all(|&number| number == numbers[0]), "{numbers:?}");
            }
        });
        for number in 1..100 {
            tuple.replace(set(number)).expect("there is room");
        }
        stop.store(true, Ordering::Relaxed);
    });
}
