//! Several dispatchers, each on a thread of its own, that share nothing: each has its own ports, flows and channels. A packet that came to
//! another worker than the one that it belongs to crosses once, through a ring from the one to the other: its bytes are copied, so that each
//! frame stays with the memory that it came from.
//!
//! Whom packets belong to is their channel's to say: [`Netchannel::owner`](crate::channel::Netchannel::owner) for those of a flow, whose entry in the flow table then leads to the
//! ring; [`Context::hand_on`](super::Context::hand_on) for single ones. A flow's packets take the same way one after the other, and keep their order.
//! What was taken over is not handed on once more by the dispatcher, whatever channels and flow tables say.
//!
//! The rings are all that two workers both touch: they are looked at once a burst, and written to once a burst that has something for them.

mod exit;
mod letter;
mod ring;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use super::dimensions::Arrival;
use super::registry::Registry;
use super::rule_counters::RuleNumber;
use super::rule_set::Action;
use crate::channel::ChannelId;
use crate::interface::Role;
use exit::Exit;
pub(super) use letter::Head;
pub(crate) use letter::Purpose;
pub(super) use ring::Inbox;
use ring::{Outbox, ring};

/// Wakes a worker that sleeps, from another one's thread. It must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Bytes in all the rings to one worker.
const MEMORY: usize = 4 << 20;
/// Bytes in one ring: at least room for a burst of large packets, and at most what a processor's own cache holds.
const SMALLEST_RING: usize = 128 << 10;
const LARGEST_RING: usize = 1 << 20;

/// A worker's place in a team, for [`Parts::team`](super::Parts::team).
pub struct Member {
    number: usize,
    /// The ways to the others, by their numbers; to itself there is none.
    outboxes: Vec<Option<Outbox>>,
    /// The ways from the others.
    pub(super) inboxes: Vec<Inbox>,
    sleepers: Arc<[Sleeper]>,
    /// The channel that leads to the first one; those to the others follow it.
    exits: ChannelId,
    /// What is being looked at was handed on already.
    pub(super) takes_over: bool,
}

/// Whether a worker sleeps, and how it is woken. Written only when it falls asleep or wakes up.
#[repr(align(128))]
struct Sleeper {
    is_asleep: AtomicBool,
    wake: Waker,
}

/// A team of as many workers as there are wakers. Worker `n` is woken by the `n`th of them: if it sleeps, once for a burst that it is handed.
pub fn team(wakers: Vec<Waker>) -> Vec<Member> {
    let workers = wakers.len();
    let capacity = (MEMORY / workers.max(1)).clamp(SMALLEST_RING, LARGEST_RING);
    let sleeper = |wake| Sleeper {
        is_asleep: AtomicBool::new(false),
        wake,
    };
    let sleepers: Arc<[Sleeper]> = wakers.into_iter().map(sleeper).collect();
    let mut members: Vec<Member> = (0..workers)
        .map(|number| Member {
            number,
            outboxes: (0..workers).map(|_| None).collect(),
            inboxes: Vec::new(),
            sleepers: Arc::clone(&sleepers),
            exits: ChannelId(0),
            takes_over: false,
        })
        .collect();
    for from in 0..workers {
        for to in (0..workers).filter(|&to| to != from) {
            let (outbox, inbox) = ring(capacity);
            members[from].outboxes[to] = Some(outbox);
            members[to].inboxes.push(inbox);
        }
    }
    members
}

impl Member {
    /// Its number in the team, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.outboxes.len()
    }

    /// Adds the channels that lead to the others.
    pub(super) fn join(mut self, channels: &mut Registry) -> Self {
        for worker in 0..self.workers() {
            let exit = channels.add_exit(Box::new(Exit::to(worker)));
            if worker == 0 {
                self.exits = exit;
            }
        }
        self
    }

    /// The action for a new flow: what was decided, or to hand its packets on.
    #[cold]
    pub(super) fn direct(
        &self,
        action: Action,
        arrival: &Arrival<'_>,
        role: Role,
        channels: &Registry,
    ) -> Action {
        let channel = channels.get(action.channel).filter(|_| !self.takes_over);
        match channel.and_then(|channel| channel.owner(arrival, role)) {
            Some(worker) if worker != self.number && worker < self.workers() => Action {
                channel: ChannelId(self.exits.0 + worker as u16),
                parameter: 0,
                rule: RuleNumber::ELSEWHERE,
            },
            _ => action,
        }
    }

    /// The worker that a channel leads to, if it is one of those that lead to workers.
    pub(super) fn leads_to(&self, channel: ChannelId) -> Option<usize> {
        channel.0.checked_sub(self.exits.0).map(usize::from)
    }

    /// Puts a packet on its way to another worker. `false` if there is no room.
    #[inline]
    pub(super) fn put(&mut self, worker: usize, head: Head, frame: &[u8]) -> bool {
        match self.outboxes.get_mut(worker) {
            Some(Some(outbox)) => outbox.put(head, frame),
            _ => false,
        }
    }

    /// Lets the others have what was put on its way, and wakes those that sleep.
    #[inline]
    pub(super) fn send(&mut self) {
        for (outbox, peer) in self.outboxes.iter_mut().zip(self.sleepers.iter()) {
            let Some(outbox) = outbox else { continue };
            if outbox.is_empty() {
                continue;
            }
            outbox.send();
            // Either the other one sees what was sent before it sleeps, or it is seen here that it does.
            fence(Ordering::SeqCst);
            if peer.is_asleep.load(Ordering::Relaxed) && peer.is_asleep.swap(false, Ordering::Relaxed) {
                (peer.wake)();
            }
        }
    }

    /// Says that this worker is about to sleep. `false` if it must not, because something was handed to it.
    pub(super) fn falls_asleep(&self) -> bool {
        let is_asleep = &self.sleepers[self.number].is_asleep;
        is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_sleep = self.inboxes.iter().all(Inbox::is_empty);
        if !may_sleep {
            is_asleep.store(false, Ordering::Relaxed);
        }
        may_sleep
    }

    /// Says that this worker is awake.
    pub(super) fn wakes_up(&self) {
        self.sleepers[self.number]
            .is_asleep
            .store(false, Ordering::Relaxed);
    }
}
