//! Rules that no table tells apart: searched in their order, sixteen at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::compare::Compare;
use super::entry::{Snapshot, is_visible};
use crate::range::Range;
use crate::rule::{Match, Rank, RuleId};
use crate::word::Word;

/// Rules of one block.
pub(super) const BLOCK: usize = 16;

/// The ranges of sixteen rules, dimension after dimension.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Lanes<W, const D: usize> {
    pub(super) low: [[W; BLOCK]; D],
    /// See [`Entry`](super::entry::Entry).
    pub(super) span: [[W; BLOCK]; D],
}

/// Up to sixteen rules in their order.
#[derive(Debug)]
struct Block<W, A, const D: usize> {
    lanes: Lanes<W, D>,
    found: [Option<Match<A>>; BLOCK],
    /// See [`is_visible`].
    removed: [AtomicU32; BLOCK],
    count: usize,
}

/// A rule of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident<W, A, const D: usize> {
    pub(super) ranges: [Range<W>; D],
    pub(super) found: Match<A>,
    pub(super) removed: u32,
}

/// All rules of the residual list in their order. Changes make a new list; what both share is not copied.
#[derive(Debug)]
pub(super) struct Residual<W, A, const D: usize> {
    blocks: Vec<Arc<Block<W, A, D>>>,
    count: usize,
}

impl<W: Word, A: Copy, const D: usize> Resident<W, A, D> {
    pub(super) fn new(ranges: &[Range<W>; D], found: &Match<A>) -> Self {
        Self {
            ranges: *ranges,
            found: *found,
            removed: 0,
        }
    }
}

impl<W: Word, A: Copy, const D: usize> Block<W, A, D> {
    fn new(residents: &[Resident<W, A, D>]) -> Self {
        debug_assert!(residents.len() <= BLOCK);
        // Lanes without a rule accept one value at most, and have no answer then.
        let mut lanes = Lanes {
            low: [[W::MAX; BLOCK]; D],
            span: [[W::ZERO; BLOCK]; D],
        };
        let mut found = [None; BLOCK];
        let removed = [const { AtomicU32::new(0) }; BLOCK];
        for (lane, resident) in residents.iter().enumerate() {
            for dimension in 0..D {
                let range = &resident.ranges[dimension];
                lanes.low[dimension][lane] = range.low();
                lanes.span[dimension][lane] = range.high() - range.low();
            }
            found[lane] = Some(resident.found);
            removed[lane].store(resident.removed, Ordering::Relaxed);
        }
        Self {
            lanes,
            found,
            removed,
            count: residents.len(),
        }
    }

    fn residents(&self) -> impl Iterator<Item = Resident<W, A, D>> {
        (0..self.count).filter_map(|lane| {
            let ranges = std::array::from_fn(|dimension| {
                let low = self.lanes.low[dimension][lane];
                Range::between(low, low + self.lanes.span[dimension][lane])
            });
            Some(Resident {
                ranges,
                found: self.found[lane]?,
                removed: self.removed[lane].load(Ordering::Relaxed),
            })
        })
    }

    fn first_rank(&self) -> Rank {
        self.found[0].map_or(Rank::LAST, |found| found.rank())
    }

    fn lane_of(&self, id: RuleId) -> Option<usize> {
        self.found[..self.count]
            .iter()
            .position(|found| found.is_some_and(|found| found.id == id))
    }
}

impl<W: Word, A: Copy, const D: usize> Residual<W, A, D> {
    /// A list of these rules, which are in their order.
    pub(super) fn new(residents: &[Resident<W, A, D>]) -> Self {
        Self {
            blocks: residents
                .chunks(BLOCK)
                .map(|chunk| Arc::new(Block::new(chunk)))
                .collect(),
            count: residents.len(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn memory(&self) -> usize {
        self.blocks.capacity() * size_of::<Arc<Block<W, A, D>>>()
            + self.blocks.len() * (size_of::<Block<W, A, D>>() + 2 * size_of::<usize>())
    }

    /// The first priority in the list: no rule of it has a lower one.
    #[inline]
    pub(super) fn best_priority(&self) -> Option<u32> {
        self.blocks.first().map(|block| block.first_rank().priority)
    }

    /// The best rule that accepts the key, was there at that time, and is better than `worst`.
    ///
    /// # Safety
    ///
    /// As for [`Compare::accepting`].
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(super) unsafe fn search<C: Compare>(
        &self,
        key: &[W; D],
        at: Snapshot,
        worst: Rank,
        compare: C,
    ) -> Option<&Match<A>> {
        for block in &self.blocks {
            if block.first_rank() >= worst {
                return None;
            }
            // SAFETY: the caller's promise.
            let mut accepting = unsafe { compare.accepting(key, &block.lanes) };
            while accepting != 0 {
                let lane = accepting.trailing_zeros() as usize % BLOCK;
                accepting &= accepting - 1;
                if let Some(found) = &block.found[lane]
                    && is_visible(found, block.removed[lane].load(Ordering::Relaxed), at)
                {
                    return (found.rank() < worst).then_some(found);
                }
            }
        }
        None
    }

    /// All rules that were there at that time, in their order.
    pub(super) fn visible(&self, at: Snapshot) -> impl Iterator<Item = ([Range<W>; D], &Match<A>)> {
        self.blocks.iter().flat_map(move |block| {
            block
                .residents()
                .zip(block.found.iter().flatten())
                .filter(move |(resident, found)| is_visible(found, resident.removed, at))
                .map(|(resident, found)| (resident.ranges, found))
        })
    }

    /// The list with one more rule.
    pub(super) fn with(&self, resident: Resident<W, A, D>) -> Self {
        let rank = resident.found.rank();
        let after = self.blocks.partition_point(|block| block.first_rank() < rank);
        let mut blocks = self.blocks.clone();
        let at = after.saturating_sub(1);
        let Some(block) = blocks.get(at) else {
            return Self::new(&[resident]);
        };
        let mut residents: Vec<_> = block.residents().collect();
        let place = residents.partition_point(|other| other.found.rank() < rank);
        residents.insert(place, resident);
        if residents.len() <= BLOCK {
            blocks[at] = Arc::new(Block::new(&residents));
        } else {
            // At the end of the list, where bulk insertions go, the full block stays full.
            let split = if at + 1 == blocks.len() && place == BLOCK {
                BLOCK
            } else {
                BLOCK / 2
            };
            blocks[at] = Arc::new(Block::new(&residents[..split]));
            blocks.insert(at + 1, Arc::new(Block::new(&residents[split..])));
        }
        Self {
            blocks,
            count: self.count + 1,
        }
    }

    /// The list without a rule that is in it. Blocks that have become small are put together.
    pub(super) fn without(&self, found: &Match<A>) -> Self {
        let mut blocks = self.blocks.clone();
        let Some((at, lane)) = self.find(found) else {
            return Self {
                blocks,
                count: self.count,
            };
        };
        let mut residents: Vec<_> = blocks[at].residents().collect();
        residents.remove(lane);
        if let Some(next) = blocks.get(at + 1)
            && residents.len() + next.count <= BLOCK / 2
        {
            residents.extend(next.residents());
            blocks.remove(at + 1);
        }
        if residents.is_empty() {
            blocks.remove(at);
        } else {
            blocks[at] = Arc::new(Block::new(&residents));
        }
        Self {
            blocks,
            count: self.count - 1,
        }
    }

    /// Marks a rule of the list as removed by the removal of that number.
    pub(super) fn mark_removed(&self, found: &Match<A>, number: u32) {
        if let Some((at, lane)) = self.find(found) {
            self.blocks[at].removed[lane].store(number, Ordering::Relaxed);
        }
    }

    fn find(&self, found: &Match<A>) -> Option<(usize, usize)> {
        let rank = found.rank();
        let after = self.blocks.partition_point(|block| block.first_rank() <= rank);
        let at = after.checked_sub(1)?;
        Some((at, self.blocks[at].lane_of(found.id)?))
    }
}
