//! Workers: what the threads that move packets do with their time.

use serde::{Deserialize, Serialize};

use crate::worker;

/// Answer to [`Request::Workers`](super::super::Request::Workers).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Workers {
    /// Each of them.
    pub workers: Vec<Worker>,
}

/// One worker. Counters are as of its last tick, a tenth of a second ago at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// The thread's number in the kernel.
    pub thread: u32,
    /// The CPU that it ran on last; `None` if the kernel does not tell.
    pub cpu: Option<u32>,
    /// The CPUs that it may run on: `0-3,8`.
    pub allowed_cpus: Option<String>,
    /// CPU time that the kernel counted for it, in its own code and in system calls.
    pub user_seconds: Option<f64>,
    /// CPU time in the kernel.
    pub system_seconds: Option<f64>,
    /// What it does at this moment.
    pub state: WorkerState,
    /// What it does when there is no packet.
    #[serde(default)]
    pub wait: WaitMode,
    /// With [`WaitMode::Adaptive`]: how long it looks for packets before it sleeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spin_seconds: Option<f64>,
    /// All that it did.
    pub total: Work,
    /// What it did in the last full second.
    pub last_second: Work,
    /// Times at which time passed for the channels.
    pub ticks: u64,
    /// How long the last of them took.
    pub last_tick_seconds: f64,
    /// How long the longest took.
    pub longest_tick_seconds: f64,
    /// Questions that wait in its mailbox.
    pub questions_waiting: u64,
    /// How many may wait.
    pub questions_capacity: u64,
    /// Questions that it answered.
    pub questions_answered: u64,
    /// Frames that it gave to transmit rings and that are not yet sent.
    pub transmit_backlog: u64,
    /// Packets that wait for a next hop's address, or that channels keep.
    pub held_packets: u64,
    /// Packets that came to it and were handed to the workers that they belong to.
    #[serde(default)]
    pub handed_on: u64,
    /// Packets that other workers handed to it.
    #[serde(default)]
    pub taken_over: u64,
    /// Flows of its that the XDP program carries now.
    #[serde(default)]
    pub offloaded_flows: u64,
}

/// What a worker does when there is no packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitMode {
    /// It sleeps until the kernel wakes it.
    #[default]
    Interrupt,
    /// It looks for packets for a while, and sleeps then.
    Adaptive,
    /// It never sleeps, and drives the queues itself.
    BusyPoll,
}

/// What a worker does at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// It works, or looks whether there is work.
    #[default]
    Running,
    /// It sleeps until there is work.
    Asleep,
}

/// What a worker did in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Rounds that found packets.
    pub bursts: u64,
    /// Packets of these rounds.
    pub packets: u64,
    /// Rounds that found none.
    pub empty_polls: u64,
    /// Times that it went to sleep.
    pub sleeps: u64,
    /// Time with packets and questions, in seconds.
    pub busy_seconds: f64,
    /// Time of rounds that found nothing.
    pub polling_seconds: f64,
    /// Time asleep.
    pub asleep_seconds: f64,
}

impl From<&worker::Work> for Work {
    fn from(work: &worker::Work) -> Self {
        Self {
            bursts: work.bursts,
            packets: work.packets,
            empty_polls: work.empty_polls,
            sleeps: work.sleeps,
            busy_seconds: work.busy.as_secs_f64(),
            polling_seconds: work.polling.as_secs_f64(),
            asleep_seconds: work.asleep.as_secs_f64(),
        }
    }
}

impl Work {
    /// The share of the time that it was busy, 0 to 1; 0 if no time has passed.
    pub fn load(&self) -> f64 {
        let all = self.busy_seconds + self.polling_seconds + self.asleep_seconds;
        if all > 0.0 { self.busy_seconds / all } else { 0.0 }
    }
}
