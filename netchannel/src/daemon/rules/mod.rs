//! The rules of a running daemon: how they are changed, taken back, and told.
//!
//! A change is made aside, in the thread of whoever asks for it: the new rules are checked, get their numbers and become a
//! [`RuleSet`](crate::dispatch::RuleSet). The worker takes that between two bursts, so every packet meets the rules of before or those of
//! after, and its flows are decided anew. If anything fails before, nothing has changed.

mod answers;
mod numbers;
mod running;
mod trial;
mod uploads;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use super::PATIENCE;
use crate::config::Config;
use crate::dispatch::{RuleNumber, RuleSet};
use crate::events::{Events, Kind, Rules, What};
use crate::rules::{self, Fault, MAX_TOTAL_BOXES, Names, Rule, RuleList};
use crate::setup::{Claim, Layout, RuleCompiler, SetupError};
use crate::time::Clock;
use crate::worker::{Handle, Unanswered};
use crate::xdp::{Handover, XdpError};

use numbers::Numbers;
pub(super) use running::Running;
use trial::Trial;
use uploads::{UploadError, Uploads};

/// Former rules that can be had again.
const HISTORY: usize = 16;
/// Rules of all former lists together; beyond, the oldest are forgotten.
const HISTORY_RULES: usize = 4_000_000;
/// Counters that are reset in one go: packets wait meanwhile.
const RESET_AT_ONCE: usize = 4096;
/// Faults that are told of one list.
const TOLD_FAULTS: usize = 20;

/// Why the rules were not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RulesError {
    /// Rules that can't be had here; one line for each.
    #[error("{0}")]
    Faulty(String),
    /// The lists of all rules multiply to too many.
    #[error(
        "the lists of all rules make {0} single rules; expected at most {MAX_TOTAL_BOXES}: fewer rules or shorter lists"
    )]
    TooMany(u64),
    /// No rule has the number.
    #[error("there is no rule {0}; `netchannel rules list` shows the numbers")]
    NoRule(u32),
    /// The rules were changed by somebody else.
    #[error("the rules have changed since (version {found} in place of {expected}); look again")]
    Changed {
        /// The version that was meant.
        expected: u64,
        /// The present one.
        found: u64,
    },
    /// A trial is under way.
    #[error(
        "the rules are on trial: `netchannel rules confirm` keeps them, `netchannel rules undo` takes them back"
    )]
    OnTrial,
    /// There is no trial.
    #[error("no rules wait for confirmation")]
    NoTrial,
    /// There is nothing to undo.
    #[error("there are no former rules to go back to")]
    NoFormer,
    /// A time to confirm in that is none.
    #[error("{0} seconds to confirm in; expected 1 to 86400")]
    Timeout(u64),
    /// A text did not arrive.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The rules don't fit.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The XDP program could not be told.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The worker does not answer.
    #[error(transparent)]
    Worker(#[from] Unanswered),
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The version of the rules in force now.
    pub(crate) version: u64,
    /// How many rules there are.
    pub(crate) rules: usize,
    /// Rules that were not there before.
    pub(crate) added: usize,
    /// Rules that are there no more.
    pub(crate) removed: usize,
    /// How long it took.
    pub(crate) took: Duration,
    /// When the former rules come back unless these are confirmed.
    pub(crate) confirm_within: Option<Duration>,
}

/// Tells the XDP program what packets rules need.
pub(super) type Announce = Box<dyn Fn(&RuleList, &Layout, &[Claim]) -> Result<(), XdpError> + Send + Sync>;

/// Is told of every change.
pub(super) type Observer = Box<dyn Fn(&Running, &Changed) + Send + Sync>;

/// What the store is made of.
pub(super) struct Parts {
    pub(super) worker: Handle,
    pub(super) clock: Clock,
    pub(super) compiler: RuleCompiler,
    pub(super) layout: Layout,
    pub(super) claims: Vec<Claim>,
    /// Takes back the flows that were left to the kernel.
    pub(super) handover: Handover,
    pub(super) announce: Announce,
    pub(super) observer: Observer,
}

/// The rules in force, and who changes them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RuleStore(Arc<Shared>);

struct Shared {
    worker: Handle,
    clock: Clock,
    names: Names,
    announce: Announce,
    observer: Observer,
    running: RwLock<Arc<Running>>,
    uploads: Mutex<Uploads>,
    /// Held for the whole of a change: one at a time.
    changing: Mutex<Changing>,
}

struct Changing {
    compiler: RuleCompiler,
    layout: Layout,
    claims: Vec<Claim>,
    handover: Handover,
    numbers: Numbers,
    former: VecDeque<Arc<Running>>,
    trial: Option<Trial>,
}

impl RuleStore {
    /// The store of a daemon that starts with the rules of its configuration, numbered by their places.
    pub(super) fn new(config: &Config, parts: Parts) -> Self {
        let list = config.rules.clone();
        let mut numbers = Numbers::default();
        let assigned = numbers.assign(&list.rules, &[], &[]);
        let running = Running {
            list,
            numbers: assigned.numbers,
            version: 1,
            source: config.file.display().to_string(),
            since: SystemTime::now(),
        };
        Self(Arc::new(Shared {
            worker: parts.worker,
            clock: parts.clock,
            names: Names::of(config),
            announce: parts.announce,
            observer: parts.observer,
            running: RwLock::new(Arc::new(running)),
            uploads: Mutex::default(),
            changing: Mutex::new(Changing {
                compiler: parts.compiler,
                layout: parts.layout,
                claims: parts.claims,
                handover: parts.handover,
                numbers,
                former: VecDeque::new(),
                trial: None,
            }),
        }))
    }

    /// The rules in force.
    pub(crate) fn running(&self) -> Arc<Running> {
        Arc::clone(&self.0.running.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a list in the place of the rules in force. With `trial`, the former ones come back after that time unless these are
    /// [confirmed](Self::confirm).
    pub(crate) fn load(
        &self,
        list: RuleList,
        source: &str,
        trial: Option<Duration>,
    ) -> Result<Changed, RulesError> {
        let mut changing = self.changing();
        if changing.trial.is_some() {
            return Err(RulesError::OnTrial);
        }
        let changed = self.change(&mut changing, list, source)?;
        self.try_out(&mut changing, trial, changed)
    }

    /// Changes the rules in force by what `edit` does to a copy of them. `version` is that of the rules that were meant; any, if there is
    /// none.
    pub(crate) fn edit(
        &self,
        version: Option<u64>,
        source: &str,
        trial: Option<Duration>,
        edit: impl FnOnce(&mut RuleList, &Running) -> Result<(), RulesError>,
    ) -> Result<Changed, RulesError> {
        let mut changing = self.changing();
        if changing.trial.is_some() {
            return Err(RulesError::OnTrial);
        }
        let running = self.running();
        if let Some(expected) = version.filter(|version| *version != running.version) {
            let found = running.version;
            return Err(RulesError::Changed { expected, found });
        }
        let mut list = running.list.clone();
        edit(&mut list, &running)?;
        let changed = self.change(&mut changing, list, source)?;
        self.try_out(&mut changing, trial, changed)
    }

    /// Keeps rules that are on trial.
    pub(crate) fn confirm(&self) -> Result<(), RulesError> {
        let trial = self.changing().trial.take();
        trial.map(drop).ok_or(RulesError::NoTrial)
    }

    /// Goes back to the rules before the last change; several times, if there were several.
    pub(crate) fn undo(&self) -> Result<Changed, RulesError> {
        let mut changing = self.changing();
        self.go_back(&mut changing)
    }

    /// Tells the XDP program what the rules in force need, now that interfaces and the translators' addresses are these.
    pub(super) fn announce(&self, layout: &Layout, claims: Vec<Claim>) -> Result<(), XdpError> {
        let mut changing = self.changing();
        changing.layout = layout.clone();
        changing.claims = claims;
        self.announce_rules(&changing, &self.running().list)
    }

    fn announce_rules(&self, changing: &Changing, list: &RuleList) -> Result<(), XdpError> {
        (self.0.announce)(list, &changing.layout, &changing.claims)
    }

    /// The translators' addresses have changed: the same rules are made anew. The XDP program is to be told by itself.
    pub(super) fn set_claims(&self, claims: Vec<Claim>) -> Result<(), RulesError> {
        let mut changing = self.changing();
        let compiler = changing.compiler.with_claims(&claims);
        let running = self.running();
        let numbered = running.numbers.iter().copied().zip(running.list.iter());
        let rule_set = compiler.compile(numbered)?;
        self.swap(rule_set)?;
        changing.compiler = compiler;
        changing.claims = claims;
        Ok(())
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.0.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_back(&self, changing: &mut Changing) -> Result<Changed, RulesError> {
        let former = changing.former.pop_back().ok_or(RulesError::NoFormer)?;
        changing.trial = None;
        let source = former.source.clone();
        match self.change(changing, former.list.clone(), &source) {
            Ok(changed) => {
                // What was undone is not to be had by a second undo.
                changing.former.pop_back();
                Ok(changed)
            }
            Err(error) => {
                changing.former.push_back(former);
                Err(error)
            }
        }
    }

    fn try_out(
        &self,
        changing: &mut Changing,
        trial: Option<Duration>,
        mut changed: Changed,
    ) -> Result<Changed, RulesError> {
        if let Some(time) = trial {
            let (store, version) = (self.clone(), changed.version);
            changing.trial = Some(Trial::start(time, move || store.give_up(version)));
            changed.confirm_within = trial;
        }
        Ok(changed)
    }

    /// Nobody has confirmed the rules of this version.
    fn give_up(&self, version: u64) {
        let mut changing = self.changing();
        if changing.trial.is_none() || self.running().version != version {
            return;
        }
        match self.go_back(&mut changing) {
            Ok(changed) => log::warn!(
                "nobody has confirmed the rules of version {version}: those before it are back, as version {}",
                changed.version
            ),
            Err(error) => {
                log::error!("nobody has confirmed the rules, but the former ones can't be had: {error}")
            }
        }
    }

    fn change(&self, changing: &mut Changing, list: RuleList, source: &str) -> Result<Changed, RulesError> {
        let start = Instant::now();
        let list = list.in_order();
        self.check(&list)?;
        let running = self.running();
        self.free_numbers(changing);
        let assigned = changing
            .numbers
            .assign(&list.rules, &running.list.rules, &running.numbers);
        let numbered = assigned.numbers.iter().copied().zip(list.iter());
        let made = changing
            .compiler
            .compile(numbered)
            .map_err(RulesError::from)
            .and_then(|rule_set| {
                self.announce_rules(changing, &list)?;
                Ok(rule_set)
            });
        let swapped = made.and_then(|rule_set| {
            self.reset_counters(&assigned.reused)?;
            self.swap(rule_set)
        });
        let generation = match swapped {
            Ok(generation) => generation,
            Err(error) => {
                changing.numbers.give_back(&assigned, &running.numbers);
                // The XDP program may have been told already.
                if let Err(error) = self.announce_rules(changing, &running.list) {
                    log::error!("the XDP program does not know what the rules in force need: {error}");
                }
                return Err(error);
            }
        };
        // What the kernel was left by the former rules comes here again.
        if let Err(error) = changing.handover.forget_flows() {
            log::warn!("flows that were left to the kernel stay there: {error}");
        }
        let changed = Changed {
            version: running.version + 1,
            rules: list.len(),
            added: assigned.added,
            removed: assigned.gone.len(),
            took: start.elapsed(),
            confirm_within: None,
        };
        changing.numbers.retire(assigned.gone, generation);
        let now = Arc::new(Running {
            list,
            numbers: assigned.numbers,
            version: changed.version,
            source: source.to_owned(),
            since: SystemTime::now(),
        });
        *self.0.running.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&now);
        remember(&mut changing.former, running);
        log::info!(
            "the rules of {source} are in force, {} of them: {} new, {} gone",
            changed.rules,
            changed.added,
            changed.removed
        );
        (self.0.observer)(&now, &changed);
        Ok(changed)
    }

    /// Has the worker take a rule set, or leave it for good if it does not answer in time. Returns the generation of the flow table that
    /// begins with it.
    fn swap(&self, rule_set: RuleSet) -> Result<u32, RulesError> {
        let is_settled = Arc::new(AtomicBool::new(false));
        let settled = Arc::clone(&is_settled);
        let swapped = self.0.worker.ask(PATIENCE, move |dispatcher, _| {
            // Too late: the former rules were said to stay.
            if settled.swap(true, Ordering::SeqCst) {
                return (rule_set, 0);
            }
            let former = dispatcher.set_rules(rule_set);
            (former, dispatcher.flows().generation())
        });
        match swapped {
            // The former rule set takes its time to be freed: here, not on the worker.
            Ok((_former, generation)) => Ok(generation),
            Err(error) if !is_settled.swap(true, Ordering::SeqCst) => Err(error.into()),
            // It took them in the last moment.
            Err(_) => Ok(self
                .0
                .worker
                .ask(PATIENCE, |dispatcher, _| dispatcher.flows().generation())?),
        }
    }

    /// All that is wrong with a list, the first of it written out.
    fn check(&self, list: &RuleList) -> Result<(), RulesError> {
        let mut faults = 0;
        let mut text = String::new();
        let mut boxes: u64 = 0;
        for rule in list.iter() {
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
            let _ = write!(text, "\n... and {} more", faults - TOLD_FAULTS);
        }
        if faults > 0 {
            return Err(RulesError::Faulty(text));
        }
        if boxes > MAX_TOTAL_BOXES {
            return Err(RulesError::TooMany(boxes));
        }
        Ok(())
    }

    /// Finds numbers that no flow counts for any more.
    fn free_numbers(&self, changing: &mut Changing) {
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

/// Tells those who watch of every change.
pub(super) fn publisher(events: Events) -> impl Fn(&Running, &Changed) + Send + Sync {
    move |running, changed| {
        events.publish(Kind::Rules, || {
            What::RulesLoaded(Rules {
                rules: changed.rules as u64,
                cause: running.source.clone(),
            })
        });
    }
}

fn remember(former: &mut VecDeque<Arc<Running>>, running: Arc<Running>) {
    former.push_back(running);
    let rules =
        |former: &VecDeque<Arc<Running>>| former.iter().map(|running| running.list.len()).sum::<usize>();
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
