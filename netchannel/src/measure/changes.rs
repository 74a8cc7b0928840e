//! Rules that are taken out and put in again, one at a time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use classifier::{Classifier, InsertError, Ipv4Rule, RuleId};

use super::timing::{Clock, median};
use crate::workload::generate::Random;

/// The most rules that are out at a time.
const ROUND: usize = 1024;

/// A rule that was not inserted.
#[derive(Debug)]
pub(super) struct Refused {
    /// Its action.
    pub(super) line: u32,
    pub(super) source: InsertError,
}

/// Inserts a rule.
pub(super) fn insert<C>(structure: &mut C, rule: Ipv4Rule<u32>) -> Result<RuleId, Refused>
where
    C: Classifier<u32, 5, Action = u32>,
{
    let line = rule.action;
    structure.insert(rule).map_err(|source| Refused { line, source })
}

/// The ids of all rules, in a random order.
pub(super) struct Turns {
    ids: Vec<RuleId>,
    next: usize,
}

impl Turns {
    pub(super) fn new(mut ids: Vec<RuleId>) -> Self {
        Random::new(1, 0).shuffle(&mut ids);
        Self { ids, next: 0 }
    }

    /// The next rules whose turn it is, at least one and at most `count`.
    fn take(&mut self, count: usize) -> &mut [RuleId] {
        if self.next >= self.ids.len() {
            self.next = 0;
        }
        let start = self.next;
        self.next = (start + count).min(self.ids.len());
        &mut self.ids[start..self.next]
    }

    /// Takes the next rule out and puts it in again.
    pub(super) fn change<C>(&mut self, structure: &mut C) -> Result<(), Refused>
    where
        C: Classifier<u32, 5, Action = u32>,
    {
        for id in self.take(1) {
            if let Some(rule) = structure.remove(*id) {
                *id = insert(structure, rule)?;
            }
        }
        Ok(())
    }
}

/// How many changes are made in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) inserts: f64,
    pub(super) removes: f64,
}

/// Takes random rules out, one at a time, and puts them in again, for about `time`. All are in at the end.
/// Medians of the rounds.
pub(super) fn rates<C>(
    structure: &mut C,
    turns: &mut Turns,
    time: Duration,
    clock: Clock,
) -> Result<Rates, Refused>
where
    C: Classifier<u32, 5, Action = u32>,
{
    let most = (turns.ids.len() / 8).clamp(1, ROUND);
    let start = Instant::now();
    let mut round = 1;
    let mut removed = Vec::with_capacity(most);
    let [mut inserts, mut removes] = [Vec::new(), Vec::new()];
    loop {
        let ids = turns.take(round);
        let begin = clock.now();
        for id in ids.iter() {
            removed.extend(structure.remove(*id));
        }
        let between = clock.now();
        for (id, rule) in ids.iter_mut().zip(removed.drain(..)) {
            *id = insert(structure, rule)?;
        }
        let end = clock.now();
        black_box(&*structure);
        let each = |took: Duration| took.as_nanos() as f64 / ids.len() as f64;
        let (remove, insert) = (
            each(between.saturating_sub(begin)),
            each(end.saturating_sub(between)),
        );
        if round < most && end.saturating_sub(begin) * 64 < time {
            // So far the clock was measured too.
            round = (round * 2).min(most);
            continue;
        }
        removes.push(remove);
        inserts.push(insert);
        if start.elapsed() >= time {
            break;
        }
    }
    let per_second = |nanoseconds: &mut [f64]| 1e9 / median(nanoseconds).max(1e-3);
    Ok(Rates {
        inserts: per_second(&mut inserts),
        removes: per_second(&mut removes),
    })
}
