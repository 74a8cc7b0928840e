//! Changes while a builder is at work, and what becomes of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::Ipv4Tuple;
use super::super::build::{Built, build};
use super::super::random::Random;
use super::{Instructions, Listing};
use crate::linear::Linear;
use crate::live::{Reader, Writer};
use crate::{Classifier, Ipv4FiveTuple, Ipv4Rule, Key, Lookup, Range, Rule, RuleId, Schema};

type Rules = Listing<u32, u32, 5>;

/// A test's own gate: its builders wait for it to be open.
static GATES: [AtomicBool; 4] = [const { AtomicBool::new(false) }; 4];

/// Whether a builder has collected the rules, and come to the gate.
static REACHED: [AtomicBool; 4] = [const { AtomicBool::new(false) }; 4];

fn gated<const GATE: usize>(
    rules: &Rules,
    instructions: Instructions,
    cancelled: &dyn Fn() -> bool,
) -> Option<Built<u32, u32, 5>> {
    REACHED[GATE].store(true, Ordering::Release);
    while !GATES[GATE].load(Ordering::Acquire) && !cancelled() {
        thread::yield_now();
    }
    build::<Ipv4FiveTuple, u32, 5>(rules, instructions, cancelled)
}

fn rule(random: &mut Random, action: u32) -> Ipv4Rule<u32> {
    let mut rule = Rule::any::<Ipv4FiveTuple>((random.next() % 100) as u32, action);
    let length = (random.next() % 33) as u32;
    rule.ranges[0] = Range::prefix((random.next() as u32) & 0xf0f0_0f0f, length, 32).expect("short enough");
    rule.ranges[3] = Range::exact((random.next() % 8) as u32);
    rule
}

/// A set and the oracle, changed together.
struct Changed {
    tuple: Ipv4Tuple<u32>,
    oracle: Linear<Ipv4FiveTuple, u32, 5>,
    live: Vec<(RuleId, RuleId)>,
    random: Random,
}

impl Changed {
    fn new(rules: u32) -> Self {
        let mut changed = Self {
            tuple: Ipv4Tuple::new(),
            oracle: Linear::new(),
            live: Vec::new(),
            random: Random::new(u64::from(rules)),
        };
        for action in 0..rules {
            changed.insert(action);
        }
        changed.tuple.tune();
        changed
    }

    fn insert(&mut self, action: u32) {
        let rule = rule(&mut self.random, action);
        let id = self.tuple.insert(rule).expect("there is room");
        self.live
            .push((id, self.oracle.insert(rule).expect("there is room")));
    }

    fn remove(&mut self) {
        let index = self.random.next() as usize % self.live.len();
        let (id, reference) = self.live.swap_remove(index);
        assert_eq!(self.tuple.remove(id), self.oracle.remove(reference));
    }

    /// Half of the rules are replaced by others, one by one.
    fn churn(&mut self) {
        for action in 0..self.live.len() as u32 {
            if action % 2 == 0 {
                self.insert(10_000 + action);
            } else {
                self.remove();
            }
        }
    }

    fn agrees(&mut self) {
        let mut reader = self.tuple.reader();
        let section = reader.enter();
        let all = Ipv4FiveTuple::any();
        assert_eq!(
            (section.len(), self.tuple.len()),
            (self.live.len(), self.live.len())
        );
        for number in 0..300 {
            let ranges = match number % 4 {
                0 => all,
                _ => {
                    let (id, _) = self.live[self.random.next() as usize % self.live.len()];
                    self.tuple.get(id).expect("it is there").ranges
                }
            };
            let key = Key::new(self.random.point(&ranges));
            let sequences = |found: Vec<&crate::Match<u32>>| -> Vec<u64> {
                found.iter().map(|found| found.id.sequence()).collect()
            };
            let expected = sequences(self.oracle.all_matches(&key));
            assert_eq!(sequences(section.all_matches(&key)), expected);
            assert_eq!(sequences(self.tuple.all_matches(&key)), expected);
            let best = section.lookup(&key).map(|found| found.id.sequence());
            assert_eq!(best, expected.first().copied());
        }
    }
}

#[test]
fn changes_beside_a_builder_are_in_what_it_publishes() {
    let mut changed = Changed::new(1_000);
    changed.tuple.build = gated::<0>;
    GATES[0].store(true, Ordering::Release);
    for round in 0..8 {
        // The builder before may not have ended yet.
        changed.tuple.tune();
        GATES[0].store(false, Ordering::Release);
        changed.tuple.start_builder();
        changed.churn();
        assert!(
            changed.tuple.builder.is_some(),
            "nothing else made it end in round {round}"
        );
        changed.agrees();
        GATES[0].store(true, Ordering::Release);
        changed.tuple.await_builder();
        // Published, and not taken over by the writer.
        changed.agrees();
        changed.insert(round);
        changed.agrees();
        changed.churn();
        changed.agrees();
    }
}

#[test]
fn a_set_that_stops_growing_is_tuned_too() {
    let mut changed = Changed::new(2_000);
    changed.tuple.build = gated::<1>;
    changed.tuple.start_builder();
    // The first round is for the rules that are there now.
    while !REACHED[1].load(Ordering::Acquire) {
        thread::yield_now();
    }
    for action in 0..800 {
        changed.insert(action);
    }
    GATES[1].store(true, Ordering::Release);
    let link = changed
        .tuple
        .builder
        .as_ref()
        .expect("it waited for the gate")
        .link();
    while link.lock().status == super::Status::Working {
        thread::yield_now();
    }
    let published = link.lock().published.as_ref().map(|published| published.rules);
    assert_eq!(published, Some(2_800), "the second is for all rules");
    changed.agrees();
    changed.remove();
    changed.agrees();
}

#[test]
fn a_builder_that_panics_leaves_the_set_as_it_was() {
    fn panics(_: &Rules, _: Instructions, _: &dyn Fn() -> bool) -> Option<Built<u32, u32, 5>> {
        panic!("on purpose");
    }
    let mut changed = Changed::new(500);
    changed.tuple.build = panics;
    changed.tuple.start_builder();
    changed.tuple.await_builder();
    changed.agrees();
    changed.tuple.build = build::<Ipv4FiveTuple, u32, 5>;
    for action in 0..1_000 {
        changed.insert(action);
        assert!(
            action == 0 || changed.tuple.builder.is_none(),
            "the writer builds itself now"
        );
    }
    changed.agrees();
    changed.churn();
    changed.agrees();
}

#[test]
fn a_builder_ends_when_it_is_not_wanted_any_more() {
    let mut changed = Changed::new(500);
    changed.tuple.build = gated::<2>;
    // The gate stays closed: each of these ends the builder.
    let start = |changed: &mut Changed| {
        changed.tuple.start_builder();
        changed.churn();
        assert!(changed.tuple.builder.is_some());
    };
    start(&mut changed);
    changed.tuple.build = build::<Ipv4FiveTuple, u32, 5>;
    changed.tuple.tune();
    assert!(changed.tuple.builder.is_none());
    changed.agrees();
    changed.tuple.build = gated::<2>;
    start(&mut changed);
    changed.tuple.build = build::<Ipv4FiveTuple, u32, 5>;
    let rules = vec![Rule::any::<Ipv4FiveTuple>(1, 1); 300];
    changed.tuple.replace(rules).expect("there is room");
    assert!(changed.tuple.builder.is_none() && changed.tuple.len() == 300);
    changed.tuple.build = gated::<2>;
    changed.tuple.start_builder();
    let mut reader = changed.tuple.reader();
    drop(changed);
    assert_eq!(reader.enter().len(), 300);
}
