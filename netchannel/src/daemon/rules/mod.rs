//! The rules of a running daemon: how they are changed, taken back, and told.
//!
//! A change is made aside, in the thread of whoever asks for it: the new rules are checked, get their numbers and become a
//! [`RuleSet`](crate::dispatch::RuleSet), one for each worker. A worker takes its own between two bursts, so every packet meets the rules of
//! before or those of after, and its flows are decided anew. If anything fails before, nothing has changed; if one of several workers
//! does not take its set in time, the others take back what they had.

mod answers;
mod change;
mod edit;
mod error;
mod explain;
mod numbers;
mod placed;
mod running;
mod swap;
mod trial;
mod uploads;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::team::Team;
use crate::config::Config;
use crate::dispatch::OwnedBox;
use crate::events::{Events, Kind, Rules, What};
use crate::rules::{Names, Rule, RuleList};
use crate::setup::{Claim, Layout, RuleCompiler};
use crate::time::Clock;
use crate::xdp::{Handover, XdpError};

pub(super) use edit::Edit;
pub(crate) use error::RulesError;
use numbers::Numbers;
use placed::Placed;
pub(super) use running::Running;
use trial::Trial;
use uploads::Uploads;

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
pub(super) type Announce = Box<dyn Fn(&[Arc<Rule>], &Layout, &[Claim]) -> Result<(), XdpError> + Send + Sync>;

/// Is told of every change.
pub(super) type Observer = Box<dyn Fn(&Running, &Changed) + Send + Sync>;

/// What the store is made of.
pub(super) struct Parts {
    pub(super) team: Team,
    pub(super) clock: Clock,
    pub(super) compiler: RuleCompiler,
    /// Where the boxes of the configuration's rules are, which are numbered by their places, in the set of each worker.
    pub(super) placed: Vec<Vec<OwnedBox>>,
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
    /// Its rules are those of the start.
    config: Config,
    team: Team,
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
    /// For each worker.
    placed: Vec<Placed>,
    former: VecDeque<Arc<Running>>,
    trial: Option<Trial>,
}

impl RuleStore {
    /// The store of a daemon that starts with the rules of its configuration, numbered by their places.
    pub(super) fn new(config: &Config, parts: Parts) -> Self {
        let mut numbers = Numbers::default();
        let rules = config.rules.iter().cloned().map(Arc::new).collect();
        let assigned = numbers.assign(rules, &[], &[]);
        let running = Running {
            rules: assigned.rules,
            numbers: assigned.numbers,
            sets: config.rules.clone_sets(),
            version: 1,
            source: config.file.display().to_string(),
            since: SystemTime::now(),
        };
        Self(Arc::new(Shared {
            team: parts.team,
            clock: parts.clock,
            names: Names::of(config),
            config: config.clone(),
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
                placed: parts.placed.into_iter().map(Placed::from).collect(),
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
        let mut changing = self.changing_freely()?;
        let changed = self.replace(&mut changing, list, source)?;
        Ok(self.try_out(&mut changing, trial, changed))
    }

    /// Takes some rules out of those in force and adds others, as `edit` says. `version` is that of the rules that were meant; any, if there
    /// is none.
    pub(crate) fn edit(
        &self,
        version: Option<u64>,
        source: &str,
        trial: Option<Duration>,
        edit: impl FnOnce(&Running) -> Result<Edit, RulesError>,
    ) -> Result<Changed, RulesError> {
        let mut changing = self.changing_freely()?;
        let running = self.running();
        if let Some(expected) = version.filter(|version| *version != running.version) {
            let found = running.version;
            return Err(RulesError::Changed { expected, found });
        }
        let changed = self.change_some(&mut changing, edit(&running)?, source)?;
        Ok(self.try_out(&mut changing, trial, changed))
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
        self.announce_rules(&changing, &self.running().rules)
    }

    /// The translators' addresses have changed: the same rules are made anew. The XDP program is to be told by itself.
    pub(super) fn set_claims(&self, claims: Vec<Claim>) -> Result<(), RulesError> {
        let mut changing = self.changing();
        let compiler = changing.compiler.with_claims(&claims);
        let running = self.running();
        let (rule_sets, placed) = self.compile(&compiler, || running.numbered())?;
        swap::swap(&self.0.team, rule_sets).map_err(|unchanged| *unchanged.error)?;
        changing.placed = placed;
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

    /// For a change that a trial forbids.
    fn changing_freely(&self) -> Result<MutexGuard<'_, Changing>, RulesError> {
        let changing = self.changing();
        match changing.trial {
            Some(_) => Err(RulesError::OnTrial),
            None => Ok(changing),
        }
    }

    fn go_back(&self, changing: &mut Changing) -> Result<Changed, RulesError> {
        let former = changing.former.pop_back().ok_or(RulesError::NoFormer)?;
        match self.put(
            changing,
            former.rules.clone(),
            former.sets.clone(),
            &former.source,
        ) {
            Ok(changed) => {
                changing.trial = None;
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

    fn try_out(&self, changing: &mut Changing, trial: Option<Duration>, mut changed: Changed) -> Changed {
        if let Some(time) = trial {
            let (store, version) = (self.clone(), changed.version);
            changing.trial = Some(Trial::start(time, move || store.give_up(version)));
            changed.confirm_within = trial;
        }
        changed
    }

    /// Nobody has confirmed the rules of this version. Says whether that is settled.
    fn give_up(&self, version: u64) -> bool {
        let mut changing = self.changing();
        if changing.trial.is_none() || self.running().version != version {
            return true;
        }
        match self.go_back(&mut changing) {
            Ok(changed) => {
                log::warn!(
                    "nobody has confirmed the rules of version {version}: those before it are back, as version {}",
                    changed.version
                );
                true
            }
            Err(error) => {
                log::error!(
                    "nobody has confirmed the rules, but the former ones can't be had: {error}; trying again"
                );
                false
            }
        }
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
