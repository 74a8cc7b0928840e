//! Flows that the XDP program carries: which ones it is given, when they are taken back, and what it did for them.
//!
//! User space decides, the kernel moves. A flow whose channel says how its packets are changed, and which has had some packets, gets an entry in a
//! [table](OffloadTable) that the XDP program reads; its plain packets then go from interface to interface without coming here. All else
//! about it stays where it was: packets that are not plain come here as before, and what the program counted is added to every counter here, at
//! least once a second and before anybody is told of counters.
//!
//! **Time.** An entry is a lease. It ends [`MARGIN`] before the flow's state would end if no packet came, so that the packets that decide about that are
//! seen here, and what was seen there is known here before.
//!
//! **Change.** Whatever the decision stood on takes the flow back before it counts: rules, routes, addresses and links take all; a neighbour's
//! address those that leave by it; a session that ends, or a connection that is being closed, its own two.

mod carried;
mod ways;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::core::Core;
use super::flow_key::{FlowKey, PackedKey};
use super::flow_table::{Flow, FlowId};
use super::registry::Registry;
use super::routing::hash_of_ports;
use crate::channel::ChannelId;
use crate::interface::{Interface, PortId, Role};
use crate::packet::checksum::Delta;
use crate::packet::{Fragment, VlanTags, protocol};
use crate::port::PortCounters;
use crate::time::{KernelTime, Time};
use crate::xdp::{OffloadFlow, OffloadKey, OffloadSide, OffloadTable, OffloadTranslation, Usage};
use carried::{Carried, CarriedFlows};
use ways::Ways;

/// A flow is offered with this packet: one that has had fewer is not worth the place.
const FIRST_OFFERED: u64 = 8;
/// And again every so many packets, if it was refused, as those are that always will be, or came back. A power of two.
const OFFERED_EVERY: u64 = 32;

/// A lease ends this long before the flow's state would.
const MARGIN: Duration = Duration::from_secs(3);

/// The longest lease: a flow that was silent for so long makes room.
const LONGEST_LEASE: Duration = Duration::from_secs(300);

/// A lease is looked after when less than this is left of it.
const RENEWED_BEFORE: Duration = Duration::from_secs(10);

/// Ticks in which all carried flows are visited once: a second.
const TICKS_PER_ROUND: usize = 10;
/// But at least so many are in one.
const FEWEST_PER_TICK: usize = 4096;

/// Up to so many flows, all are visited each time that somebody asks for counters: some 50 nanoseconds each.
const ALWAYS_VISITED: usize = 8192;
/// With more, at most so often.
const VISITED_EVERY: Duration = Duration::from_millis(100);

/// What a channel says of a flow whose packets can be moved without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloadable {
    /// The endpoint that each packet gets, `None` if packets keep theirs.
    pub rewriting: Option<Rewriting>,
    /// Whether packets that may be fragmented have to come to the channel.
    pub needs_dont_fragment: bool,
    /// When the flow's state ends if no packet comes.
    pub until: Time,
    /// Where packets are routed to.
    pub toward: IpAddr,
    /// What the interface that they leave by must be for, if that matters.
    pub leaves_to: Option<Role>,
    /// What the channel will name the flow by if it wants it back, different for each flow; 0 if it never does.
    pub note: u64,
}

/// The replacement of one endpoint of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewriting {
    /// Whether it is the source; else it is the destination.
    pub source: bool,
    /// The new address.
    pub address: Ipv4Addr,
    /// The new port.
    pub port: u16,
    /// What it does to the checksum of the IPv4 header.
    pub network: Delta,
    /// What it does to the checksum of TCP or UDP.
    pub transport: Delta,
}

/// What a dispatcher needs for flows to be carried by the XDP program.
pub struct Offload {
    /// The table that the program reads.
    pub table: Arc<OffloadTable>,
    /// For each port, how the program knows it.
    pub ports: Vec<OffloadPort>,
    /// The program's clock.
    pub clock: KernelTime,
}

/// A port as the XDP program knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadPort {
    /// Index of the device; frames arrive with this.
    pub ifindex: u32,
    /// Its slot among the devices that frames are redirected to.
    pub slot: u32,
    /// Whether frames that arrive may be carried: not if the program is in generic mode.
    pub receives: bool,
    /// Whether frames may arrive with partial checksums; these are not carried.
    pub has_partial_checksums: bool,
    /// Whether frames can be redirected to the device: not all drivers can, nor a veth whose peer polls nothing.
    pub transmits: bool,
    /// Whether that is so of frames that lie in several buffers: longer ones than the driver's first.
    pub several_buffers: bool,
}

/// The worker's side of it.
pub(crate) struct Offloader {
    table: Arc<OffloadTable>,
    ports: Vec<OffloadPort>,
    clock: KernelTime,
    ways: Ways,
    flows: CarriedFlows,
    /// Flows to be offered at the end of this round.
    offered: Vec<(FlowId, PackedKey)>,
    /// What the program received and transmitted for each port.
    counters: Vec<PortCounters>,
    /// Where the round of visits is: flows from here on were visited.
    cursor: usize,
    visited: Time,
    /// Notes of flows that channels want back; kept so that it need not be allocated.
    recalled: Vec<u64>,
}

impl Offloader {
    pub(crate) fn new(offload: Offload, core: &Core) -> Self {
        let Offload { table, ports, clock } = offload;
        Self {
            counters: vec![PortCounters::default(); ports.len()],
            ways: Ways::new(core.network.network()),
            table,
            ports,
            clock,
            flows: CarriedFlows::default(),
            offered: Vec::new(),
            cursor: 0,
            visited: Time::ZERO,
            recalled: Vec::new(),
        }
    }

    /// Whether a flow with so many packets is to be offered now.
    #[inline(always)]
    pub(crate) fn is_due(packets: u64) -> bool {
        packets == FIRST_OFFERED || packets.is_multiple_of(OFFERED_EVERY)
    }

    /// Keeps in mind to offer a flow.
    pub(crate) fn offer(&mut self, flow: FlowId, key: PackedKey) {
        self.offered.push((flow, key));
    }

    /// The end of a round: takes back what channels want back, and offers what is due.
    pub(crate) fn turn(&mut self, core: &mut Core, channels: &mut Registry, now: Time) {
        if !self.flows.is_empty() {
            self.take_recalled(core, channels);
        }
        while let Some((id, key)) = self.offered.pop() {
            // It may have lost its place meanwhile.
            let Some(flow) = core.flows.flow_mut(id).map(|flow| *flow) else {
                continue;
            };
            if let Some(index) = self.flows.of_flow(id) {
                if self.ways.is_open(self.flows.get(index).way) {
                    self.doubt(index, core, channels);
                    continue;
                }
                self.take_back(index, core, channels);
            }
            self.carry(id, &key.unpack(), &flow, core, channels, now);
        }
    }

    /// Packets of a flow come here that the program should carry. If it has carried none since they did so before, its entry is no good.
    fn doubt(&mut self, index: usize, core: &mut Core, channels: &mut Registry) {
        let carried = self.flows.get_mut(index);
        let usage = self.table.usage(carried.entry).unwrap_or_default();
        if usage.packets == carried.doubted {
            self.take_back(index, core, channels);
        } else {
            carried.doubted = usage.packets;
        }
    }

    /// Gives a flow to the program. `None` if it can't carry it.
    fn carry(
        &mut self,
        id: FlowId,
        key: &FlowKey,
        flow: &Flow,
        core: &mut Core,
        channels: &mut Registry,
        now: Time,
    ) -> Option<()> {
        if key.fragment != Fragment::Whole || !matches!(key.protocol, protocol::TCP | protocol::UDP) {
            return None;
        }
        let arrival = core.interfaces.get(key.interface);
        let arrival = self.port_of(arrival).filter(|port| port.receives)?;
        let channel = channels.entry(flow.channel).channel.as_mut();
        let offer = channel.offload(key, flow.note, &mut Context::new(now, core))?;
        if self.flows.of_note(flow.channel, offer.note).is_some() {
            return None;
        }
        let lease = lease(offer.until, now).filter(|&lease| lease > now)?;
        let hash = hash_of_ports(key.source_port, key.destination_port);
        let (departure, next_hop) = core.open_way(offer.toward, hash)?;
        let egress = core.interfaces.get(departure.interface);
        if offer.leaves_to.is_some_and(|role| role != egress.role) {
            return None;
        }
        let out = self.port_of(egress).filter(|port| port.transmits)?;
        let way = self.ways.number_of(
            &self.table,
            ways::Wanted {
                arrival: core.mac_of(key.interface),
                slot: out.slot,
                several_buffers: out.several_buffers,
                departure,
                next_hop,
            },
        )?;
        let entry = OffloadFlow {
            key: OffloadKey {
                ifindex: arrival.ifindex,
                source: key.source,
                destination: key.destination,
                protocol: key.protocol,
                source_port: key.source_port,
                destination_port: key.destination_port,
            },
            way: self.ways.id(way)?,
            translation: offer.rewriting.as_ref().map(translation),
            needs_dont_fragment: offer.needs_dont_fragment,
            partial_checksums: arrival.has_partial_checksums,
            lease: self.clock.of(lease),
        };
        let (carried, evicted) = self.table.insert(&entry, self.clock.of(now)).ok()?;
        if let Some(evicted) = evicted {
            match self.flows.of_entry(evicted.0) {
                Some(index) => {
                    self.settle(index, &evicted.1, core, channels);
                    self.flows.remove(index);
                }
                // Another worker's.
                None => self.table.leave_last_word(evicted),
            }
        }
        self.flows.add(Carried {
            entry: carried,
            flow: id,
            arrival: core.interfaces.get(key.interface).port,
            egress: core.interfaces.get(departure.interface).port,
            channel: flow.channel,
            rule: flow.rule,
            note: offer.note,
            channel_note: flow.note,
            way,
            counted: Usage::default(),
            doubted: u64::MAX,
            lease,
            is_missing: false,
        });
        Some(())
    }

    /// The port of an interface without VLAN.
    fn port_of(&self, interface: &Interface) -> Option<OffloadPort> {
        let port = self.ports.get(usize::from(interface.port.0)).copied();
        port.filter(|_| interface.vlan == VlanTags::default())
    }

    /// Takes back the flows that channels want back.
    pub(crate) fn take_recalled(&mut self, core: &mut Core, channels: &mut Registry) {
        let mut recalled = std::mem::take(&mut self.recalled);
        for number in 0..channels.len() {
            let channel = ChannelId(number as u16);
            channels.entry(channel).channel.recalled(&mut recalled);
            for note in recalled.drain(..) {
                if let Some(index) = self.flows.of_note(channel, note) {
                    self.take_back(index, core, channels);
                }
            }
        }
        self.recalled = recalled;
    }

    /// Time has passed: visits part of the flows.
    pub(crate) fn tick(&mut self, core: &mut Core, channels: &mut Registry, now: Time) {
        let share = self.flows.len().div_ceil(TICKS_PER_ROUND).max(FEWEST_PER_TICK);
        if self.cursor == 0 {
            self.cursor = self.flows.len();
        }
        let end = self.cursor.saturating_sub(share);
        self.visit_down_to(end, core, channels, now);
    }

    /// Brings all counters up to date, if they may be older than [`VISITED_EVERY`].
    pub(crate) fn catch_up(&mut self, core: &mut Core, channels: &mut Registry, now: Time) {
        if self.flows.len() <= ALWAYS_VISITED || now.since(self.visited) >= VISITED_EVERY {
            self.visited = now;
            self.visit_all(core, channels, now);
        }
    }

    /// Brings all counters and all that channels know of their flows up to date.
    pub(crate) fn visit_all(&mut self, core: &mut Core, channels: &mut Registry, now: Time) {
        self.cursor = self.flows.len();
        self.visit_down_to(0, core, channels, now);
    }

    /// From the last flow to the first: the last one takes the place of one that leaves.
    fn visit_down_to(&mut self, end: usize, core: &mut Core, channels: &mut Registry, now: Time) {
        const AHEAD: usize = 8;
        self.cursor = self.cursor.min(self.flows.len());
        while self.cursor > end {
            self.cursor -= 1;
            if let Some(later) = self.cursor.checked_sub(AHEAD) {
                self.table.prefetch(self.flows.get(later).entry);
            }
            self.visit(self.cursor, core, channels, now);
        }
    }

    /// Counts what the program did for a flow, tells its channel, and looks after its lease.
    fn visit(&mut self, index: usize, core: &mut Core, channels: &mut Registry, now: Time) {
        let carried = *self.flows.get(index);
        let Some(usage) = self.table.usage(carried.entry) else {
            return self.find_out(index, core, channels);
        };
        let is_used = usage.packets != carried.counted.packets;
        if is_used {
            self.count(index, &usage, core, channels);
        }
        if !self.ways.is_open(carried.way) || core.flows.flow_mut(carried.flow).is_none() {
            self.take_back(index, core, channels);
            return;
        }
        if !is_used && carried.lease.since(now) > RENEWED_BEFORE {
            return;
        }
        let seen = self.clock.time(usage.last_seen).min(now);
        let seen = (usage.last_seen != 0).then_some(seen);
        let channel = channels.entry(carried.channel).channel.as_mut();
        let until = channel.carried_until(carried.channel_note, seen);
        match until.and_then(|until| lease(until, seen.unwrap_or(now))) {
            Some(lease) if lease > now => {
                self.table.set_lease(carried.entry, self.clock.of(lease));
                self.flows.get_mut(index).lease = lease;
            }
            _ => self.take_back(index, core, channels),
        }
    }

    /// A flow has lost its place to another worker's, which leaves word of what was carried a moment later.
    fn find_out(&mut self, index: usize, core: &mut Core, channels: &mut Registry) {
        let carried = self.flows.get_mut(index);
        let last = self.table.take_last_word(carried.entry);
        if last.is_none() && !carried.is_missing {
            carried.is_missing = true;
            return;
        }
        if let Some(usage) = last {
            self.settle(index, &usage, core, channels);
        }
        self.flows.remove(index);
    }

    /// Adds what is new of `usage` to every counter.
    fn count(&mut self, index: usize, usage: &Usage, core: &mut Core, channels: &mut Registry) {
        let carried = self.flows.get_mut(index);
        let packets = usage.packets.wrapping_sub(carried.counted.packets);
        let bytes = usage.bytes.wrapping_sub(carried.counted.bytes);
        // The program takes back what it counted for a packet that it did not carry after all: to be seen in between.
        if packets == 0 || packets as i64 <= 0 || (bytes as i64) < 0 {
            return;
        }
        carried.counted = *usage;
        let seen = self.clock.time(usage.last_seen);
        core.flows.count(carried.flow, carried.rule, packets, bytes, seen);
        core.totals.received += packets;
        core.totals.transmitted += packets;
        let counters = &mut channels.entry(carried.channel).counters;
        counters.packets += packets;
        counters.bytes += bytes;
        let received = &mut self.counters[usize::from(carried.arrival.0)];
        received.received_packets += packets;
        received.received_bytes += bytes;
        let transmitted = &mut self.counters[usize::from(carried.egress.0)];
        transmitted.transmitted_packets += packets;
        transmitted.transmitted_bytes += bytes;
    }

    /// Takes a flow back: its next packet comes here.
    fn take_back(&mut self, index: usize, core: &mut Core, channels: &mut Registry) {
        self.close(index, core, channels);
        self.flows.remove(index);
    }

    /// Ends the entry of a flow.
    fn close(&mut self, index: usize, core: &mut Core, channels: &mut Registry) {
        let entry = self.flows.get(index).entry;
        let last = self.table.remove(entry);
        if let Some(usage) = last.or_else(|| self.table.take_last_word(entry)) {
            self.settle(index, &usage, core, channels);
        }
    }

    /// What was carried of a flow in the end: counts it, and tells its channel.
    fn settle(&mut self, index: usize, usage: &Usage, core: &mut Core, channels: &mut Registry) {
        self.count(index, usage, core, channels);
        if usage.last_seen != 0 {
            let carried = self.flows.get(index);
            let channel = channels.entry(carried.channel).channel.as_mut();
            // Whatever it answers, the flow is back.
            let _ = channel.carried_until(carried.channel_note, Some(self.clock.time(usage.last_seen)));
        }
    }

    /// Ends all entries at once; the flows are taken out of the books with the next visits.
    pub(crate) fn recall(&mut self) {
        self.ways.end_all(&self.table);
        self.offered.clear();
    }

    /// As [`recall`](Self::recall), and has the books closed before it returns: some 100 nanoseconds for each flow.
    pub(crate) fn recall_now(&mut self, core: &mut Core, channels: &mut Registry) {
        self.recall();
        for index in 0..self.flows.len() {
            self.close(index, core, channels);
        }
        self.flows.clear();
        self.cursor = 0;
    }

    /// The network has changed: takes back what leaves otherwise now.
    pub(crate) fn follow_network(&mut self, core: &mut Core, now: Time) {
        if self.ways.is_new(core.network.network()) {
            self.recall();
        } else {
            self.ways.follow_neighbours(&self.table, core, now);
        }
    }

    /// Lets no flow be carried any longer than until then.
    pub(crate) fn shorten(&mut self, until: Time) {
        for index in 0..self.flows.len() {
            let carried = self.flows.get_mut(index);
            if carried.lease > until {
                carried.lease = until;
                self.table.set_lease(carried.entry, self.clock.of(until));
            }
        }
    }

    /// Whether the program carries the flow at a place of the flow table.
    pub(crate) fn carries(&self, place: u32) -> bool {
        self.flows.of_place(place).is_some()
    }

    /// Flows of this worker that the program carries.
    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// What the program received and transmitted for a port, as far as it was counted.
    pub(crate) fn counters(&self, port: PortId) -> PortCounters {
        self.counters
            .get(usize::from(port.0))
            .copied()
            .unwrap_or_default()
    }
}

/// Until when a flow may be carried whose state ends at `until`; `None` if that is never.
fn lease(until: Time, now: Time) -> Option<Time> {
    let longest = now + LONGEST_LEASE;
    let nanos = until.as_nanos().checked_sub(MARGIN.as_nanos() as u64)?;
    Some(Time::from_nanos(nanos).min(longest))
}

fn translation(rewriting: &Rewriting) -> OffloadTranslation {
    OffloadTranslation {
        side: match rewriting.source {
            true => OffloadSide::Source,
            false => OffloadSide::Destination,
        },
        address: rewriting.address,
        port: rewriting.port,
        network: rewriting.network.bits(),
        transport: rewriting.transport.bits(),
    }
}
