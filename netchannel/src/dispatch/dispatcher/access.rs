//! What others ask of a dispatcher between its rounds: its channels' user sides and state, and what it counted.

use std::io;
use std::time::Duration;

use super::Dispatcher;
use crate::channel::nat::state::{Part, Restored, Saved};
use crate::channel::{Netchannel, SessionEntry};
use crate::dispatch::context::Context;
use crate::dispatch::core::Totals;
use crate::dispatch::flow_table::{Flow, FlowTable};
use crate::dispatch::registry::Registry;
use crate::dispatch::rule_set::RuleSet;
use crate::interface::{InterfaceId, Interfaces};
use crate::port::{FramePool, PacketIo};
use crate::time::Time;

impl Dispatcher {
    /// Reads from a channel's user side.
    ///
    /// # Errors
    /// `NotFound` if there is no such channel, and what the channel says.
    pub fn read(&mut self, channel: &str, buffer: &mut [u8]) -> io::Result<usize> {
        let id = self.channels.find(channel).ok_or(io::ErrorKind::NotFound)?;
        self.channels.entry(id).channel.read(buffer)
    }

    /// Writes to a channel's user side.
    ///
    /// # Errors
    /// `NotFound` if there is no such channel, and what the channel says.
    pub fn write(&mut self, channel: &str, data: &[u8], now: Time) -> io::Result<usize> {
        let id = self.channels.find(channel).ok_or(io::ErrorKind::NotFound)?;
        let written = self
            .channels
            .entry(id)
            .channel
            .write(data, &mut Context::new(now, &mut self.core));
        self.transmit(now);
        written
    }

    /// Has a channel take up what was saved of it, before the first packet; see [`Netchannel::restore`](crate::channel::Netchannel::restore).
    pub fn restore(
        &mut self,
        channel: &str,
        saved: &Saved<'_>,
        stopped: Duration,
        now: Time,
    ) -> Option<Restored> {
        let id = self.channels.find(channel)?;
        self.channels.entry(id).channel.restore(saved, stopped, now)
    }

    /// Part of a channel's state; see [`Netchannel::state`](crate::channel::Netchannel::state).
    pub fn state(&self, channel: &str, after: u64, limit: usize, now: Time) -> Option<Part> {
        let mut channels = self.channels.iter();
        let (_, channel, _) = channels.find(|(name, _, _)| *name == channel)?;
        channel.state(after, limit, now)
    }

    /// What became of all packets so far.
    pub fn totals(&self) -> Totals {
        let mut totals = self.core.totals.clone();
        totals.held += self
            .channels
            .iter()
            .map(|(_, channel, _)| channel.held() as u64)
            .sum::<u64>();
        totals
    }

    /// The channels with their counters.
    pub fn channels(&self) -> &Registry {
        &self.channels
    }

    /// The channels with their names, to be changed.
    pub fn channels_mut(&mut self) -> impl Iterator<Item = (&str, &mut (dyn Netchannel + 'static))> {
        self.channels
            .entries()
            .map(|entry| (entry.name.as_str(), entry.channel.as_mut()))
    }

    /// The flow table.
    pub fn flows(&self) -> &FlowTable {
        &self.core.flows
    }

    /// The flow table, to have its rules' counters counted or reset.
    pub fn flows_mut(&mut self) -> &mut FlowTable {
        &mut self.core.flows
    }

    /// The rules.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The session of a flow, if its channel translates and knows it.
    pub fn translation_of(&self, flow: &Flow, now: Time) -> Option<SessionEntry> {
        let channel = self.channels.get(flow.channel)?;
        channel.noted_session(flow.note, now).filter(|_| flow.note != 0)
    }

    /// The interfaces.
    pub fn interfaces(&self) -> &Interfaces {
        &self.core.interfaces
    }

    /// The ports.
    pub fn ports(&self) -> &[Box<dyn PacketIo>] {
        &self.ports
    }

    /// For each port, packets that its transmit ring had no room for.
    pub fn transmit_drops(&self) -> &[u64] {
        &self.transmit_drops
    }

    /// The pool of frames.
    pub fn pool(&self) -> &FramePool {
        &self.core.pool
    }

    /// The interface's port.
    pub fn port_of(&self, interface: InterfaceId) -> &dyn PacketIo {
        self.ports[usize::from(self.core.interfaces.get(interface).port.0)].as_ref()
    }
}
