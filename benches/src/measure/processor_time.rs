//! What all processors have done, from `/proc/stat`.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};

use crate::error::During;
use crate::{Result, stop};

const STATISTICS: &str = "/proc/stat";
/// Over how long it is looked whether the machine is idle, and up to which part of its time it counts as idle.
const LOOK: Duration = Duration::from_millis(50);
const IDLE: f64 = 0.2;

/// The time that all processors had nothing to do, at one moment.
///
/// What is not idle is busy: user and system time, interrupts and soft interrupts, whoever's they are. That is taken
/// instead of adding these up because the kernel takes the idle time by its clock and samples the others. Time that a
/// hypervisor gave to others is not counted as busy. The kernel tells in steps of 10 ms.
#[derive(Debug, Clone, Copy)]
pub struct ProcessorTime {
    at: Instant,
    processors: u32,
    idle: Duration,
}

impl ProcessorTime {
    /// Reads the time.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the kernel does not tell.
    pub fn now() -> Result<Self> {
        let during = || format!("read {STATISTICS}");
        let text = fs::read_to_string(STATISTICS).during(during())?;
        let ticks = sysconf(SysconfVar::CLK_TCK).during("ask for the length of a tick")?;
        let (processors, idle) = parse(&text)
            .ok_or_else(|| io::Error::other("the line of all processors is missing"))
            .during(during())?;
        Ok(Self {
            at: Instant::now(),
            processors,
            idle: Duration::from_secs_f64(idle as f64 / ticks.unwrap_or(100).max(1) as f64),
        })
    }

    /// What all processors together worked since `earlier`.
    pub fn busy_since(&self, earlier: &Self) -> Duration {
        let passed = self.at.duration_since(earlier.at) * self.processors;
        passed.saturating_sub(self.idle.saturating_sub(earlier.idle))
    }
}

/// Number of processors, and ticks that they were idle, waited for a disk, or were not given to this machine.
fn parse(text: &str) -> Option<(u32, u64)> {
    let numbered = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    let processors = text.lines().filter(numbered).count() as u32;
    let all = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = all
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [idle, wait, steal] = [3, 4, 7].map(|field| ticks.get(field).copied());
    Some((processors, idle? + wait? + steal.unwrap_or(0)))
}

/// Waits until the machine has little to do, as it may still have to clean up after what was measured before, but not
/// longer than `limit`.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the kernel does not tell, [`Error::Interrupted`](crate::Error::Interrupted) after a
/// signal.
pub fn wait_until_idle(limit: Duration) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < limit {
        let before = ProcessorTime::now()?;
        stop::pause(LOOK)?;
        let now = ProcessorTime::now()?;
        let passed = now.at.duration_since(before.at) * now.processors;
        if now.busy_since(&before) < passed.mul_f64(IDLE) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let text = "cpu  10 0 20 300 40 0 5 6 0 0\ncpu0 5 0 10 150 20 0 2 3 0 0\ncpu1 5 0 10 150 20 0 3 3 0 0\nintr 1\n";
        assert_eq!(parse(text), Some((2, 346)));
        for damaged in ["", "cpu0 1 2 3 4 5\n", "cpu  1 2 3\n", "cpu  a b c d e\n"] {
            assert_eq!(parse(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn what_is_not_idle_is_busy() {
        let at = Instant::now();
        let time = |seconds, idle| ProcessorTime {
            at: at + Duration::from_secs(seconds),
            processors: 2,
            idle: Duration::from_secs(idle),
        };
        assert_eq!(time(10, 112).busy_since(&time(0, 100)), Duration::from_secs(8));
        // The ticks may run ahead.
        assert_eq!(time(10, 121).busy_since(&time(0, 100)), Duration::ZERO);
    }
}
