//! How rules get into force: checked and numbered, to the XDP program and the worker, and written down.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use super::running::Running;
use super::{Changed, Changing, Placed, RuleStore, RulesError};
use crate::daemon::PATIENCE;
use crate::dispatch::{BoxId, Dispatcher, OwnedBox, RuleNumber, RuleSet, RuleSetBuilder};
use crate::rules::{self, Fault, MAX_TOTAL_BOXES, Rule, RuleList};
use crate::setup::SetupError;
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
        let outcome = self.compile(changing, &next).and_then(|(rule_set, placed)| {
            self.prepare(changing, &next)?;
            Ok((self.swap(rule_set)?, placed))
        });
        match outcome {
            Ok((generation, placed)) => {
                changing.placed = Placed::from(placed);
                Ok(self.finish(changing, next, generation, source, start))
            }
            Err(error) => Err(self.retreat(changing, &next, error)),
        }
    }

    fn compile(&self, changing: &Changing, next: &Next) -> Result<(RuleSet, Vec<OwnedBox>), RulesError> {
        let rules = next.rules.iter().map(|rule| &**rule);
        Ok(changing
            .compiler
            .compile(next.numbers.iter().copied().zip(rules))?)
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
    pub(super) fn retreat(&self, changing: &mut Changing, next: &Next, error: RulesError) -> RulesError {
        let running = self.running();
        changing.numbers.give_back(&next.numbers, &running.numbers);
        // The XDP program may have been told already.
        if let Err(error) = self.announce_rules(changing, &running.rules) {
            log::error!("the XDP program does not know what the rules in force need: {error}");
        }
        error
    }

    /// The worker has the rules, since this generation of its flow table.
    pub(super) fn finish(
        &self,
        changing: &mut Changing,
        next: Next,
        generation: u32,
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
        changing.numbers.retire(next.gone, generation);
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

    /// Has the worker take a rule set. Returns the generation of the flow table that begins with it.
    pub(super) fn swap(&self, rule_set: RuleSet) -> Result<u32, RulesError> {
        let mut rule_set = Some(rule_set);
        let swapped = self.settle(move |dispatcher| {
            let former = rule_set.take().map(|rules| dispatcher.set_rules(rules));
            (former, dispatcher.flows().generation())
        })?;
        let (former, generation) = swapped;
        // It takes its time to be freed, for which nobody is to wait. Without a thread, it is freed here.
        let _ = std::thread::Builder::new()
            .name("rules-free".into())
            .spawn(move || drop(former));
        Ok(generation)
    }

    /// Has the worker add boxes to its rule set and take others out. Returns the generation that begins with it, and where the new ones are.
    pub(super) fn change_boxes(
        &self,
        add: RuleSetBuilder,
        remove: Vec<BoxId>,
    ) -> Result<(u32, Vec<OwnedBox>), RulesError> {
        let changed = self.settle(move |dispatcher| {
            let placed = dispatcher.change_rules(add, &remove)?;
            Ok((dispatcher.flows().generation(), placed))
        })?;
        Ok(changed.map_err(SetupError::Rules)?)
    }

    /// Has the worker do something that it either does in time or not at all.
    fn settle<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Dispatcher) -> T + Send + 'static,
    ) -> Result<T, RulesError> {
        let is_settled = Arc::new(AtomicBool::new(false));
        let settled = Arc::clone(&is_settled);
        let (done, outcome) = std::sync::mpsc::sync_channel(1);
        let asked = self.0.worker.ask(PATIENCE, move |dispatcher, _| {
            // Too late: it was said that nothing changes.
            if !settled.swap(true, Ordering::SeqCst) {
                // Whoever asked waits for it.
                let _ = done.send(change(dispatcher));
            }
        });
        match asked {
            Err(error) if !is_settled.swap(true, Ordering::SeqCst) => Err(error.into()),
            // At the last moment, perhaps: then it is being done now.
            _ => Ok(outcome.recv_timeout(PATIENCE).map_err(|_| Unanswered::Stopped)?),
        }
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
        while let Some(generation) = changing.numbers.waits_for() {
            let is_swept = self.0.worker.ask(PATIENCE, move |dispatcher, _| {
                dispatcher.flows().is_swept(generation)
            });
            if is_swept != Ok(true) {
                return;
            }
            changing.numbers.free_oldest();
        }
    }

    fn reset_counters(&self, numbers: &[RuleNumber]) -> Result<(), Unanswered> {
        for some in numbers.chunks(RESET_AT_ONCE) {
            let some = some.to_vec();
            self.0.worker.ask(PATIENCE, move |dispatcher, _| {
                for number in some {
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
