//! A table whose places are used again, each time under another stamp.

use std::ops::Range;

use classifier::prefetch::prefetch_address;

use crate::memory::vec_in_huge_pages;

/// Values by number. Memory for `capacity` values is reserved at once and touched as it is used.
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

/// In as few cache lines as can be.
#[repr(align(64))]
struct Entry<T> {
    /// How often the place was taken: tells a value from the one that was there before.
    stamp: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            entries: vec_in_huge_pages(capacity),
            free: Vec::new(),
        }
    }

    /// Values in the table.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Values that there is room for without growing.
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Bytes that are reserved.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<T>>() + self.free.capacity() * size_of::<u32>()
    }

    /// Adds a value and returns its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            // Never 0, so that a stamp of 0 is that of no value.
            entry.stamp = entry.stamp.wrapping_add(1).max(1);
            entry.value = Some(value);
            return index;
        }
        self.entries.push(Entry {
            stamp: 1,
            value: Some(value),
        });
        (self.entries.len() - 1) as u32
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.entries.get_mut(index as usize)?.value.take();
        if value.is_some() {
            self.free.push(index);
        }
        value
    }

    /// The value with this number.
    ///
    /// # Panics
    /// If there is none: the number was removed.
    #[inline]
    pub(super) fn get(&self, index: u32) -> &T {
        match self.entries.get(index as usize) {
            Some(Entry {
                value: Some(value), ..
            }) => value,
            _ => unreachable!("numbers are forgotten when their value is removed"),
        }
    }

    /// The value with this number.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut T {
        match self.entries.get_mut(index as usize) {
            Some(Entry {
                value: Some(value), ..
            }) => value,
            _ => unreachable!("numbers are forgotten when their value is removed"),
        }
    }

    /// The value with this number, if it has this stamp.
    #[inline]
    pub(super) fn get_stamped_mut(&mut self, index: u32, stamp: u32) -> Option<&mut T> {
        let entry = self.entries.get_mut(index as usize)?;
        entry.value.as_mut().filter(|_| entry.stamp == stamp)
    }

    /// Starts to load the first cache line of the value with this number, if there is a place for it.
    #[inline]
    pub(super) fn prefetch(&self, index: u32) {
        if let Some(entry) = self.entries.get(index as usize) {
            prefetch_address(&raw const *entry);
        }
    }

    /// The stamp that the value with this number has.
    pub(super) fn stamp(&self, index: u32) -> u32 {
        self.entries.get(index as usize).map_or(0, |entry| entry.stamp)
    }

    /// Whether there is a value with this number and stamp: one that was there before has another stamp, until a place was
    /// taken 2^32 times.
    #[inline]
    pub(super) fn holds(&self, index: u32, stamp: u32) -> bool {
        self.entries
            .get(index as usize)
            .is_some_and(|entry| entry.stamp == stamp && entry.value.is_some())
    }

    /// Numbers that were given so far: values have those below this one.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// The values with these numbers, with their numbers.
    pub(super) fn iter_in(&self, numbers: Range<usize>) -> impl Iterator<Item = (u32, &T)> {
        let numbers = numbers.start.min(self.places())..numbers.end.min(self.places());
        let entries = self.entries.get(numbers.clone()).unwrap_or_default();
        numbers
            .zip(entries)
            .filter_map(|(index, entry)| entry.value.as_ref().map(|value| (index as u32, value)))
    }
}

#[cfg(test)]
impl<T> Slab<T> {
    /// Memory for each value, its place in the list of free ones included.
    pub(super) const BYTES: usize = size_of::<Entry<T>>() + size_of::<u32>();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_used_again_has_another_stamp() {
        let mut slab = Slab::with_capacity(1);
        let first = slab.insert('a');
        let stamp = slab.stamp(first);
        assert!(slab.holds(first, stamp));
        assert_eq!(slab.remove(first), Some('a'));
        assert!(!slab.holds(first, stamp));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.insert('b'), first);
        assert!(!slab.holds(first, stamp));
        assert!(!slab.holds(7, 1));
        assert_eq!((slab.len(), *slab.get(first)), (1, 'b'));
        assert_eq!(slab.iter_in(0..9).collect::<Vec<_>>(), [(first, &'b')]);
    }
}
