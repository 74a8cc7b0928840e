//! Values of one type side by side, addressed by 32-bit indices.

use std::ops::{Index, IndexMut};

use crate::paged::Paged;

/// No value: the index that a slab never gives.
pub(crate) const NIL: u32 = u32::MAX;

/// A vector with a list of its vacant places. Memory goes back when the last value does.
#[derive(Debug, Clone)]
pub(crate) struct Slab<T> {
    values: Paged<T>,
    vacant: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            values: Paged::new(),
            vacant: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() - self.vacant.len()
    }

    /// Allocated memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.values.memory() + self.vacant.capacity() * size_of::<u32>()
    }

    /// Where the next value goes; there must be less than 2³² − 1 of them.
    pub(crate) fn next_index(&self) -> u32 {
        self.vacant.last().copied().unwrap_or(self.values.len() as u32)
    }

    /// Stores the value and returns its index; there must be less than 2³² − 1 of them.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.vacant.pop() {
            self[index] = value;
            return index;
        }
        self.values.push(value);
        (self.values.len() - 1) as u32
    }

    /// Takes out the value at an index that holds one.
    pub(crate) fn remove(&mut self, index: u32) -> T {
        let value = std::mem::take(&mut self[index]);
        self.vacant.push(index);
        if self.len() == 0 {
            *self = Self::new();
        }
        value
    }

    /// Starts to load the value at an index into the cache.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        self.values.prefetch(index as usize);
    }

    /// The value at the index, or whatever a vacant place holds; `None` beyond the end.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.values.get(index as usize)
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        self.values.get(index as usize).unwrap_or_else(|| beyond(index))
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.values
            .get_mut(index as usize)
            .unwrap_or_else(|| beyond(index))
    }
}

#[cold]
fn beyond(index: u32) -> ! {
    panic!("the index {index} is beyond the slab")
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
