//! All workers as one: how many there are, what is asked of them, and what their answers come to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde_json::Value;

use super::{DaemonError, PATIENCE};
use crate::config::{Config, MAX_WORKERS};
use crate::dispatch::Dispatcher;
use crate::dispatch::team::{Member, Waker, team};
use crate::network::Links;
use crate::port::afxdp;
use crate::setup::Layout;
use crate::time::Time;
use crate::worker::{Handle, Unanswered};
use xdp_prog::QUEUES_PER_INTERFACE;

/// How many workers a configuration asks for on these devices, each of which has a queue for each worker: every worker is to send by a
/// queue of its own.
pub(super) fn count(config: &Config, layout: &Layout, links: &Links) -> Result<usize, DaemonError> {
    let mut fewest = MAX_WORKERS;
    for device in &layout.devices {
        // By the name that it has now.
        let link = links.get(device.index);
        let interface = link.map_or(device.name.as_str(), |link| link.name.as_str());
        let queues = queues_for_workers(interface)?;
        if let Some(workers) = config.workers.count {
            refuse_too_few(&device.name, queues, workers)?;
        }
        fewest = fewest.min(queues);
    }
    let processors = allowed_processors().map_or(1, |cpus| cpus.len() as u32);
    let automatic = fewest.min(processors).max(1);
    Ok(config.workers.count.unwrap_or(automatic) as usize)
}

/// Refuses a device that does not have a queue for each worker.
pub(super) fn check_queues(interface: &str, workers: usize) -> Result<(), DaemonError> {
    if workers == 1 {
        return Ok(());
    }
    refuse_too_few(interface, queues_for_workers(interface)?, workers as u32)
}

fn refuse_too_few(interface: &str, queues: u32, workers: u32) -> Result<(), DaemonError> {
    if queues >= workers {
        return Ok(());
    }
    Err(DaemonError::TooFewQueues {
        interface: interface.to_owned(),
        queues,
        workers,
    })
}

/// Queues that packets can be received from and sent by.
fn queues_for_workers(interface: &str) -> Result<u32, DaemonError> {
    let both = afxdp::queues_of(interface)?.min(afxdp::transmit_queues_of(interface)?);
    Ok(both.min(QUEUES_PER_INTERFACE))
}

/// The processors that the process may use; `None` if the system does not tell.
pub(super) fn allowed_processors() -> Option<Vec<u32>> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let all = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true));
    Some(all.map(|cpu| cpu as u32).collect())
}

/// The name of a worker's thread.
pub(super) fn name_of(worker: usize, workers: usize) -> String {
    match workers {
        1 => "packets".to_owned(),
        _ => format!("packets-{worker}"),
    }
}

/// Ways to ask the workers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Team(Arc<[Handle]>);

impl Team {
    /// Those of all workers, in their order; there is at least one.
    pub(super) fn new(handles: Vec<Handle>) -> Self {
        Self(handles.into())
    }

    pub(super) fn handles(&self) -> &[Handle] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The ways that each worker has to the others; `None` for the only one.
    pub(super) fn members(&self) -> Vec<Option<Member>> {
        if self.len() == 1 {
            return vec![None];
        }
        let wakers = self.0.iter().cloned();
        let wakers = wakers.map(|handle| Arc::new(move || handle.wake()) as Waker);
        team(wakers.collect()).into_iter().map(Some).collect()
    }

    /// Makes all that wait look at what is new.
    pub(super) fn wake(&self) {
        self.0.iter().for_each(Handle::wake);
    }

    /// Asks one worker. One that is not there has stopped.
    pub(super) fn ask_one<T: Send + 'static>(
        &self,
        worker: usize,
        question: impl FnOnce(&mut Dispatcher, Time) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let handle = self.0.get(worker).ok_or(Unanswered::Stopped)?;
        handle.ask(PATIENCE, question)
    }

    /// Asks all workers at once; the answers are in their order.
    ///
    /// # Errors
    /// If one does not answer. The question may have run on the others, or may still.
    pub(super) fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Dispatcher, Time) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, Unanswered> {
        let question = Arc::new(question);
        self.ask_each(PATIENCE, |_| {
            let question = Arc::clone(&question);
            move |dispatcher: &mut Dispatcher, now| question(dispatcher, now)
        })
    }

    /// Asks each worker its own question, all at once.
    ///
    /// # Errors
    /// As [`ask_all`](Self::ask_all).
    pub(super) fn ask_each<T, Q>(
        &self,
        patience: Duration,
        mut question_of: impl FnMut(usize) -> Q,
    ) -> Result<Vec<T>, Unanswered>
    where
        T: Send + 'static,
        Q: FnOnce(&mut Dispatcher, Time) -> T + Send + 'static,
    {
        let deadline = Instant::now() + patience;
        let asked = self.0.iter().enumerate();
        let asked = asked.map(|(worker, handle)| handle.begin(question_of(worker)));
        let answers = asked.collect::<Result<Vec<_>, _>>()?;
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.wait(deadline.saturating_duration_since(Instant::now())))
            .collect()
    }
}

/// Figures of details that are settings: the same of all workers.
const SETTINGS: [&str; 2] = ["size", "most_per_host"];

/// Adds what a channel of another worker says of itself: counts are added up, lists joined, all else is the same.
pub(super) fn add_details(sum: &mut BTreeMap<String, Value>, more: BTreeMap<String, Value>) {
    for (name, more) in more {
        match sum.get_mut(&name) {
            Some(sum) => add_detail(&name, sum, more),
            None => {
                sum.insert(name, more);
            }
        }
    }
}

fn add_detail(name: &str, sum: &mut Value, more: Value) {
    match (sum, more) {
        (Value::Number(sum), Value::Number(more)) if !SETTINGS.contains(&name) => {
            if let (Some(one), Some(other)) = (sum.as_u64(), more.as_u64()) {
                *sum = one.saturating_add(other).into();
            }
        }
        (Value::Array(sum), Value::Array(more)) => {
            let new: Vec<Value> = more.into_iter().filter(|item| !sum.contains(item)).collect();
            sum.extend(new);
        }
        (Value::Object(sum), Value::Object(more)) => {
            for (name, more) in more {
                match sum.get_mut(&name) {
                    Some(sum) => add_detail(&name, sum, more),
                    None => {
                        sum.insert(name, more);
                    }
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn details_of_several_workers_are_added_up() {
        let details = |value: Value| match value {
            Value::Object(map) => map.into_iter().collect::<BTreeMap<String, Value>>(),
            _ => BTreeMap::new(),
        };
        let mut sum = details(json!({
            "external": ["192.0.2.1"], "mappings": {"tcp": 1, "udp": 2}, "filtering": {"tcp": "address-dependent"},
            "sessions": 7, "blocks": {"size": 512, "most_per_host": 4, "given": 3},
        }));
        let more = details(json!({
            "external": ["192.0.2.1", "192.0.2.2"], "mappings": {"tcp": 10, "udp": 0}, "filtering": {"tcp": "address-dependent"},
            "sessions": 1, "blocks": {"size": 512, "most_per_host": 4, "given": 1}, "log_records_lost": 5,
        }));
        add_details(&mut sum, more);
        let expected = details(json!({
            "external": ["192.0.2.1", "192.0.2.2"], "mappings": {"tcp": 11, "udp": 2}, "filtering": {"tcp": "address-dependent"},
            "sessions": 8, "blocks": {"size": 512, "most_per_host": 4, "given": 4}, "log_records_lost": 5,
        }));
        assert_eq!(sum, expected);
    }
}
