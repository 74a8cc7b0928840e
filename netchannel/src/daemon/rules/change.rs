//! How rules get into force: checked and numbered, to the XDP program and the worker, and written down.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use super::running::Running;
use super::swap::{Unchanged, put_back, settle, swap};
use super::{Changed, Changing, Placed, RuleStore, RulesError};
use crate::daemon::PATIENCE;
use crate::dispatch::{BoxId, Dispatcher, OwnedBox, RuleNumber, RuleSet, RuleSetBuilder};
use crate::rules::{self, Fault, MAX_TOTAL_BOXES, Rule, RuleList};
use crate::setup::{RuleCompiler, SetupError};
use crate::worker::Unanswered;
use crate::xdp::XdpError;

/// Former rules that can be had again.
const HISTORY: usize = 16;
/// Rules of all former lists together, those that they share counted for each; beyond, the oldest are forgotten.
const HISTORY_RULES: usize = 16_000_000;
/// Counters that are reset in one go: packets wait meanwhile.
const RESET_AT_ONCE: usize = 4096;
/// Faults that are told of one list.
const TOLD_FAULTS: usize = 20;

/// Rules that are to be in force next.
pub(super) struct Next {
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) numbers: Vec<RuleNumber>,
    pub(super) sets: RuleList,
    /// Numbers whose counters are another rule's.
    pub(super) reused: Vec<RuleNumber>,
    /// Numbers of rules that are not there any more.
    pub(super) gone: Vec<RuleNumber>,
    /// Rules that were not there before.
    pub(super) added: usize,
}

impl RuleStore {
    /// Puts a list in the place of the rules in force, if it is good.
    pub(super) fn replace(
        &self,
        changing: &mut Changing,
        list: RuleList,
        source: &str,
    ) -> Result<Changed, RulesError> {
        let list = list.in_order();
        self.check(list.iter())?;
        let sets = list.clone_sets();
        let rules = list.rules.into_iter().map(Arc::new).collect();
        self.put(changing, rules, sets, source)
    }

    /// Puts good rules, in their order, in the place of those in force.
    pub(super) fn put(
        &self,
        changing: &mut Changing,
        rules: Vec<Arc<Rule>>,
        sets: RuleList,
        source: &str,
    ) -> Result<Changed, RulesError> {
        let start = Instant::now();
        let running = self.running();
        self.free_numbers(changing);
        let assigned = changing.numbers.assign(rules, &running.rules, &running.numbers);
        let next = Next {
            rules: assigned.rules,
            numbers: assigned.numbers,
            sets,
            reused: assigned.reused,
            gone: assigned.gone,
            added: assigned.added,
        };
        self.make(changing, next, source, start)
    }

    /// Makes a rule set of all that is to be in force.
    pub(super) fn make(
        &self,
        changing: &mut Changing,
        next: Next,
        source: &str,
        start: Instant,
    ) -> Result<Changed, RulesError> {
        let rules = || {
            let rules = next.rules.iter().map(|rule| &**rule);
            next.numbers.iter().copied().zip(rules)
        };
        let compiled = self.compile(&changing.compiler, rules);
        let outcome = compiled.map_err(Unchanged::from).and_then(|(rule_sets, placed)| {
            self.prepare(changing, &next)?;
            Ok((swap(&self.0.team, rule_sets)?, placed))
        });
        match outcome {
            Ok((generations, placed)) => {
                changing.placed = placed;
                Ok(self.finish(changing, next, generations, source, start))
            }
            Err(unchanged) => Err(self.retreat(changing, &next, unchanged)),
        }
    }

    /// A rule set of the same rules for each worker, and where the boxes of each rule are in it.
    pub(super) fn compile<'r, I: Iterator<Item = (RuleNumber, &'r Rule)>>(
        &self,
        compiler: &RuleCompiler,
        rules: impl Fn() -> I,
    ) -> Result<(Vec<RuleSet>, Vec<Placed>), RulesError> {
        let mut all = (Vec::new(), Vec::new());
        for _ in 0..self.0.team.len() {
            let (rule_set, placed) = compiler.compile(rules())?;
            all.0.push(rule_set);
            all.1.push(Placed::from(placed));
        }
        Ok(all)
    }

    /// What must be so before the worker has the rules.
    pub(super) fn prepare(&self, changing: &Changing, next: &Next) -> Result<(), RulesError> {
        self.announce_rules(changing, &next.rules)?;
        self.reset_counters(&next.reused)?;
        Ok(())
    }

    pub(super) fn announce_rules(&self, changing: &Changing, rules: &[Arc<Rule>]) -> Result<(), XdpError> {
        (self.0.announce)(rules, &changing.layout, &changing.claims)
    }

    /// The rules in force stay.
    pub(super) fn retreat(&self, changing: &mut Changing, next: &Next, unchanged: Unchanged) -> RulesError {
        let Unchanged { error, generations } = unchanged;
        let running = self.running();
        match generations {
            None => changing.numbers.give_back(&next.numbers, &running.numbers),
            // A worker had the rules for a moment, and has flows that they decided.
            Some(generations) => {
                let kept: HashSet<&RuleNumber> = running.numbers.iter().collect();
                let new = next.numbers.iter().filter(|number| !kept.contains(number));
                changing.numbers.retire(new.copied().collect(), generations);
                if let Err(error) = changing.handover.forget_flows() {
                    log::warn!("flows that were left to the kernel stay there: {error}");
                }
            }
        }
        // The XDP program may have been told already.
        if let Err(error) = self.announce_rules(changing, &running.rules) {
            log::error!("the XDP program does not know what the rules in force need: {error}");
        }
        *error
    }

    /// The workers have the rules, since these generations of their flow tables.
    pub(super) fn finish(
        &self,
        changing: &mut Changing,
        next: Next,
        generations: Vec<u32>,
        source: &str,
        start: Instant,
    ) -> Changed {
        // What the kernel was left by the former rules comes here again.
        if let Err(error) = changing.handover.forget_flows() {
            log::warn!("flows that were left to the kernel stay there: {error}");
        }
        let former = self.running();
        let changed = Changed {
            version: former.version + 1,
            rules: next.rules.len(),
            added: next.added,
            removed: next.gone.len(),
            took: start.elapsed(),
            confirm_within: None,
        };
        changing.numbers.retire(next.gone, generations);
        let now = Arc::new(Running {
            rules: next.rules,
            numbers: next.numbers,
            sets: next.sets,
            version: changed.version,
            source: source.to_owned(),
            since: SystemTime::now(),
        });
        *self.0.running.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&now);
        remember(&mut changing.former, former);
        log::info!(
            "the rules of {source} are in force, {} of them: {} new, {} gone",
            changed.rules,
            changed.added,
            changed.removed
        );
        (self.0.observer)(&now, &changed);
        changed
    }

    /// Has each worker add boxes to its rule set, `add` for each, and take others out. Returns the generations that begin with it, and where
    /// the new ones are.
    pub(super) fn change_boxes(
        &self,
        changing: &mut Changing,
        add: Vec<RuleSetBuilder>,
        remove: Vec<Vec<BoxId>>,
    ) -> Result<(Vec<u32>, Vec<Vec<OwnedBox>>), Unchanged> {
        let changes = add.into_iter().zip(remove).map(|(add, remove)| {
            move |dispatcher: &mut Dispatcher| {
                let placed = dispatcher.change_rules(add, &remove)?;
                Ok((dispatcher.flows().generation(), placed))
            }
        });
        let outcomes = settle(&self.0.team, changes);
        let outcomes = outcomes.into_iter().map(|outcome| {
            let settled = outcome.map_err(RulesError::from)?;
            settled.map_err(|error| SetupError::Rules(error).into())
        });
        let outcomes: Vec<Result<_, RulesError>> = outcomes.collect();
        if outcomes.iter().all(Result::is_ok) {
            return Ok(outcomes.into_iter().flatten().unzip());
        }
        let changed: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
        let generations = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().map_or(0, |(generation, _)| *generation));
        let generations = generations.collect();
        let Some(error) = outcomes.into_iter().find_map(Result::err) else {
            unreachable!("one of them failed");
        };
        if !changed.contains(&true) {
            return Err(error.into());
        }
        // What was taken out can't be put where it was: those that have changed get the former rules as a whole.
        let running = self.running();
        let (mut former, mut placed) = self.compile(&changing.compiler, || running.numbered())?;
        let of_changed = |changed: &bool, former: RuleSet| changed.then_some(former);
        let former = changed.iter().zip(former.drain(..));
        let former = former
            .map(|(changed, former)| of_changed(changed, former))
            .collect();
        for (worker, placed) in placed
            .drain(..)
            .enumerate()
            .filter(|(worker, _)| changed[*worker])
        {
            changing.placed[worker] = placed;
        }
        Err(put_back(&self.0.team, former, generations, error))
    }

    /// All that is wrong with rules, the first of it written out.
    pub(super) fn check<'r>(&self, rules: impl Iterator<Item = &'r Rule>) -> Result<(), RulesError> {
        let mut faults = 0;
        let mut text = String::new();
        let mut boxes: u64 = 0;
        for rule in rules {
            let found = rules::check(rule).into_iter().chain(self.0.names.check(rule));
            for fault in found {
                faults += 1;
                if faults <= TOLD_FAULTS {
                    tell(&mut text, rule, &fault);
                }
            }
            boxes = boxes.saturating_add(rule.boxes());
        }
        if faults > TOLD_FAULTS {
            // Writing to a string does not fail.
            let _ = write!(text, "\n... and {} more", faults - TOLD_FAULTS);
        }
        if faults > 0 {
            return Err(RulesError::Faulty(text));
        }
        check_boxes(boxes)
    }

    /// Finds numbers that no flow counts for any more.
    pub(super) fn free_numbers(&self, changing: &mut Changing) {
        while let Some(generations) = changing.numbers.waits_for() {
            let are_swept = self.0.team.ask_each(PATIENCE, |worker| {
                let generation = generations[worker];
                move |dispatcher: &mut Dispatcher, _| dispatcher.flows().is_swept(generation)
            });
            if are_swept.map_or(true, |swept| swept.contains(&false)) {
                return;
            }
            changing.numbers.free_oldest();
        }
    }

    fn reset_counters(&self, numbers: &[RuleNumber]) -> Result<(), Unanswered> {
        for some in numbers.chunks(RESET_AT_ONCE) {
            let some = some.to_vec();
            self.0.team.ask_all(move |dispatcher, _| {
                for &number in &some {
                    dispatcher.flows_mut().reset_rule(number);
                }
            })?;
        }
        Ok(())
    }
}

/// There is an end to how many boxes all rules may have.
pub(super) fn check_boxes(boxes: u64) -> Result<(), RulesError> {
    if boxes > MAX_TOTAL_BOXES {
        return Err(RulesError::TooMany(boxes));
    }
    Ok(())
}

fn remember(former: &mut VecDeque<Arc<Running>>, running: Arc<Running>) {
    former.push_back(running);
    let rules =
        |former: &VecDeque<Arc<Running>>| former.iter().map(|running| running.rules.len()).sum::<usize>();
    while former.len() > 1 && (former.len() > HISTORY || rules(former) > HISTORY_RULES) {
        former.pop_front();
    }
}

fn tell(text: &mut String, rule: &Rule, Fault { message, .. }: &Fault) {
    if !text.is_empty() {
        text.push('\n');
    }
    // Writing to a string does not fail.
    let _ = write!(text, "{}: {message}", rule.place);
}
