//! What can be seen of single packets: each watch asks for some, and is told what came in, what was decided and what became of it. The
//! packet path knows nothing of this: an observed packet takes it alone, and what the worker's queues and counters show afterwards is told.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::dimensions::Arrival;
use super::rule_counters::RuleNumber;
use super::rule_set::RuleSet;
use crate::channel::{ChannelId, SessionEntry};
use crate::drop_reason::DropReason;
use crate::interface::{InterfaceId, PortId, Role};
use crate::packet::Headers;
use crate::time::Time;

/// Watches that there may be at one time.
pub const MAX_WATCHES: usize = 8;

/// Flows whose answers a watch follows.
const MAX_FOLLOWED: usize = 4096;

/// One packet: what came in, what was decided, what became of it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When its burst came in, or when it went on after it had waited.
    pub time: Time,
    /// The port that it came in on.
    pub port: PortId,
    /// The interface; `None` if its VLAN belongs to none.
    pub interface: Option<InterfaceId>,
    /// It came in before, waited for its next hop's address, and went on now.
    pub has_waited: bool,
    /// Its first bytes, as many as were asked for, as they came in.
    pub frame: Box<[u8]>,
    /// Its length in bytes.
    pub length: usize,
    /// What the parser learned of it; `None` if it could not.
    pub headers: Option<Headers>,
    /// What the flow table and the rules said; `None` if it did not get there.
    pub decision: Option<Decision>,
    /// What its channel, a translator, knows of it.
    pub translation: Option<Translation>,
    /// What was sent because of it, in its order: the packet itself or its fragments, others that had waited for it, and what the sender
    /// was told.
    pub sent: Vec<Sent>,
    /// What became of it.
    pub fate: Fate,
}

/// What the flow table and the rules said of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the flow table had its flow, so that no rule was asked.
    pub was_known: bool,
    /// Packets of its flow so far, with this one.
    pub packets: u64,
    /// The rule.
    pub rule: RuleNumber,
    /// The channel.
    pub channel: ChannelId,
    /// What the rule says to the channel.
    pub parameter: u8,
}

/// What a translator knows of a packet, and whether it is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The session, which has its mapping.
    pub session: SessionEntry,
    /// How the session was found.
    pub novelty: Novelty,
}

/// What of a translation is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Nothing: the session was known.
    Known,
    /// The session; its mapping was known.
    NewSession,
    /// The mapping and the session.
    NewMapping,
}

/// A frame that was queued for transmission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The interface that it leaves by; `None` if its VLAN belongs to none.
    pub interface: Option<InterfaceId>,
    /// Its first bytes, as many as were asked for.
    pub frame: Box<[u8]>,
    /// Its length in bytes.
    pub length: usize,
    /// What the parser learns of it.
    pub headers: Option<Headers>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was sent: [`Observation::sent`] says where and as what.
    Transmitted,
    /// It went to the kernel.
    Passed,
    /// It was dropped; what was sent tells the sender.
    Dropped(DropReason),
    /// It waits for its next hop's address.
    Waits,
    /// Its channel keeps it.
    Kept,
    /// Its channel consumed it.
    Consumed,
}

/// Which packets a watch asks for.
#[derive(Debug)]
pub struct PacketFilter {
    /// The boxes of the filter, all for the channel [`Self::WANTED`].
    boxes: RuleSet,
    /// Whether every packet matches, also what can't be parsed.
    takes_all: bool,
}

impl PacketFilter {
    /// Rules for this channel are what the filter takes.
    pub const WANTED: ChannelId = ChannelId(1);
    /// For the packets that no rule of a filter matches.
    pub const UNWANTED: ChannelId = ChannelId(0);

    /// All packets.
    pub fn all() -> Self {
        Self {
            boxes: RuleSet::new(Self::WANTED),
            takes_all: true,
        }
    }

    /// The packets that `boxes` gives to the channel [`WANTED`](Self::WANTED).
    pub fn of(boxes: RuleSet) -> Self {
        Self {
            boxes,
            takes_all: false,
        }
    }

    /// Whether it takes a packet.
    pub fn takes(&self, arrival: &Arrival<'_>) -> bool {
        // Filters have no rules for answers, which are what the role decides on.
        self.takes_all || self.boxes.decide(arrival, Role::Inside).channel == Self::WANTED
    }
}

/// What a watch asks for.
#[derive(Debug)]
pub struct WatchOptions {
    /// Which packets, as they come in.
    pub filter: PacketFilter,
    /// Whether the packets that answer them, as they come in, are asked for as well.
    pub with_answers: bool,
    /// Only those that are dropped.
    pub only_drops: bool,
    /// Bytes of each frame, at most.
    pub snap_length: usize,
    /// Packets in a second, at most: the others take the short way, and are counted.
    pub per_second: u32,
    /// Packets in all, at most.
    pub count: u64,
    /// Packets that may wait to be taken by whoever asked; beyond that they are lost, and counted.
    pub backlog: usize,
}

/// Packets that a watch did not see.
#[derive(Debug)]
pub struct Unseen {
    beyond_rate: AtomicU64,
    /// By the number of the interface that they came in by; last, of no interface.
    lost: Box<[AtomicU64]>,
}

impl Unseen {
    /// Packets beyond the rate that was asked for.
    pub fn beyond_rate(&self) -> u64 {
        self.beyond_rate.load(Ordering::Relaxed)
    }

    /// Packets for which there was no room, because those before were not taken in time.
    pub fn lost(&self) -> u64 {
        self.lost.iter().map(|lost| lost.load(Ordering::Relaxed)).sum()
    }

    /// Of these, the packets that came in by an interface.
    pub fn lost_by(&self, interface: InterfaceId) -> u64 {
        let lost = self.lost.get(usize::from(interface.0));
        lost.map_or(0, |lost| lost.load(Ordering::Relaxed))
    }

    fn lose(&self, interface: Option<InterfaceId>) {
        let number = interface.map_or(usize::MAX, |interface| interface.0.into());
        let last = self.lost.len() - 1;
        self.lost[number.min(last)].fetch_add(1, Ordering::Relaxed);
    }
}

/// The worker's end of a watch.
#[derive(Debug)]
pub struct Watch {
    options: WatchOptions,
    ring: Producer<Arc<Observation>>,
    unseen: Arc<Unseen>,
    answers: Answers,
    second_began: Time,
    in_second: u32,
    left: u64,
}

/// The other end. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watcher {
    /// What was seen, in its order. [Abandoned](Consumer::is_abandoned) when the watch has ended.
    pub observations: Consumer<Arc<Observation>>,
    /// What was not.
    pub unseen: Arc<Unseen>,
}

/// The answers that a watch expects, which may come to any of its workers. Only watched packets meet the lock.
#[derive(Clone, Debug, Default)]
struct Answers(Arc<Mutex<HashSet<Endpoints>>>);

impl Answers {
    fn expected(&self) -> MutexGuard<'_, HashSet<Endpoints>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Source, destination, their ports and the protocol.
type Endpoints = (IpAddr, IpAddr, u16, u16, u8);

fn endpoints(headers: &Headers) -> Endpoints {
    let (source_port, destination_port) = headers.ports();
    let (source, destination) = (headers.source, headers.destination);
    (
        source,
        destination,
        source_port,
        destination_port,
        headers.protocol,
    )
}

fn turned((source, destination, source_port, destination_port, protocol): Endpoints) -> Endpoints {
    (destination, source, destination_port, source_port, protocol)
}

impl Watch {
    /// Both ends of a watch, for a worker with so many interfaces.
    pub fn new(options: WatchOptions, interfaces: usize) -> (Self, Watcher) {
        Self::beside(options, interfaces, Answers::default())
    }

    /// The same for several workers, with the options of each: they see the answers to each other's packets.
    pub fn for_workers(
        options: impl IntoIterator<Item = WatchOptions>,
        interfaces: usize,
    ) -> Vec<(Self, Watcher)> {
        let answers = Answers::default();
        let watch = |options| Self::beside(options, interfaces, answers.clone());
        options.into_iter().map(watch).collect()
    }

    fn beside(options: WatchOptions, interfaces: usize, answers: Answers) -> (Self, Watcher) {
        let (ring, observations) = RingBuffer::new(options.backlog);
        let unseen = Arc::new(Unseen {
            beyond_rate: AtomicU64::new(0),
            lost: (0..=interfaces).map(|_| AtomicU64::new(0)).collect(),
        });
        let watcher = Watcher {
            observations,
            unseen: Arc::clone(&unseen),
        };
        let watch = Self {
            left: options.count,
            options,
            ring,
            unseen,
            answers,
            second_began: Time::ZERO,
            in_second: 0,
        };
        (watch, watcher)
    }

    /// Whether it asks for a packet; one beyond its rate is counted.
    fn wants(&mut self, arrival: &Seen<'_>, now: Time) -> bool {
        let is_asked_for = match (&arrival.headers, arrival.interface) {
            (Some(headers), Some(interface)) => {
                let arrival = Arrival {
                    frame: arrival.frame,
                    headers,
                    interface,
                };
                self.options.filter.takes(&arrival)
                    || self.options.with_answers && self.answers.expected().contains(&endpoints(headers))
            }
            _ => self.options.filter.takes_all,
        };
        if !is_asked_for || self.left == 0 {
            return false;
        }
        if now.since(self.second_began) >= Duration::from_secs(1) {
            self.second_began = now;
            self.in_second = 0;
        }
        if self.in_second >= self.options.per_second {
            self.unseen.beyond_rate.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.in_second += 1;
        true
    }

    fn tell(&mut self, observation: &Arc<Observation>) {
        if self.options.with_answers {
            self.expect_answers(observation);
        }
        if self.options.only_drops && !matches!(observation.fate, Fate::Dropped(_)) {
            return;
        }
        match self.ring.push(Arc::clone(observation)) {
            Ok(()) => self.left -= 1,
            Err(PushError::Full(_)) => {
                self.unseen.lose(observation.interface);
            }
        }
    }

    /// Answers come to where the packet seems to come from once it has left.
    fn expect_answers(&mut self, observation: &Observation) {
        if observation.fate != Fate::Transmitted {
            return;
        }
        let left = observation.sent.iter().filter_map(|sent| sent.headers.as_ref());
        let mut expected = self.answers.expected();
        for headers in left {
            if expected.len() < MAX_FOLLOWED {
                expected.insert(turned(endpoints(headers)));
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.left == 0 || self.ring.is_abandoned()
    }
}

/// A frame as it came in, before anything is done with it.
pub(super) struct Seen<'a> {
    pub(super) frame: &'a [u8],
    pub(super) headers: Option<Headers>,
    pub(super) interface: Option<InterfaceId>,
}

/// The watches of a worker.
#[derive(Debug, Default)]
pub(super) struct Watches(Vec<Watch>);

/// Which of the watches ask for a packet, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted(u8);

impl Wanted {
    pub(super) fn is_by_nobody(self) -> bool {
        self.0 == 0
    }
}

impl Watches {
    /// Adds a watch, if there is room.
    pub(super) fn add(&mut self, watch: Watch) -> bool {
        self.remove_ended();
        let has_room = self.0.len() < MAX_WATCHES;
        if has_room {
            self.0.push(watch);
        }
        has_room
    }

    pub(super) fn remove_ended(&mut self) {
        self.0.retain(|watch| !watch.has_ended());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn who_wants(&mut self, seen: &Seen<'_>, now: Time) -> Wanted {
        let watches = self.0.iter_mut().enumerate();
        Wanted(watches.fold(0, |wanted, (number, watch)| {
            wanted | u8::from(watch.wants(seen, now)) << number
        }))
    }

    /// Bytes of a frame that those who want it ask for.
    pub(super) fn snap_length(&self, Wanted(wanted): Wanted) -> usize {
        let watches = self.0.iter().enumerate();
        let asking = watches.filter(|(number, _)| wanted & 1 << number != 0);
        asking
            .map(|(_, watch)| watch.options.snap_length)
            .max()
            .unwrap_or(0)
    }

    pub(super) fn tell(&mut self, Wanted(wanted): Wanted, observation: Observation) {
        let observation = Arc::new(observation);
        for (number, watch) in self.0.iter_mut().enumerate() {
            if wanted & 1 << number != 0 {
                watch.tell(&observation);
            }
        }
    }
}
