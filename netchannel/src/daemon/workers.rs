//! What the workers do with their time.

use std::any::Any;
use std::fs;

use super::inspect::Inspector;
use super::team::name_of;
use crate::control::ControlError;
use crate::control::report::{WaitMode, Worker, WorkerState, Workers};
use crate::dispatch::Totals;
use crate::port::afxdp::{AfXdpPort, QueueStatistics};
use crate::worker::{MAILBOX, Statistics, Waiting};

impl Inspector {
    pub(super) fn workers(&self) -> Result<Workers, ControlError> {
        let asked = self.ask_all(|dispatcher, _| {
            let queues = dispatcher.ports().iter().flat_map(|port| queues(port.as_ref()));
            let sending: u64 = queues.map(|queue| queue.sending as u64).sum();
            (sending, dispatcher.totals(), dispatcher.offloaded_flows())
        })?;
        let workers = self.team.handles().iter().zip(asked).enumerate();
        let workers = workers.map(|(worker, (handle, (backlog, totals, offloaded)))| Worker {
            transmit_backlog: backlog,
            offloaded_flows: offloaded as u64,
            ..describe(name_of(worker, self.team.len()), &handle.statistics(), &totals)
        });
        Ok(Workers {
            workers: workers.collect(),
        })
    }
}

fn describe(name: String, seen: &Statistics, totals: &Totals) -> Worker {
    let scheduled = Scheduled::of(seen.thread);
    let (wait, spin) = match seen.waiting {
        Waiting::Sleep => (WaitMode::Interrupt, None),
        Waiting::Spin(spin) => (WaitMode::Adaptive, Some(spin.as_secs_f64())),
        Waiting::Never => (WaitMode::BusyPoll, None),
    };
    Worker {
        name,
        thread: seen.thread,
        cpu: scheduled.cpu,
        allowed_cpus: scheduled.allowed,
        user_seconds: scheduled.user_seconds,
        system_seconds: scheduled.system_seconds,
        state: if seen.is_asleep {
            WorkerState::Asleep
        } else {
            WorkerState::Running
        },
        wait,
        spin_seconds: spin,
        total: (&seen.total).into(),
        last_second: (&seen.last_second).into(),
        ticks: seen.ticks,
        last_tick_seconds: seen.last_tick.as_secs_f64(),
        longest_tick_seconds: seen.longest_tick.as_secs_f64(),
        questions_waiting: seen.waiting_questions,
        questions_capacity: MAILBOX as u64,
        questions_answered: seen.answered,
        held_packets: totals.held,
        handed_on: totals.handed_on,
        taken_over: totals.taken_over,
        ..Worker::default()
    }
}

/// What the kernel tells of a port's sockets; nothing of other ports.
pub(super) fn queues(port: &dyn crate::port::PacketIo) -> Vec<QueueStatistics> {
    let any: &dyn Any = port;
    let port = any.downcast_ref::<AfXdpPort>();
    port.and_then(|port| port.statistics().ok()).unwrap_or_default()
}

/// What the kernel's scheduler tells of a thread (proc(5)).
#[derive(Debug, Default, PartialEq)]
struct Scheduled {
    cpu: Option<u32>,
    allowed: Option<String>,
    user_seconds: Option<f64>,
    system_seconds: Option<f64>,
}

impl Scheduled {
    fn of(thread: u32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/self/task/{thread}/{file}"));
        let stat = read("stat").unwrap_or_default();
        let status = read("status").unwrap_or_default();
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
        let ticks = ticks.ok().flatten().unwrap_or(100);
        Self::parse(&stat, &status, ticks as f64)
    }

    fn parse(stat: &str, status: &str, ticks_per_second: f64) -> Self {
        // The name in parentheses may hold anything; the third field follows it.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
        let seconds = |number| field(number).map(|ticks| ticks as f64 / ticks_per_second);
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Self {
            cpu: field(39).and_then(|cpu| u32::try_from(cpu).ok()),
            allowed: allowed.map(|list| list.trim().to_owned()),
            user_seconds: seconds(14),
            system_seconds: seconds(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_fields_are_found_behind_any_name() {
        let stat = "4711 (a) b (c) R 1 1 1 0 -1 4194368 9 0 0 0 1234 567 0 0 20 0 9 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 3 0 0 0 0 0";
        let seen = Scheduled::parse(stat, "Name:\tx\nCpus_allowed_list:\t0-3,8\n", 100.0);
        assert_eq!(
            seen,
            Scheduled {
                cpu: Some(3),
                allowed: Some("0-3,8".to_owned()),
                user_seconds: Some(12.34),
                system_seconds: Some(5.67),
            }
        );
        assert_eq!(Scheduled::parse("", "", 100.0), Scheduled::default());
        let own = Scheduled::of(std::process::id());
        assert!(
            own.cpu.is_some() && own.allowed.is_some() && own.user_seconds.is_some(),
            "{own:?}"
        );
    }
}
