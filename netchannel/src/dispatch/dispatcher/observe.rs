//! Single packets, seen: each goes its way alone, and what it left in queues and counters is told to those who watch.

use super::Dispatcher;
use crate::channel::ChannelId;
use crate::dispatch::core::{Settled, Totals};
use crate::dispatch::flow_table::Sought;
use crate::dispatch::observation::{
    Decision, Fate, Novelty, Observation, Seen, Sent, Translation, Wanted, Watch, Watches,
};
use crate::drop_reason::DropReason;
use crate::interface::PortId;
use crate::packet::{Headers, Packet};
use crate::port::Frame;
use crate::time::Time;

/// [`MAX_WATCHES`](crate::dispatch::MAX_WATCHES) watch already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} traces and captures run already; end one of them",
    crate::dispatch::MAX_WATCHES
)]
pub struct TooManyWatches;

/// What the worker had before a packet.
struct Before {
    totals: Totals,
    kept: usize,
}

/// What a translator had before a packet.
struct Translations {
    had_session: bool,
    mappings: u64,
    sessions: u64,
}

/// A packet's way through the worker so far.
struct Way {
    before: Before,
    observation: Observation,
}

impl Dispatcher {
    /// Begins a watch. While there is one, each packet that it asks for takes its way alone, which costs more; others are looked at once
    /// more than otherwise.
    ///
    /// # Errors
    /// If there are too many.
    pub fn watch(&mut self, watch: Watch) -> Result<(), TooManyWatches> {
        let watches = self.watches.get_or_insert_default();
        if watches.add(watch) {
            Ok(())
        } else {
            Err(TooManyWatches)
        }
    }

    /// Forgets the watches that have ended.
    pub(super) fn end_watches(&mut self) {
        if let Some(watches) = &mut self.watches {
            watches.remove_ended();
            if watches.is_empty() {
                self.watches = None;
            }
        }
    }

    /// Takes what somebody wants to see of a burst all the way, in its order with the others; of these the last ones are left admitted.
    #[cold]
    pub(super) fn admit_observed(&mut self, frames: &mut Vec<Frame>, port: PortId, now: Time) {
        let Some(mut watches) = self.watches.take() else {
            return;
        };
        for frame in frames.drain(..) {
            let headers = Headers::parse(frame.bytes()).ok();
            let interfaces = &self.core.interfaces;
            let seen = Seen {
                frame: frame.bytes(),
                interface: headers.and_then(|headers| interfaces.by_arrival(port, headers.vlan)),
                headers,
            };
            let wanted = watches.who_wants(&seen, now);
            if wanted.is_by_nobody() {
                self.admit(frame, port);
                continue;
            }
            self.forward(now);
            let way = self.begin(&watches, wanted, &seen, port, now);
            self.take_through(way, frame, port, wanted, &mut watches, now);
        }
        self.watches = Some(watches);
    }

    fn take_through(
        &mut self,
        mut way: Way,
        frame: Frame,
        port: PortId,
        wanted: Wanted,
        watches: &mut Watches,
        now: Time,
    ) {
        self.admit(frame, port);
        self.keep_here(now);
        let sought = self.sought.first().copied();
        let (was_known, note) = sought.map_or((false, 0), |sought| self.look_up(&sought));
        self.classify(now);
        let decided = sought.and_then(|sought| self.decision(&sought, was_known));
        way.observation.decision = decided;
        let translations = decided.map(|decision| self.translations(decision.channel, note, now));
        self.process(now);
        if let (Some(sought), Some(decision), Some(before)) = (sought, decided, translations) {
            let (_, note) = self.look_up(&sought);
            way.observation.translation = self.translation(decision.channel, note, &before, now);
        }
        self.finish(way, wanted, watches, now);
    }

    /// As [`settle`](Self::settle), seen.
    #[cold]
    pub(super) fn settle_observed(&mut self, settled: Settled, now: Time) {
        let Some(mut watches) = self.watches.take() else {
            return;
        };
        let late = settled.late.into_iter().map(|packet| (packet, true));
        let ready = settled.ready.into_iter().map(|packet| (packet, false));
        for (packet, is_late) in late.chain(ready) {
            let wanted = watches.who_wants(&Seen::of(&packet), now);
            let port = self.core.interfaces.get(packet.interface).port;
            // What it is when it comes again was held until now.
            let way =
                (!wanted.is_by_nobody()).then(|| self.begin(&watches, wanted, &Seen::of(&packet), port, now));
            if is_late {
                self.core.give_up(packet, now);
            } else {
                self.resume(packet);
                self.process(now);
            }
            match way {
                Some(mut way) => {
                    way.observation.has_waited = true;
                    self.finish(way, wanted, &mut watches, now);
                }
                None => self.transmit(now),
            }
        }
        self.watches = Some(watches);
    }

    /// Does something with a packet that another worker has handed to a channel, seen if somebody watches.
    pub(super) fn observe_given(&mut self, packet: Packet, now: Time, work: impl FnOnce(&mut Self, Packet)) {
        let Some(mut watches) = self.watches.take() else {
            return work(self, packet);
        };
        let wanted = watches.who_wants(&Seen::of(&packet), now);
        let port = self.core.interfaces.get(packet.interface).port;
        let way =
            (!wanted.is_by_nobody()).then(|| self.begin(&watches, wanted, &Seen::of(&packet), port, now));
        work(self, packet);
        if let Some(way) = way {
            self.finish(way, wanted, &mut watches, now);
        }
        self.watches = Some(watches);
    }

    /// What there is before a packet does anything.
    fn begin(&self, watches: &Watches, wanted: Wanted, seen: &Seen<'_>, port: PortId, now: Time) -> Way {
        let snap_length = watches.snap_length(wanted);
        Way {
            before: Before {
                totals: self.core.totals.clone(),
                kept: self.kept(),
            },
            observation: Observation {
                time: now,
                port,
                interface: seen.interface,
                has_waited: false,
                frame: snap(seen.frame, snap_length),
                length: seen.frame.len(),
                headers: seen.headers,
                decision: None,
                translation: None,
                sent: Vec::new(),
                fate: Fate::Consumed,
            },
        }
    }

    /// What it did. All that is queued for transmission is its doing.
    fn finish(&mut self, mut way: Way, wanted: Wanted, watches: &mut Watches, now: Time) {
        way.observation.sent = self.queued(watches.snap_length(wanted));
        self.transmit(now);
        if self.core.totals.handed_on > way.before.totals.handed_on {
            // It is seen where it was handed to.
            return;
        }
        way.observation.fate = self.fate(&way);
        if way.observation.fate == Fate::Dropped(DropReason::TransmitFull) {
            way.observation.sent.clear();
        }
        watches.tell(wanted, way.observation);
    }

    /// Whether the flow table has a flow, and what its channel noted about it.
    fn look_up(&mut self, sought: &Sought) -> (bool, u64) {
        let flows = &mut self.core.flows;
        let flow = flows.find(sought).and_then(|id| flows.flow_mut(id));
        flow.map_or((false, 0), |flow| (true, flow.note))
    }

    fn decision(&mut self, sought: &Sought, was_known: bool) -> Option<Decision> {
        let flows = &mut self.core.flows;
        let flow = flows.find(sought).and_then(|id| flows.flow_mut(id))?;
        Some(Decision {
            was_known,
            packets: flow.packets,
            rule: flow.rule,
            channel: flow.channel,
            parameter: flow.parameter,
        })
    }

    fn translations(&mut self, channel: ChannelId, note: u64, now: Time) -> Translations {
        let channel = &self.channels.entry(channel).channel;
        let pool = channel.pool().unwrap_or_default();
        let mappings = pool.mappings;
        Translations {
            had_session: channel.noted_session(note, now).is_some(),
            mappings: mappings.tcp + mappings.udp + mappings.icmp,
            sessions: pool.sessions,
        }
    }

    fn translation(
        &mut self,
        channel: ChannelId,
        note: u64,
        before: &Translations,
        now: Time,
    ) -> Option<Translation> {
        let session = self.channels.entry(channel).channel.noted_session(note, now)?;
        let after = self.translations(channel, note, now);
        let novelty = if before.had_session {
            Novelty::Known
        } else if after.mappings > before.mappings && session.mapping_age.is_zero() {
            Novelty::NewMapping
        } else if after.sessions > before.sessions {
            Novelty::NewSession
        } else {
            Novelty::Known
        };
        Some(Translation { session, novelty })
    }

    /// The frames that are queued for transmission.
    fn queued(&mut self, snap_length: usize) -> Vec<Sent> {
        let mut sent = Vec::new();
        for number in 0..self.ports.len() {
            let port = PortId(number as u16);
            for at in 0..self.core.output(port).len() {
                let bytes = self.core.output(port)[at].bytes();
                let headers = Headers::parse(bytes).ok();
                let (frame, length) = (snap(bytes, snap_length), bytes.len());
                let interface =
                    headers.and_then(|headers| self.core.interfaces.by_arrival(port, headers.vlan));
                sent.push(Sent {
                    interface,
                    frame,
                    length,
                    headers,
                });
            }
        }
        sent
    }

    /// Packets that channels keep.
    fn kept(&self) -> usize {
        self.channels.iter().map(|(_, channel, _)| channel.held()).sum()
    }

    fn fate(&self, way: &Way) -> Fate {
        let (before, after) = (&way.before.totals, &self.core.totals);
        let dropped = DropReason::ALL
            .iter()
            .find(|&&reason| after.dropped.get(reason) > before.dropped.get(reason));
        if let Some(&reason) = dropped {
            Fate::Dropped(reason)
        } else if after.passed > before.passed {
            Fate::Passed
        } else if after.held > before.held {
            Fate::Waits
        } else if self.kept() > way.before.kept {
            Fate::Kept
        } else if way.observation.sent.is_empty() {
            Fate::Consumed
        } else {
            Fate::Transmitted
        }
    }
}

impl<'a> Seen<'a> {
    fn of(packet: &'a Packet) -> Self {
        Self {
            frame: packet.frame.bytes(),
            headers: Some(packet.headers),
            interface: Some(packet.interface),
        }
    }
}

fn snap(frame: &[u8], length: usize) -> Box<[u8]> {
    frame[..frame.len().min(length)].into()
}
