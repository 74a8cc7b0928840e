//! How the times in captures and the packet path's time relate.

use std::time::Duration;

use super::reader::CaptureReader;
use crate::time::Time;

/// The wall-clock time of [`Time::ZERO`], since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(Duration);

impl Epoch {
    /// `Time::ZERO` is this long after 1970.
    pub const fn at(since_1970: Duration) -> Self {
        Self(since_1970)
    }

    /// The earliest next packet of these captures comes at one second, so that `Time::ZERO` is past.
    pub fn of_captures<'a>(captures: impl IntoIterator<Item = &'a CaptureReader>) -> Self {
        let first = captures
            .into_iter()
            .filter_map(|capture| Some(capture.peek()?.time))
            .min();
        Self(first.unwrap_or_default().saturating_sub(Duration::from_secs(1)))
    }

    /// The packet path's time for a wall-clock time; [`Time::ZERO`] for those before.
    pub fn to_time(self, since_1970: Duration) -> Time {
        Time::ZERO + since_1970.saturating_sub(self.0)
    }

    /// The wall-clock time, since 1970, for one of the packet path.
    pub fn to_wall_clock(self, time: Time) -> Duration {
        self.0.saturating_add(time.since(Time::ZERO))
    }
}
