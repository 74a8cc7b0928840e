//! What becomes of new flows when packets are lost at a worker's receive rings: those of known flows go first, and hosts share
//! what is left.
//!
//! A receive ring that is full drops whatever comes, packets of known flows too. So a worker that loses packets there turns new flows away
//! itself, which takes a fraction of what it takes to open one and to send its packet: the ring is emptied, and known flows lose little.
//!
//! **The sign is the loss itself**, as ports count it ([`PacketIo::receive_losses`](crate::port::PacketIo::receive_losses)). Full bursts
//! are none, nor is a ring that is nearly full: a single download fills all of a worker's time, and its window keeps packets waiting, without
//! anything being wrong. As long as nothing is lost, whoever waits is served, and to turn somebody away helps nobody. A ring can't have been full
//! without full bursts behind it, so ports are asked only behind these, and at most once in a window of 10 ms.
//!
//! How many new flows may begin in a window, the *budget*, is found as TCP finds its rate: a sixteenth more after each window without loss, a
//! quarter less after one with, and half of it while that is not enough. Of that each host gets a fair share, so a host that scans ports or
//! floods others leaves theirs to the others.
//!
//! **Few new flows are never too many.** If known flows alone are more than can be carried, no bound on new ones helps. So one new flow for each full
//! burst's worth of packets is always within the budget, some percent of a worker's time, and what was not used of that is saved up, 1,024
//! flows at most, for those who come all at once. While nothing is lost, nothing is turned away or even counted.

mod shares;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use super::dispatcher::BURST;
use crate::time::Time;
use shares::{Shares, UNBOUNDED};

/// How often losses are asked for, and budget and shares found anew.
const WINDOW: Duration = Duration::from_millis(10);
/// Windows without loss and without anybody turned away, after which nothing is counted any more.
const CALM_WINDOWS: u32 = 100;
/// Windows without packets of others after which a host is alone.
const ALONE_WINDOWS: u32 = 100;
/// New flows that may be saved up.
const MOST_SAVED: u32 = 1024;

/// What happened in a window.
#[derive(Clone, Copy, Default)]
struct Window {
    packets: u32,
    asked: u32,
    opened: u32,
}

/// The parts of a window's budget and share that may be used up to now.
struct Due {
    budget: u32,
    share: u32,
}

/// What is known of a port.
#[derive(Clone, Copy, Default)]
struct Watched {
    /// Whether it had a full burst in this window.
    was_full: bool,
    /// What it had lost when it was last asked.
    lost: u64,
}

/// The bound on new flows of one worker.
pub(super) struct Overload {
    ports: Vec<Watched>,
    /// Whether new flows are counted, and turned away if there are too many.
    is_active: bool,
    window: Window,
    window_ends: Time,
    calm_windows: u32,
    /// Windows since there was more than new flows of a single host.
    alone_windows: u32,
    /// Whether packets were lost in the window before.
    had_lost: bool,
    /// New flows that may be opened in a window.
    budget: u32,
    /// Of these, how many by one host.
    share: u32,
    /// What of both may be used up to now: all at once would fill the ring.
    due: Due,
    /// New flows that may be opened in a window at once, whoever asks.
    saved: u32,
    shares: Shares,
}

impl Overload {
    /// For so many ports.
    pub(super) fn new(ports: usize) -> Self {
        Self {
            ports: vec![Watched::default(); ports],
            is_active: false,
            window: Window::default(),
            window_ends: Time::ZERO,
            calm_windows: 0,
            alone_windows: ALONE_WINDOWS,
            had_lost: false,
            budget: UNBOUNDED,
            share: UNBOUNDED,
            due: Due {
                budget: UNBOUNDED,
                share: UNBOUNDED,
            },
            saved: 0,
            shares: Shares::new(),
        }
    }

    /// Whether [`admits`](Self::admits) is to be asked about new flows.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.is_active
    }

    /// Counts a new flow, and tells whether it may be opened. O(1).
    pub(super) fn admits(&mut self, source: IpAddr) -> bool {
        self.window.asked += 1;
        let opened = self.shares.ask(source);
        let is_due = u32::from(*opened) < self.due.share && self.window.opened < self.due.budget;
        let is_admitted = is_due || self.window.opened < self.saved;
        if is_admitted {
            self.window.opened += 1;
            *opened = opened.saturating_add(1);
        }
        is_admitted
    }

    /// A port had a full burst: there may be more than it can hold.
    #[inline]
    pub(super) fn was_full(&mut self, port: usize) {
        self.ports[port].was_full = true;
    }

    /// A round with so many packets ends. `losses` tells what a port has lost since it was opened.
    #[inline]
    pub(super) fn end_round(&mut self, packets: usize, now: Time, losses: impl FnMut(usize) -> u64) {
        self.window.packets += packets as u32;
        if now >= self.window_ends {
            self.end_window(now, losses);
        }
        if self.is_active {
            self.release(now);
        }
    }

    fn end_window(&mut self, now: Time, losses: impl FnMut(usize) -> u64) {
        let has_lost = self.has_lost(losses);
        if self.is_active {
            self.adapt(has_lost);
            self.shares.clear();
        } else if has_lost {
            self.is_active = true;
            self.calm_windows = 0;
            self.alone_windows = ALONE_WINDOWS;
            // It is not known yet what was lost by whom.
            self.had_lost = false;
            (self.budget, self.share) = (UNBOUNDED, UNBOUNDED);
            self.saved = MOST_SAVED;
        }
        self.window = Window::default();
        self.window_ends = now + WINDOW;
    }

    /// Whether ports have lost packets since they were last asked. Those that had no full burst had room.
    fn has_lost(&mut self, mut losses: impl FnMut(usize) -> u64) -> bool {
        let mut has_lost = false;
        for (number, port) in self.ports.iter_mut().enumerate() {
            if std::mem::take(&mut port.was_full) {
                let lost = losses(number);
                // Less than before has a port that was opened anew.
                has_lost |= lost > port.lost;
                port.lost = lost;
            }
        }
        has_lost
    }

    /// Finds budget and share for the next window from what happened in this one.
    fn adapt(&mut self, has_lost: bool) {
        let Window {
            packets,
            asked,
            opened,
        } = self.window;
        let always = packets.div_ceil(BURST as u32);
        self.alone_windows = match packets > asked || self.shares.are_contested() {
            true => 0,
            false => self.alone_windows.saturating_add(1),
        };
        if self.alone_windows >= ALONE_WINDOWS {
            // There is nobody whom a bound would help.
            self.budget = UNBOUNDED;
        } else if has_lost {
            let quarters = if self.had_lost { 2 } else { 3 };
            let less = u64::from(self.budget.min(opened)) * quarters / 4;
            self.budget = (less as u32).max(always);
        } else if opened < asked {
            self.budget = self.budget.saturating_add(self.budget / 16 + 1);
        }
        // Where some were turned away, others have used up what would be saved.
        let added = if opened < asked { 0 } else { always };
        self.saved = (self.saved + added).saturating_sub(opened).min(MOST_SAVED);
        self.had_lost = has_lost;
        // An eighth is for hosts that did not ask before.
        self.share = match self.budget {
            UNBOUNDED => UNBOUNDED,
            budget => self.shares.fair(budget - budget / 8),
        };
        if has_lost || opened < asked {
            self.calm_windows = 0;
        } else {
            self.calm_windows += 1;
            self.is_active = self.calm_windows < CALM_WINDOWS;
        }
    }

    /// Lets as much of budget and share be used as is due, and an eighth of the budget more, for hosts that ask seldom.
    fn release(&mut self, now: Time) {
        let left = self.window_ends.since(now).min(WINDOW);
        let passed = (WINDOW - left).as_nanos() as u64;
        let part = |whole: u32| match whole {
            UNBOUNDED => UNBOUNDED,
            whole => (u64::from(whole) * passed / WINDOW.as_nanos() as u64) as u32,
        };
        self.due = Due {
            budget: part(self.budget)
                .saturating_add(self.budget / 8 + 1)
                .min(self.budget),
            share: part(self.share).saturating_add(1).min(self.share),
        };
    }
}
