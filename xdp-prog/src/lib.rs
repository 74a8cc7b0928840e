//! What the eBPF program and user space share: names, keys and values of the maps.
//!
//! Addresses are held in network byte order, everything else in the byte order of the machine. All keys and
//! values are free of padding, so that the kernel can compare and hash them as bytes.
#![no_std]

mod keys;
pub mod offload;
mod verdict;

pub use keys::{
    Address, Flow, Fragment, Interface, InterfaceKey, Ipv4Prefix, Ipv6Prefix, MapData, port_bit, port_word,
};
pub use verdict::Verdict;

/// Name of the program that decides about every frame.
pub const PROGRAM: &str = "netchannel";
/// Name of the program that hands any frame to the kernel: what user space gives back goes through it.
pub const PASS_PROGRAM: &str = "netchannel_pass";

/// Map [`InterfaceKey`] → [`Interface`]: the logical interfaces that user space was given.
pub const INTERFACES: &str = "INTERFACES";
/// Map of AF_XDP sockets, by [`Interface::slot`] × [`QUEUES_PER_INTERFACE`] + queue.
pub const SOCKETS: &str = "SOCKETS";
/// Map [`Ipv4Prefix`] → `u32`: external addresses of a NAT, with the number of their port set.
pub const EXTERNAL: &str = "EXTERNAL";
/// Bitmaps of ports, [`WORDS_PER_PORT_SET`] words of 64 bits each.
pub const PORT_SETS: &str = "PORT_SETS";
/// Map [`Fragment`] → `u32`: the [`Verdict`] on the first fragment of a datagram.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// Map [`Address`] → `u32`: the box's own addresses. The value has no meaning.
pub const LOCAL: &str = "LOCAL";
/// Map [`Ipv4Prefix`] → `u32`: sources that user space asks for. The value has no meaning.
pub const SOURCES_V4: &str = "SOURCES_V4";
/// Map [`Ipv6Prefix`] → `u32`: sources that user space asks for. The value has no meaning.
pub const SOURCES_V6: &str = "SOURCES_V6";
/// Map [`Ipv4Prefix`] → `u32`: destinations that user space asks for. The value has no meaning.
pub const DESTINATIONS_V4: &str = "DESTINATIONS_V4";
/// Map [`Ipv6Prefix`] → `u32`: destinations that user space asks for. The value has no meaning.
pub const DESTINATIONS_V6: &str = "DESTINATIONS_V6";
/// Map [`Flow`] → `u32`: flows that user space leaves to the kernel. The value has no meaning.
pub const PASSED: &str = "PASSED";
/// Array of one `u64`: until when frames that no socket takes are dropped, in nanoseconds of `CLOCK_MONOTONIC`; 0 for not at all.
pub const HOLD: &str = "HOLD";
/// Per-CPU array of `u64`: frames by [`Verdict`].
pub const COUNTERS: &str = "COUNTERS";

/// Global of type `u32`: the longest frame in bytes, with its Ethernet header, that a socket can take.
pub const MAX_FRAME_LENGTH: &str = "MAX_FRAME_LENGTH";
/// Global of type `u64`: tells frames that user space injects from forged ones, see [`MARKER_LENGTH`].
pub const MARKER_COOKIE: &str = "MARKER_COOKIE";

/// Receive queues an interface can have sockets on; queues from this number on belong to the kernel.
pub const QUEUES_PER_INTERFACE: u32 = 64;
/// Interfaces that can have sockets at the same time.
pub const MAX_INTERFACES: u32 = 32;
/// Logical interfaces (an interface, or a VLAN on one) at the same time.
pub const MAX_LOGICAL_INTERFACES: u32 = 4096;
/// Different sets of external ports at the same time.
pub const MAX_PORT_SETS: u32 = 64;
/// Words of 64 bits in a port set: one bit for every port.
pub const WORDS_PER_PORT_SET: u32 = 65_536 / 64;
/// Prefixes each of the prefix maps can hold.
pub const MAX_PREFIXES: u32 = 65_536;
/// Own addresses of the box.
pub const MAX_LOCAL_ADDRESSES: u32 = 4096;
/// Flows left to the kernel; the least recently used one makes room for a new one.
pub const MAX_PASSED_FLOWS: u32 = 65_536;
/// Fragmented datagrams remembered; the least recently used one makes room for a new one.
pub const MAX_FRAGMENTS: u32 = 16_384;

/// EtherType of the marker: IEEE 802 local experimental 1.
pub const MARKER_ETHER_TYPE: u16 = 0x88b5;
/// Length in bytes of the marker in front of an injected frame: an Ethernet header of
/// [`MARKER_ETHER_TYPE`] and the 8 bytes of the cookie.
///
/// Generic XDP sees an injected frame a second time; by the marker it knows it, takes the marker off and hands
/// the frame to the kernel.
pub const MARKER_LENGTH: usize = 14 + 8;

/// In [`Interface::flags`]: [`EXTERNAL`] has entries for this interface.
pub const HAS_EXTERNAL: u32 = 1 << 0;
/// In [`Interface::flags`]: [`SOURCES_V4`] has entries for this interface.
pub const HAS_SOURCES_V4: u32 = 1 << 1;
/// In [`Interface::flags`]: [`SOURCES_V6`] has entries for this interface.
pub const HAS_SOURCES_V6: u32 = 1 << 2;
/// In [`Interface::flags`]: [`DESTINATIONS_V4`] has entries for this interface.
pub const HAS_DESTINATIONS_V4: u32 = 1 << 3;
/// In [`Interface::flags`]: [`DESTINATIONS_V6`] has entries for this interface.
pub const HAS_DESTINATIONS_V6: u32 = 1 << 4;
/// In [`Interface::flags`]: user space may leave flows of this interface to the kernel, see [`PASSED`].
pub const HAS_PASSED: u32 = 1 << 5;
