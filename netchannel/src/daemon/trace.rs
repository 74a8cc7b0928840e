//! Single packets of the worker, as a stream for those who trace or capture them.

mod short;
mod steps;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::inspect::Inspector;
use super::rules::RuleStore;
use crate::control::report::{TraceSent, TracedPacket};
use crate::control::{ControlError, Next, Trace, Watched};
use crate::dispatch::{Fate, Novelty, Observation, RuleNumber, Sent, Watch, WatchOptions, Watcher};
use crate::interface::{InterfaceId, Interfaces};
use crate::network::SharedNetwork;
use crate::rules::text::rule_text;
use crate::time::Time;

pub(super) use short::of_frame as short;

/// Bytes of each frame that a trace needs: all headers.
const TRACED_LENGTH: usize = 256;

/// Packets that may wait to be traced.
const TRACE_BACKLOG: usize = 1024;

/// How long the thread of a stream rests when there is nothing to tell.
const REST: Duration = Duration::from_millis(10);

/// How often it is told how much was lost.
const TELL_LOSS: Duration = Duration::from_secs(1);

/// What tells names, rules and routes of packets.
pub(super) struct Scene {
    pub(super) interfaces: Interfaces,
    /// Name and kind of each channel, in the order of their numbers.
    channels: Vec<(String, &'static str)>,
    rules: RuleStore,
    network: SharedNetwork,
    /// A time of the worker, and what the clock on the wall showed then.
    now: (Time, SystemTime),
}

impl Scene {
    /// When something of the worker was.
    pub(super) fn wall_time(&self, time: Time) -> SystemTime {
        let (then, wall) = self.now;
        if time >= then {
            wall + time.since(then)
        } else {
            wall - then.since(time)
        }
    }

    /// The name of an interface; `?` if there is none.
    pub(super) fn interface(&self, id: Option<InterfaceId>) -> String {
        id.map_or("?".to_owned(), |id| self.interfaces.get(id).name.clone())
    }

    /// The channel that a packet went to: name and kind.
    pub(super) fn channel(&self, seen: &Observation) -> Option<(&str, &'static str)> {
        let channel = self.channels.get(usize::from(seen.decision?.channel.0))?;
        Some((&channel.0, channel.1))
    }

    /// A rule in force, as text.
    fn rule_text(&self, number: RuleNumber) -> Option<String> {
        let running = self.rules.running();
        let place = running.place_of(number)?;
        running.rules.get(place).map(|rule| rule_text(rule))
    }

    /// The configured rule that decided a packet, if one did.
    pub(super) fn rule(&self, seen: &Observation) -> Option<RuleNumber> {
        seen.decision
            .map(|decision| decision.rule)
            .filter(|&rule| rule != RuleNumber::NONE)
    }
}

/// What a stream makes of a packet: none or several events.
type Tell = Box<dyn FnMut(&Scene, &Observation, &mut VecDeque<Value>) -> Result<(), ControlError> + Send>;

/// How a stream tells that some more packets were not seen.
type TellLoss = fn(&Scene, &[Watcher], u64) -> Result<Next, ControlError>;

/// The packets that somebody watches, of all workers.
pub(super) struct PacketStream {
    watchers: Vec<Watcher>,
    scene: Scene,
    tell: Tell,
    tell_loss: TellLoss,
    waiting: VecDeque<Value>,
    /// Packets that are still to be told.
    left: u64,
    rate: Rate,
    lost: u64,
    loss_told: Instant,
}

/// The packets of all workers together are no more in a second than were asked for.
struct Rate {
    per_second: u32,
    second_began: Time,
    in_second: u32,
    beyond: u64,
}

impl Rate {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            second_began: Time::ZERO,
            in_second: 0,
            beyond: 0,
        }
    }

    fn takes(&mut self, time: Time) -> bool {
        if time.since(self.second_began) >= Duration::from_secs(1) {
            self.second_began = time;
            self.in_second = 0;
        }
        let takes = self.in_second < self.per_second;
        self.in_second += u32::from(takes);
        self.beyond += u64::from(!takes);
        takes
    }
}

impl PacketStream {
    /// Packets that were not seen, and not told of yet.
    fn loss(&mut self, at_once: bool) -> Result<Option<Next>, ControlError> {
        let watchers = self.watchers.iter();
        let unseen = watchers.map(|watcher| watcher.unseen.lost() + watcher.unseen.beyond_rate());
        let lost = unseen.sum::<u64>() + self.rate.beyond;
        let new = lost - self.lost;
        if new == 0 || !at_once && self.loss_told.elapsed() < TELL_LOSS {
            return Ok(None);
        }
        self.lost = lost;
        self.loss_told = Instant::now();
        (self.tell_loss)(&self.scene, &self.watchers, new).map(Some)
    }

    /// The packet that came first of those that are there.
    fn pop(&mut self) -> Option<Arc<Observation>> {
        // Looked at twice: what came before one that is there now, at another worker, is there then.
        if self
            .watchers
            .iter()
            .all(|watcher| watcher.observations.is_empty())
        {
            return None;
        }
        let watchers = self.watchers.iter_mut();
        let first = watchers
            .filter_map(|watcher| {
                let time = watcher.observations.peek().ok()?.time;
                Some((time, watcher))
            })
            .min_by_key(|(time, _)| *time);
        first?.1.observations.pop().ok()
    }
}

impl Watched for PacketStream {
    fn next(&mut self, patience: Duration) -> Result<Next, ControlError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Next::Event(event));
            }
            if let Some(loss) = self.loss(false)? {
                return Ok(loss);
            }
            // Looked at first: what was put there before the end is still taken.
            let mut watchers = self.watchers.iter();
            let has_ended = self.left == 0 || watchers.all(|watcher| watcher.observations.is_abandoned());
            match self.pop().filter(|_| self.left > 0) {
                Some(seen) if self.rate.takes(seen.time) => {
                    self.left -= 1;
                    (self.tell)(&self.scene, &seen, &mut self.waiting)?;
                }
                Some(_) => {}
                None if has_ended => return Ok(self.loss(true)?.unwrap_or(Next::Ended)),
                None if Instant::now() >= deadline => return Ok(Next::Nothing),
                None => std::thread::sleep(REST.min(deadline.saturating_duration_since(Instant::now()))),
            }
        }
    }
}

impl Inspector {
    pub(super) fn trace(&self, trace: &Trace) -> Result<PacketStream, ControlError> {
        let options = || {
            Ok(WatchOptions {
                filter: self.packet_filter(&trace.filter)?,
                with_answers: trace.with_answers,
                only_drops: false,
                snap_length: TRACED_LENGTH,
                per_second: trace.per_second,
                count: trace.count.unwrap_or(u64::MAX),
                backlog: TRACE_BACKLOG,
            })
        };
        let tell = |scene: &Scene, seen: &Observation, events: &mut VecDeque<Value>| {
            events.push_back(serde_json::to_value(scene.traced(seen))?);
            Ok(())
        };
        self.packets(options, VecDeque::new(), Box::new(tell), |_, _, lost| {
            Ok(Next::Lost(lost))
        })
    }

    /// Begins to watch packets, of each worker with the same `options`. `waiting` is told before them.
    pub(super) fn packets(
        &self,
        options: impl Fn() -> Result<WatchOptions, ControlError>,
        waiting: VecDeque<Value>,
        tell: Tell,
        tell_loss: TellLoss,
    ) -> Result<PacketStream, ControlError> {
        let all = (0..self.team.len()).map(|_| options());
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let (left, rate) = all.first().map_or((0, Rate::new(0)), |options| {
            (options.count, Rate::new(options.per_second))
        });
        let watches = Watch::for_workers(all, self.interfaces().len());
        let (watches, watchers): (Vec<_>, Vec<_>) = watches.into_iter().unzip();
        for (worker, watch) in watches.into_iter().enumerate() {
            // Those that have begun end with their other ends.
            let begun = self.ask_one(worker, |dispatcher, _| dispatcher.watch(watch))?;
            begun.map_err(|error| ControlError::new(error.to_string()))?;
        }
        let (channels, now) = self.ask(|dispatcher, now| {
            let channels = dispatcher.channels().iter();
            let names = channels.map(|(name, channel, _)| (name.to_owned(), channel.kind()));
            (names.collect(), (now, SystemTime::now()))
        })?;
        Ok(PacketStream {
            watchers,
            scene: Scene {
                interfaces: self.interfaces().clone(),
                channels,
                rules: self.rules.clone(),
                network: self.network.clone(),
                now,
            },
            tell,
            tell_loss,
            waiting,
            left,
            rate,
            lost: 0,
            loss_told: Instant::now(),
        })
    }
}

impl Scene {
    fn traced(&self, seen: &Observation) -> TracedPacket {
        let sent = |sent: &Sent| TraceSent {
            interface: self.interface(sent.interface),
            packet: short(sent.headers.as_ref(), &sent.frame),
            length: sent.length as u64,
        };
        TracedPacket {
            time: humantime::format_rfc3339_nanos(self.wall_time(seen.time)).to_string(),
            interface: seen.interface.map(|id| self.interface(Some(id))),
            packet: short(seen.headers.as_ref(), &seen.frame),
            length: seen.length as u64,
            steps: self.steps(seen),
            verdict: verdict(seen.fate).to_owned(),
            reason: match seen.fate {
                Fate::Dropped(reason) => Some(reason.name().to_owned()),
                _ => None,
            },
            channel: self.channel(seen).map(|(name, _)| name.to_owned()),
            rule: self.rule(seen).map(|rule| rule.0),
            sent: seen.sent.iter().map(sent).collect(),
        }
    }

    /// What became of a packet, in a few words: for the comment of a captured one.
    pub(super) fn summary(&self, seen: &Observation) -> String {
        let mut text = match seen.fate {
            Fate::Transmitted => {
                let by = seen.sent.first().and_then(|sent| sent.interface);
                format!("transmitted by {}", self.interface(by))
            }
            Fate::Passed => "passed to the kernel".to_owned(),
            Fate::Dropped(reason) => format!("dropped: {}", reason.name()),
            Fate::Waits => "waits for its next hop's address".to_owned(),
            Fate::Kept => "kept by its channel".to_owned(),
            Fate::Consumed => "consumed by its channel".to_owned(),
        };
        match (self.rule(seen), seen.decision) {
            (Some(RuleNumber(number)), _) => text.push_str(&format!("; rule {number}")),
            (None, Some(_)) => text.push_str("; no configured rule"),
            (None, None) => {}
        }
        if let Some((name, kind)) = self.channel(seen) {
            text.push_str(&format!("; channel {name} ({kind})"));
        }
        if let Some(translation) = seen.translation {
            let session = translation.session;
            let new = match translation.novelty {
                Novelty::Known => "",
                Novelty::NewSession => ", new session",
                Novelty::NewMapping => ", new mapping",
            };
            text.push_str(&format!(
                "; {} is {} outside{new}",
                session.inside, session.external
            ));
        }
        text
    }
}

fn verdict(fate: Fate) -> &'static str {
    match fate {
        Fate::Transmitted => "transmitted",
        Fate::Passed => "passed",
        Fate::Dropped(_) => "dropped",
        Fate::Waits => "waits",
        Fate::Kept => "kept",
        Fate::Consumed => "consumed",
    }
}
