//! Flows that the XDP program carries, in the round of a worker.

use super::Dispatcher;
use crate::dispatch::offload::{Offload, Offloader};
use crate::interface::PortId;
use crate::port::PortCounters;
use crate::time::Time;

impl Dispatcher {
    /// Has flows carried by the XDP program from now on, or, with other ports than before, in another way. Those that are carried come back first.
    pub fn offload(&mut self, offload: Offload) {
        self.end_offload();
        self.offloader = Some(Box::new(Offloader::new(offload, &self.core)));
    }

    /// Takes all flows back, and has none carried from now on.
    pub fn end_offload(&mut self) {
        if let Some(mut offloader) = self.offloader.take() {
            offloader.recall_now(&mut self.core, &mut self.channels);
            for (number, counted) in self.offloaded.iter_mut().enumerate() {
                add(counted, offloader.counters(PortId(number as u16)));
            }
        }
    }

    /// Has what the XDP program did for flows in all counters. Some 50 nanoseconds for each flow that it carries; with very many of them, what was
    /// counted within the last tenth of a second is good enough.
    pub fn count_offloaded(&mut self, now: Time) {
        if let Some(offloader) = &mut self.offloader {
            offloader.catch_up(&mut self.core, &mut self.channels, now);
        }
    }

    /// The worker ends, and the XDP program goes on: it carries the flows that it has for as long as they may be, and until then at most.
    pub fn leave_offloaded(&mut self, until: Time, now: Time) {
        if let Some(mut offloader) = self.offloader.take() {
            offloader.visit_all(&mut self.core, &mut self.channels, now);
            offloader.shorten(until);
        }
    }

    /// Flows that the XDP program carries.
    pub fn offloaded_flows(&self) -> usize {
        self.offloader.as_ref().map_or(0, |offloader| offloader.len())
    }

    /// Whether the XDP program carries the flow at a place of [`FlowTable::flow_at`](crate::dispatch::FlowTable::flow_at).
    pub fn is_offloaded(&self, place: usize) -> bool {
        let name = self.core.flows.name_of_place(place);
        self.offloader
            .as_ref()
            .is_some_and(|offloader| offloader.carries(name))
    }

    /// What a port has counted, and what the XDP program has carried for it, as of the last [`count_offloaded`](Self::count_offloaded).
    pub fn port_counters(&self, port: PortId) -> PortCounters {
        let number = usize::from(port.0);
        let mut counters = self.ports[number].counters();
        add(&mut counters, self.offloaded[number]);
        if let Some(offloader) = &self.offloader {
            add(&mut counters, offloader.counters(port));
        }
        counters
    }

    /// Takes those flows back that channels want back, after something was done to a channel.
    pub fn take_back_offloaded(&mut self) {
        if let Some(offloader) = &mut self.offloader {
            offloader.take_recalled(&mut self.core, &mut self.channels);
        }
    }

    /// All flows come back before anything else happens: what they were decided by is to change.
    pub(super) fn recall_offloaded(&mut self) {
        if let Some(offloader) = &mut self.offloader {
            offloader.recall_now(&mut self.core, &mut self.channels);
        }
    }

    pub(super) fn follow_network(&mut self, now: Time) {
        if let Some(offloader) = &mut self.offloader {
            offloader.follow_network(&mut self.core, now);
        }
        self.settle(now);
    }

    /// The end of a round. While somebody watches packets, all are to be seen here.
    pub(super) fn end_round(&mut self, now: Time) {
        let Some(offloader) = &mut self.offloader else {
            return;
        };
        if self.watches.is_some() {
            offloader.recall();
        }
        offloader.turn(&mut self.core, &mut self.channels, now);
    }

    pub(super) fn tick_offloaded(&mut self, now: Time) {
        if let Some(offloader) = &mut self.offloader {
            offloader.tick(&mut self.core, &mut self.channels, now);
        }
    }
}

fn add(sum: &mut PortCounters, more: PortCounters) {
    sum.received_packets += more.received_packets;
    sum.received_bytes += more.received_bytes;
    sum.transmitted_packets += more.transmitted_packets;
    sum.transmitted_bytes += more.transmitted_bytes;
}
