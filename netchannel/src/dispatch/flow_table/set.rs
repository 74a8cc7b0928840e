//! The flows of one IP version: buckets of 8 entries.

use std::time::Duration;

use classifier::prefetch::prefetch_address;
use zerocopy::FromZeros;

use super::super::flow_record::CloseReason;
use super::ledger::Ledger;
use super::{Flow, FlowId, Place};
use crate::memory::ZeroedArray;
use crate::time::Time;

/// Entries that share a hash bucket: the bound on what a lookup can cost.
pub(super) const WAYS: usize = 8;

/// How much longer a flow that had several packets stays than one that had a single one: a flood of single packets, each of another
/// flow, leaves conversations alone.
const CONVERSATION: Duration = Duration::from_secs(30);

/// An entry for IPv4 is one cache line.
#[derive(Clone, Copy, FromZeros)]
#[repr(C, align(64))]
pub(super) struct Entry<K> {
    key: K,
    flow: Flow,
    /// That of the rule set that decided the flow; 0 for a free entry.
    generation: u32,
    /// How often the entry was taken.
    stamp: u32,
}

impl<K> Entry<K> {
    pub(super) fn new(key: K, flow: Flow, generation: u32) -> Self {
        Self {
            key,
            flow,
            generation,
            stamp: 0,
        }
    }
}

/// The flows of one IP version.
pub(super) struct Set<K> {
    /// The number of its first place in the table.
    first_place: usize,
    /// A byte of each entry's hash, 0 for a free entry: most lookups read just these and one entry.
    tags: ZeroedArray<[u8; WAYS]>,
    entries: ZeroedArray<Entry<K>>,
    /// Entries in use.
    pub(super) occupied: usize,
    /// Flows that took the place of another one.
    pub(super) replaced: u64,
}

impl<K: Copy + PartialEq + FromZeros> Set<K> {
    pub(super) fn new(first_place: usize, buckets: usize) -> Self {
        Self {
            first_place,
            tags: ZeroedArray::new(buckets),
            entries: ZeroedArray::new(buckets * WAYS),
            occupied: 0,
            replaced: 0,
        }
    }

    #[inline(always)]
    pub(super) fn place(&self, hash: u64) -> Place {
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
    pub(super) fn prefetch(&self, place: Place) {
        let candidates = self.candidates(place);
        if let Some(entry) = self.entries.get(Self::first(place.bucket, candidates)) {
            prefetch_address(entry);
        }
    }

    #[inline(always)]
    pub(super) fn find(&self, place: Place, key: &K, generation: u32) -> Option<FlowId> {
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

    /// Whether an entry has this key, whatever its generation.
    pub(super) fn has(&self, place: Place, key: &K) -> bool {
        let start = place.bucket as usize * WAYS;
        let tags = self.tags[place.bucket as usize];
        (0..WAYS).any(|way| tags[way] == place.tag && self.entries[start + way].key == *key)
    }

    /// Puts an entry in its bucket. A flow that was there before is closed, and `closed` is told.
    pub(super) fn open(
        &mut self,
        Place { bucket, tag }: Place,
        mut entry: Entry<K>,
        ledger: &mut Ledger,
        closed: impl FnOnce(&K, &Flow, CloseReason),
    ) -> FlowId {
        let start = bucket as usize * WAYS;
        let mut victim = 0;
        let mut victim_rank = (u8::MAX, Time::MAX);
        for (way, &used) in self.tags[bucket as usize].iter().enumerate() {
            let old = &self.entries[start + way];
            // The entry itself, then a free one, then a stale one, then the one that was silent longest, of which
            // conversations are less so.
            let rank = match used {
                0 => (1, Time::ZERO),
                _ if old.key == entry.key => (0, Time::ZERO),
                _ if old.generation != entry.generation => (2, Time::ZERO),
                _ if old.flow.packets > 1 => (3, old.flow.last_seen + CONVERSATION),
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
        if victim_rank.0 != 1 {
            let old = &self.entries[place];
            ledger.close(self.first_place + place, &old.flow);
            let reason = match victim_rank.0 {
                3 => CloseReason::Replaced,
                _ => CloseReason::Rules,
            };
            closed(&old.key, &old.flow, reason);
        }
        entry.stamp = self.entries[place].stamp.wrapping_add(1);
        self.entries[place] = entry;
        FlowId {
            place: place as u32,
            stamp: entry.stamp,
        }
    }

    #[inline(always)]
    pub(super) fn flow_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        let entry = self.entries.get_mut((id.place & !FlowId::IPV6) as usize)?;
        (entry.stamp == id.stamp).then_some(&mut entry.flow)
    }

    pub(super) fn buckets(&self) -> usize {
        self.tags.len()
    }

    /// Entries that there is room for.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that are reserved.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&self.tags[..]) + size_of_val(&self.entries[..])
    }

    /// The flow at a place, whichever rule set decided it.
    pub(super) fn used(&self, place: usize) -> Option<&Flow> {
        let is_used = self.tags[place / WAYS][place % WAYS] != 0;
        is_used.then(|| &self.entries[place].flow)
    }

    /// The flow at a place, if this rule set decided it, with its key.
    pub(super) fn at(&self, place: usize, generation: u32) -> Option<(&K, &Flow)> {
        if self.tags[place / WAYS][place % WAYS] == 0 {
            return None;
        }
        let entry = &self.entries[place];
        (entry.generation == generation).then_some((&entry.key, &entry.flow))
    }

    /// Closes the flows of a bucket that another rule set decided, and tells `closed` of each.
    pub(super) fn sweep(
        &mut self,
        bucket: usize,
        generation: u32,
        ledger: &mut Ledger,
        mut closed: impl FnMut(&K, &Flow),
    ) {
        let tags = &mut self.tags[bucket];
        if *tags == [0; WAYS] {
            return;
        }
        for (way, tag) in tags.iter_mut().enumerate() {
            let place = bucket * WAYS + way;
            let entry = &mut self.entries[place];
            if *tag != 0 && entry.generation != generation {
                ledger.close(self.first_place + place, &entry.flow);
                closed(&entry.key, &entry.flow);
                *tag = 0;
                entry.generation = 0;
                entry.stamp = entry.stamp.wrapping_add(1);
                self.occupied -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::flow_key::{Ipv4Key, Ipv6Key};
    use super::*;

    #[test]
    fn an_entry_is_a_cache_line() {
        assert_eq!(size_of::<Entry<Ipv4Key>>(), 64);
        assert_eq!(size_of::<Entry<Ipv6Key>>(), 128);
    }
}
