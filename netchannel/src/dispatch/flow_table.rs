//! The flow table: one exact-match entry in front of the classifier says which channel a flow belongs to and what that
//! channel noted about it. Bounded, owned by one worker, stamped with the rule set's generation.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use classifier::prefetch::prefetch_address;
use zerocopy::FromZeros;

use super::flow_key::{FlowKey, Ipv4Key, Ipv6Key, PackedKey};
use super::rule_set::Action;
use crate::channel::ChannelId;
use crate::interface::InterfaceId;
use crate::memory::ZeroedArray;
use crate::time::Time;

/// One flow.
#[derive(Clone, Copy, Debug, FromZeros)]
pub struct Flow {
    /// What the channel noted about the flow, 0 at first. The entry may be replaced at any time, so the note must be something
    /// that the channel can check and make anew.
    pub note: u64,
    /// Packets so far.
    pub packets: u64,
    /// Bytes so far, Ethernet header included.
    pub bytes: u64,
    /// When the last packet came.
    pub last_seen: Time,
    /// The channel that its packets go to.
    pub channel: ChannelId,
    /// What the rule says to the channel; see [`Action::parameter`].
    pub parameter: u8,
}

/// A flow in the table, which may have taken its place from another one, or lost it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId {
    place: u32,
    /// That of the entry: which of the flows it is that were ever there.
    stamp: u32,
}

impl FlowId {
    /// Set in the places of IPv6 flows.
    const IPV6: u32 = 1 << 31;
}

/// A flow's key, and where it is if it is in the table.
#[derive(Clone, Copy)]
pub(crate) struct Sought {
    key: PackedKey,
    place: Place,
}

impl Sought {
    /// The interface that the flow's packets arrive on.
    #[inline(always)]
    pub(crate) fn interface(&self) -> InterfaceId {
        self.key.interface()
    }
}

#[derive(Clone, Copy)]
struct Place {
    bucket: u32,
    tag: u8,
}

/// Entries that share a hash bucket: the bound on what a lookup can cost.
const WAYS: usize = 8;

/// A set-associative table of flows: a lookup looks at one bucket of 8 entries, and a flow that finds its bucket full takes the
/// place of the one that was silent longest. Hashes are keyed with a secret, so that nobody outside can fill a chosen bucket.
pub struct FlowTable {
    ipv4: Set<Ipv4Key>,
    ipv6: Set<Ipv6Key>,
    hasher: RandomState,
    /// Never 0, which is the generation of entries that were never used.
    generation: u32,
}

/// An entry for IPv4 is one cache line.
#[derive(Clone, Copy, FromZeros)]
#[repr(C, align(64))]
struct Entry<K> {
    key: K,
    flow: Flow,
    generation: u32,
    /// How often the entry was taken.
    stamp: u32,
}

impl<K> Entry<K> {
    fn new(key: K, flow: Flow, generation: u32) -> Self {
        Self {
            key,
            flow,
            generation,
            stamp: 0,
        }
    }
}

/// The flows of one IP version.
struct Set<K> {
    /// A byte of each entry's hash, 0 for a free entry: most lookups read just these and one entry.
    tags: ZeroedArray<[u8; WAYS]>,
    entries: ZeroedArray<Entry<K>>,
    occupied: usize,
    /// Flows that took the place of another one.
    replaced: u64,
}

impl<K: Copy + PartialEq + FromZeros> Set<K> {
    fn new(buckets: usize) -> Self {
        Self {
            tags: ZeroedArray::new(buckets),
            entries: ZeroedArray::new(buckets * WAYS),
            occupied: 0,
            replaced: 0,
        }
    }

    #[inline(always)]
    fn place(&self, hash: u64) -> Place {
        let bucket = (hash as usize & (self.tags.len() - 1)) as u32;
        prefetch_address(&raw const self.tags[bucket as usize]);
        // 0 marks a free entry.
        let tag = (hash >> 56) as u8 | 1;
        Place { bucket, tag }
    }

    /// Marks the entries of a bucket with this tag, and now and then another one too, by the highest bit of their bytes.
    #[inline(always)]
    fn candidates(&self, Place { bucket, tag }: Place) -> u64 {
        const LOWEST: u64 = u64::from_ne_bytes([1; WAYS]);
        // Where the tags are equal the difference has a byte of zeros, which a borrow turns into ones.
        let difference = u64::from_le_bytes(self.tags[bucket as usize]) ^ (LOWEST * u64::from(tag));
        difference.wrapping_sub(LOWEST) & !difference & LOWEST << 7
    }

    /// The number of the first entry that `candidates` marks, if it marks any.
    #[inline(always)]
    fn first(bucket: u32, candidates: u64) -> usize {
        bucket as usize * WAYS + candidates.trailing_zeros() as usize / 8
    }

    #[inline(always)]
    fn prefetch(&self, place: Place) {
        let candidates = self.candidates(place);
        if let Some(entry) = self.entries.get(Self::first(place.bucket, candidates)) {
            prefetch_address(entry);
        }
    }

    #[inline(always)]
    fn find(&self, place: Place, key: &K, generation: u32) -> Option<FlowId> {
        let mut candidates = self.candidates(place);
        while candidates != 0 {
            let index = Self::first(place.bucket, candidates);
            let entry = &self.entries[index];
            if entry.key == *key && entry.generation == generation {
                return Some(FlowId {
                    place: index as u32,
                    stamp: entry.stamp,
                });
            }
            candidates &= candidates - 1;
        }
        None
    }

    fn open(&mut self, Place { bucket, tag }: Place, mut entry: Entry<K>) -> FlowId {
        let start = bucket as usize * WAYS;
        let mut victim = 0;
        let mut victim_rank = (u8::MAX, Time::MAX);
        for (way, &used) in self.tags[bucket as usize].iter().enumerate() {
            let old = &self.entries[start + way];
            // The entry itself, then a free one, then a stale one, then the one that was silent longest.
            let rank = match used {
                0 => (1, Time::ZERO),
                _ if old.key == entry.key => (0, Time::ZERO),
                _ if old.generation != entry.generation => (2, Time::ZERO),
                _ => (3, old.flow.last_seen),
            };
            if rank < victim_rank {
                victim = way;
                victim_rank = rank;
            }
        }
        match victim_rank.0 {
            1 => self.occupied += 1,
            3 => self.replaced += 1,
            _ => {}
        }
        self.tags[bucket as usize][victim] = tag;
        let place = start + victim;
        entry.stamp = self.entries[place].stamp.wrapping_add(1);
        self.entries[place] = entry;
        FlowId {
            place: place as u32,
            stamp: entry.stamp,
        }
    }

    #[inline(always)]
    fn flow_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        let entry = self.entries.get_mut((id.place & !FlowId::IPV6) as usize)?;
        (entry.stamp == id.stamp).then_some(&mut entry.flow)
    }

    fn iter(&self, generation: u32) -> impl Iterator<Item = (&K, &Flow)> {
        self.entries
            .iter()
            .filter(move |entry| entry.generation == generation)
            .map(|entry| (&entry.key, &entry.flow))
    }
}

fn of_ipv6(id: FlowId) -> FlowId {
    FlowId {
        place: id.place | FlowId::IPV6,
        ..id
    }
}

impl FlowTable {
    /// A table for `capacity` flows of each IP version, rounded up to a power of two, at least 8. It takes 65 bytes an IPv4 flow and 129
    /// an IPv6 one, as they come.
    pub fn new(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(WAYS).next_power_of_two();
        Self {
            ipv4: Set::new(buckets),
            ipv6: Set::new(buckets),
            hasher: RandomState::new(),
            generation: 1,
        }
    }

    /// Makes all entries stale: each flow is classified anew with its next packet. O(1).
    pub fn invalidate(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
    }

    /// Entries in use, stale ones included.
    pub fn len(&self) -> usize {
        self.ipv4.occupied + self.ipv6.occupied
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that there is room for, of each IP version.
    pub fn capacity(&self) -> usize {
        self.ipv4.entries.len()
    }

    /// Flows that took the place of another one because their bucket was full.
    pub fn replaced(&self) -> u64 {
        self.ipv4.replaced + self.ipv6.replaced
    }

    /// Where a key's flow would be. Starts to load what tells whether it is there.
    #[inline(always)]
    pub(crate) fn seek(&self, key: PackedKey) -> Sought {
        let mut hasher = self.hasher.build_hasher();
        let place = match &key {
            PackedKey::V4(key) => {
                key.words().iter().for_each(|&word| hasher.write_u64(word));
                self.ipv4.place(hasher.finish())
            }
            PackedKey::V6(key) => {
                key.words().iter().for_each(|&word| hasher.write_u64(word));
                self.ipv6.place(hasher.finish())
            }
        };
        Sought { key, place }
    }

    /// Starts to load the flow that is probably there.
    #[inline(always)]
    pub(crate) fn prefetch(&self, sought: &Sought) {
        match sought.key {
            PackedKey::V4(_) => self.ipv4.prefetch(sought.place),
            PackedKey::V6(_) => self.ipv6.prefetch(sought.place),
        }
    }

    /// The flow that was sought, if there is one that the present rule set decided. O(1).
    #[inline(always)]
    pub(crate) fn find(&self, sought: &Sought) -> Option<FlowId> {
        let Sought { key, place } = sought;
        match key {
            PackedKey::V4(key) => self.ipv4.find(*place, key, self.generation),
            PackedKey::V6(key) => self.ipv6.find(*place, key, self.generation).map(of_ipv6),
        }
    }

    /// Opens a flow, or decides a stale one anew. O(1).
    pub(crate) fn open(&mut self, sought: &Sought, action: impl Into<Action>, now: Time) -> FlowId {
        let Action { channel, parameter } = action.into();
        let flow = Flow {
            note: 0,
            packets: 0,
            bytes: 0,
            last_seen: now,
            channel,
            parameter,
        };
        match sought.key {
            PackedKey::V4(key) => self
                .ipv4
                .open(sought.place, Entry::new(key, flow, self.generation)),
            PackedKey::V6(key) => of_ipv6(
                self.ipv6
                    .open(sought.place, Entry::new(key, flow, self.generation)),
            ),
        }
    }

    /// The flow, if no other one has taken its place since it was found.
    #[inline(always)]
    pub(crate) fn flow_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        if id.place & FlowId::IPV6 == 0 {
            self.ipv4.flow_mut(id)
        } else {
            self.ipv6.flow_mut(id)
        }
    }

    /// All flows that the present rule set decided, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (FlowKey, &Flow)> {
        let ipv4 = self.ipv4.iter(self.generation);
        let ipv6 = self.ipv6.iter(self.generation);
        ipv4.map(|(key, flow)| (key.unpack(), flow))
            .chain(ipv6.map(|(key, flow)| (key.unpack(), flow)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Fragment;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv6Addr};

    /// Half of them of each IP version.
    fn key(number: u16) -> FlowKey {
        let (source, destination) = if number.is_multiple_of(2) {
            let source = IpAddr::from([10, 0, (number >> 8) as u8, number as u8]);
            (source, IpAddr::from([192, 0, 2, 1]))
        } else {
            let source = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number));
            (source.into(), Ipv6Addr::LOCALHOST.into())
        };
        FlowKey {
            source,
            destination,
            source_port: number,
            destination_port: 80,
            protocol: 6,
            interface: InterfaceId(0),
            message: 0,
            fragment: Fragment::Whole,
        }
    }

    impl FlowTable {
        fn open_key(&mut self, number: u16, channel: u16, now: Time) -> FlowId {
            let sought = self.seek(PackedKey::from(&key(number)));
            self.open(&sought, ChannelId(channel), now)
        }

        fn find_key(&self, number: u16) -> Option<FlowId> {
            self.find(&self.seek(PackedKey::from(&key(number))))
        }
    }

    #[test]
    fn an_entry_is_a_cache_line() {
        assert_eq!(size_of::<Entry<Ipv4Key>>(), 64);
        assert_eq!(size_of::<Entry<Ipv6Key>>(), 128);
    }

    #[test]
    fn a_full_bucket_replaces_the_flow_that_was_silent_longest() {
        let mut table = FlowTable::new(8);
        for number in 0..8 {
            table.open_key(2 * number, 0, Time::from_secs(u64::from(number)));
        }
        let touched = table.find_key(0).unwrap();
        table.flow_mut(touched).unwrap().last_seen = Time::from_secs(100);
        table.open_key(16, 0, Time::from_secs(101));
        assert!(table.find_key(2).is_none());
        assert!(table.find_key(0).is_some());
        assert_eq!((table.len(), table.capacity(), table.replaced()), (8, 8, 1));
    }

    #[test]
    fn a_new_rule_set_makes_every_flow_be_decided_again() {
        let mut table = FlowTable::new(64);
        for number in [1, 2] {
            table.open_key(number, 1, Time::ZERO);
        }
        table.invalidate();
        for number in [1, 2] {
            assert!(table.find_key(number).is_none());
            table.open_key(number, 2, Time::ZERO);
            let id = table.find_key(number).unwrap();
            assert_eq!(table.flow_mut(id).unwrap().channel, ChannelId(2));
        }
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_flow_is_not_taken_for_the_one_that_replaced_it() {
        let mut table = FlowTable::new(8);
        let id = table.open_key(0, 0, Time::ZERO);
        for number in 1..=8 {
            table.open_key(2 * number, 0, Time::from_secs(1));
        }
        assert!(table.flow_mut(id).is_none());
    }

    proptest! {
        /// A found flow is always the one that was opened last under its key, the bound holds, and all flows are listed.
        #[test]
        fn agrees_with_a_map(operations in proptest::collection::vec((0u16..200, any::<bool>(), 0u16..4), 1..500)) {
            let mut table = FlowTable::new(64);
            let mut model = HashMap::new();
            for (step, (number, open, channel)) in operations.into_iter().enumerate() {
                if open {
                    table.open_key(number, channel, Time::from_secs(step as u64));
                    model.insert(number, channel);
                    prop_assert!(table.find_key(number).is_some());
                }
                if let Some(id) = table.find_key(number) {
                    prop_assert_eq!(Some(&table.flow_mut(id).unwrap().channel.0), model.get(&number));
                }
                prop_assert!(table.len() <= 2 * table.capacity());
            }
            prop_assert_eq!(table.iter().count(), table.len());
            for (listed, flow) in table.iter() {
                let number = listed.source_port;
                prop_assert_eq!(listed, key(number));
                prop_assert_eq!(Some(&flow.channel.0), model.get(&number));
            }
        }
    }
}
