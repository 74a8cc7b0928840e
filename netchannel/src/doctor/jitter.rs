//! How long something else has a processor: a pinned thread reads the clock again and again, and what is missing between two looks was not
//! its own.

use std::collections::BTreeSet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet as Affinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::finding::{Finding, Level};

/// Shorter gaps are the clock's own: a cache miss, an interrupt of the core's own.
const SHORTEST_GAP: Duration = Duration::from_micros(2);

/// What was missing on a processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Jitter {
    /// The processor.
    pub processor: u32,
    /// How long it was watched.
    pub seconds: f64,
    /// The longest time that something else had it.
    pub longest_seconds: f64,
    /// Times longer than 10 microseconds.
    pub over_10_us: u64,
    /// Times longer than 100 microseconds.
    pub over_100_us: u64,
    /// Times longer than a millisecond.
    pub over_1_ms: u64,
    /// The share of the time that something else had, of all times longer than two microseconds.
    pub lost: f64,
}

/// Sums of gaps.
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    longest: Duration,
    over: [u64; 3],
    lost: Duration,
}

impl Gaps {
    #[inline]
    fn note(&mut self, gap: Duration) {
        if gap < SHORTEST_GAP {
            return;
        }
        self.longest = self.longest.max(gap);
        self.lost += gap;
        for (count, limit) in self.over.iter_mut().zip([10, 100, 1000]) {
            *count += u64::from(gap > Duration::from_micros(limit));
        }
    }

    fn of(&self, processor: u32, watched: Duration) -> Jitter {
        Jitter {
            processor,
            seconds: watched.as_secs_f64(),
            longest_seconds: self.longest.as_secs_f64(),
            over_10_us: self.over[0],
            over_100_us: self.over[1],
            over_1_ms: self.over[2],
            lost: self.lost.as_secs_f64() / watched.as_secs_f64().max(f64::MIN_POSITIVE),
        }
    }
}

/// Watches processors for this long, all at the same time, which takes them whole.
///
/// # Errors
/// If a processor can't be had: there is none of that number, or this process may not use it.
pub fn measure(processors: &[u32], time: Duration) -> io::Result<Vec<Jitter>> {
    let distinct: BTreeSet<u32> = processors.iter().copied().collect();
    thread::scope(|scope| {
        let watching: Vec<_> = distinct
            .into_iter()
            .map(|processor| scope.spawn(move || watch(processor, time)))
            .collect();
        let watched = watching.into_iter().map(|thread| {
            let panicked = |_| Err(io::Error::other("a thread that watches a processor panicked"));
            thread.join().unwrap_or_else(panicked)
        });
        watched.collect()
    })
}

fn watch(processor: u32, time: Duration) -> io::Result<Jitter> {
    let mut affinity = Affinity::new();
    affinity.set(processor as usize)?;
    sched_setaffinity(Pid::from_raw(0), &affinity)?;
    let mut gaps = Gaps::default();
    let start = Instant::now();
    let mut last = start;
    loop {
        let now = Instant::now();
        gaps.note(now.duration_since(last));
        last = now;
        let watched = now.duration_since(start);
        if watched >= time {
            return Ok(gaps.of(processor, watched));
        }
    }
}

/// What to say of it.
pub(super) fn finding(jitter: &Jitter) -> Finding {
    const CHECK: &str = "jitter";
    let seen = format!(
        "in {:.1} s something else had it for {:.3} % of the time, at longest {:.0} us; {} times over 10 us, {} over 100 us, {} over 1 ms",
        jitter.seconds,
        jitter.lost * 100.0,
        jitter.longest_seconds * 1e6,
        jitter.over_10_us,
        jitter.over_100_us,
        jitter.over_1_ms,
    );
    let level = match jitter {
        jitter if jitter.over_1_ms > 0 || jitter.lost > 0.01 => Level::Warning,
        jitter if jitter.over_100_us > 0 => Level::Advice,
        _ => return Finding::ok(CHECK, seen).of(format!("processor {}", jitter.processor)),
    };
    Finding::new(
        level,
        CHECK,
        seen,
        "so long packets wait while a worker has work; a receive ring of 2048 entries lasts 2 ms at a million packets/s",
    )
    .advice("isolate it (see the check isolation), move interrupts away; in a virtual machine the host may have taken it")
    .of(format!("processor {}", jitter.processor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_by_their_length() {
        let mut gaps = Gaps::default();
        for nanoseconds in [30, 1_999, 5_000, 10_000, 10_001, 150_000, 1_000_001, 40] {
            gaps.note(Duration::from_nanos(nanoseconds));
        }
        let jitter = gaps.of(3, Duration::from_millis(100));
        assert_eq!(
            (jitter.over_10_us, jitter.over_100_us, jitter.over_1_ms),
            (3, 2, 1)
        );
        assert_eq!((jitter.processor, jitter.longest_seconds), (3, 0.001_000_001));
        assert!((jitter.lost - 0.011_750_02).abs() < 1e-9, "{jitter:?}");
        assert_eq!(finding(&jitter).level, Level::Warning);

        let mut short = Gaps::default();
        short.note(Duration::from_micros(150));
        assert_eq!(finding(&short.of(0, Duration::from_secs(1))).level, Level::Advice);
        let quiet = finding(&Gaps::default().of(1, Duration::from_secs(1)));
        assert_eq!(
            (quiet.level, quiet.subject.as_deref()),
            (Level::Ok, Some("processor 1"))
        );
    }

    #[test]
    fn a_processor_is_watched_once_and_one_that_is_not_there_is_told() {
        let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
        let own = (0..).find(|&cpu| allowed.is_set(cpu as usize).unwrap()).unwrap();
        let time = Duration::from_millis(20);
        let watched = measure(&[own, own], time).unwrap();
        assert_eq!(watched.len(), 1);
        assert!(watched[0].processor == own && watched[0].seconds >= time.as_secs_f64());
        assert!(measure(&[own, 1023], time).is_err());
        assert!(measure(&[4_000_000], time).is_err());
    }
}
