//! What a structure of the classifier costs on a rule set and a trace.

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use classifier::live::{Reader, Writer};
use classifier::{Classifier, InsertError, Ipv4Key, Ipv4Rule, Lookup, Match, RuleId};
use serde::Serialize;

use super::changes::{Rates, Refused, Turns, insert, rates};
use super::structure::{Structure, User};
use super::timing::{Clock, per_item};
use crate::workload::trace::{Header, Winner};

/// Keys of a burst.
pub const BURST: usize = 32;

/// So many headers of a trace, or all if there are fewer, are compared with a linear search.
pub const SAMPLE: usize = 2_000;

/// What a structure costs. Times are those that go by, or with one processor for all threads, those that the
/// measuring thread had it.
///
/// As JSON an object with these fields in this order.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The structure.
    pub structure: Structure,
    /// Rules in it.
    pub rules: usize,
    /// Headers of the trace.
    pub headers: usize,
    /// Seconds to insert all rules into the empty structure, one at a time.
    pub build_seconds: f64,
    /// Its memory, divided by the rules.
    pub bytes_per_rule: f64,
    /// Nanoseconds for a lookup, one header at a time.
    pub ns_per_lookup: f64,
    /// Nanoseconds for a lookup, in bursts of [`BURST`].
    pub ns_per_lookup_burst: f64,
    /// Insertions in a second, one at a time, of rules taken out before.
    pub inserts_per_second: f64,
    /// Removals in a second, one at a time, of random rules.
    pub removes_per_second: f64,
    /// As `ns_per_lookup_burst`, with a section entered for each burst, while another thread takes out rules
    /// and puts them in again without a pause.
    pub ns_per_lookup_burst_while_writing: f64,
    /// Headers for which it found something else than a linear search (of a sample) or than the trace says (of
    /// all), before or after the changes.
    pub mismatches: usize,
}

/// Why a structure could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// There are no rules.
    #[error("found no rules to measure, expected at least one")]
    NoRules,
    /// There are no headers.
    #[error("found no headers to look up, expected at least one")]
    NoHeaders,
    /// The structure refused a rule.
    #[error("{structure}: the rule of line {line} was refused: {source}")]
    Refused {
        /// The structure.
        structure: Structure,
        /// The rule's action: its line in the file.
        line: u32,
        /// Why.
        source: InsertError,
    },
}

impl MeasureError {
    fn refused(structure: Structure, Refused { line, source }: Refused) -> Self {
        Self::Refused {
            structure,
            line,
            source,
        }
    }
}

/// A rule set and a trace, with what a linear search finds for a sample of it.
#[derive(Debug)]
pub struct Workload<'files> {
    rules: &'files [Ipv4Rule<u32>],
    headers: &'files [Header],
    keys: Vec<Ipv4Key>,
    /// Some headers, and the first rule that matches each.
    sample: Vec<(usize, Winner)>,
}

impl<'files> Workload<'files> {
    /// Searches the sample, which takes O(rules) for each of its headers. The rules stand in the order of their
    /// priorities, which count from 0.
    ///
    /// # Errors
    ///
    /// [`MeasureError::NoRules`] and [`MeasureError::NoHeaders`].
    pub fn new(rules: &'files [Ipv4Rule<u32>], headers: &'files [Header]) -> Result<Self, MeasureError> {
        if rules.is_empty() {
            return Err(MeasureError::NoRules);
        }
        if headers.is_empty() {
            return Err(MeasureError::NoHeaders);
        }
        let keys: Vec<Ipv4Key> = headers.iter().map(|header| header.key).collect();
        let sample = (0..SAMPLE.min(keys.len())).map(|place| {
            // Spread over the trace.
            let header = place * keys.len() / SAMPLE.min(keys.len());
            let first = rules.iter().find(|rule| rule.matches(&keys[header]));
            (header, Winner::from(first.map(|rule| rule.priority)))
        });
        Ok(Self {
            rules,
            headers,
            sample: sample.collect(),
            keys,
        })
    }

    /// How many headers get another answer than they should. Those of the sample are all checked; others, which
    /// the trace knows the answer of, for about `time`.
    fn mismatches(&self, structure: &impl Lookup<u32, 5, Action = u32>, time: Duration) -> usize {
        let winner = |found: Option<&Match<u32>>| Winner::from(found.map(|found| found.priority));
        let mut wrong = vec![false; self.keys.len()];
        for &(header, expected) in &self.sample {
            wrong[header] = winner(structure.lookup(&self.keys[header])) != expected;
        }
        let mut burst = [None; BURST];
        for sample in self.sample.chunks(BURST) {
            let keys: Vec<Ipv4Key> = sample.iter().map(|(header, _)| self.keys[*header]).collect();
            structure.lookup_batch(&keys, &mut burst);
            for (&(header, expected), found) in sample.iter().zip(burst) {
                wrong[header] |= winner(found) != expected;
            }
        }
        let start = Instant::now();
        for (first, keys) in self.bursts(0..self.keys.len()) {
            structure.lookup_batch(keys, &mut burst);
            let headers = &self.headers[first..first + keys.len()];
            for ((header, found), wrong) in headers.iter().zip(burst).zip(&mut wrong[first..]) {
                *wrong |= header.winner.is_some_and(|expected| winner(found) != expected);
            }
            if start.elapsed() > time {
                break;
            }
        }
        wrong.iter().filter(|wrong| **wrong).count()
    }

    /// Bursts of keys, each with the place of its first one.
    fn bursts(&self, range: Range<usize>) -> impl Iterator<Item = (usize, &[Ipv4Key])> {
        let firsts = range.clone().step_by(BURST);
        firsts.zip(self.keys[range].chunks(BURST))
    }
}

/// Measures a structure. Takes some five times `time` beyond what building takes; tells `progress` what it is
/// about to do.
///
/// # Errors
///
/// [`MeasureError::Refused`].
pub fn classify(
    structure: Structure,
    workload: &Workload<'_>,
    time: Duration,
    progress: &mut dyn FnMut(&str),
) -> Result<Figures, MeasureError> {
    structure.give(Measure {
        structure,
        workload,
        time,
        progress,
    })
}

struct Measure<'a, 'files> {
    structure: Structure,
    workload: &'a Workload<'files>,
    time: Duration,
    progress: &'a mut dyn FnMut(&str),
}

impl User for Measure<'_, '_> {
    type Result = Result<Figures, MeasureError>;

    fn take<C, L>(self, live: fn(C) -> L) -> Self::Result
    where
        C: Classifier<u32, 5, Action = u32> + Default,
        L: Writer<u32, 5, Action = u32> + Send,
    {
        let Self {
            structure: name,
            workload,
            time,
            progress,
        } = self;
        let mut tell = |what: &str| progress(&format!("{name}: {what}"));
        let clock = Clock::for_processors();
        let rules = workload.rules.len();
        tell(&format!("building of {rules} rules"));
        let (mut structure, ids, build) = build::<C>(name, workload.rules, clock)?;
        let bytes_per_rule = structure.memory() as f64 / rules as f64;

        tell("checking answers");
        let mut mismatches = workload.mismatches(&structure, time);

        tell("looking up");
        let headers = workload.keys.len();
        let ns_per_lookup = per_item(headers, BURST, time, clock, |range| {
            for key in &workload.keys[range] {
                black_box(structure.lookup(black_box(key)));
            }
        });
        let ns_per_lookup_burst = per_item(headers, BURST, time, clock, |range| {
            let mut found = [None; BURST];
            for (_, keys) in workload.bursts(range) {
                structure.lookup_batch(black_box(keys), &mut found);
                black_box(&found);
            }
        });

        tell("removing and inserting");
        let mut turns = Turns::new(ids);
        let full = |refused| MeasureError::refused(name, refused);
        let Rates { inserts, removes } = rates(&mut structure, &mut turns, time, clock).map_err(full)?;

        tell("looking up while another thread writes");
        let (writer, ns_per_lookup_burst_while_writing) =
            while_writing(live(structure), turns, workload, time, clock).map_err(full)?;

        tell("checking answers again");
        let mut reader = writer.reader();
        mismatches += workload.mismatches(&reader.enter(), time);

        Ok(Figures {
            structure: name,
            rules,
            headers,
            build_seconds: build.as_secs_f64(),
            bytes_per_rule,
            ns_per_lookup,
            ns_per_lookup_burst,
            inserts_per_second: inserts,
            removes_per_second: removes,
            ns_per_lookup_burst_while_writing,
            mismatches,
        })
    }
}

/// Inserts all rules, in their order, with all that insertions leave for later, and tells how long that took.
fn build<C>(
    name: Structure,
    rules: &[Ipv4Rule<u32>],
    clock: Clock,
) -> Result<(C, Vec<RuleId>, Duration), MeasureError>
where
    C: Classifier<u32, 5, Action = u32> + Default,
{
    let mut ids = Vec::with_capacity(rules.len());
    let start = clock.now();
    let mut structure = C::default();
    for rule in rules {
        ids.push(insert(&mut structure, *rule).map_err(|refused| MeasureError::refused(name, refused))?);
    }
    structure.settle();
    Ok((structure, ids, clock.now().saturating_sub(start)))
}

/// Nanoseconds for a lookup while another thread changes rules; gives the writer back, with all rules in it.
fn while_writing<L>(
    mut writer: L,
    mut turns: Turns,
    workload: &Workload<'_>,
    time: Duration,
    clock: Clock,
) -> Result<(L, f64), Refused>
where
    L: Writer<u32, 5, Action = u32> + Send,
{
    let (started, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut reader = writer.reader();
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut result = Ok(());
            while result.is_ok() && !stop.load(Ordering::Relaxed) {
                result = turns.change(&mut writer);
                started.store(true, Ordering::Relaxed);
            }
            result.map(|()| writer)
        });
        while !started.load(Ordering::Relaxed) && !writing.is_finished() {
            thread::yield_now();
        }
        let stopper = Stopper(&stop);
        let nanoseconds = per_item(workload.keys.len(), BURST, time, clock, |range| {
            for (_, keys) in workload.bursts(range) {
                let mut found = [None; BURST];
                let section = reader.enter();
                section.lookup_batch(black_box(keys), &mut found);
                black_box(&found);
            }
        });
        drop(stopper);
        match writing.join() {
            Ok(writer) => Ok((writer?, nanoseconds)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Stops the writing thread when it is dropped, so that a panic of the reading one does not wait for it.
struct Stopper<'flag>(&'flag AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The action of the best rule for each header, searched with this structure in bursts of [`BURST`].
///
/// # Errors
///
/// [`MeasureError::Refused`].
pub fn best_rules(
    structure: Structure,
    rules: &[Ipv4Rule<u32>],
    headers: &[Header],
) -> Result<Vec<Option<u32>>, MeasureError> {
    structure.give(BestRules {
        structure,
        rules,
        headers,
    })
}

struct BestRules<'a> {
    structure: Structure,
    rules: &'a [Ipv4Rule<u32>],
    headers: &'a [Header],
}

impl User for BestRules<'_> {
    type Result = Result<Vec<Option<u32>>, MeasureError>;

    fn take<C, L>(self, _: fn(C) -> L) -> Self::Result
    where
        C: Classifier<u32, 5, Action = u32> + Default,
        L: Writer<u32, 5, Action = u32> + Send,
    {
        let (structure, ..) = build::<C>(self.structure, self.rules, Clock::Wall)?;
        let mut actions = Vec::with_capacity(self.headers.len());
        for burst in self.headers.chunks(BURST) {
            let keys: Vec<Ipv4Key> = burst.iter().map(|header| header.key).collect();
            let mut found = [None; BURST];
            structure.lookup_batch(&keys, &mut found[..keys.len()]);
            let of_rules = found[..keys.len()].iter();
            actions.extend(of_rules.map(|found| found.map(|found: &Match<u32>| found.action)));
        }
        Ok(actions)
    }
}
