//! Flows that the XDP program carries by itself.
//!
//! User space decides which: it enters a flow with what its packets become and the [way](OffloadWay) that they leave by, and from then on
//! the program translates them, lowers their time to live, and redirects them. Whatever is unusual still comes to user space; the
//! [documentation of the architecture](https://github.com/netchannel/netchannel/blob/main/docs/architecture.md) says what. The table lies in memory that
//! both share, so that no change costs a system call.
//!
//! A flow is carried as long as it is in the table, its way has not ended, and its lease is not over. To end a way ends all flows that leave by it, in
//! O(1).

mod entry;
mod memory;
mod set;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xdp_prog::offload::{
    BUCKET, Ipv4Entry, Ipv6Entry, MAX_FLOWS, MAX_WAYS, NEEDS_DONT_FRAGMENT, PARTIAL_CHECKSUMS, SEEDS_LEN,
};

use entry::Content;
use memory::SharedArray;
use set::{Found, New, Set};
use ways::Ways;

use super::XdpError;

/// How many flows the program can carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadSizes {
    /// Of IPv4, at most [`MAX_FLOWS`](xdp_prog::offload::MAX_FLOWS); for which there are at least twice as many places. 0 for none: then they cost nothing.
    pub ipv4: usize,
    /// Of IPv6.
    pub ipv6: usize,
}

impl OffloadSizes {
    /// Nothing is carried, and that it might be costs nothing.
    pub const OFF: Self = Self { ipv4: 0, ipv6: 0 };

    pub(super) fn buckets_ipv4(self) -> u32 {
        buckets(self.ipv4)
    }

    pub(super) fn buckets_ipv6(self) -> u32 {
        buckets(self.ipv6)
    }
}

/// Random numbers of the hash.
pub(super) type Seeds = [u64; SEEDS_LEN];

/// Numbers for the hash that nobody can guess.
pub(super) fn random_seeds() -> io::Result<Seeds> {
    let mut seeds = Seeds::default();
    for seed in &mut seeds {
        *seed = getrandom::u64()?;
    }
    Ok(seeds)
}

fn buckets(flows: usize) -> u32 {
    match flows.min(MAX_FLOWS as usize) as u32 {
        0 => 0,
        // Half full on average: then hardly any bucket is full before all are.
        flows => flows.div_ceil(BUCKET as u32 / 2).next_power_of_two(),
    }
}

/// Flows that the XDP program carries, shared by all workers.
///
/// Those who insert into one bucket exclude each other by a lock that is only tried, never waited for. Nothing else needs one, but
/// for [`set_way`](Self::set_way). All operations on a flow are O(1).
pub struct OffloadTable {
    ipv4: Set<Ipv4Entry<AtomicU32, AtomicU64>>,
    ipv6: Set<Ipv6Entry<AtomicU32, AtomicU64>>,
    ways: Ways,
    /// What was carried of flows that left, until whoever entered them asks.
    last_words: Mutex<HashMap<OffloadId, Usage>>,
}

/// Why a flow was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody else is entering a flow in the same bucket: try again with a later packet.
    #[error("another thread is at the same bucket of the offloaded flows")]
    Busy,
    /// The bucket is full of flows that are more useful.
    #[error("there is no room for the flow among those that are offloaded")]
    Full,
    /// The program can't carry such a flow at all: neither TCP nor UDP, a translation of IPv6, or a table without room for this IP version.
    #[error("such a flow can't be offloaded")]
    Unfit,
}

/// A flow in the table. It stays what it is when the flow has left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OffloadId {
    /// The highest bit tells IPv6.
    place: u32,
    stamp: u32,
}

impl OffloadId {
    const IPV6: u32 = 1 << 31;

    fn ipv4(Found { place, stamp }: Found) -> Self {
        Self { place, stamp }
    }

    fn ipv6(Found { place, stamp }: Found) -> Self {
        Self {
            place: place | Self::IPV6,
            stamp,
        }
    }

    fn is_ipv6(self) -> bool {
        self.place & Self::IPV6 != 0
    }

    fn found(self) -> Found {
        Found {
            place: self.place & !Self::IPV6,
            stamp: self.stamp,
        }
    }
}

/// A way in the table. It stays what it is when the way has ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WayId(u32);

/// What packets of a flow bear when they arrive: untagged, and without IPv4 options or IPv6 extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OffloadKey {
    /// Index of the device that they arrive on.
    pub ifindex: u32,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same IP version.
    pub destination: IpAddr,
    /// TCP or UDP.
    pub protocol: u8,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// A way that packets leave by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OffloadWay {
    /// The Ethernet address that packets must have been sent to: that of the interface they arrive on.
    pub arrival_mac: [u8; 6],
    /// Slot of the device that they leave by, see [`XdpProgram::slot_of`](super::XdpProgram::slot_of).
    pub slot: u32,
    /// The Ethernet source address that they get.
    pub source_mac: [u8; 6],
    /// The Ethernet destination address that they get.
    pub destination_mac: [u8; 6],
    /// The longest IP packet that fits, in bytes. Longer ones come to user space.
    pub mtu: u16,
    /// The device takes frames that lie in several buffers. If not, those come to user space.
    pub several_buffers: bool,
}

/// The end of a packet that is translated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OffloadSide {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
}

/// A translation of IPv4 packets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OffloadTranslation {
    /// Which end changes.
    pub side: OffloadSide,
    /// The address that it gets.
    pub address: Ipv4Addr,
    /// The port that it gets.
    pub port: u16,
    /// What the change does to the sum over the IPv4 header, as in a [`Delta`](crate::packet::checksum::Delta).
    pub network: u16,
    /// What the change does to the sum over the segment.
    pub transport: u16,
}

/// A flow to be carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffloadFlow {
    /// Its packets.
    pub key: OffloadKey,
    /// The way that they leave by.
    pub way: WayId,
    /// What becomes of them. IPv6 is not translated.
    pub translation: Option<OffloadTranslation>,
    /// IPv4: packets without the don't-fragment bit come to user space.
    pub needs_dont_fragment: bool,
    /// Packets may arrive with nothing but the sum of the pseudo header in the checksum field, and those come to user space, to
    /// be completed.
    pub partial_checksums: bool,
    /// Until when it may be carried, in nanoseconds of `CLOCK_MONOTONIC`; at most a year ahead. It ends up to 51 ms earlier,
    /// never later.
    pub lease: u64,
}

/// What was carried of a flow since it was entered.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// When the last packet came, in nanoseconds of `CLOCK_MONOTONIC`, at most 51 ms too late and never too early; 0 if none did.
    pub last_seen: u64,
}

/// A flow that left the table, with what was carried of it in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evicted(pub OffloadId, pub Usage);

impl OffloadTable {
    /// A table in memory of its own, which nothing reads: for tests of what stands on it, without a kernel.
    ///
    /// # Panics
    ///
    /// If there is no memory for it.
    pub fn in_memory(ipv4: usize, ipv6: usize) -> Self {
        let sizes = OffloadSizes { ipv4, ipv6 };
        let table = || -> io::Result<Self> {
            let seeds = random_seeds()?;
            Ok(Self {
                ipv4: Set::in_memory(sizes.buckets_ipv4() as usize, seeds)?,
                ipv6: Set::in_memory(sizes.buckets_ipv6() as usize, seeds)?,
                ways: Ways::in_memory()?,
                last_words: Mutex::default(),
            })
        };
        match table() {
            Ok(table) => table,
            Err(error) => panic!("no memory for a table of {sizes:?}: {error}"),
        }
    }

    /// The tables in the program's maps, which must have been made for these sizes. `map` gives them by their names.
    pub(super) fn of_maps<'a>(
        sizes: OffloadSizes,
        seeds: Seeds,
        map: impl Fn(&'static str) -> Result<BorrowedFd<'a>, XdpError>,
    ) -> Result<Self, XdpError> {
        use xdp_prog::offload::{ENTRIES_V4, ENTRIES_V6, TAGS_V4, TAGS_V6, WAYS};
        let (ipv4, ipv6) = (sizes.buckets_ipv4() as usize, sizes.buckets_ipv6() as usize);
        let mapped = |source| XdpError::System {
            call: "mapping the offloaded flows into memory",
            source,
        };
        Ok(Self {
            ipv4: Set::new(
                SharedArray::of_map(map(TAGS_V4)?, ipv4).map_err(mapped)?,
                SharedArray::of_map(map(ENTRIES_V4)?, ipv4 * BUCKET).map_err(mapped)?,
                seeds,
            ),
            ipv6: Set::new(
                SharedArray::of_map(map(TAGS_V6)?, ipv6).map_err(mapped)?,
                SharedArray::of_map(map(ENTRIES_V6)?, ipv6 * BUCKET).map_err(mapped)?,
                seeds,
            ),
            ways: Ways::new(SharedArray::of_map(map(WAYS)?, MAX_WAYS as usize).map_err(mapped)?),
            last_words: Mutex::default(),
        })
    }

    /// A way for flows to leave by. Equal ways are one, until it ends. None if there are too many at a time (1,023).
    ///
    /// It takes a lock for a moment: call it when a flow is entered, not for each packet.
    pub fn set_way(&self, way: &OffloadWay) -> Option<WayId> {
        self.ways.set(way)
    }

    /// Ends a way: its flows are not carried from now on, and the first to make room for others. O(1).
    pub fn end_way(&self, way: WayId) {
        self.ways.end(way);
    }

    /// Ends all ways that there are, and with them all flows.
    pub fn end_all_ways(&self) {
        self.ways.end_all();
    }

    /// Has the program carry a flow from now on. The bucket that it falls in has room for 8: in a full one a flow that is not carried any more (way or lease
    /// have ended) makes room, else the one that was silent longest, if for a second at least. A flow of the same key is replaced.
    /// Whoever left is returned; if somebody else entered it, [leave it](Self::leave_last_word) to them.
    ///
    /// `now` is nanoseconds of `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    ///
    /// [`Refused`]; then nothing has changed.
    pub fn insert(&self, flow: &OffloadFlow, now: u64) -> Result<(OffloadId, Option<Evicted>), Refused> {
        let flag = |set, flag| if set { flag } else { 0 };
        let new = New {
            way: flow.way.0,
            flags: flag(flow.needs_dont_fragment, NEEDS_DONT_FRAGMENT)
                | flag(flow.partial_checksums, PARTIAL_CHECKSUMS),
            lease: flow.lease,
            now,
        };
        let has_ended = |way| self.ways.has_ended(way);
        let (id, (found, evicted)): (fn(Found) -> OffloadId, _) =
            match Content::of(flow).ok_or(Refused::Unfit)? {
                Content::Ipv4(content) => (OffloadId::ipv4, self.ipv4.insert(&content, new, has_ended)?),
                Content::Ipv6(content) => (OffloadId::ipv6, self.ipv6.insert(&content, new, has_ended)?),
            };
        Ok((id(found), evicted.map(|(found, usage)| Evicted(id(found), usage))))
    }

    /// Keeps what was carried of a flow that [left](Self::insert) for whoever entered it, who is somebody else. Takes a lock for a moment.
    pub fn leave_last_word(&self, Evicted(id, usage): Evicted) {
        let mut words = self.last_words();
        // Some may never be asked for: of a worker that ended.
        if words.len() < self.capacity() {
            words.insert(id, usage);
        }
    }

    /// What was carried of a flow that left for the sake of somebody else's, once. Takes a lock for a moment.
    pub fn take_last_word(&self, id: OffloadId) -> Option<Usage> {
        self.last_words().remove(&id)
    }

    fn last_words(&self) -> MutexGuard<'_, HashMap<OffloadId, Usage>> {
        // One insertion or removal is whole or did not happen.
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a flow out, and says what exactly was carried of it. A packet that the program is at counts and is carried, or neither. None if it has left
    /// before.
    pub fn remove(&self, id: OffloadId) -> Option<Usage> {
        if id.is_ipv6() {
            self.ipv6.remove(id.found())
        } else {
            self.ipv4.remove(id.found())
        }
    }

    /// What was carried of a flow so far. None if it has left.
    pub fn usage(&self, id: OffloadId) -> Option<Usage> {
        if id.is_ipv6() {
            self.ipv6.usage(id.found())
        } else {
            self.ipv4.usage(id.found())
        }
    }

    /// Sets until when a flow may be carried, in nanoseconds of `CLOCK_MONOTONIC`; at most a year ahead. Nothing happens if it has left.
    pub fn set_lease(&self, id: OffloadId, until: u64) {
        if id.is_ipv6() {
            self.ipv6.set_lease(id.found(), until);
        } else {
            self.ipv4.set_lease(id.found(), until);
        }
    }

    /// Starts to load what [`usage`](Self::usage) reads.
    #[inline]
    pub fn prefetch(&self, id: OffloadId) {
        let place = id.found().place;
        if id.is_ipv6() {
            self.ipv6.prefetch(place);
        } else {
            self.ipv4.prefetch(place);
        }
    }

    /// Flows in the table, those that are not carried any more too.
    pub fn len(&self) -> usize {
        self.ipv4.len() + self.ipv6.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places for flows, at least twice as many as were asked for. 0 if nothing can be carried.
    pub fn capacity(&self) -> usize {
        self.ipv4.capacity() + self.ipv6.capacity()
    }

    /// Bytes that it takes.
    pub fn memory(&self) -> usize {
        self.ipv4.memory() + self.ipv6.memory() + self.ways.memory()
    }
}
