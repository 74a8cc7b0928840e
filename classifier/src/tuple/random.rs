//! Numbers without a pattern, the same on every machine.

use crate::range::Range;
use crate::word::Word;

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A point within the ranges.
    pub(super) fn point<W: Word, const D: usize>(&mut self, ranges: &[Range<W>; D]) -> [W; D] {
        ranges.map(|range| {
            let bits = W::truncated(u128::from(self.next()) << 64 | u128::from(self.next()));
            let width = (range.low() ^ range.high()).significant_bits();
            let value = range.low() ^ (bits & W::low_bits(width));
            value.clamp(range.low(), range.high())
        })
    }
}
