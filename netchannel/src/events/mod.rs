//! Events, told while they happen to those who watch (`netchannel monitor`).
//!
//! [`Events`] is the hub: whoever has something to tell calls [`publish`](Events::publish), which costs one atomic load
//! when nobody watches that kind; whoever wants to hear has a [`Subscription`], a queue of bounded length. Nobody waits for a
//! slow listener: what finds no room in its queue is lost for it, and it is told how much that was.
//!
//! The packet thread does not publish, for that takes a lock: it puts records into a ring if [`Wanted`] says so
//! ([`nat::Recorder`](crate::channel::nat::Recorder), [`FlowRecorder`](crate::dispatch::FlowRecorder)), and the thread of
//! [`event_log`](crate::event_log) publishes them.

mod event;
mod kind;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

pub use event::{Address, Block, ClosedFlow, Event, Flow, Limit, Link, Rules, Translation, What};
pub use kind::{Kind, Kinds, NoKind, Wanted};

/// Events that wait for one listener.
const QUEUE: usize = 4096;

/// Where events are published and subscribed to. Clones are the same hub.
#[derive(Clone, Debug, Default)]
pub struct Events {
    wanted: Wanted,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A subscription ended.
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queues: Vec<Arc<Queue>>,
    is_ended: bool,
    /// Woken when somebody starts to watch.
    sleepers: Vec<Thread>,
}

#[derive(Debug)]
struct Queue {
    kinds: Kinds,
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    is_ended: bool,
}

#[derive(Debug)]
enum Item {
    Event(Arc<Event>),
    Lost(u64),
}

/// What a subscription has for its listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something happened.
    Event(Arc<Event>),
    /// So many events were lost at this place.
    Lost(u64),
    /// Nothing happened in the time.
    Nothing,
    /// Nothing more will come.
    Ended,
}

impl Events {
    /// A hub that nobody watches.
    pub fn new() -> Self {
        Self::default()
    }

    /// What says, for one atomic load, whether anybody watches.
    pub fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// Whether somebody watches events of this kind. One atomic load.
    #[inline]
    pub fn wants(&self, kind: Kind) -> bool {
        self.wanted.has(kind)
    }

    /// Tells all who watch this kind what happened just now. If nobody does, nothing is made and nothing is called.
    pub fn publish(&self, kind: Kind, what: impl FnOnce() -> What) {
        self.publish_at(kind, SystemTime::now, what);
    }

    /// As [`publish`](Self::publish), of something that happened before.
    pub fn publish_at(&self, kind: Kind, time: impl FnOnce() -> SystemTime, what: impl FnOnce() -> What) {
        if !self.wants(kind) {
            return;
        }
        let what = what();
        debug_assert_eq!(what.kind(), kind);
        let event = Arc::new(Event { time: time(), what });
        for queue in &self.state().queues {
            if queue.kinds.has(kind) {
                queue.put(&event);
            }
        }
    }

    /// Tells all who watch this kind that so many events never got here.
    pub fn lose(&self, kind: Kind, count: u64) {
        if count == 0 || !self.wants(kind) {
            return;
        }
        for queue in &self.state().queues {
            if queue.kinds.has(kind) {
                lock(&queue.waiting).lose(count);
                queue.filled.notify_one();
            }
        }
    }

    /// Events of these kinds from now on, until the subscription is dropped.
    pub fn subscribe(&self, kinds: Kinds) -> Subscription {
        let mut state = self.state();
        let queue = Arc::new(Queue {
            kinds,
            waiting: Mutex::new(Waiting {
                is_ended: state.is_ended,
                ..Waiting::default()
            }),
            filled: Condvar::new(),
        });
        state.queues.push(Arc::clone(&queue));
        self.wanted.set(state.wanted());
        state.sleepers.iter().for_each(Thread::unpark);
        drop(state);
        Subscription {
            queue,
            events: self.clone(),
        }
    }

    /// Has a thread unparked whenever somebody starts to watch.
    pub(crate) fn wake_when_watched(&self, thread: Thread) {
        self.state().sleepers.push(thread);
    }

    /// Tells all that nothing more will come, and waits up to `patience` until those who listen have taken what they have.
    pub fn end(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        state.is_ended = true;
        for queue in &state.queues {
            lock(&queue.waiting).is_ended = true;
            queue.filled.notify_one();
        }
        while !state.queues.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = match self.shared.left.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

impl State {
    fn wanted(&self) -> Kinds {
        let kinds = self.queues.iter().map(|queue| queue.kinds);
        kinds.fold(Kinds::NONE, Kinds::and)
    }
}

impl Queue {
    fn put(&self, event: &Arc<Event>) {
        let mut waiting = lock(&self.waiting);
        if waiting.items.len() < QUEUE {
            waiting.items.push_back(Item::Event(Arc::clone(event)));
        } else {
            waiting.lose(1);
        }
        drop(waiting);
        self.filled.notify_one();
    }
}

impl Waiting {
    fn lose(&mut self, count: u64) {
        match self.items.back_mut() {
            Some(Item::Lost(lost)) => *lost = lost.saturating_add(count),
            _ => self.items.push_back(Item::Lost(count)),
        }
    }
}

/// What one listener hears. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
    events: Events,
}

impl Subscription {
    /// What is next; waits up to `patience` for it.
    pub fn next(&mut self, patience: Duration) -> Heard {
        let deadline = Instant::now() + patience;
        let mut waiting = lock(&self.queue.waiting);
        loop {
            match waiting.items.pop_front() {
                Some(Item::Event(event)) => return Heard::Event(event),
                Some(Item::Lost(count)) => return Heard::Lost(count),
                None if waiting.is_ended => return Heard::Ended,
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Nothing;
            }
            waiting = match self.queue.filled.wait_timeout(waiting, left) {
                Ok((waiting, _)) => waiting,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.events.state();
        state.queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.events.wanted.set(state.wanted());
        drop(state);
        self.events.shared.left.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
