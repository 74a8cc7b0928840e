//! How all workers get rule sets: each takes its own in time, or none keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use super::RulesError;
use crate::daemon::PATIENCE;
use crate::daemon::team::Team;
use crate::dispatch::{Dispatcher, RuleSet};
use crate::worker::Unanswered;

/// Why rules did not change.
pub(super) struct Unchanged {
    pub(super) error: Box<RulesError>,
    /// If a worker had the new rules for a moment: the generations of all workers' flow tables since which nobody has them.
    pub(super) generations: Option<Vec<u32>>,
}

impl<E: Into<RulesError>> From<E> for Unchanged {
    fn from(error: E) -> Self {
        Self {
            error: Box::new(error.into()),
            generations: None,
        }
    }
}

/// Frees rule sets. That takes its time, for which nobody is to wait. Without a thread, they are freed here.
fn free(former: Vec<Option<RuleSet>>) {
    let _ = std::thread::Builder::new()
        .name("rules-free".into())
        .spawn(move || drop(former));
}

/// Has each worker take its rule set. Returns the generations of their flow tables that begin with it.
pub(super) fn swap(team: &Team, rule_sets: Vec<RuleSet>) -> Result<Vec<u32>, Unchanged> {
    let changes = rule_sets.into_iter().map(|rules| {
        move |dispatcher: &mut Dispatcher| {
            let former = dispatcher.set_rules(rules);
            (former, dispatcher.flows().generation())
        }
    });
    let outcomes = settle(team, changes);
    let (mut all_former, mut generations) = (Vec::new(), Vec::new());
    let mut failed = None;
    for outcome in outcomes {
        match outcome {
            Ok((former, generation)) => {
                all_former.push(Some(former));
                generations.push(generation);
            }
            Err(error) => {
                all_former.push(None);
                generations.push(0);
                failed = Some(error);
            }
        }
    }
    let Some(error) = failed else {
        free(all_former);
        return Ok(generations);
    };
    Err(put_back(team, all_former, generations, error.into()))
}

/// Some workers have rules that not all could be given: they take back those that they had.
pub(super) fn put_back(
    team: &Team,
    former: Vec<Option<RuleSet>>,
    mut generations: Vec<u32>,
    error: RulesError,
) -> Unchanged {
    let mut were_changed = false;
    for ((former, generation), handle) in former.into_iter().zip(&mut generations).zip(team.handles()) {
        let Some(former) = former else { continue };
        were_changed = true;
        // One that is late takes them all the same.
        let back = handle.begin(move |dispatcher, _| {
            let new = dispatcher.set_rules(former);
            (new, dispatcher.flows().generation())
        });
        match back.and_then(|back| back.wait(PATIENCE)) {
            Ok((new, since)) => {
                *generation = since;
                free(vec![Some(new)]);
            }
            Err(error) => {
                *generation = generation.wrapping_add(1);
                log::error!("a worker has not taken the former rules back yet: {error}");
            }
        }
    }
    Unchanged {
        error: Box::new(error),
        generations: were_changed.then_some(generations),
    }
}

/// Has each worker do something that it either does in time or not at all.
pub(super) fn settle<T: Send + 'static>(
    team: &Team,
    changes: impl Iterator<Item = impl FnOnce(&mut Dispatcher) -> T + Send + 'static>,
) -> Vec<Result<T, Unanswered>> {
    let deadline = Instant::now() + PATIENCE;
    let asked = team.handles().iter().zip(changes).map(|(handle, change)| {
        let is_settled = Arc::new(AtomicBool::new(false));
        let settled = Arc::clone(&is_settled);
        let (done, outcome) = sync_channel(1);
        let asked = handle.begin(move |dispatcher, _| {
            // Too late: it was said that nothing changes.
            if !settled.swap(true, Ordering::SeqCst) {
                // Whoever asked waits for it.
                let _ = done.send(change(dispatcher));
            }
        });
        (asked, is_settled, outcome)
    });
    let asked: Vec<_> = asked.collect();
    let outcomes = asked.into_iter().map(|(asked, is_settled, outcome)| {
        let patience = deadline.saturating_duration_since(Instant::now());
        match asked.and_then(|asked| asked.wait(patience)) {
            Err(error) if !is_settled.swap(true, Ordering::SeqCst) => Err(error),
            // At the last moment, perhaps: then it is being done now.
            _ => outcome.recv_timeout(PATIENCE).map_err(|_| Unanswered::Stopped),
        }
    });
    outcomes.collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::IpAddr;
    use std::thread::{JoinHandle, spawn};

    use super::*;
    use crate::channel::ChannelId;
    use crate::dispatch::dimensions::Arrival;
    use crate::dispatch::{FlowKey, KernelPath, Parts, Registry, Resolve};
    use crate::interface::{Interface, InterfaceId, Interfaces, Role};
    use crate::network::{InterfaceIndex, SharedNetwork};
    use crate::packet::Headers;
    use crate::port::FramePool;
    use crate::time::Clock;
    use crate::worker::{self, Handle, Waiting};

    struct Nobody;

    impl Resolve for Nobody {
        fn resolve(&self, _: InterfaceIndex, _: IpAddr) {}
    }

    impl KernelPath for Nobody {
        fn pass(&mut self, _: &[u8], _: &Interface, _: &FlowKey) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Rules that can be told apart by where they send what no rule matches.
    fn rules(otherwise: u16) -> RuleSet {
        RuleSet::new(ChannelId(otherwise))
    }

    fn dispatcher() -> Dispatcher {
        Dispatcher::new(Parts {
            interfaces: Interfaces::new(Vec::new()),
            ports: Vec::new(),
            partial_checksums: Vec::new(),
            any_destination: false,
            pool: FramePool::in_memory(16, 2048),
            channels: Registry::new(),
            rules: rules(0),
            flow_capacity: 1024,
            network: SharedNetwork::default().reader(),
            resolver: Box::new(Nobody),
            kernel: Box::new(Nobody),
            team: None,
        })
        .unwrap()
    }

    fn serve() -> (Handle, JoinHandle<()>) {
        let (handle, mailbox) = worker::mailbox().unwrap();
        let thread = spawn(move || {
            let (mut dispatcher, clock) = (dispatcher(), Clock::start());
            worker::run(&mut dispatcher, &mailbox, &clock, Waiting::Sleep, |_| ());
        });
        (handle, thread)
    }

    fn otherwise(handle: &Handle) -> (ChannelId, u32) {
        let decided = |dispatcher: &mut Dispatcher, _| {
            let arrival = Arrival {
                frame: &[],
                headers: &Headers::EMPTY,
                interface: InterfaceId(0),
            };
            let action = dispatcher.rules().decide(&arrival, Role::Inside);
            (action.channel, dispatcher.flows().generation())
        };
        handle.ask(PATIENCE, decided).unwrap()
    }

    #[test]
    fn all_workers_take_their_rules_or_none_keeps_them() {
        let workers: Vec<(Handle, JoinHandle<()>)> = (0..3).map(|_| serve()).collect();
        let handles: Vec<Handle> = workers.iter().map(|(handle, _)| handle.clone()).collect();
        let team = Team::new(handles.clone());
        let generations = swap(&team, (0..3).map(|_| rules(7)).collect()).ok().unwrap();
        for (handle, generation) in handles.iter().zip(generations) {
            assert_eq!(otherwise(handle), (ChannelId(7), generation));
        }

        // One that has ended answers nothing.
        let (gone, mailbox) = worker::mailbox().unwrap();
        drop(mailbox);
        let with_gone = Team::new(vec![handles[0].clone(), gone, handles[2].clone()]);
        let refused = swap(&with_gone, (0..3).map(|_| rules(9)).collect())
            .err()
            .unwrap();
        assert!(matches!(*refused.error, RulesError::Worker(Unanswered::Stopped)));
        let since = refused.generations.unwrap();
        for place in [0, 2] {
            // They had others for a moment.
            assert_eq!(otherwise(&handles[place]), (ChannelId(7), since[place]));
        }
        for (handle, thread) in workers {
            handle.stop();
            thread.join().unwrap();
        }
    }
}
