//! A rule as searches see it.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::range::Range;
use crate::rule::{Match, Rank};
use crate::word::Word;

/// What one section sees of a set that changes: everything up to a number of insertions and removals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Rules inserted before; later ones are not seen.
    pub(super) inserted: u64,
    /// Rules removed since the state was built, up to [`Version::MAX_REMOVED`](super::state::Version).
    pub(super) removed: u32,
}

/// A rule in a bucket of a table. Five 32-bit dimensions and an action of 32 bits fill a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Entry<W, A, const D: usize> {
    // A value `v` is in a range if `v - low`, wrapping, is at most `span`: one comparison for both ends.
    pub(super) low: [W; D],
    pub(super) span: [W; D],
    pub(super) found: Match<A>,
    /// 0, or the number of removals since the state was built when this one was counted.
    removed: AtomicU32,
}

impl<W: Word, A: Copy, const D: usize> Entry<W, A, D> {
    pub(super) fn new(ranges: &[Range<W>; D], found: Match<A>) -> Self {
        Self {
            low: ranges.map(|range| range.low()),
            span: ranges.map(|range| range.high() - range.low()),
            found,
            removed: AtomicU32::new(0),
        }
    }

    /// Another entry of the same rule, in the same state.
    pub(super) fn copy(&self) -> Self {
        Self {
            low: self.low,
            span: self.span,
            found: self.found,
            removed: AtomicU32::new(self.removed.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn ranges(&self) -> [Range<W>; D] {
        std::array::from_fn(|dimension| {
            let low = self.low[dimension];
            Range::between(low, low + self.span[dimension])
        })
    }

    pub(super) fn rank(&self) -> Rank {
        self.found.rank()
    }

    /// Whether the rule was there at that time.
    #[inline(always)]
    pub(super) fn is_visible(&self, at: Snapshot) -> bool {
        // Relaxed: a removal that the snapshot includes was marked before it was counted, and the
        // snapshot acquired the count.
        is_visible(&self.found, self.removed.load(Ordering::Relaxed), at)
    }

    /// Marks the rule as removed by the removal of that number.
    pub(super) fn mark_removed(&self, number: u32) {
        self.removed.store(number, Ordering::Relaxed);
    }
}

/// Whether a rule was there at that time, if it was removed as number `removed` (0 if not).
#[inline(always)]
pub(super) fn is_visible<A>(found: &Match<A>, removed: u32, at: Snapshot) -> bool {
    (found.id.sequence() < at.inserted) & ((removed == 0) | (removed > at.removed))
}

#[cfg(test)]
mod tests {
    use super::{Entry, Snapshot};
    use crate::rule::{Match, RuleId};
    use crate::{Ipv4FiveTuple, Schema};

    #[test]
    fn a_five_tuple_fills_a_cache_line() {
        assert_eq!(size_of::<Entry<u32, u32, 5>>(), 64);
    }

    #[test]
    fn a_snapshot_sees_what_was_there() {
        let found = Match {
            id: RuleId::new(7, 0),
            priority: 1,
            action: (),
        };
        let entry = Entry::new(&Ipv4FiveTuple::any(), found);
        let at = |inserted, removed| Snapshot { inserted, removed };
        assert!(entry.is_visible(at(8, 0)));
        assert!(!entry.is_visible(at(7, 0)));
        entry.mark_removed(3);
        assert!(entry.is_visible(at(8, 2)));
        assert!(!entry.copy().is_visible(at(8, 3)));
        assert!(!entry.is_visible(at(8, 4)));
        assert_eq!(entry.ranges(), Ipv4FiveTuple::any());
    }
}
