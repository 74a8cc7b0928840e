//! Time as a value that is passed in: the packet path never reads a clock of its own.

use std::ops::Add;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use zerocopy::FromZeros;

/// A point in time: nanoseconds since an arbitrary start. It never runs backwards and wraps after 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromZeros)]
pub struct Time(u64);

impl Time {
    /// The start of time.
    pub const ZERO: Time = Time(0);
    /// Later than every point in time that is reached.
    pub const MAX: Time = Time(u64::MAX);

    /// The point `nanoseconds` after the start.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// The point `seconds` after the start.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point that lies `duration` before; the start of time if that is nearer.
    pub const fn before(self, duration: Duration) -> Self {
        let nanoseconds = duration.as_nanos();
        if nanoseconds < self.0 as u128 {
            Self(self.0 - nanoseconds as u64)
        } else {
            Self::ZERO
        }
    }

    /// Time that has passed since `earlier`; zero if `earlier` lies ahead.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        Time(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Translates between [`Time`] and the kernel's monotonic clock (`CLOCK_MONOTONIC`), in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelTime {
    /// What the kernel's clock is ahead.
    ahead: i128,
}

impl KernelTime {
    /// The kernel's clock shows `kernel` at `time`.
    pub const fn new(time: Time, kernel: u64) -> Self {
        Self {
            ahead: kernel as i128 - time.as_nanos() as i128,
        }
    }

    /// What the kernel's clock shows at `time`; the nearest that it can show.
    pub fn of(self, time: Time) -> u64 {
        (i128::from(time.as_nanos()) + self.ahead).clamp(0, u64::MAX.into()) as u64
    }

    /// The time at which the kernel's clock shows this; the nearest that there is.
    pub fn time(self, kernel: u64) -> Time {
        Time((i128::from(kernel) - self.ahead).clamp(0, u64::MAX.into()) as u64)
    }
}

/// Gives the time of the machine's monotonic clock; used by whoever drives a worker, never inside it.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    const START: Time = Time::from_secs(1000 * 24 * 60 * 60);

    /// A clock that starts now, at a thousand days, so that there is a time for what began before, and `Time::ZERO` is always past.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Self::START + self.0.elapsed()
    }

    /// The kernel's clock beside this one.
    ///
    /// # Errors
    /// If the kernel does not tell the time.
    pub fn kernel_time(&self) -> std::io::Result<KernelTime> {
        let shows = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
        let kernel = Duration::from(shows).as_nanos();
        Ok(KernelTime::new(
            self.now(),
            u64::try_from(kernel).unwrap_or(u64::MAX),
        ))
    }
}
