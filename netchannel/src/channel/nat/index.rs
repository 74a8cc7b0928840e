//! Finding entries of a slab by a key that they hold.

use std::hash::Hash;

use ahash::RandomState;
use zerocopy::FromZeros;

use crate::memory::ZeroedArray;

/// A place of the table; `number` is that of the entry plus 1, 0 for none.
#[derive(Clone, Copy, Default, FromZeros)]
struct Slot {
    /// The upper half of the key's hash.
    hash: u32,
    number: u32,
}

/// A hash table of entries' numbers. The keys are in the entries themselves, so that a place costs 8 bytes. It never grows and has no
/// graves to clean up, so that no packet waits for that: its size is fixed, and a removal closes the gap. Hashes are keyed with a
/// secret. Everything is O(1) as long as there are no more entries than it was made for: three quarters of its places.
pub(super) struct Index {
    slots: ZeroedArray<Slot>,
    hasher: RandomState,
}

impl Index {
    /// A table for this many entries. Its memory is reserved at once and touched as it is used.
    pub(super) fn for_entries(entries: usize) -> Self {
        let slots = (entries + entries.div_ceil(3) + 1).next_power_of_two();
        Self {
            slots: ZeroedArray::new(slots),
            hasher: RandomState::new(),
        }
    }

    /// Bytes that are reserved.
    pub(super) fn memory(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }

    /// The entry with this key that `is_it`.
    #[inline]
    pub(super) fn find(&self, key: &impl Hash, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.place(key, is_it).map(|place| self.slots[place].number - 1)
    }

    /// Adds an entry under a key.
    ///
    /// # Panics
    /// If all places are taken: more entries than it was made for.
    pub(super) fn insert(&mut self, key: &impl Hash, entry: u32) {
        let hash = self.hash(key);
        let mut place = self.home(hash);
        let mut looked_at = 0;
        while self.slots[place].number != 0 {
            place = self.next(place);
            looked_at += 1;
            assert!(
                looked_at < self.slots.len(),
                "an index holds what it was made for"
            );
        }
        self.slots[place] = Slot {
            hash,
            number: entry + 1,
        };
    }

    /// Replaces the entry that has this key by another one that has it too. `false` if it isn't there.
    pub(super) fn replace(&mut self, key: &impl Hash, entry: u32, other: u32) -> bool {
        let place = self.place(key, |number| number == entry);
        if let Some(place) = place {
            self.slots[place].number = other + 1;
        }
        place.is_some()
    }

    /// Takes the entry with this key out.
    pub(super) fn remove(&mut self, key: &impl Hash, entry: u32) {
        let Some(mut gap) = self.place(key, |number| number == entry) else {
            return;
        };
        // What follows moves up as long as it is not at home.
        let mut place = self.next(gap);
        while self.slots[place].number != 0 {
            let home = self.home(self.slots[place].hash);
            let last = self.slots.len() - 1;
            let from_home = place.wrapping_sub(home) & last;
            let from_gap = place.wrapping_sub(gap) & last;
            if from_home >= from_gap {
                self.slots[gap] = self.slots[place];
                gap = place;
            }
            place = self.next(place);
        }
        self.slots[gap] = Slot::default();
    }

    #[inline]
    fn place(&self, key: &impl Hash, mut is_it: impl FnMut(u32) -> bool) -> Option<usize> {
        let hash = self.hash(key);
        let mut place = self.home(hash);
        loop {
            let slot = self.slots[place];
            if slot.number == 0 {
                return None;
            }
            if slot.hash == hash && is_it(slot.number - 1) {
                return Some(place);
            }
            place = self.next(place);
        }
    }

    #[inline]
    fn hash(&self, key: &impl Hash) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// Where an entry is if nothing is in its way: the hash scaled to the table's size.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
impl Index {
    /// Memory of a table for this many entries.
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Up to as many entries as it was made for, some with the same key.
        #[test]
        fn agrees_with_a_list(
            operations in proptest::collection::vec((0u32..40, any::<bool>()), 0..600),
        ) {
            let mut index = Index::for_entries(40);
            let key = |entry: u32| entry / 3;
            let mut model: Vec<u32> = Vec::new();
            for (entry, replace) in operations {
                match model.iter().position(|&other| other == entry) {
                    Some(at) if replace && !model.contains(&(entry ^ 64)) => {
                        prop_assert!(index.replace(&key(entry), entry, entry ^ 64));
                        prop_assert!(!index.replace(&key(entry), entry, entry));
                        prop_assert!(index.replace(&key(entry), entry ^ 64, entry));
                        model[at] = entry;
                    }
                    Some(at) => {
                        model.swap_remove(at);
                        index.remove(&key(entry), entry);
                    }
                    None => {
                        model.push(entry);
                        index.insert(&key(entry), entry);
                    }
                }
                for entry in 0..40 {
                    let found = index.find(&key(entry), |other| other == entry);
                    prop_assert_eq!(found.is_some(), model.contains(&entry));
                }
            }
        }
    }
}
