//! One dimension's intervals, in chunks.
//!
//! Each boundary between intervals has a height, which is drawn from its value. A boundary of a height
//! above 0 starts a new chunk of intervals, one of a height above 1 a new chunk of chunks, and so on. So
//! the shape follows from the boundaries alone, whatever the order in which they came, and a change
//! touches only the chunks on the way to it, as in a B-tree.

use super::set::Set;
use super::store::{Content, mix};
use crate::word::Word;

/// A chunk has 2 to the power of this many entries on average. Measured from 3 to 6: shorter ones cost
/// lookups, longer ones cost insertions into large trees.
const CHUNK_BITS: u32 = 5;

/// From the start of an interval or a chunk to the start of the next one of its kind.
// Packed: wide words would be padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed(4))]
pub(super) struct Entry<W> {
    pub(super) start: W,
    /// What is there: the [`Set`] of an interval, or a chunk of the level below.
    pub(super) set: Set,
}

/// Some consecutive intervals of a dimension (level 0) or chunks (the levels above).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chunk<W: Word> {
    /// In the order of their starts.
    pub(super) entries: Box<[Entry<W>]>,
    pub(super) level: u8,
    /// If the chunk is the whole tree of a dimension: how many rules are in it.
    pub(super) rules: u32,
}

impl<W: Word> Chunk<W> {
    /// The entry that holds the value.
    #[inline]
    pub(super) fn find(&self, value: W) -> Set {
        let place = position(&self.entries, value);
        self.entries[place].set
    }
}

impl<W: Word> Content for Chunk<W> {
    fn hash(&self) -> u64 {
        let start = u64::from(self.level) << 32 | u64::from(self.rules);
        self.entries.iter().fold(start, |hash, entry| {
            let value: u128 = { entry.start }.into();
            let hash = mix(hash, value as u64 ^ u64::from(entry.set.bits()) << 32);
            if W::BITS > u64::BITS {
                mix(hash, (value >> 64) as u64)
            } else {
                hash
            }
        })
    }

    fn owned(&self) -> usize {
        size_of_val(&*self.entries)
    }
}

/// Which of the entries holds the value: the last that starts at or before it. The first one, if none
/// does.
#[inline]
pub(super) fn position<W: Word>(entries: &[Entry<W>], value: W) -> usize {
    entries
        .partition_point(|entry| { entry.start } <= value)
        .saturating_sub(1)
}

/// The height of a boundary.
fn height<W: Word>(start: W) -> u32 {
    let value: u128 = start.into();
    mix(value as u64, (value >> 64) as u64).trailing_zeros() / CHUNK_BITS
}

/// Cuts entries of a level into the chunks that they form. The first entry always starts one.
pub(super) fn cut<W: Word>(level: u8, mut entries: Vec<Entry<W>>) -> Vec<Vec<Entry<W>>> {
    let mut chunks = Vec::new();
    // From the back, so that each entry moves once at most.
    for place in (1..entries.len()).rev() {
        if height(entries[place].start) > u32::from(level) {
            chunks.push(entries.split_off(place));
        }
    }
    chunks.push(entries);
    chunks.reverse();
    chunks
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_BITS, height};

    #[test]
    fn heights_are_spread_evenly() {
        for step in [1u32, 256, 65_536] {
            let count = |above| {
                (1..=60_000)
                    .filter(|&index| height(index * step) >= above)
                    .count()
            };
            let expected = 60_000 >> CHUNK_BITS;
            assert!(
                (expected * 9 / 10..expected * 11 / 10).contains(&count(1)),
                "{}",
                count(1)
            );
            assert!(count(2) < expected / 10);
        }
        let wide = (1..60_000u128).filter(|&index| height(index << 100) > 0).count();
        assert!(wide < (60_000 >> CHUNK_BITS) * 11 / 10);
    }
}
