//! What a channel can do with a packet: drop it, pass it to the kernel, send it as a router would, or make one.

use std::net::IpAddr;

use super::core::Core;
use super::icmp_error::{IcmpError, Undelivered};
use super::routing::{Departure, Way, flow_hash};
use super::team::Purpose;
use crate::channel::ChannelId;
use crate::drop_reason::DropReason;
use crate::interface::{InterfaceId, Interfaces};
use crate::packet::Packet;
use crate::port::Frame;
use crate::time::Time;

/// The worker as a channel sees it during a call.
pub struct Context<'a> {
    now: Time,
    core: &'a mut Core,
}

impl<'a> Context<'a> {
    pub(crate) fn new(now: Time, core: &'a mut Core) -> Self {
        Self { now, core }
    }

    /// The time of this burst.
    #[inline]
    pub fn now(&self) -> Time {
        self.now
    }

    /// All interfaces.
    pub fn interfaces(&self) -> &Interfaces {
        &self.core.interfaces
    }

    /// Number of the present view of routes, neighbours and links: it moves whenever one of them changes, and a [`Departure`] is
    /// good only as long as it does not.
    #[inline]
    pub fn network_version(&self) -> u64 {
        self.core.network.version()
    }

    /// Whether `address` is one of the box's own.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.core.network.network().links.is_local(address)
    }

    /// The largest IP packet that an interface carries, in bytes.
    pub fn mtu(&self, interface: InterfaceId) -> u16 {
        let index = self.core.interfaces.get(interface).index;
        let link = self.core.network.network().links.get(index);
        link.and_then(|link| u16::try_from(link.mtu).ok())
            .unwrap_or(u16::MAX)
    }

    /// What this channel noted about the packet's flow, 0 if nothing.
    #[inline]
    pub fn note(&mut self, packet: &Packet) -> u64 {
        self.core.flows.flow_mut(packet.flow).map_or(0, |flow| flow.note)
    }

    /// What the rule that the packet's flow matches says to this channel; `None` if the flow table has forgotten the flow within this burst, or
    /// while the packet waited for its next hop.
    pub fn rule_parameter(&mut self, packet: &Packet) -> Option<u8> {
        self.core.flows.flow_mut(packet.flow).map(|flow| flow.parameter)
    }

    /// Notes something about the packet's flow, to be found again with its next packet. The table may forget it.
    #[inline]
    pub fn set_note(&mut self, packet: &Packet, note: u64) {
        if let Some(flow) = self.core.flows.flow_mut(packet.flow) {
            flow.note = note;
        }
    }

    /// Keeps a way out for the packets of flows that take it, and returns what to [note](Self::set_note) about each: much less is to be done with
    /// a packet whose way is kept. 0 if it can't be kept, for there are 65,535 already.
    pub fn keep_way(&mut self, departure: &Departure) -> u64 {
        let version = self.network_version();
        self.core.ways.note(version, *departure)
    }

    /// The way out that was kept, if the network has not changed since.
    #[inline]
    pub fn kept_way(&self, note: u64) -> Option<Departure> {
        self.core.ways.noted(self.network_version(), note).copied()
    }

    /// Drops a packet and counts why; [`DropReason::Channel`] is for channels whose reasons are their own.
    #[inline]
    pub fn drop(&mut self, packet: Packet, reason: DropReason) {
        self.core.drop(packet.frame, reason);
    }

    /// Passes a packet, as it is, to the kernel, as if it had just come in on its interface. The rest of its flow goes there on
    /// the short way.
    pub fn pass(&mut self, packet: Packet) {
        self.core.pass(packet);
    }

    /// Hands a packet to the same channel at another worker, to which it is given by [`take_over`](crate::channel::Netchannel::take_over) with this
    /// word. If there is no room on the way, it is dropped. `channel` is this channel's own number; see [`Setup`](crate::channel::Setup).
    pub fn hand_on(&mut self, packet: Packet, channel: ChannelId, worker: usize, word: u64) {
        self.core
            .hand_on(packet, worker, Purpose::Channel { channel, word });
    }

    /// Hands a packet, as it came in, to the worker that its flow belongs to.
    pub(super) fn hand_on_arrived(&mut self, packet: Packet, worker: usize) {
        self.core.hand_on(packet, worker, Purpose::Arrival);
    }

    /// Packets that this worker has handed to others so far.
    pub(crate) fn handed_on(&self) -> u64 {
        self.core.totals.handed_on
    }

    /// Packets that this worker has passed to the kernel so far.
    pub(crate) fn passed(&self) -> u64 {
        self.core.totals.passed
    }

    /// Packets that this worker has dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.core.totals.dropped.total()
    }

    /// Tells the sender of `packet` what went wrong, unless the rules for ICMP errors or the rate limit forbid it. Call it before
    /// the packet's bytes are changed: they are quoted.
    pub fn answer(&mut self, packet: &Packet, error: IcmpError) {
        self.core.answer(packet, error, self.now);
    }

    /// Tells the sender of a packet that was dropped before what went wrong, unless the rate limit forbids it.
    pub fn answer_later(&mut self, packet: &Undelivered, error: IcmpError) {
        self.core.answer_about(&packet.about(), error, self.now);
    }

    /// Finds the way to `destination` for `packet`, whose bytes must be as they arrived. Returns both if the packet can leave now;
    /// else the packet is taken care of: its sender is told and it is dropped (no route, TTL expired, too big), it goes to the
    /// kernel (the destination is the box itself), or it waits until the next hop's address is known and then comes to its channel
    /// again.
    pub fn depart(&mut self, packet: Packet, destination: IpAddr) -> Option<(Packet, Departure)> {
        match self.core.way_to(destination, flow_hash(&packet.headers)) {
            Way::Open(departure) => self.check(packet, &departure).map(|packet| (packet, departure)),
            Way::Unconfirmed(departure, next_hop) => {
                self.core.confirm(next_hop, self.now);
                self.check(packet, &departure).map(|packet| (packet, departure))
            }
            Way::Unresolved(next_hop) => {
                if let Some(packet) = self.check_ttl(packet) {
                    self.core.wait(packet, next_hop, self.now);
                }
                None
            }
            Way::Local => {
                self.pass(packet);
                None
            }
            Way::None(reason) => {
                match reason {
                    DropReason::NoRoute => self.answer(&packet, IcmpError::NetUnreachable),
                    DropReason::RouteProhibited => self.answer(&packet, IcmpError::Prohibited),
                    DropReason::RouteUnreachable | DropReason::InterfaceDown => {
                        self.answer(&packet, IcmpError::HostUnreachable)
                    }
                    _ => {}
                }
                self.drop(packet, reason);
                None
            }
        }
    }

    /// Checks that `packet`, whose bytes must be as they arrived, may leave by a departure found earlier: its time to live and size. If
    /// not, its sender is told and it is dropped.
    #[inline]
    pub fn check(&mut self, packet: Packet, departure: &Departure) -> Option<Packet> {
        let packet = self.check_ttl(packet)?;
        if packet.headers.network_len() > usize::from(departure.mtu) && packet.headers.dont_fragment {
            self.answer(&packet, IcmpError::TooBig(departure.mtu));
            self.drop(packet, DropReason::TooBig);
            return None;
        }
        Some(packet)
    }

    #[inline]
    fn check_ttl(&mut self, packet: Packet) -> Option<Packet> {
        if packet.headers.ttl > 1 {
            return Some(packet);
        }
        self.answer(&packet, IcmpError::TimeExceeded);
        self.drop(packet, DropReason::TtlExpired);
        None
    }

    /// Sends a packet that [`depart`](Self::depart) or [`check`](Self::check) admitted: decrements its time to live, sets the Ethernet
    /// header, and fragments it if it is too big. Addresses, ports and checksums may have been changed in its bytes, its IP header must be
    /// where it was.
    #[inline]
    pub fn send(&mut self, packet: Packet, departure: &Departure) {
        let Packet { frame, headers, .. } = packet;
        self.core.send(frame, &headers, departure);
    }

    /// Sends a packet as it is by an interface: for channels that make the Ethernet header themselves, or swap it.
    pub fn transmit(&mut self, packet: Packet, interface: InterfaceId) {
        self.core.transmit(packet.frame, interface);
    }

    /// A free frame, to make a packet of: it has no bytes until [`Frame::set_len`] gives it some. `None` if all are in use.
    pub fn allocate(&mut self) -> Option<Frame> {
        self.core.pool.take()
    }

    /// Sends a packet that the channel made, from its Ethernet header on.
    pub fn originate(&mut self, frame: Frame, interface: InterfaceId) {
        self.core.originate(frame, interface);
    }
}
