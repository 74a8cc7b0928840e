//! The flow table: one exact-match entry in front of the classifier says which channel a flow belongs to and what that
//! channel noted about it. Bounded, owned by one worker, stamped with the rule set's generation.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ahash::RandomState;
use classifier::prefetch::prefetch_address;

use crate::channel::ChannelId;
use crate::interface::InterfaceId;
use crate::packet::{Fragment, Headers, Transport};
use crate::time::Time;

/// What makes two packets one flow: arrival interface, addresses, protocol and ports (or ICMP identifier), and what of a datagram or
/// which ICMP message they are, for rules may tell these apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port; the identifier of an ICMP query; 0 if there is none.
    pub source_port: u16,
    /// Destination port; the identifier of the reply to an ICMP query; 0 if there is none.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// The interface that the packets arrive on.
    pub interface: InterfaceId,
    /// Type and code of an ICMP message that is no query, the type in the upper byte; else 0.
    pub message: u16,
    /// Which part of a datagram the packets are.
    pub fragment: Fragment,
}

impl Hash for FlowKey {
    /// In as few pieces as there are: the hash is made for each packet.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                state.write_u64(u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits()));
            }
            (source, destination) => {
                for address in [source, destination] {
                    match address {
                        IpAddr::V4(address) => state.write_u32(address.to_bits()),
                        IpAddr::V6(address) => state.write_u128(address.to_bits()),
                    }
                }
            }
        }
        // Messages have no ports.
        let ports = u64::from(self.source_port) << 48 | u64::from(self.destination_port | self.message) << 32;
        let part = (self.fragment as u64) << 24;
        state.write_u64(ports | part | u64::from(self.interface.0) << 8 | u64::from(self.protocol));
    }
}

impl FlowKey {
    /// The key of a parsed packet.
    #[inline]
    pub fn of(headers: &Headers, interface: InterfaceId) -> Self {
        let (source_port, destination_port) = headers.ports();
        let message = match headers.transport {
            Transport::Icmp { kind, code } => u16::from_be_bytes([kind, code]),
            _ => 0,
        };
        Self {
            source: headers.source,
            destination: headers.destination,
            source_port,
            destination_port,
            protocol: headers.protocol,
            interface,
            message,
            fragment: headers.fragment,
        }
    }
}

/// One flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The channel that its packets go to.
    pub channel: ChannelId,
    /// What the channel noted about the flow, 0 at first. The entry may be replaced at any time, so the note must be something
    /// that the channel can check and make anew.
    pub note: u64,
    /// Packets so far.
    pub packets: u64,
    /// Bytes so far, Ethernet header included.
    pub bytes: u64,
    /// When the last packet came.
    pub last_seen: Time,
}

/// Where a flow is in the table; good until the next flow is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId(u32);

/// Where a flow is, if it is in the table.
#[derive(Clone, Copy)]
pub(crate) struct FlowPlace {
    bucket: usize,
    tag: u8,
}

struct Entry {
    key: FlowKey,
    generation: u64,
    flow: Flow,
}

/// Entries that share a hash bucket: the bound on what a lookup can cost.
const WAYS: usize = 8;

/// A set-associative table of flows: a lookup looks at one bucket of 8 entries, and a flow that finds its bucket full takes the
/// place of the one that was silent longest. Hashes are keyed with a secret, so that nobody outside can fill a chosen bucket.
pub struct FlowTable {
    /// A byte of each entry's hash, 0 for a free entry: most lookups read just these and one entry.
    tags: Vec<[u8; WAYS]>,
    entries: Vec<Option<Entry>>,
    hasher: RandomState,
    generation: u64,
    occupied: usize,
    /// Flows that took the place of another one.
    replaced: u64,
}

impl FlowTable {
    /// A table for `capacity` flows, rounded up to a power of two, at least 8. It takes some 120 bytes a flow at once.
    pub fn new(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(WAYS).next_power_of_two();
        Self {
            tags: vec![[0; WAYS]; buckets],
            entries: std::iter::repeat_with(|| None).take(buckets * WAYS).collect(),
            hasher: RandomState::new(),
            generation: 0,
            occupied: 0,
            replaced: 0,
        }
    }

    /// Makes all entries stale: each flow is classified anew with its next packet. O(1).
    pub fn invalidate(&mut self) {
        self.generation += 1;
    }

    /// Entries in use, stale ones included.
    pub fn len(&self) -> usize {
        self.occupied
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Entries that there is room for.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Flows that took the place of another one because their bucket was full.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Where a key's flow would be. Starts to load what tells whether it is there.
    #[inline]
    pub(crate) fn seek(&self, key: &FlowKey) -> FlowPlace {
        let (bucket, tag) = self.place(key);
        prefetch_address(&raw const self.tags[bucket]);
        FlowPlace { bucket, tag }
    }

    /// Starts to load the flow that is probably there.
    #[inline]
    pub(crate) fn prefetch(&self, place: FlowPlace) {
        let tags = &self.tags[place.bucket];
        if let Some(way) = tags.iter().position(|&tag| tag == place.tag) {
            let entry = &raw const self.entries[place.bucket * WAYS + way];
            // An entry is two cache lines.
            prefetch_address(entry);
            prefetch_address(entry.wrapping_byte_add(64));
        }
    }

    #[inline]
    fn place(&self, key: &FlowKey) -> (usize, u8) {
        let hash = self.hasher.hash_one(key);
        // 0 marks a free entry.
        let tag = (hash >> 56) as u8 | 1;
        (hash as usize & (self.tags.len() - 1), tag)
    }

    /// The flow of this key, if there is one that the present rule set decided. O(1).
    #[inline]
    pub fn find(&self, key: &FlowKey) -> Option<FlowId> {
        let (bucket, tag) = self.place(key);
        self.find_at(FlowPlace { bucket, tag }, key)
    }

    /// The same, where `seek` said that it would be.
    #[inline]
    pub(crate) fn find_at(&self, FlowPlace { bucket, tag }: FlowPlace, key: &FlowKey) -> Option<FlowId> {
        for (way, &candidate) in self.tags[bucket].iter().enumerate() {
            if candidate == tag {
                let index = bucket * WAYS + way;
                if let Some(entry) = &self.entries[index]
                    && entry.key == *key
                    && entry.generation == self.generation
                {
                    return Some(FlowId(index as u32));
                }
            }
        }
        None
    }

    /// Opens a flow, or decides a stale one anew. O(1).
    pub fn open(&mut self, key: FlowKey, channel: ChannelId, now: Time) -> FlowId {
        let (bucket, tag) = self.place(&key);
        let start = bucket * WAYS;
        let mut victim = start;
        let mut victim_rank = (u8::MAX, Time::MAX);
        for index in start..start + WAYS {
            // The entry itself, then a free one, then a stale one, then the one that was silent longest.
            let rank = match &self.entries[index] {
                Some(entry) if entry.key == key => (0, Time::ZERO),
                None => (1, Time::ZERO),
                Some(entry) if entry.generation != self.generation => (2, Time::ZERO),
                Some(entry) => (3, entry.flow.last_seen),
            };
            if rank < victim_rank {
                victim = index;
                victim_rank = rank;
            }
        }
        match victim_rank.0 {
            1 => self.occupied += 1,
            3 => self.replaced += 1,
            _ => {}
        }
        self.tags[bucket][victim - start] = tag;
        self.entries[victim] = Some(Entry {
            key,
            generation: self.generation,
            flow: Flow {
                channel,
                note: 0,
                packets: 0,
                bytes: 0,
                last_seen: now,
            },
        });
        FlowId(victim as u32)
    }

    /// The flow at this place.
    ///
    /// # Panics
    /// If none was ever opened there: an id comes from `find` or `open`, and entries are replaced but never emptied.
    #[inline]
    pub fn flow_mut(&mut self, id: FlowId) -> &mut Flow {
        match &mut self.entries[id.0 as usize] {
            Some(entry) => &mut entry.flow,
            None => unreachable!("flow ids are given out for entries in use, which stay in use"),
        }
    }

    /// The flow at this place if it is still that of `key`: a burst may have replaced it since it was found.
    #[inline]
    pub fn flow_of(&mut self, id: FlowId, key: &FlowKey) -> Option<&mut Flow> {
        match &mut self.entries[id.0 as usize] {
            Some(entry) if entry.key == *key => Some(&mut entry.flow),
            _ => None,
        }
    }

    /// All flows that the present rule set decided, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&FlowKey, &Flow)> {
        self.entries
            .iter()
            .flatten()
            .filter(|entry| entry.generation == self.generation)
            .map(|entry| (&entry.key, &entry.flow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(number: u16) -> FlowKey {
        FlowKey {
            source: IpAddr::from([10, 0, (number >> 8) as u8, number as u8]),
            destination: IpAddr::from([192, 0, 2, 1]),
            source_port: number,
            destination_port: 80,
            protocol: 6,
            interface: InterfaceId(0),
            message: 0,
            fragment: Fragment::Whole,
        }
    }

    #[test]
    fn a_full_bucket_replaces_the_flow_that_was_silent_longest() {
        let mut table = FlowTable::new(8);
        for number in 0..8 {
            table.open(key(number), ChannelId(0), Time::from_secs(u64::from(number)));
        }
        let touched = table.find(&key(0)).unwrap();
        table.flow_mut(touched).last_seen = Time::from_secs(100);
        table.open(key(8), ChannelId(0), Time::from_secs(101));
        assert!(table.find(&key(1)).is_none());
        assert!(table.find(&key(0)).is_some());
        assert_eq!((table.len(), table.capacity(), table.replaced()), (8, 8, 1));
    }

    #[test]
    fn a_new_rule_set_makes_every_flow_be_decided_again() {
        let mut table = FlowTable::new(64);
        table.open(key(1), ChannelId(1), Time::ZERO);
        table.invalidate();
        assert!(table.find(&key(1)).is_none());
        table.open(key(1), ChannelId(2), Time::ZERO);
        let id = table.find(&key(1)).unwrap();
        assert_eq!(table.flow_mut(id).channel, ChannelId(2));
        assert_eq!(table.len(), 1);
    }

    proptest! {
        /// A found flow is always the one that was opened last under its key, and the bound holds.
        #[test]
        fn agrees_with_a_map(operations in proptest::collection::vec((0u16..200, any::<bool>(), 0u16..4), 1..500)) {
            let mut table = FlowTable::new(64);
            let mut model = HashMap::new();
            for (step, (number, open, channel)) in operations.into_iter().enumerate() {
                if open {
                    table.open(key(number), ChannelId(channel), Time::from_secs(step as u64));
                    model.insert(number, channel);
                    prop_assert!(table.find(&key(number)).is_some());
                }
                if let Some(id) = table.find(&key(number)) {
                    prop_assert_eq!(Some(&table.flow_mut(id).channel.0), model.get(&number));
                }
                prop_assert!(table.len() <= table.capacity());
            }
        }
    }
}
