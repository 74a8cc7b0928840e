//! How much there may be of what, of one inside host and of all (RFC 6888 REQ-4 and REQ-5).

use std::time::Duration;

use super::flow::{PerProtocol, Protocol};
use crate::time::Time;

/// Bounds on what one inside host has, or all together. [`Limits::NONE`] has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Mappings of all protocols together.
    pub mappings: u32,
    /// Mappings of each protocol.
    pub mappings_of: PerProtocol<u32>,
    /// Sessions.
    pub sessions: u32,
    /// Mappings that may be opened in a second, on average; the first so many may come at once.
    pub new_mappings_per_second: u32,
}

impl Limits {
    /// No bounds.
    pub const NONE: Self = Self {
        mappings: u32::MAX,
        mappings_of: PerProtocol::all(u32::MAX),
        sessions: u32::MAX,
        new_mappings_per_second: u32::MAX,
    };
}

/// What there is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// By protocol.
    pub(super) mappings: [u32; 3],
    pub(super) sessions: u32,
}

impl Counts {
    pub(super) fn has_room_for_mapping(&self, limits: &Limits, protocol: Protocol) -> bool {
        let all: u32 = self.mappings.iter().sum();
        all < limits.mappings && self.mappings[protocol as usize] < limits.mappings_of[protocol]
    }

    /// The limit that leaves no room for another mapping.
    pub(super) fn reached(&self, limits: &Limits, protocol: Protocol) -> u32 {
        if self.mappings[protocol as usize] >= limits.mappings_of[protocol] {
            limits.mappings_of[protocol]
        } else {
            limits.mappings
        }
    }
}

/// A bucket of tokens, kept as the time at which it would be full (the generic cell rate algorithm, ITU-T I.371): full at the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace(Time);

/// What the bucket holds: that of a second.
const DEPTH: Duration = Duration::from_secs(1);

impl Pace {
    /// Whether there is one more. `u32::MAX` is no bound.
    pub(super) fn allows(self, per_second: u32, now: Time) -> bool {
        per_second == u32::MAX || self.after(per_second, now) <= now + DEPTH
    }

    /// Takes one.
    pub(super) fn count(&mut self, per_second: u32, now: Time) {
        if per_second != u32::MAX {
            self.0 = self.after(per_second, now);
        }
    }

    /// Whether nothing was taken of late: it is as new.
    pub(super) fn is_full(self, now: Time) -> bool {
        self.0 <= now
    }

    fn after(self, per_second: u32, now: Time) -> Time {
        self.0.max(now) + DEPTH / per_second.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_lets_a_burst_of_a_second_through_and_then_its_rate() {
        let mut pace = Pace::default();
        let mut taken = |from: u64, milliseconds: u64| {
            let mut count = 0;
            for step in 0..milliseconds * 10 {
                let now = Time::from_nanos(from * 1_000_000 + step * 100_000);
                if pace.allows(50, now) {
                    pace.count(50, now);
                    count += 1;
                }
            }
            count
        };
        assert_eq!(taken(1_000, 10), 50);
        assert_eq!(taken(1_010, 990), 49);
        assert_eq!(taken(10_000, 1000), 50 + 49);
    }
}
