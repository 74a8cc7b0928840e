//! How long something takes, as the median of several passes.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// About so many passes are made in the time that there is.
const PASSES: u32 = 9;

/// What is timed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The time that goes by.
    Wall,
    /// The time that this thread has a processor.
    Thread,
}

impl Clock {
    /// With one processor for all threads, another one's turns are not this one's time.
    pub(super) fn for_processors() -> Self {
        if thread::available_parallelism().is_ok_and(|processors| processors.get() < 2) {
            Self::Thread
        } else {
            Self::Wall
        }
    }

    pub(super) fn now(self) -> Duration {
        let clock = match self {
            Self::Wall => ClockId::CLOCK_MONOTONIC,
            Self::Thread => ClockId::CLOCK_THREAD_CPUTIME_ID,
        };
        // Linux has both.
        clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
    }
}

/// Nanoseconds for one of `items` things, of which `work` does those of a range. Ranges start at multiples of
/// `step`; the passes take turns through all items. Takes about `time`, longer only if doing `step` items
/// once does.
pub(super) fn per_item(
    items: usize,
    step: usize,
    time: Duration,
    clock: Clock,
    mut work: impl FnMut(Range<usize>),
) -> f64 {
    let start = Instant::now();
    let mut at = 0;
    let mut pass = |length: usize| {
        if at >= items {
            at = 0;
        }
        let end = (at + length).min(items);
        let begin = clock.now();
        work(at..end);
        let took = clock.now().saturating_sub(begin);
        let done = end - at;
        at = end;
        took.as_nanos() as f64 / done.max(1) as f64
    };
    // Longer passes until they take their share of the time, which warms caches too.
    let share = time.as_nanos() as f64 / f64::from(PASSES + 1);
    let mut length = step;
    let mut passes = vec![pass(length)];
    while length < items && passes[0] * (length as f64) < share / 2.0 {
        length = (length * 2).min(items.next_multiple_of(step));
        passes = vec![pass(length)];
    }
    while start.elapsed() < time {
        passes.push(pass(length));
    }
    median(&mut passes)
}

/// The middle one of the values, or the mean of the middle two; 0 if there are none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, median, per_item};

    #[test]
    fn passes_cover_all_items_in_turn() {
        let mut counts = vec![0; 1000];
        let mut starts = Vec::new();
        per_item(
            counts.len(),
            32,
            Duration::from_millis(20),
            Clock::Wall,
            |range| {
                starts.push(range.start);
                counts[range].iter_mut().for_each(|count| *count += 1);
            },
        );
        assert!(starts.iter().all(|start| start % 32 == 0));
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(
            least > Some(&0) && most.copied() <= least.map(|least| least + 1),
            "{least:?} {most:?}"
        );
    }

    #[test]
    fn slow_work_is_done_once() {
        let mut calls = 0;
        per_item(1_000_000, 32, Duration::ZERO, Clock::Thread, |range| {
            calls += 1;
            assert_eq!(range, 0..32);
        });
        assert_eq!(calls, 1);
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&mut []), 0.0);
        assert_eq!(median(&mut [5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 9.0]), 3.5);
    }
}
