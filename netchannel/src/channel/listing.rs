//! What channels that translate tell of their mappings, sessions and addresses, in slices: packets wait while one is made.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::nat::{PerProtocol, Protocol};
use crate::control::Filter;

/// Part of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// What is asked for.
    pub filter: &'a Filter,
    /// The number to go on from: 0, or that of the slice before.
    pub after: u64,
    /// Entries at most, at least 1.
    pub limit: usize,
}

/// The entries of a slice, and the number to go on from if there may be more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sliced<T> {
    /// The entries. There may be none, and more in the next slice.
    pub entries: Vec<T>,
    /// The `after` of the next slice: more than that of this one.
    pub next: Option<u64>,
}

impl<T> Sliced<T> {
    /// Nothing, and nothing more.
    pub const NONE: Self = Self {
        entries: Vec::new(),
        next: None,
    };
}

/// A table of a channel, and the memory that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableMemory {
    /// What it holds.
    pub name: &'static str,
    /// Entries in use.
    pub entries: u64,
    /// Entries that there is room for.
    pub capacity: u64,
    /// Bytes that are reserved; they take memory as they are used.
    pub bytes: u64,
}

/// One mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingEntry {
    /// The protocol.
    pub protocol: Protocol,
    /// The inside endpoint.
    pub inside: SocketAddrV4,
    /// What it is translated to.
    pub external: SocketAddrV4,
    /// Outside endpoints that it is in use with.
    pub sessions: u32,
    /// Since it was made.
    pub age: Duration,
    /// Since a packet used it.
    pub idle: Duration,
    /// Until it ends if no packet uses it.
    pub left: Duration,
    /// Where the TCP connection stands that has longest to live.
    pub state: Option<&'static str>,
}

/// One session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// The protocol.
    pub protocol: Protocol,
    /// The inside endpoint.
    pub inside: SocketAddrV4,
    /// What it is translated to.
    pub external: SocketAddrV4,
    /// The outside endpoint.
    pub remote: SocketAddrV4,
    /// Whether the inside host sent the first packet.
    pub is_from_inside: bool,
    /// Since its mapping was made.
    pub mapping_age: Duration,
    /// Since a packet kept it alive.
    pub idle: Duration,
    /// Until it ends.
    pub left: Duration,
    /// Where the TCP connection stands.
    pub state: Option<&'static str>,
}

/// One external address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressEntry {
    /// The address.
    pub address: Ipv4Addr,
    /// Inside hosts that have it.
    pub hosts: u32,
    /// Its ports by protocol.
    pub ports: PerProtocol<PortCounts>,
    /// Its blocks of ports, if ports are given in blocks.
    pub blocks: Option<BlockCounts>,
}

/// The blocks of ports of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounts {
    /// All.
    pub all: u32,
    /// Those that hosts have, or that forwarded ports are in.
    pub given: u32,
}

/// The ports of one protocol at one address that mappings may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounts {
    /// Those of mappings.
    pub used: u32,
    /// Those that a mapping could get.
    pub free: u32,
    /// Those held back from reuse.
    pub held: u32,
}
