//! Netchannels: what packets are handed to. A channel that a user writes implements [`Netchannel`]; those that ship are
//! `drop`, `pass`, `forward` and `nat`.

mod discard;
mod forward;
pub mod nat;
mod pass;

pub use discard::Drop;
pub use forward::Forward;
pub use pass::Pass;

use std::collections::BTreeMap;
use std::io;

use serde_json::Value;

use crate::control::report::Mapping;
use crate::dispatch::Context;
use crate::interface::Interfaces;
use crate::packet::Packet;
use crate::time::Time;

/// Number of a channel in its registry, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// All interfaces.
    pub interfaces: &'a Interfaces,
}

/// A path from the wire to exactly one consumer. Each packet that a rule gives to the channel arrives in
/// [`process`](Self::process), on the worker that owns the channel: no locks are needed inside.
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

    /// Takes a burst of packets, all of them: each is sent, passed, dropped or kept by way of `context`. A packet that is left
    /// in `burst` or goes out of scope counts as consumed by the channel.
    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>);

    /// Called some ten times a second, packets or not, so that the channel can let time pass.
    fn tick(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Moves data that the channel holds for its user into `buffer`, and returns how many bytes; 0 when there is none now.
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

    /// Called once, when the worker stops or the channel is removed. Packets that the channel kept are dropped after this.
    fn cleanup(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Packets that the channel keeps at the moment.
    fn held(&self) -> usize {
        0
    }

    /// Facts about the channel for `show channels`.
    fn details(&self) -> BTreeMap<String, Value> {
        BTreeMap::new()
    }

    /// Up to `limit` mappings from the one numbered `after` on, for a channel that translates, and the number to go on from if
    /// there are more. Whoever asks fills in the channel's name.
    fn mappings(&self, after: u64, limit: usize, now: Time) -> (Vec<Mapping>, Option<u64>) {
        let (_, _, _) = (after, limit, now);
        (Vec::new(), None)
    }
}
