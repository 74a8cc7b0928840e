//! Netchannels: what packets are handed to. A channel that a user writes implements [`Netchannel`]; those that ship are
//! `drop`, `pass`, `forward` and `nat`.

mod discard;
mod forward;
mod listing;
pub mod nat;
mod pass;

pub use discard::Drop;
pub use forward::Forward;
pub use listing::{
    AddressEntry, BlockCounts, MappingEntry, PortCounts, SessionEntry, Slice, Sliced, TableMemory,
};
pub use pass::Pass;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;
use zerocopy::FromZeros;

use crate::control::report::Pool;
use crate::dispatch::dimensions::Arrival;
use crate::dispatch::{Context, FlowKey, Offloadable};
use crate::interface::{Interfaces, Role};
use crate::packet::Packet;
use crate::time::Time;

/// Number of a channel in its registry, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromZeros)]
pub struct ChannelId(pub u16);

/// Why a channel could not start.
#[derive(Debug, thiserror::Error)]
#[error("channel `{channel}` can't start: {reason}")]
pub struct ChannelError {
    /// Name of the channel.
    pub channel: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// What a channel is told before its first packet.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The name that it was registered under.
    pub name: &'a str,
    /// The number that it has there.
    pub channel: ChannelId,
    /// All interfaces.
    pub interfaces: &'a Interfaces,
}

/// A path from the wire to exactly one consumer. Each packet that a rule gives to the channel arrives in
/// [`process`](Self::process).
///
/// All methods are called on the thread of the worker that owns the channel, one at a time: nothing inside needs a lock or has to be
/// [`Send`]. None of them may block, for all packets of the worker wait meanwhile. What can be done with packets, and with the worker,
/// is in [`Context`]. How the program that brings a channel reads and writes it:
/// [`Daemon::user_of`](crate::daemon::Daemon::user_of).
pub trait Netchannel {
    /// What kind of channel this is, as the configuration calls it.
    fn kind(&self) -> &'static str;

    /// Called once, before the first packet.
    ///
    /// # Errors
    /// If the channel can't work; the worker does not start then.
    fn init(&mut self, setup: &Setup<'_>) -> Result<(), ChannelError> {
        let _ = setup;
        Ok(())
    }

    /// Takes a burst of packets, all of them, in the order of their arrival: each is sent, passed or dropped by way of `context`, or
    /// kept and counted in [`held`](Self::held). A packet that is left in `burst` or goes out of scope counts as consumed by the channel. One
    /// that waited for its next hop (see [`Context::depart`]) comes a second time, unchanged.
    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>);

    /// The other worker that packets of a new flow belong to, by its number in the [team](crate::dispatch::team); `None` if they are to be
    /// processed here. Asked with the packet that opens the flow, and the role of the interface that it came in by: the answer must hold for
    /// all packets with the same [key](crate::dispatch::FlowKey). Those of a flow that belongs elsewhere are handed on to the same channel there, in
    /// their order, and are not asked about again.
    fn owner(&self, arrival: &Arrival<'_>, role: Role) -> Option<usize> {
        let (_, _) = (arrival, role);
        None
    }

    /// Takes a packet that the same channel of another worker handed on by [`Context::hand_on`], with the word that came with it. The packet has
    /// no flow here.
    fn take_over(&mut self, packet: Packet, word: u64, context: &mut Context<'_>) {
        let _ = word;
        self.process(&mut vec![packet], context);
    }

    /// Whether a packet of no flow that the flow table knows is part of something that the channel has already: the first answer to a
    /// connection that went out, say. Asked about packets that would be turned away because too many flows begin; see
    /// [`Dispatcher::limit_new_flows`](crate::dispatch::Dispatcher::limit_new_flows). It must cost little.
    fn expects(&self, arrival: &Arrival<'_>, role: Role) -> bool {
        let (_, _) = (arrival, role);
        false
    }

    /// Called some ten times a second, packets or not, so that the channel can let time pass. The time is
    /// [`Context::now`]; a channel reads no clock, so that it runs the same on captures and in tests.
    fn tick(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Moves data that the channel holds for its user into `buffer`, and returns how many bytes; 0 when there is none now. What the
    /// bytes mean is between the channel and its user.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if the channel has no user side.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = buffer;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes data from the channel's user, and returns how many bytes it took.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if the channel has no user side.
    fn write(&mut self, data: &[u8], context: &mut Context<'_>) -> io::Result<usize> {
        let (_, _) = (data, context);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Called once, when the worker stops. Packets that the channel still keeps are lost with it.
    fn cleanup(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Packets that the channel keeps at the moment. A channel that keeps any must tell how many, or they count as consumed.
    fn held(&self) -> usize {
        0
    }

    /// Facts about the channel for `show channels`.
    fn details(&self) -> BTreeMap<String, Value> {
        BTreeMap::new()
    }

    /// Part of the state that a channel wants to have again after a restart: what there is in `limit` places from place `after` on, 0 at first.
    /// `None` for a channel that wants nothing. Packets wait meanwhile: a few thousand places take less than a millisecond.
    fn state(&self, after: u64, limit: usize, now: Time) -> Option<nat::state::Part> {
        let (_, _, _) = (after, limit, now);
        None
    }

    /// Takes up what was saved, before the first packet. `stopped` is the time that has passed since. `None` for a channel that has no use for
    /// it.
    fn restore(
        &mut self,
        saved: &nat::state::Saved<'_>,
        stopped: Duration,
        now: Time,
    ) -> Option<nat::state::Restored> {
        let (_, _, _) = (saved, stopped, now);
        None
    }

    /// Takes an external address away that an interface has lost, for a channel that translates: its mappings end, and `stand_in` (see
    /// [`nat::stand_in`]) is in its place. Packets wait meanwhile, so a call ends a bounded number of sessions; it returns the number to go
    /// on from if there are more.
    fn withdraw_address(
        &mut self,
        address: Ipv4Addr,
        stand_in: Ipv4Addr,
        after: u64,
        now: Time,
    ) -> Option<u64> {
        let (_, _, _, _) = (address, stand_in, after, now);
        None
    }

    /// Puts an address that an interface has got in the place of its stand-in, for a channel that translates.
    fn assign_address(&mut self, stand_in: Ipv4Addr, address: Ipv4Addr, now: Time) {
        let (_, _, _) = (stand_in, address, now);
    }

    /// Mappings, for a channel that translates.
    fn mappings(&self, slice: Slice<'_>, now: Time) -> Sliced<MappingEntry> {
        let (_, _) = (slice, now);
        Sliced::NONE
    }

    /// Sessions, for a channel that translates.
    fn sessions(&self, slice: Slice<'_>, now: Time) -> Sliced<SessionEntry> {
        let (_, _) = (slice, now);
        Sliced::NONE
    }

    /// The session that a note of a flow is about, for a channel that translates.
    fn noted_session(&self, note: u64, now: Time) -> Option<SessionEntry> {
        let (_, _) = (note, now);
        None
    }

    /// What there is of external addresses and all else, for a channel that translates; whoever asks fills in the channel's name.
    fn pool(&self) -> Option<Pool> {
        None
    }

    /// External addresses, for a channel that translates.
    fn addresses(&self, slice: Slice<'_>) -> Sliced<AddressEntry> {
        let _ = slice;
        Sliced::NONE
    }

    /// The channel's large tables.
    fn memory(&self) -> Vec<TableMemory> {
        Vec::new()
    }

    /// Whether packets of a flow of TCP or UDP need nothing but what this returns, so that the kernel's fast path may move them: for a channel that
    /// forwards. `None`, as by default, if they have to come here: so says a channel that looks at anything but addresses and ports. Fragments, and
    /// segments with SYN, FIN or RST, come here all the same.
    fn offload(&mut self, flow: &FlowKey, note: u64, context: &mut Context<'_>) -> Option<Offloadable> {
        let (_, _, _) = (flow, note, context);
        None
    }

    /// A flow that was [offloaded](Self::offload) under this note had its last packet at `seen`; `None` if it had none. Returns when its
    /// state ends if no more come, `None` to have it back.
    fn carried_until(&mut self, note: u64, seen: Option<Time>) -> Option<Time> {
        let (_, _) = (note, seen);
        None
    }

    /// Adds the notes of offloaded flows that the channel wants back now. Called after each burst.
    fn recalled(&mut self, notes: &mut Vec<u64>) {
        let _ = notes;
    }

    /// Deletes mappings, for a channel that translates: returns how many, and the number to go on from if there may be more. That may
    /// be the same number again.
    fn delete_mappings(&mut self, slice: Slice<'_>, now: Time) -> (u64, Option<u64>) {
        let (_, _) = (slice, now);
        (0, None)
    }
}
