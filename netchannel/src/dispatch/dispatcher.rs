//! One worker's loop body: receive, parse, find the flow, hand to channels, transmit.

mod access;
mod change;
mod observe;
mod offloading;
mod take_over;

pub use change::Reopened;
pub use observe::TooManyWatches;

use std::io;

use super::context::Context;
use super::core::{Core, KernelPath};
use super::dimensions::Arrival;
use super::flow_key::PackedKey;
use super::flow_table::{FlowTable, Sought};
use super::observation::Watches;
use super::offload::Offloader;
use super::overload::Overload;
use super::registry::Registry;
use super::routing::Resolve;
use super::rule_set::RuleSet;
use super::team::Member;
use crate::channel::{ChannelError, ChannelId, Setup};
use crate::drop_reason::DropReason;
use crate::interface::{Interfaces, PortId};
use crate::network::NetworkReader;
use crate::packet::{Headers, Packet, complete_checksum};
use crate::port::{AbsentPort, Frame, FramePool, PacketIo, PortCounters};
use crate::time::Time;

/// Packets taken from a port at once.
pub const BURST: usize = 64;

/// How many packets ahead flows are loaded: by then memory has answered, and not more is asked of it than the processor can wait for at
/// once.
const AHEAD: usize = 16;

/// Buckets of the flow table that a tick sweeps of flows of former rule sets: of 8 flows each, so it takes well under a millisecond.
const SWEPT_BUCKETS: usize = 2048;

/// What a dispatcher is made of.
pub struct Parts {
    /// All interfaces; their ports are indices into `ports`.
    pub interfaces: Interfaces,
    /// The ports.
    pub ports: Vec<Box<dyn PacketIo>>,
    /// For each port, whether frames may arrive with partial checksums, to be completed here.
    pub partial_checksums: Vec<bool>,
    /// Whether frames to any Ethernet address are taken, not just those to the interface's own.
    pub any_destination: bool,
    /// The pool that all ports' frames come from.
    pub pool: FramePool,
    /// The channels.
    pub channels: Registry,
    /// Which flow goes to which channel.
    pub rules: RuleSet,
    /// Flows that the flow table holds.
    pub flow_capacity: usize,
    /// The view of links, routes and neighbours.
    pub network: NetworkReader,
    /// Who is asked for unknown neighbours.
    pub resolver: Box<dyn Resolve>,
    /// Where passed packets go.
    pub kernel: Box<dyn KernelPath>,
    /// Its place among several workers, each with a dispatcher of its own; `None` for the only one.
    pub team: Option<Member>,
}

/// A port failed: its interface is gone.
#[derive(Debug, thiserror::Error)]
#[error("port {} failed: {source}", .port.0)]
pub struct PortFailed {
    /// Which one.
    pub port: PortId,
    /// What it said.
    pub source: io::Error,
}

/// Everything that one worker owns. It runs on plain memory and on captures just as on AF_XDP sockets, with whatever
/// time it is given.
pub struct Dispatcher {
    core: Core,
    ports: Vec<Box<dyn PacketIo>>,
    partial_checksums: Vec<bool>,
    any_destination: bool,
    channels: Registry,
    rules: RuleSet,
    /// What bounds new flows while packets are lost; `None` if nothing does.
    overload: Option<Overload>,
    /// Packets for each port that its transmit ring had no room for.
    transmit_drops: Vec<u64>,
    /// Kept from burst to burst, so that none of them allocates.
    frames: Vec<Frame>,
    /// Those of the burst that are for somebody here.
    admitted: Vec<Frame>,
    /// Their headers, and behind them those of former bursts: they are written where they are kept, for moving them costs as much.
    headers: Vec<Headers>,
    /// Where their flows would be.
    sought: Vec<Sought>,
    /// Channels that have packets in this burst.
    busy: Vec<ChannelId>,
    /// Those who want to see single packets; `None` if nobody does.
    watches: Option<Box<Watches>>,
    /// Flows that the XDP program carries; `None` if it carries none.
    offloader: Option<Box<Offloader>>,
    /// For each port, what was carried for it by those before the present one.
    offloaded: Vec<PortCounters>,
}

impl Dispatcher {
    /// Puts the parts together and initialises the channels.
    ///
    /// # Errors
    /// If a channel can't start.
    pub fn new(parts: Parts) -> Result<Self, ChannelError> {
        let Parts {
            interfaces,
            ports,
            mut partial_checksums,
            any_destination,
            pool,
            mut channels,
            rules,
            flow_capacity,
            network,
            resolver,
            kernel,
            team,
        } = parts;
        partial_checksums.resize(ports.len(), false);
        for (number, entry) in (0..).zip(channels.entries()) {
            entry.channel.init(&Setup {
                name: &entry.name,
                channel: ChannelId(number),
                interfaces: &interfaces,
            })?;
        }
        let mut flows = FlowTable::new(flow_capacity);
        flows.reserve_rules(rules.rule_numbers());
        let mut core = Core::new(interfaces, ports.len(), pool, flows, network, resolver, kernel);
        if let Some(member) = team {
            core.join(member.join(&mut channels));
        }
        let transmit_drops = vec![0; ports.len()];
        let offloaded = vec![PortCounters::default(); ports.len()];
        Ok(Self {
            core,
            transmit_drops,
            ports,
            partial_checksums,
            any_destination,
            channels,
            rules,
            overload: None,
            frames: Vec::with_capacity(BURST),
            admitted: Vec::with_capacity(BURST),
            headers: vec![Headers::EMPTY; BURST],
            sought: Vec::with_capacity(BURST),
            busy: Vec::new(),
            watches: None,
            offloader: None,
            offloaded,
        })
    }

    /// From now on, while ports lose packets because more come than can be worked off, those of known flows go before new flows, and hosts share
    /// what is left for new flows; the others' first packets are dropped ([`DropReason::NewFlowLimit`]). Without losses none is
    /// dropped; without this call, all packets are equal.
    pub fn limit_new_flows(&mut self) {
        self.overload = Some(Overload::new(self.ports.len()));
    }

    /// One round: a burst from each port, through the channels, and out. Returns how many packets came in; 0 means that there is
    /// nothing to do now.
    ///
    /// # Errors
    /// If a port is gone. What the round received was taken care of nevertheless. This is said once: from then on nothing comes from the port,
    /// what would leave by it is dropped, and the others go on; see [`reopen`](Self::reopen).
    pub fn poll(&mut self, now: Time) -> Result<usize, PortFailed> {
        if self.core.refresh_network() {
            self.follow_network(now);
        }
        let mut received = 0;
        for port in 0..self.ports.len() {
            received += self.poll_port(PortId(port as u16), now);
        }
        if self.core.team.is_some() {
            received += self.take_over(now);
        }
        self.end_round(now);
        if let Some(overload) = &mut self.overload {
            overload.end_round(received, now, |port| self.ports[port].receive_losses());
        }
        let mut failed = Ok(received);
        for (number, port) in self.ports.iter_mut().enumerate() {
            if let Err(source) = port.flush() {
                *port = Box::new(AbsentPort::after(port.counters()));
                failed = Err(PortFailed {
                    port: PortId(number as u16),
                    source,
                });
            }
        }
        failed
    }

    fn poll_port(&mut self, port: PortId, now: Time) -> usize {
        let limit = self.transmit_room().min(BURST);
        let mut frames = std::mem::take(&mut self.frames);
        let received = self.ports[usize::from(port.0)].receive(now, &mut frames, limit);
        self.core.totals.received += received as u64;
        if frames.len() > self.headers.len() {
            self.headers.resize(frames.len(), Headers::EMPTY);
        }
        if self.watches.is_some() {
            self.admit_observed(&mut frames, port, now);
        }
        // Burst by burst, so that the waits for the memory of all its flows are one.
        for frame in frames.drain(..) {
            self.admit(frame, port);
        }
        self.frames = frames;
        self.forward(now);
        if received >= limit
            && let Some(overload) = &mut self.overload
        {
            overload.was_full(usize::from(port.0));
        }
        received
    }

    /// Takes the admitted packets through their channels, and out.
    #[inline(always)]
    fn forward(&mut self, now: Time) {
        for sought in self.sought.iter().take(AHEAD) {
            self.core.flows.prefetch(sought);
        }
        self.classify(now);
        self.process(now);
        self.transmit(now);
    }

    /// Packets that can be taken in without having to be dropped for want of room in a transmit ring: any of them may leave by any
    /// port. A port whose ring is full holds the others up only for one round, which empties it unless its driver is stuck; then what
    /// is for that port is dropped.
    fn transmit_room(&mut self) -> usize {
        let rooms = self.ports.iter_mut().map(|port| port.transmit_room());
        rooms.filter(|&room| room > 0).min().unwrap_or(BURST)
    }

    /// Parses a frame, and drops what is not for anybody here.
    #[inline(always)]
    fn admit(&mut self, mut frame: Frame, port: PortId) {
        match self.look_at(&mut frame, port) {
            Ok(sought) => {
                self.sought.push(sought);
                self.admitted.push(frame);
            }
            Err(reason) => self.core.drop(frame, reason),
        }
    }

    /// Parses the next frame of the burst.
    #[inline(always)]
    fn look_at(&mut self, frame: &mut Frame, port: PortId) -> Result<Sought, DropReason> {
        let headers = &mut self.headers[self.admitted.len()];
        headers.read(frame.bytes())?;
        let interface = self
            .core
            .interfaces
            .by_arrival(port, headers.vlan)
            .ok_or(DropReason::UnknownVlan)?;
        if !self.any_destination && !self.core.is_for_us(frame.bytes(), interface) {
            return Err(DropReason::OtherHost);
        }
        if self.partial_checksums[usize::from(port.0)] {
            complete_checksum(frame.bytes_mut(), headers);
        }
        let key = PackedKey::of(frame.bytes(), headers, interface);
        Ok(self.core.flows.seek(key))
    }

    /// Finds out which channels the packets of the burst go to, and queues them there.
    fn classify(&mut self, now: Time) {
        let Self {
            core,
            channels,
            rules,
            busy,
            offloader,
            overload,
            ..
        } = self;
        let mut overload = overload.as_mut().filter(|overload| overload.is_active());
        let mut admitted = self.admitted.drain(..).zip(&self.headers);
        let mut all_sought = self.sought.drain(..);
        while let (Some((frame, headers)), Some(sought)) = (admitted.next(), all_sought.next()) {
            if let Some(later) = all_sought.as_slice().get(AHEAD - 1) {
                core.flows.prefetch(later);
            }
            let interface = sought.interface();
            let id = if let Some(id) = core.flows.find(&sought) {
                id
            } else {
                let role = core.interfaces.get(interface).role;
                let arrival = Arrival {
                    frame: frame.bytes(),
                    headers,
                    interface,
                };
                let mut action = rules.decide(&arrival, role);
                if let Some(team) = &core.team {
                    action = team.direct(action, &arrival, role, channels);
                }
                let entry = channels.entry(action.channel);
                if let Some(overload) = &mut overload
                    && !core.flows.has_former(&sought)
                    && !overload.admits(headers.source)
                    && !entry.channel.expects(&arrival, role)
                {
                    core.drop(frame, DropReason::NewFlowLimit);
                    continue;
                }
                entry.counters.flows += 1;
                core.flows.open(&sought, action, now)
            };
            let length = frame.len() as u64;
            let Some(flow) = core.flows.flow_mut(id) else {
                unreachable!("the flow was found or opened just now");
            };
            flow.packets += 1;
            flow.bytes += length;
            flow.last_seen = now;
            let channel = flow.channel;
            if Offloader::is_due(flow.packets)
                && let Some(offloader) = offloader
            {
                offloader.offer(id, sought.key());
            }
            let entry = channels.entry(channel);
            entry.counters.packets += 1;
            entry.counters.bytes += length;
            if entry.burst.is_empty() {
                busy.push(channel);
            }
            entry.burst.push(Packet {
                frame,
                headers: *headers,
                interface,
                flow: id,
            });
        }
    }

    /// Lets the channels work on what is queued for them.
    fn process(&mut self, now: Time) {
        for channel in self.busy.drain(..) {
            let entry = self.channels.entry(channel);
            entry
                .channel
                .process(&mut entry.burst, &mut Context::new(now, &mut self.core));
            entry.burst.clear();
        }
    }

    fn transmit(&mut self, now: Time) {
        if let Some(team) = &mut self.core.team {
            team.send();
        }
        for (number, port) in self.ports.iter_mut().enumerate() {
            let frames = self.core.output(PortId(number as u16));
            if frames.is_empty() {
                continue;
            }
            let mut frames = std::mem::take(frames);
            let sent = port.transmit(now, &mut frames);
            self.core.totals.transmitted += sent as u64;
            self.transmit_drops[number] += frames.len() as u64;
            if !frames.is_empty() {
                let reason = match port.is_link_up() {
                    true => DropReason::TransmitFull,
                    false => DropReason::InterfaceDown,
                };
                for frame in frames.drain(..) {
                    self.core.drop(frame, reason);
                }
            }
            *self.core.output(PortId(number as u16)) = frames;
        }
    }

    /// Sends packets that waited for a next hop on their way again, through their channel, and drops those that waited too long.
    fn settle(&mut self, now: Time) {
        let settled = self.core.settle(now);
        if self.watches.is_some() {
            return self.settle_observed(settled, now);
        }
        for packet in settled.late {
            self.core.give_up(packet, now);
        }
        for packet in settled.ready {
            self.resume(packet);
        }
        self.process(now);
        self.transmit(now);
    }

    /// Queues a packet that waited for its channel.
    fn resume(&mut self, packet: Packet) {
        let key = PackedKey::of(packet.frame.bytes(), &packet.headers, packet.interface);
        let flows = &mut self.core.flows;
        let flow = flows.find(&flows.seek(key));
        let channel = match flow.and_then(|flow| flows.flow_mut(flow)) {
            Some(flow) => flow.channel,
            None => {
                let role = self.core.interfaces.get(packet.interface).role;
                let arrival = Arrival {
                    frame: packet.frame.bytes(),
                    headers: &packet.headers,
                    interface: packet.interface,
                };
                let action = self.rules.decide(&arrival, role);
                match &self.core.team {
                    Some(team) => team.direct(action, &arrival, role, &self.channels).channel,
                    None => action.channel,
                }
            }
        };
        let entry = self.channels.entry(channel);
        if entry.burst.is_empty() {
            self.busy.push(channel);
        }
        entry.burst.push(packet);
    }

    /// Lets time pass: timers of channels, packets that waited too long. Call it some ten times a second.
    pub fn tick(&mut self, now: Time) {
        self.settle(now);
        self.tick_offloaded(now);
        if self.core.flows.needs_sweep() {
            self.core.flows.sweep(SWEPT_BUCKETS, now);
        }
        self.end_watches();
        for entry in self.channels.entries() {
            entry.channel.tick(&mut Context::new(now, &mut self.core));
        }
        self.end_round(now);
        self.transmit(now);
    }

    /// Ends the channels. Packets that still wait are dropped.
    pub fn cleanup(&mut self, now: Time) {
        for entry in self.channels.entries() {
            entry.channel.cleanup(&mut Context::new(now, &mut self.core));
        }
        self.core.drop_waiting();
        self.transmit(now);
        for port in &mut self.ports {
            // A port that is gone takes its frames with it.
            let _ = port.flush();
        }
    }
}
