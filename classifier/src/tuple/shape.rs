//! Which bits of a key a hash table looks at.

use crate::range::Range;
use crate::schema::Schema;
use crate::word::Word;

/// A tuple of prefix lengths, one per dimension (Srinivasan, Suri and Varghese, "Packet Classification
/// using Tuple Space Search", SIGCOMM 1999): the bits of a key that a table hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Shape<W, const D: usize> {
    /// The bits that are looked at.
    masks: [W; D],
    /// How many low bits of each dimension are not.
    ignored: [u32; D],
}

impl<W: Word, const D: usize> Shape<W, D> {
    /// The shape with these prefix lengths, at most the widths of the schema's dimensions.
    pub(super) fn new<S: Schema<D, Word = W>>(lengths: &[u32; D]) -> Self {
        let ignored = std::array::from_fn(|dimension| S::WIDTHS[dimension] - lengths[dimension]);
        let masks = std::array::from_fn(|dimension| {
            W::low_bits(S::WIDTHS[dimension]) ^ W::low_bits(ignored[dimension])
        });
        Self { masks, ignored }
    }

    /// The hash of the bits that the shape looks at. Its highest bits are the best mixed.
    #[inline(always)]
    pub(super) fn hash(&self, values: &[W; D]) -> u64 {
        W::digest(values, &self.masks)
    }

    /// The bits that the shape looks at, in the word of that index (see [`Word::packed`]).
    #[inline(always)]
    pub(super) fn mask(&self, index: usize) -> u64 {
        W::packed(&self.masks, index)
    }

    /// How many different values the bits take within the ranges; `u64::MAX` if more than that.
    #[inline]
    pub(super) fn copies(&self, ranges: &[Range<W>; D]) -> u64 {
        let mut copies = 1u64;
        for (range, &ignored) in ranges.iter().zip(&self.ignored) {
            let span: u128 = (range.high().without_low(ignored) - range.low().without_low(ignored)).into();
            let prefixes = u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1);
            copies = copies.saturating_mul(prefixes);
        }
        copies
    }

    /// The hash of each value that the bits take within the ranges. There may be equal ones.
    #[inline]
    pub(super) fn each_hash(&self, ranges: &[Range<W>; D], mut visit: impl FnMut(u64)) {
        let first: [W; D] = std::array::from_fn(|dimension| ranges[dimension].low() & self.masks[dimension]);
        let mut values = first;
        loop {
            visit(W::digest(&values, &self.masks));
            let mut dimension = 0;
            loop {
                if dimension == D {
                    return;
                }
                // The ends of the range lie in different prefixes, so the next prefix does not overflow.
                if values[dimension] != ranges[dimension].high() & self.masks[dimension] {
                    let next = (values[dimension] ^ W::low_bits(self.ignored[dimension])) + W::ONE;
                    values[dimension] = next;
                    break;
                }
                values[dimension] = first[dimension];
                dimension += 1;
            }
        }
    }
}

/// The longest prefix that all values of the range share, in a dimension of that width.
pub(super) fn shared_prefix<W: Word>(range: &Range<W>, width: u32) -> u32 {
    width - (range.low() ^ range.high()).significant_bits()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Shape, shared_prefix};
    use crate::{Ipv4FiveTuple, Ipv6FiveTuple, Range, Schema};

    fn range(low: u32, high: u32) -> Range<u32> {
        Range::new(low, high).expect("in order")
    }

    #[test]
    fn copies_are_the_prefixes_that_a_range_touches() {
        let shape = Shape::new::<Ipv4FiveTuple>(&[24, 0, 0, 16, 8]);
        let mut ranges = Ipv4FiveTuple::any();
        assert_eq!(shape.copies(&ranges), 1 << 48);
        ranges[0] = range(0x0a00_00ff, 0x0a00_0100);
        ranges[3] = range(80, 82);
        ranges[4] = Range::exact(6);
        assert_eq!(shape.copies(&ranges), 6);
        let mut hashes = HashSet::new();
        shape.each_hash(&ranges, |hash| {
            hashes.insert(hash);
        });
        assert_eq!(hashes.len(), 6);
        for values in [[0x0a00_00ff, 1, 2, 80, 6], [0x0a00_01ff, 9, 9, 82, 6]] {
            assert!(hashes.contains(&shape.hash(&values)));
        }
        assert!(!hashes.contains(&shape.hash(&[0x0a00_0200, 1, 2, 80, 6])));
        let everything = Shape::new::<Ipv6FiveTuple>(&[128; 5].map(|length: u32| length.min(8)));
        assert_eq!(everything.copies(&Ipv6FiveTuple::any()), 1 << 40);
        assert_eq!(
            Shape::new::<Ipv6FiveTuple>(&[128, 128, 0, 0, 0]).copies(&Ipv6FiveTuple::any()),
            u64::MAX
        );
    }

    #[test]
    fn ranges_up_to_the_highest_value_end() {
        let shape = Shape::new::<Ipv4FiveTuple>(&[1, 32, 0, 0, 0]);
        let mut ranges = Ipv4FiveTuple::any();
        ranges[1] = range(u32::MAX - 1, u32::MAX);
        let mut count = 0;
        shape.each_hash(&ranges, |_| count += 1);
        assert_eq!(count, 4);
    }

    #[test]
    fn shared_prefixes() {
        assert_eq!(shared_prefix(&range(0, 65_535), 16), 0);
        assert_eq!(shared_prefix(&range(1_024, 2_047), 16), 6);
        assert_eq!(shared_prefix(&range(1_023, 1_024), 16), 5);
        assert_eq!(shared_prefix(&range(7, 7), 16), 16);
    }
}
