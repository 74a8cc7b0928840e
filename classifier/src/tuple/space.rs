//! Which places of an arena are free.

use super::bucket::MAX_RUN;

/// The writer's account of an arena: entries are taken and given back in runs.
#[derive(Debug)]
pub(super) struct Space {
    /// From here on nothing was ever taken.
    fresh: usize,
    capacity: usize,
    /// Runs to be used again, by their length.
    free: [Vec<u32>; MAX_RUN + 1],
}

impl Space {
    /// An arena of that capacity, the first `used` places of which are taken.
    pub(super) fn new(used: usize, capacity: usize) -> Self {
        Self {
            fresh: used,
            capacity,
            free: [const { Vec::new() }; MAX_RUN + 1],
        }
    }

    /// A run of 1 to [`MAX_RUN`] places, if there is one.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Option<u32> {
        // The one given back last is the warmest.
        if let Some(index) = self.free[length].pop() {
            return Some(index);
        }
        if self.fresh + length <= self.capacity {
            let index = self.fresh as u32;
            self.fresh += length;
            return Some(index);
        }
        self.split(length)
    }

    /// A part of a longer run.
    fn split(&mut self, length: usize) -> Option<u32> {
        let longer = (length + 1..=MAX_RUN).find(|&longer| !self.free[longer].is_empty())?;
        let index = self.free[longer].pop()?;
        self.free[longer - length].push(index + length as u32);
        Some(index)
    }

    /// Gives back a run, or the part of one.
    #[inline]
    pub(super) fn give(&mut self, index: u32, length: usize) {
        self.free[length].push(index);
    }

    pub(super) fn memory(&self) -> usize {
        self.free
            .iter()
            .map(|runs| runs.capacity() * size_of::<u32>())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Space;

    #[test]
    fn what_is_given_back_is_taken_again() {
        let mut space = Space::new(2, 10);
        assert_eq!(space.take(3), Some(2));
        assert_eq!(space.take(5), Some(5));
        assert_eq!(space.take(1), None);
        space.give(5, 5);
        assert_eq!(space.take(2), Some(5));
        assert_eq!(space.take(3), Some(7));
        assert_eq!(space.take(1), None);
        space.give(2, 3);
        assert_eq!(space.take(3), Some(2));
    }
}
