//! What a worker does with its time. Written by the worker alone, so that nothing that it counts needs more than a load and a store; read
//! by anybody at any time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::Waiting;
use crate::time::Time;

/// What happened in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Rounds that found packets.
    pub bursts: u64,
    /// Packets of these rounds.
    pub packets: u64,
    /// Rounds that found none.
    pub empty_polls: u64,
    /// Times that it went to sleep.
    pub sleeps: u64,
    /// Time of the rounds that found packets or questions.
    pub busy: Duration,
    /// Time of those that found nothing.
    pub polling: Duration,
    /// Time asleep.
    pub asleep: Duration,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The thread's number in the kernel; 0 before it runs.
    pub thread: u32,
    /// What it does when there is nothing to do.
    pub waiting: Waiting,
    /// Whether it sleeps now, until packets or questions come.
    pub is_asleep: bool,
    /// All that it did.
    pub total: Work,
    /// What it did in the last full second.
    pub last_second: Work,
    /// Ticks: times at which time passed for the channels.
    pub ticks: u64,
    /// How long the last tick took.
    pub last_tick: Duration,
    /// How long the longest took.
    pub longest_tick: Duration,
    /// Questions in its mailbox.
    pub waiting_questions: u64,
    /// Questions that it answered.
    pub answered: u64,
}

/// A [`Work`] in atomics; times in nanoseconds.
#[derive(Debug, Default)]
struct Counters {
    bursts: AtomicU64,
    packets: AtomicU64,
    empty_polls: AtomicU64,
    sleeps: AtomicU64,
    busy: AtomicU64,
    polling: AtomicU64,
    asleep: AtomicU64,
}

impl Counters {
    fn load(&self) -> Work {
        let time = |nanoseconds| Duration::from_nanos(get(nanoseconds));
        Work {
            bursts: get(&self.bursts),
            packets: get(&self.packets),
            empty_polls: get(&self.empty_polls),
            sleeps: get(&self.sleeps),
            busy: time(&self.busy),
            polling: time(&self.polling),
            asleep: time(&self.asleep),
        }
    }

    fn store(&self, work: &Work) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        set(&self.bursts, work.bursts);
        set(&self.packets, work.packets);
        set(&self.empty_polls, work.empty_polls);
        set(&self.sleeps, work.sleeps);
        set(&self.busy, nanoseconds(work.busy));
        set(&self.polling, nanoseconds(work.polling));
        set(&self.asleep, nanoseconds(work.asleep));
    }
}

impl Work {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            bursts: self.bursts - earlier.bursts,
            packets: self.packets - earlier.packets,
            empty_polls: self.empty_polls - earlier.empty_polls,
            sleeps: self.sleeps - earlier.sleeps,
            busy: self.busy - earlier.busy,
            polling: self.polling - earlier.polling,
            asleep: self.asleep - earlier.asleep,
        }
    }
}

/// What the worker and those who ask about it share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    thread: AtomicU32,
    waiting: OnceLock<Waiting>,
    is_asleep: AtomicBool,
    total: Counters,
    last_second: Counters,
    ticks: AtomicU64,
    last_tick: AtomicU64,
    longest_tick: AtomicU64,
    /// Put into the mailbox, by anybody.
    pub(super) asked: AtomicU64,
    /// Taken out of it.
    answered: AtomicU64,
}

impl Shared {
    pub(super) fn load(&self) -> Statistics {
        let answered = get(&self.answered);
        Statistics {
            thread: self.thread.load(Ordering::Relaxed),
            waiting: self.waiting.get().copied().unwrap_or_default(),
            is_asleep: self.is_asleep.load(Ordering::Relaxed),
            total: self.total.load(),
            last_second: self.last_second.load(),
            ticks: get(&self.ticks),
            last_tick: Duration::from_nanos(get(&self.last_tick)),
            longest_tick: Duration::from_nanos(get(&self.longest_tick)),
            waiting_questions: get(&self.asked).saturating_sub(answered),
            answered,
        }
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn set(counter: &AtomicU64, value: u64) {
    counter.store(value, Ordering::Relaxed);
}

/// How a stretch of time was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spent {
    Busy,
    Polling,
    Asleep,
}

/// The worker's side. Reads no clock: the time between two rounds is what the first of them took.
pub(super) struct Account<'a> {
    shared: &'a Shared,
    total: Work,
    /// The start of the present second, and what there was then.
    second: (Time, Work),
    /// When the present stretch began, and how it is spent.
    since: Time,
    spent: Spent,
}

const SECOND: Duration = Duration::from_secs(1);

impl<'a> Account<'a> {
    pub(super) fn open(shared: &'a Shared, waiting: Waiting, now: Time) -> Self {
        let thread = nix::unistd::gettid().as_raw();
        shared.thread.store(thread.unsigned_abs(), Ordering::Relaxed);
        shared.waiting.get_or_init(|| waiting);
        Self {
            shared,
            total: Work::default(),
            second: (now, Work::default()),
            since: now,
            spent: Spent::Polling,
        }
    }

    /// A round begins: what went before it is over.
    #[inline]
    pub(super) fn round(&mut self, now: Time) {
        let length = now.since(self.since);
        self.since = now;
        match self.spent {
            Spent::Busy => self.total.busy += length,
            Spent::Polling => self.total.polling += length,
            Spent::Asleep => {
                self.total.asleep += length;
                self.shared.is_asleep.store(false, Ordering::Relaxed);
            }
        }
    }

    /// The round found so many packets.
    #[inline]
    pub(super) fn polled(&mut self, packets: usize) {
        if packets > 0 {
            self.total.bursts += 1;
            self.total.packets += packets as u64;
            self.spent = Spent::Busy;
        } else {
            self.total.empty_polls += 1;
            self.spent = Spent::Polling;
        }
    }

    /// The round answered a question.
    pub(super) fn answered(&mut self) {
        self.spent = Spent::Busy;
        set(&self.shared.answered, get(&self.shared.answered) + 1);
    }

    /// The round ends with sleep.
    pub(super) fn sleeps(&mut self) {
        self.total.sleeps += 1;
        self.spent = Spent::Asleep;
        self.shared.is_asleep.store(true, Ordering::Relaxed);
    }

    /// A tick took so long. What was counted is told to those who ask.
    pub(super) fn ticked(&mut self, now: Time, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let shared = self.shared;
        set(&shared.ticks, get(&shared.ticks) + 1);
        set(&shared.last_tick, nanoseconds);
        set(&shared.longest_tick, get(&shared.longest_tick).max(nanoseconds));
        shared.total.store(&self.total);
        let (start, before) = &self.second;
        if now.since(*start) >= SECOND {
            shared.last_second.store(&self.total.since(before));
            self.second = (now, self.total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn all_time_is_accounted_for() {
        let shared = Shared::default();
        let start = Time::from_secs(5);
        let mut account = Account::open(&shared, Waiting::Never, start);
        let mut now = start;
        // Each tenth: two bursts of 64 (10 ms each), one question (5 ms), one empty poll (1 ms), then asleep.
        for tenth in 1..=25 {
            for packets in [64, 64] {
                account.round(now);
                account.polled(packets);
                now = now + 10 * MS;
            }
            account.round(now);
            account.polled(0);
            account.answered();
            now = now + 5 * MS;
            account.round(now);
            account.polled(0);
            now = now + MS;
            account.round(now);
            account.polled(0);
            account.sleeps();
            assert!(shared.load().is_asleep);
            now = start + 100 * MS * tenth;
            account.round(now);
            account.polled(0);
            assert!(!shared.load().is_asleep);
            account.ticked(now, MS * tenth);
        }
        let seen = shared.load();
        let total = seen.total;
        assert_eq!((total.bursts, total.packets), (50, 50 * 64));
        assert_eq!((total.sleeps, total.empty_polls), (25, 100));
        assert_eq!(total.busy, 25 * 25 * MS);
        assert_eq!(total.polling, 25 * MS);
        assert_eq!(total.busy + total.polling + total.asleep, 2500 * MS);
        let last = seen.last_second;
        assert_eq!((last.bursts, last.busy), (20, 250 * MS));
        assert_eq!(last.busy + last.polling + last.asleep, SECOND);
        assert_eq!((seen.ticks, seen.answered), (25, 25));
        assert_eq!((seen.last_tick, seen.longest_tick), (25 * MS, 25 * MS));
        assert_ne!(seen.thread, 0);
    }
}
