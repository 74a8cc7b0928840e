//! Counters per rule against a plain model, in which each packet counts for its rule at once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::key;
use super::*;
use crate::dispatch::{CloseReason, FlowClosed, FlowRecord, RuleCounters, flow_recording};
use crate::events::{Events, Kinds};
use crate::time::Time;

const RULES: u32 = 5;

fn all_rules() -> impl Iterator<Item = RuleNumber> {
    (0..RULES).map(RuleNumber).chain([RuleNumber::NONE])
}

struct Counted {
    table: FlowTable,
    model: BTreeMap<RuleNumber, RuleCounters>,
    now: Time,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Packet { flow: u16, length: u16 },
    NewRules,
    Sweep { buckets: usize },
    Census { places: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0u16..120, 60u16..1500).prop_map(|(flow, length)| Step::Packet { flow, length }),
        1 => Just(Step::NewRules),
        1 => (1usize..9).prop_map(|buckets| Step::Sweep { buckets }),
        4 => (1usize..40).prop_map(|places| Step::Census { places }),
    ];
    proptest::collection::vec(step, 1..600)
}

impl Counted {
    /// A table that is too small for all flows.
    fn new() -> Self {
        Self {
            table: FlowTable::new(32),
            model: all_rules().map(|rule| (rule, RuleCounters::default())).collect(),
            now: Time::from_secs(1),
        }
    }

    /// A packet, decided by the rules of this generation.
    fn packet(&mut self, flow: u16, length: u16) {
        self.now = Time::from_nanos(self.now.as_nanos() + 1);
        let decided = (u32::from(flow) + self.table.generation()) % (RULES + 1);
        let rule = if decided < RULES {
            RuleNumber(decided)
        } else {
            RuleNumber::NONE
        };
        let counters = self.model.get_mut(&rule).unwrap();
        let sought = self.table.seek(PackedKey::from(&key(flow)));
        let id = self.table.find(&sought).unwrap_or_else(|| {
            counters.flows += 1;
            let action = Action {
                rule,
                ..ChannelId(0).into()
            };
            self.table.open(&sought, action, self.now)
        });
        let flow = self.table.flow_mut(id).unwrap();
        assert_eq!(flow.rule, rule);
        flow.packets += 1;
        flow.bytes += u64::from(length);
        flow.last_seen = self.now;
        counters.packets += 1;
        counters.bytes += u64::from(length);
        counters.last_hit = self.now;
    }

    fn read(&mut self, census: CensusNumber) -> BTreeMap<RuleNumber, RuleCounters> {
        let counters = self.table.rule_counters(census, all_rules()).unwrap();
        all_rules().zip(counters).collect()
    }
}

/// Whether all counters are at least as high.
fn covers(more: &BTreeMap<RuleNumber, RuleCounters>, less: &BTreeMap<RuleNumber, RuleCounters>) -> bool {
    more.values().zip(less.values()).all(|(more, less)| {
        more.packets >= less.packets
            && more.bytes >= less.bytes
            && more.flows >= less.flows
            && more.last_hit >= less.last_hit
    })
}

proptest! {
    /// Every packet counts for its rule exactly once, whatever became of its flow: a census that nothing happens during is exact, and one
    /// that packets, evictions, new rules and sweeps come between is never below what was there when it began, above what is there
    /// when it ends, or below the one before.
    #[test]
    fn counts_agree_with_a_model(steps in steps()) {
        let mut counted = Counted::new();
        let mut census = counted.table.begin_census();
        let mut at_begin = counted.model.clone();
        let mut last = counted.model.clone();
        for step in steps {
            match step {
                Step::Packet { flow, length } => counted.packet(flow, length),
                Step::NewRules => {
                    counted.table.invalidate();
                    prop_assert!(!counted.table.is_swept(counted.table.generation()));
                }
                Step::Sweep { buckets } => counted.table.sweep(buckets, counted.now),
                Step::Census { places } => {
                    if counted.table.take_census(census, places).unwrap() {
                        let read = counted.read(census);
                        prop_assert!(covers(&read, &at_begin) && covers(&counted.model, &read));
                        prop_assert!(covers(&read, &last));
                        last = read;
                        census = counted.table.begin_census();
                        at_begin = counted.model.clone();
                    }
                }
            }
        }
        let census = counted.table.begin_census();
        while !counted.table.take_census(census, 7).unwrap() {}
        prop_assert_eq!(&counted.read(census), &counted.model);
        // Swept flows count as well.
        counted.table.invalidate();
        let generation = counted.table.generation();
        while !counted.table.is_swept(generation) {
            counted.table.sweep(1, counted.now);
        }
        prop_assert!(counted.table.is_empty() && !counted.table.needs_sweep());
        prop_assert_eq!(counted.read(census), counted.model);
    }
}

#[test]
fn a_sweep_takes_away_what_former_rules_decided_and_nothing_else() {
    let mut counted = Counted::new();
    for flow in 0..20 {
        counted.packet(flow, 100);
    }
    assert!(counted.table.is_swept(counted.table.generation()));
    counted.table.invalidate();
    let first = counted.table.generation();
    counted.packet(3, 100);
    counted.table.sweep(3, counted.now);
    // Further rules come in the middle of a sweep, which goes on.
    counted.table.invalidate();
    let second = counted.table.generation();
    counted.packet(4, 100);
    let buckets = 2 * counted.table.capacity() / set::WAYS;
    counted.table.sweep(buckets - 3, counted.now);
    assert!(counted.table.is_swept(first) && !counted.table.is_swept(second));
    counted.table.sweep(3, counted.now);
    assert!(counted.table.is_swept(second));
    assert_eq!(counted.table.len(), 1);
    let found = counted.table.seek(PackedKey::from(&key(4)));
    assert!(counted.table.find(&found).is_some());
}

#[test]
fn whoever_watches_is_told_of_flows_that_are_swept_away() {
    let events = Events::new();
    let watching = events.subscribe(Kinds::ALL);
    let (recorder, recording) = flow_recording(events.wanted(), 64);
    let mut counted = Counted::new();
    counted.table.record(recorder);
    for flow in [1, 2, 2] {
        counted.packet(flow, 100);
    }
    counted.table.invalidate();
    counted.table.sweep(usize::MAX, counted.now);
    let mut told: Vec<FlowRecord> = recording.collect();
    let ended = told.split_off(2);
    assert!(told.iter().all(|record| record.closed.is_none()));
    let mut ended: Vec<_> = ended.iter().map(|record| (record.rule, record.closed)).collect();
    ended.sort_by_key(|(rule, _)| *rule);
    let closed = |packets| {
        Some(FlowClosed {
            reason: CloseReason::Rules,
            packets,
            bytes: 100 * packets,
        })
    };
    assert_eq!(ended, [(RuleNumber(2), closed(1)), (RuleNumber(3), closed(2))]);
    drop(watching);
}

#[test]
fn a_rule_number_starts_again_at_nothing() {
    let mut counted = Counted::new();
    counted.packet(0, 100);
    let rule = RuleNumber(1);
    counted.table.invalidate();
    counted.table.sweep(usize::MAX, counted.now);
    let census = counted.table.begin_census();
    assert!(counted.table.take_census(census, usize::MAX / 2).unwrap());
    assert_eq!(counted.read(census)[&rule].packets, 1);
    counted.table.reset_rule(rule);
    assert_eq!(counted.read(census)[&rule], RuleCounters::default());
    // A number far beyond those that were announced.
    let far = RuleNumber(100_000);
    counted.table.reset_rule(far);
    let beyond = counted.table.rule_counters(census, [far]);
    assert_eq!(beyond, Ok(vec![RuleCounters::default()]));
}

#[test]
fn a_census_gives_way_to_the_next() {
    let mut table = FlowTable::new(8);
    let first = table.begin_census();
    let second = table.begin_census();
    assert_eq!(table.take_census(first, 8), Err(CensusSuperseded));
    assert_eq!(table.rule_counters(first, []), Err(CensusSuperseded));
    table.end_census(first);
    assert_eq!(table.take_census(second, 16), Ok(true));
    table.end_census(second);
    assert_eq!(table.take_census(second, 16), Err(CensusSuperseded));
}
