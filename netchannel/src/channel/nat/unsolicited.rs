//! SYNs from outside that are for nobody (RFC 5382 REQ-4). Their senders may be about to be connected to, by an inside host that sends its
//! own SYN at the same time; an error would end that. So they are dropped in silence, and answered only when no such SYN was seen for
//! a while.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use ahash::RandomState;

use super::flow::Endpoint;
use crate::dispatch::Undelivered;
use crate::time::Time;

/// How long nothing may be said about such a SYN.
pub(super) const SILENCE: Duration = Duration::from_secs(6);
/// SYNs that are remembered; those beyond are never answered. A probe of all ports by one host takes as many as there are ports, but
/// nothing from anyone: SYNs that are not remembered only stay without an answer.
const CAPACITY: usize = 4096;

/// Both ends of the connection that the SYN would open.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ends {
    external: Endpoint,
    remote: Endpoint,
}

impl Hash for Ends {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { external, remote } = self;
        state.write_u64(u64::from(external.address.to_bits()) << 32 | u64::from(remote.address.to_bits()));
        state.write_u32(u32::from(external.port) << 16 | u32::from(remote.port));
    }
}

/// The SYNs of the last seconds. Everything is O(1).
pub(super) struct Unsolicited {
    /// In the order of their arrival; those that were settled stay until their time is up.
    queue: VecDeque<(Time, Ends)>,
    waiting: HashMap<Ends, (Time, Undelivered), RandomState>,
}

impl Unsolicited {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            waiting: HashMap::with_hasher(RandomState::new()),
        }
    }

    /// Remembers a SYN that was dropped. One that is sent again changes nothing.
    pub(super) fn remember(&mut self, external: Endpoint, remote: Endpoint, syn: Undelivered, now: Time) {
        let ends = Ends { external, remote };
        if self.queue.len() < CAPACITY && !self.waiting.contains_key(&ends) {
            self.waiting.insert(ends, (now, syn));
            self.queue.push_back((now, ends));
        }
    }

    /// The connection is opened after all: nothing is to be said about its SYN.
    pub(super) fn settle(&mut self, external: Endpoint, remote: Endpoint) {
        self.waiting.remove(&Ends { external, remote });
    }

    /// Takes out a SYN whose sender may be told now.
    pub(super) fn next_due(&mut self, now: Time) -> Option<Undelivered> {
        while let Some(&(since, ends)) = self.queue.front()
            && now.since(since) >= SILENCE
        {
            self.queue.pop_front();
            // The same ends may have been settled and remembered anew since.
            let is_it = self.waiting.get(&ends).is_some_and(|(time, _)| *time == since);
            if is_it && let Some((_, syn)) = self.waiting.remove(&ends) {
                return Some(syn);
            }
        }
        None
    }
}
