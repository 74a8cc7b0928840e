//! Counted values side by side, addressed by 32-bit indices, whose growth can be taken back.

use std::ops::Index;

use crate::slab::NIL;

/// A vector of values that are used from several places, with a list of its vacant places.
///
/// Like [`Slab`](crate::slab::Slab), memory goes back when the last value does. Unlike there, memory can
/// also go back to exactly what it was at a [`Mark`].
#[derive(Debug, Clone)]
pub(super) struct Pool<T> {
    values: Vec<T>,
    /// From how many places each value is used; 0 if the place is vacant.
    uses: Vec<u32>,
    /// For a vacant place the next vacant one, else for whoever uses the pool.
    links: Vec<u32>,
    vacant: u32,
    len: usize,
}

/// How much was allocated at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    places: usize,
    capacity: usize,
}

impl<T: Default> Pool<T> {
    pub(super) const fn new() -> Self {
        Self {
            values: Vec::new(),
            uses: Vec::new(),
            links: Vec::new(),
            vacant: NIL,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Allocated memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.values.capacity() * size_of::<T>()
            + (self.uses.capacity() + self.links.capacity()) * size_of::<u32>()
    }

    /// Where the next value goes.
    pub(super) fn next_index(&self) -> u32 {
        if self.vacant == NIL {
            self.values.len() as u32
        } else {
            self.vacant
        }
    }

    /// Stores a value that is used once and returns its index. There must be less than [`NIL`] values.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        let index = self.next_index();
        if self.vacant != NIL {
            self.vacant = self.links[index as usize];
            self.values[index as usize] = value;
            self.uses[index as usize] = 1;
            return index;
        }
        if self.values.len() == self.values.capacity() {
            // By a quarter, not by double: most of the memory limit shall hold something.
            let more = (self.values.len() / 4).max(4);
            self.values.reserve_exact(more);
            self.uses.reserve_exact(more);
            self.links.reserve_exact(more);
        }
        self.values.push(value);
        self.uses.push(1);
        self.links.push(NIL);
        index
    }

    pub(super) fn uses(&self, index: u32) -> u32 {
        self.uses[index as usize]
    }

    /// Counts one more use.
    pub(super) fn retain(&mut self, index: u32) {
        self.uses[index as usize] += 1;
    }

    /// Ends a use; returns the value if that was the last.
    pub(super) fn release(&mut self, index: u32) -> Option<T> {
        let place = index as usize;
        self.uses[place] -= 1;
        if self.uses[place] > 0 {
            return None;
        }
        let value = std::mem::take(&mut self.values[place]);
        self.links[place] = self.vacant;
        self.vacant = index;
        self.len -= 1;
        if self.len == 0 {
            *self = Self::new();
        }
        Some(value)
    }

    /// The value at the index, or whatever a vacant place holds; `None` beyond the end.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.values.get(index as usize)
    }

    pub(super) fn link(&self, index: u32) -> u32 {
        self.links[index as usize]
    }

    pub(super) fn set_link(&mut self, index: u32, link: u32) {
        self.links[index as usize] = link;
    }

    /// How many places there are, vacant ones included.
    pub(super) fn places(&self) -> u32 {
        self.values.len() as u32
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            places: self.values.len(),
            capacity: self.values.capacity(),
        }
    }

    /// Gives back what was allocated since the mark. Values inserted since then must be released, those
    /// of before must still be there.
    pub(super) fn restore(&mut self, mark: Mark) {
        if self.values.len() > mark.places {
            let mut next = std::mem::replace(&mut self.vacant, NIL);
            while next != NIL {
                let index = next;
                next = self.link(index);
                if (index as usize) < mark.places {
                    self.set_link(index, self.vacant);
                    self.vacant = index;
                }
            }
            self.values.truncate(mark.places);
            self.uses.truncate(mark.places);
            self.links.truncate(mark.places);
        }
        self.values.shrink_to(mark.capacity);
        self.uses.shrink_to(mark.capacity);
        self.links.shrink_to(mark.capacity);
    }
}

impl<T> Index<u32> for Pool<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.values[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn values_stay_until_their_last_use_ends() {
        let mut pool = Pool::new();
        let [a, b] = ['a', 'b'].map(|value| pool.insert(value));
        pool.retain(a);
        assert_eq!((pool.release(a), pool[a], pool.len()), (None, 'a', 2));
        assert_eq!((pool.release(a), pool.len()), (Some('a'), 1));
        assert_eq!(pool.next_index(), a);
        assert_eq!(pool.insert('c'), a);
        assert_eq!((pool.release(a), pool.release(b)), (Some('c'), Some('b')));
        assert_eq!((pool.len(), pool.memory()), (0, 0));
    }

    #[test]
    fn growth_is_taken_back_exactly() {
        let mut pool = Pool::new();
        let kept: Vec<u32> = (0..100u64).map(|value| pool.insert(value)).collect();
        for index in [17, 3, 50] {
            pool.release(kept[index]);
        }
        let (mark, memory) = (pool.mark(), pool.memory());
        let more: Vec<u32> = (1_000..2_000).map(|value| pool.insert(value)).collect();
        for &index in &more {
            pool.release(index);
        }
        pool.restore(mark);
        assert_eq!((pool.memory(), pool.len()), (memory, 97));
        // The three vacant places are used before any new one.
        let mut places = [0; 3].map(|value| pool.insert(value));
        places.sort_unstable();
        assert_eq!(places, [kept[3], kept[17], kept[50]]);
        assert_eq!(pool.memory(), memory);
    }
}
