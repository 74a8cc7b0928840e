//! What becomes of new flows when packets come faster than they can be worked off: those of known flows go first, and hosts
//! share what is left.
//!
//! A receive ring that is full drops whatever comes, packets of known flows too. So a worker that is behind turns new flows away
//! itself, which takes a fraction of what it takes to open one and to send its packet: the ring is emptied, and known flows lose nothing. How
//! many new flows it opens in a window of 10 ms, the *budget*, is found as TCP finds its rate: a little more each time that the worker keeps up,
//! a quarter less when it does not, and half of it while that is not enough. Of that each host gets a fair share, so a host that scans ports or floods others leaves
//! theirs to the others. While the worker keeps up, nothing is turned away or even counted.

mod shares;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use super::dispatcher::BURST;
use crate::time::Time;
use shares::{Shares, UNBOUNDED};

/// Packets without a pause that make a worker be behind, at least: fewer may come at once without being too many.
const PACKETS_AT_ONCE: usize = 2048;
/// How often budget and shares are found anew.
const WINDOW: Duration = Duration::from_millis(10);
/// Windows without need of a bound after which nothing is counted any more.
const CALM_WINDOWS: u32 = 100;

/// What happened in a window.
#[derive(Clone, Copy, Default)]
struct Window {
    bursts: u32,
    packets: u32,
    asked: u32,
    opened: u32,
    was_behind: bool,
}

/// The parts of a window's budget and share that may be used up to now.
struct Due {
    budget: u32,
    share: u32,
}

/// The bound on new flows of one worker.
pub(super) struct Overload {
    /// For each port, how many of its last bursts, in a row, were full.
    full_bursts: Vec<u32>,
    /// How many of them make the worker be behind.
    behind_after: u32,
    /// Whether new flows are counted, and turned away if there are too many.
    is_active: bool,
    window: Window,
    window_ends: Time,
    calm_windows: u32,
    /// That of the window before.
    was_behind: bool,
    /// New flows that may be opened in a window.
    budget: u32,
    /// Of these, how many by one host.
    share: u32,
    /// What of both may be used up to now: all at once would fill the ring.
    due: Due,
    shares: Shares,
}

impl Overload {
    /// For so many ports with receive rings of so many packets.
    pub(super) fn new(ports: usize, receive_ring: usize) -> Self {
        Self {
            full_bursts: vec![0; ports],
            behind_after: receive_ring.max(PACKETS_AT_ONCE).div_ceil(BURST) as u32,
            is_active: false,
            window: Window::default(),
            window_ends: Time::ZERO,
            calm_windows: 0,
            was_behind: false,
            budget: UNBOUNDED,
            share: UNBOUNDED,
            due: Due {
                budget: UNBOUNDED,
                share: UNBOUNDED,
            },
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
        let is_admitted = u32::from(*opened) < self.due.share && self.window.opened < self.due.budget;
        if is_admitted {
            self.window.opened += 1;
            *opened = opened.saturating_add(1);
        }
        is_admitted
    }

    /// A port had so many packets of at most `limit`.
    #[inline]
    pub(super) fn received(&mut self, port: usize, packets: usize, limit: usize, now: Time) {
        let full = &mut self.full_bursts[port];
        *full = if packets < limit {
            0
        } else {
            full.saturating_add(1)
        };
        let is_behind = *full >= self.behind_after;
        if is_behind || self.is_active {
            self.count(packets, is_behind, now);
        }
    }

    fn count(&mut self, packets: usize, is_behind: bool, now: Time) {
        if !self.is_active {
            self.is_active = true;
            self.calm_windows = 0;
            self.was_behind = false;
            (self.budget, self.share) = (UNBOUNDED, UNBOUNDED);
            self.begin(now);
            return self.release(now);
        }
        let window = &mut self.window;
        window.bursts += u32::from(packets > 0);
        window.packets += packets as u32;
        window.was_behind |= is_behind;
        if now >= self.window_ends {
            self.adapt();
            self.begin(now);
        }
        self.release(now);
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

    fn begin(&mut self, now: Time) {
        self.window = Window::default();
        self.window_ends = now + WINDOW;
        self.shares.clear();
    }

    /// Finds budget and share for the next window from what happened in this one.
    fn adapt(&mut self) {
        let Window {
            bursts,
            packets,
            asked,
            opened,
            was_behind,
        } = self.window;
        let is_contested = packets > asked || self.shares.are_contested();
        if asked > 0 && !is_contested {
            // There is nobody whom a bound would help.
            self.budget = UNBOUNDED;
        } else if was_behind {
            let quarters = if self.was_behind { 2 } else { 3 };
            let less = u64::from(self.budget.min(opened)) * quarters / 4;
            // However many packets of known flows there are, one in each burst may open a flow.
            self.budget = (less as u32).max(bursts);
        } else if opened < asked {
            self.budget = self.budget.saturating_add(self.budget / 16 + 1);
        }
        self.was_behind = was_behind;
        // An eighth is for hosts that did not ask before.
        self.share = match self.budget {
            UNBOUNDED => UNBOUNDED,
            budget => self.shares.fair(budget - budget / 8),
        };
        if was_behind || opened < asked {
            self.calm_windows = 0;
        } else {
            self.calm_windows += 1;
            self.is_active = self.calm_windows < CALM_WINDOWS;
        }
    }
}
