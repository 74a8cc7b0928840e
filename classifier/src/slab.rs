//! Values of one type side by side, addressed by 32-bit indices.

use std::ops::{Index, IndexMut};

use crate::prefetch::prefetch;

/// No value: the index that a slab never gives.
pub(crate) const NIL: u32 = u32::MAX;

/// A vector with a list of its vacant places. Memory goes back when the last value does.
#[derive(Debug, Clone)]
pub(crate) struct Slab<T> {
    values: Vec<T>,
    vacant: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            values: Vec::new(),
            vacant: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() - self.vacant.len()
    }

    /// Allocated memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.values.capacity() * size_of::<T>() + self.vacant.capacity() * size_of::<u32>()
    }

    /// Where the next value goes; there must be less than 2³² − 1 of them.
    pub(crate) fn next_index(&self) -> u32 {
        self.vacant.last().copied().unwrap_or(self.values.len() as u32)
    }

    /// Stores the value and returns its index; there must be less than 2³² − 1 of them.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.vacant.pop() {
            self.values[index as usize] = value;
            return index;
        }
        self.values.push(value);
        (self.values.len() - 1) as u32
    }

    /// Takes out the value at an index that holds one.
    pub(crate) fn remove(&mut self, index: u32) -> T {
        let value = std::mem::take(&mut self.values[index as usize]);
        self.vacant.push(index);
        if self.len() == 0 {
            *self = Self::new();
        }
        value
    }

    /// Starts to load the value at an index into the cache.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        prefetch(&self.values, index as usize);
    }

    /// The value at the index, or whatever a vacant place holds; `None` beyond the end.
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.values.get(index as usize)
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.values[index as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.values[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn places_are_used_again_and_memory_returns() {
        let mut slab = Slab::new();
        let [a, b, c] = ['a', 'b', 'c'].map(|value| slab.insert(value));
        assert_eq!(slab.remove(b), 'b');
        assert_eq!(slab.len(), 2);
        assert_eq!(slab.next_index(), b);
        assert_eq!(slab.insert('d'), b);
        assert_eq!((slab[a], slab[b], slab[c]), ('a', 'd', 'c'));
        for index in [c, a, b] {
            slab.remove(index);
        }
        assert_eq!((slab.len(), slab.memory()), (0, 0));
        assert_eq!(slab.get(a), None);
    }
}
