//! Values that are kept once each, however often they occur.

use std::ops::Index;

use super::pool::{Mark as PoolMark, Pool};
use crate::slab::NIL;

/// What a [`Store`] keeps.
pub(super) trait Content: Default + PartialEq {
    fn hash(&self) -> u64;

    /// Memory that the value owns elsewhere, in bytes.
    fn owned(&self) -> usize;
}

/// One step of a hash over several words.
#[inline]
pub(super) fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    (product as u64) ^ (product >> 64) as u64
}

/// Equal values have the same index, so to compare them is to compare indices.
#[derive(Debug, Clone)]
pub(super) struct Store<T> {
    pool: Pool<Hashed<T>>,
    /// The first value of each chain; the pool's links hold the rest. A power of two, or none.
    buckets: Vec<u32>,
    owned: usize,
}

#[derive(Debug, Clone, Default)]
struct Hashed<T> {
    value: T,
    hash: u32,
}

/// How much was allocated at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pool: PoolMark,
    buckets: usize,
}

impl<T: Content> Store<T> {
    pub(super) const fn new() -> Self {
        Self {
            pool: Pool::new(),
            buckets: Vec::new(),
            owned: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pool.len()
    }

    /// What the values own, in bytes.
    #[cfg(test)]
    pub(super) fn owned(&self) -> usize {
        self.owned
    }

    /// How many places there are, vacant ones included.
    #[cfg(test)]
    pub(super) fn places(&self) -> u32 {
        self.pool.places()
    }

    /// Allocated memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.pool.memory() + self.buckets.capacity() * size_of::<u32>() + self.owned
    }

    /// The index of the value, which counts as one more use. If it was there already, the one passed in
    /// comes back.
    pub(super) fn insert(&mut self, value: T) -> (u32, Option<T>) {
        if self.pool.len() >= self.buckets.len() {
            self.rebuild((2 * self.buckets.len()).max(4));
        }
        let hash = (value.hash() >> 32) as u32;
        let bucket = self.bucket(hash);
        let mut index = self.buckets[bucket];
        while index != NIL {
            let other = &self.pool[index];
            if other.hash == hash && other.value == value {
                self.pool.retain(index);
                return (index, Some(value));
            }
            index = self.pool.link(index);
        }
        self.owned += value.owned();
        let index = self.pool.insert(Hashed { value, hash });
        self.pool.set_link(index, self.buckets[bucket]);
        self.buckets[bucket] = index;
        (index, None)
    }

    pub(super) fn uses(&self, index: u32) -> u32 {
        self.pool.uses(index)
    }

    /// Counts one more use.
    pub(super) fn retain(&mut self, index: u32) {
        self.pool.retain(index);
    }

    /// Ends a use; returns the value if that was the last.
    pub(super) fn release(&mut self, index: u32) -> Option<T> {
        if self.pool.uses(index) > 1 {
            return self.pool.release(index).map(|last| last.value);
        }
        self.unlink(index);
        let value = self.pool.release(index)?.value;
        self.owned -= value.owned();
        if self.pool.len() == 0 {
            self.buckets = Vec::new();
        }
        Some(value)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            pool: self.pool.mark(),
            buckets: self.buckets.len(),
        }
    }

    /// Gives back what was allocated since the mark. Values inserted since then must be released, those
    /// of before must still be there.
    pub(super) fn restore(&mut self, mark: Mark) {
        self.pool.restore(mark.pool);
        if self.buckets.len() != mark.buckets {
            self.rebuild(mark.buckets);
        }
    }

    fn bucket(&self, hash: u32) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    fn unlink(&mut self, index: u32) {
        let bucket = self.bucket(self.pool[index].hash);
        let after = self.pool.link(index);
        let mut previous = self.buckets[bucket];
        if previous == index {
            self.buckets[bucket] = after;
            return;
        }
        while self.pool.link(previous) != index {
            previous = self.pool.link(previous);
        }
        self.pool.set_link(previous, after);
    }

    fn rebuild(&mut self, buckets: usize) {
        self.buckets = vec![NIL; buckets];
        for index in 0..self.pool.places() {
            if self.pool.uses(index) == 0 {
                continue;
            }
            let bucket = self.bucket(self.pool[index].hash);
            self.pool.set_link(index, self.buckets[bucket]);
            self.buckets[bucket] = index;
        }
    }
}

impl<T> Index<u32> for Store<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.pool[index].value
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Store, mix};

    #[derive(Debug, Default, PartialEq)]
    struct Word(u64);

    impl Content for Word {
        fn hash(&self) -> u64 {
            // Few different ones, so that chains are long.
            mix(0, self.0 % 5)
        }

        fn owned(&self) -> usize {
            100
        }
    }

    #[test]
    fn equal_values_are_one() {
        let mut store = Store::new();
        let indices: Vec<u32> = (0..50).map(|value| store.insert(Word(value)).0).collect();
        for (value, &index) in (0..).zip(&indices) {
            assert_eq!(store.insert(Word(value)), (index, Some(Word(value))));
        }
        assert_eq!((store.len(), store.owned), (50, 5_000));
        let (mark, memory) = (store.mark(), store.memory());
        let more: Vec<u32> = (50..500).map(|value| store.insert(Word(value)).0).collect();
        for (value, index) in (50..).zip(more) {
            assert_eq!(store.release(index), Some(Word(value)));
        }
        store.restore(mark);
        assert_eq!((store.len(), store.memory()), (50, memory));
        for (value, &index) in (0..).zip(&indices) {
            assert_eq!(store.insert(Word(value)).0, index, "chains are whole");
            assert_eq!((store.release(index), store.release(index)), (None, None));
            assert_eq!(store.release(index), Some(Word(value)));
        }
        assert_eq!((store.len(), store.memory()), (0, 0));
    }
}
