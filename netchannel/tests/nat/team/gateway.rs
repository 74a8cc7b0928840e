//! A box with several workers, each with ports of its own on the same two networks.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use netchannel::channel::nat::{NatSettings, PreparedNat, worker_of};
use netchannel::channel::{Drop, Forward, MappingEntry, Netchannel, Pass, Slice};
use netchannel::control::Filter;
use netchannel::dispatch::team::{Member, Waker, team};
use netchannel::dispatch::{Registry, RuleSet};
use netchannel::drop_reason::DropReason;
use netchannel::packet::Headers;

use crate::common::{TestBox, interfaces};
use crate::harness::{EXTERNAL, NAT, Seen, to_wan, wider_network};
use crate::packets::*;

/// Nobody sleeps.
pub fn awake() -> Waker {
    Arc::new(|| {})
}

pub struct Gateway {
    pub workers: Vec<TestBox>,
}

/// A worker, whose translator has its share of the work of one with these settings.
pub fn worker(settings: &NatSettings, member: Option<Member>) -> TestBox {
    let (number, workers) = member.as_ref().map_or((0, 1), |it| (it.number(), it.workers()));
    let share = settings.share(number, workers).unwrap();
    let nat = PreparedNat::new(share).unwrap().into_channel();
    let mut channels = Registry::new();
    channels.register("drop", Box::new(Drop)).unwrap();
    channels.register("pass", Box::new(Pass)).unwrap();
    channels.register("nat", Box::new(nat)).unwrap();
    channels.register("forward", Box::new(Forward)).unwrap();
    let mut test = TestBox::in_team(interfaces(), channels, RuleSet::new(NAT), member);
    test.network.publish(wider_network().build());
    test.run();
    test
}

impl Gateway {
    pub fn new(workers: usize, change: impl FnOnce(&mut NatSettings)) -> Self {
        let mut settings = NatSettings::new(vec![EXTERNAL]);
        change(&mut settings);
        let members: Vec<Option<Member>> = match workers {
            1 => vec![None],
            workers => team(vec![awake(); workers]).into_iter().map(Some).collect(),
        };
        let workers = members.into_iter().map(|member| worker(&settings, member));
        Self {
            workers: workers.collect(),
        }
    }

    /// The worker that has an inside host.
    pub fn owner(&self, host: Ipv4Addr) -> usize {
        worker_of(host, self.workers.len())
    }

    /// Lets all work until nothing is left to do.
    pub fn run(&mut self) {
        let mut idle = 0;
        for number in (0..self.workers.len()).cycle() {
            let test = &mut self.workers[number];
            let count = test.dispatcher.poll(test.now).unwrap();
            idle = if count == 0 { idle + 1 } else { 0 };
            // What it does when the network changes may be to hand something on.
            if idle == 2 * self.workers.len() {
                return;
            }
        }
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        let totals = self.workers.iter().map(|test| test.dispatcher.totals());
        totals.map(|totals| totals.dropped.get(reason)).sum()
    }

    fn after(&mut self, number: usize, send: impl FnOnce(&mut TestBox)) -> Seen {
        let before: Vec<u64> = DropReason::ALL
            .iter()
            .map(|&reason| self.dropped(reason))
            .collect();
        let passed: Vec<usize> = self
            .workers
            .iter()
            .map(|test| test.kernel.passed.borrow().len())
            .collect();
        let count = self.workers.len();
        send(&mut self.workers[number % count]);
        self.run();
        let mut seen = Seen::default();
        for (test, passed) in self.workers.iter().zip(passed) {
            seen.lan.extend(test.lan.sent_all());
            seen.wan.extend(test.wan.sent_all());
            seen.passed
                .extend_from_slice(&test.kernel.passed.borrow()[passed..]);
        }
        for (&reason, before) in DropReason::ALL.iter().zip(before) {
            let count = self.dropped(reason) - before;
            seen.dropped.extend(std::iter::repeat_n(reason, count as usize));
        }
        for frame in seen.lan.iter().chain(&seen.wan) {
            if Headers::parse(frame).is_ok() {
                assert_checksums(frame);
            }
        }
        self.assert_all_accounted_for();
        seen
    }

    /// Every packet of every worker went somewhere, and none is on its way between them.
    pub fn assert_all_accounted_for(&self) {
        let (mut handed_on, mut taken_over) = (0, 0);
        for test in &self.workers {
            test.assert_all_accounted_for();
            let totals = test.dispatcher.totals();
            assert_eq!(totals.consumed(), 0);
            handed_on += totals.handed_on;
            taken_over += totals.taken_over;
        }
        assert_eq!(handed_on, taken_over);
    }

    pub fn handed_on(&self) -> u64 {
        self.workers
            .iter()
            .map(|test| test.dispatcher.totals().handed_on)
            .sum()
    }

    /// Has an inside host's packet come to this worker.
    pub fn inside(&mut self, number: usize, packet: &[u8]) -> Seen {
        let frame = frame(packet);
        self.after(number, |test| assert!(test.lan.send(&frame)))
    }

    /// Has an outside host's packet come to this worker.
    pub fn outside(&mut self, number: usize, packet: &[u8]) -> Seen {
        let frame = to_wan(&frame(packet));
        self.after(number, |test| assert!(test.wan.send(&frame)))
    }

    pub fn wait(&mut self, duration: Duration) {
        for test in &mut self.workers {
            test.now = test.now + duration;
            test.dispatcher.tick(test.now);
        }
        self.run();
    }

    pub fn nat(&self, number: usize) -> &dyn Netchannel {
        let channels = self.workers[number].dispatcher.channels();
        channels.iter().find(|(name, _, _)| *name == "nat").unwrap().1
    }

    /// The mappings of all workers, each with its worker.
    pub fn mappings(&self) -> Vec<(usize, MappingEntry)> {
        let filter = Filter::default();
        let all = (0..self.workers.len()).flat_map(|number| {
            let slice = Slice {
                filter: &filter,
                after: 0,
                limit: usize::MAX,
            };
            let now = self.workers[number].now;
            let mappings = self.nat(number).mappings(slice, now);
            assert_eq!(mappings.next, None);
            mappings.entries.into_iter().map(move |entry| (number, entry))
        });
        all.collect()
    }
}
