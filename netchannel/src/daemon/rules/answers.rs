//! What the control socket is answered about rules.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use super::edit::{Addition, Edit};
use super::running::Running;
use super::{Changed, RuleStore, RulesError};
use crate::control::report::{Load, RuleEntry, RulesChanged, RulesPage, RulesState};
use crate::control::{ControlError, RulesRequest};
use crate::dispatch::RuleNumber;
use crate::rules::{Rule, text};

/// Rules of a page.
const PAGE: usize = 4096;
/// Rules that a change tells of one by one.
const TOLD: usize = 256;
/// Rules that one request may delete.
const MAX_DELETED: usize = 65_536;
/// The longest time to confirm in.
const LONGEST_TRIAL: u64 = 86_400;

impl From<RulesError> for ControlError {
    fn from(error: RulesError) -> Self {
        Self::new(error.to_string())
    }
}

impl RuleStore {
    /// Answers a request.
    pub(in crate::daemon) fn answer(&self, request: RulesRequest) -> Result<Value, ControlError> {
        match request {
            RulesRequest::Begin {} => {
                let load = self
                    .uploads()
                    .begin(self.0.clock.now())
                    .map_err(RulesError::from)?;
                value(Load { load })
            }
            RulesRequest::Part { load, text } => {
                let added = self.uploads().add(load, &text, self.0.clock.now());
                added.map_err(RulesError::from)?;
                value(Load { load })
            }
            RulesRequest::Commit {
                load,
                source,
                confirm_within,
            } => value(self.commit(load, &source, trial(confirm_within)?)?),
            RulesRequest::Abort { load } => {
                self.uploads()
                    .take(load, self.0.clock.now())
                    .map_err(RulesError::from)?;
                value(Load { load })
            }
            RulesRequest::Add { text, confirm_within } => value(self.add(&text, trial(confirm_within)?)?),
            RulesRequest::Delete {
                numbers,
                version,
                confirm_within,
            } => value(self.delete(&numbers, version, trial(confirm_within)?)?),
            RulesRequest::Replace {
                number,
                text,
                version,
                confirm_within,
            } => value(self.replace_one(number, &text, version, trial(confirm_within)?)?),
            RulesRequest::Confirm {} => {
                self.confirm()?;
                log::info!("the rules on trial are confirmed");
                value(self.state())
            }
            RulesRequest::Undo {} => value(changed(&self.undo()?, Vec::new())),
            RulesRequest::State {} => value(self.state()),
            RulesRequest::Explain { flow, verbose } => value(self.explain(&flow, verbose)?),
            RulesRequest::List { after } => value(self.page(after.as_deref())?),
        }
    }

    fn commit(&self, load: u64, source: &str, trial: Option<Duration>) -> Result<RulesChanged, ControlError> {
        let text = self
            .uploads()
            .take(load, self.0.clock.now())
            .map_err(RulesError::from)?;
        let source = if source.is_empty() {
            "control socket"
        } else {
            source
        };
        let read = text::parse(&text, source).map_err(|error| ControlError::new(error.to_string()))?;
        drop(text);
        Ok(changed(&self.load(read.rules, source, trial)?, Vec::new()))
    }

    fn add(&self, text: &str, trial: Option<Duration>) -> Result<RulesChanged, ControlError> {
        let rules = self.parse(text)?;
        if rules.is_empty() {
            return Err(ControlError::new("there is no rule to add"));
        }
        let additions = rules.iter().cloned().map(|rule| Addition { rule, at: None });
        let edit = Edit {
            remove: Vec::new(),
            add: additions.collect(),
        };
        let added = self.edit(None, "rules add", trial, |_| Ok(edit))?;
        Ok(changed(&added, entries_of(&self.running(), &rules)))
    }

    fn delete(
        &self,
        numbers: &[u32],
        version: Option<u64>,
        trial: Option<Duration>,
    ) -> Result<RulesChanged, ControlError> {
        if numbers.is_empty() || numbers.len() > MAX_DELETED {
            let message = format!("{} rules to delete; expected 1 to {MAX_DELETED}", numbers.len());
            return Err(ControlError::new(message));
        }
        let mut deleted = Vec::new();
        let change = self.edit(version, "rules del", trial, |running| {
            let place = |&number| {
                running
                    .place_of(RuleNumber(number))
                    .ok_or(RulesError::NoRule(number))
            };
            let mut remove = numbers.iter().map(place).collect::<Result<Vec<_>, _>>()?;
            remove.sort_unstable();
            remove.dedup();
            deleted.extend(remove.iter().take(TOLD).map(|&place| entry(running, place)));
            Ok(Edit {
                remove,
                add: Vec::new(),
            })
        })?;
        Ok(changed(&change, deleted))
    }

    fn replace_one(
        &self,
        number: u32,
        text: &str,
        version: Option<u64>,
        trial: Option<Duration>,
    ) -> Result<RulesChanged, ControlError> {
        let rules = self.parse(text)?;
        let [rule] = &rules[..] else {
            let message = format!("{} rules to put in the place of one; expected one", rules.len());
            return Err(ControlError::new(message));
        };
        let change = self.edit(version, "rules replace", trial, |running| {
            let place = running.place_of(RuleNumber(number));
            let place = place.ok_or(RulesError::NoRule(number))?;
            let addition = Addition {
                rule: rule.clone(),
                at: Some(place),
            };
            Ok(Edit {
                remove: vec![place],
                add: vec![addition],
            })
        })?;
        Ok(changed(&change, entries_of(&self.running(), &rules)))
    }

    /// Reads rules that may name the sets in force.
    fn parse(&self, text: &str) -> Result<Vec<Rule>, ControlError> {
        let running = self.running();
        text::parse_rules(text, &running.sets).map_err(|error| ControlError::new(error.to_string()))
    }

    pub(in crate::daemon) fn state(&self) -> RulesState {
        let running = self.running();
        let since = running.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (former, is_on_trial) = {
            let changing = self.changing();
            (changing.former.len() as u64, changing.trial.is_some())
        };
        RulesState {
            version: running.version,
            rules: running.rules.len() as u64,
            source: running.source.clone(),
            since: since.as_secs(),
            former,
            is_on_trial,
        }
    }

    fn page(&self, after: Option<&str>) -> Result<RulesPage, ControlError> {
        let Some(after) = after else {
            return Ok(page(&self.running(), 0));
        };
        let cursor = after.split_once(':');
        let cursor = cursor.and_then(|(version, place)| Some((version.parse().ok()?, place.parse().ok()?)));
        let (version, place) =
            cursor.ok_or_else(|| ControlError::new("`after` is no cursor; expected the `next` of a page"))?;
        let running = self.of_version(version).ok_or_else(|| {
            ControlError::new("the rules have changed since the listing began; begin again")
        })?;
        Ok(page(&running, place))
    }

    /// The rules of a version, if they are still known.
    fn of_version(&self, version: u64) -> Option<Arc<Running>> {
        let running = self.running();
        if running.version == version {
            return Some(running);
        }
        let changing = self.changing();
        changing
            .former
            .iter()
            .find(|former| former.version == version)
            .cloned()
    }
}

fn page(running: &Running, first: usize) -> RulesPage {
    let end = running.rules.len().min(first.saturating_add(PAGE));
    let mut sets = Vec::new();
    if first == 0 {
        // Writing to memory does not fail.
        let _ = text::write(&running.sets, &mut sets);
    }
    RulesPage {
        version: running.version,
        sets: String::from_utf8(sets).unwrap_or_default(),
        rules: (first.min(end)..end).map(|place| entry(running, place)).collect(),
        next: (end < running.rules.len()).then(|| format!("{}:{end}", running.version)),
    }
}

fn entry(running: &Running, place: usize) -> RuleEntry {
    let rule = &running.rules[place];
    RuleEntry {
        number: running.numbers[place].0,
        priority: rule.priority,
        channel: rule.channel.to_string(),
        text: text::rule_text(rule),
        place: match rule.place.file {
            Some(_) => rule.place.to_string(),
            None => String::new(),
        },
    }
}

/// Entries of these rules: the last ones that are equal to them.
fn entries_of(running: &Running, rules: &[Rule]) -> Vec<RuleEntry> {
    let place = |rule: &Rule| running.rules.iter().rposition(|known| **known == *rule);
    let places = rules.iter().take(TOLD).filter_map(place);
    places.map(|place| entry(running, place)).collect()
}

fn changed(change: &Changed, touched: Vec<RuleEntry>) -> RulesChanged {
    RulesChanged {
        version: change.version,
        rules: change.rules as u64,
        added: change.added as u64,
        removed: change.removed as u64,
        microseconds: u64::try_from(change.took.as_micros()).unwrap_or(u64::MAX),
        confirm_within: change.confirm_within.map(|time| time.as_secs()),
        touched,
    }
}

fn trial(seconds: Option<u64>) -> Result<Option<Duration>, RulesError> {
    match seconds {
        Some(seconds) if !(1..=LONGEST_TRIAL).contains(&seconds) => Err(RulesError::Timeout(seconds)),
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}

fn value(report: impl Serialize) -> Result<Value, ControlError> {
    Ok(serde_json::to_value(report)?)
}
