//! The integers that hold one dimension's value.

use std::fmt::{Debug, LowerHex};
use std::hash::Hash;
use std::ops::{Add, BitAnd, BitXor, Not, Sub};

mod sealed {
    use crate::trie::Slot;

    pub trait Sealed {
        /// As many slots of a trie as fill up a node with a prefix of this word to one cache line.
        type Slots: Copy + Default + std::fmt::Debug + Send + Sync + AsRef<[Slot]> + AsMut<[Slot]>;
    }
    impl Sealed for u32 {
        type Slots = [Slot; 5];
    }
    impl Sealed for u128 {
        type Slots = [Slot; 3];
    }
}

pub(crate) use sealed::Sealed;

/// An unsigned integer that is wide enough for the widest dimension of a [`Schema`](crate::Schema):
/// `u32` (IPv4 addresses) or `u128` (IPv6 addresses).
///
/// Values stand right-aligned in the word: a 16-bit port uses the lowest 16 bits.
pub trait Word:
    sealed::Sealed
    + Copy
    + Default
    + Ord
    + Hash
    + Debug
    + LowerHex
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + BitAnd<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
    + From<u8>
    + From<u16>
    + From<u32>
    + Into<u128>
    + 'static
{
    /// Bits in the word.
    const BITS: u32;
    /// The word with no bit set.
    const ZERO: Self;
    /// The word with the lowest bit set.
    const ONE: Self;
    /// The word with all bits set.
    const MAX: Self;

    /// The lowest bits of a number, as many as the word has.
    fn truncated(number: u128) -> Self;

    /// The word with the lowest `count` bits set; all of them if `count` is at least [`BITS`](Self::BITS).
    fn low_bits(count: u32) -> Self;

    /// Bits without the leading zeros: 0 for zero, [`BITS`](Self::BITS) if the highest bit is set.
    fn significant_bits(self) -> u32;

    /// Zeros below the lowest bit that is set; [`BITS`](Self::BITS) for zero.
    fn trailing_zeros(self) -> u32;

    /// The difference, modulo 2 to the power of [`BITS`](Self::BITS).
    fn wrapping_sub(self, other: Self) -> Self;

    /// How many 64-bit words hold the values of `D` dimensions.
    fn packed_len<const D: usize>() -> usize;

    /// One of the 64-bit words that hold the values.
    fn packed<const D: usize>(values: &[Self; D], index: usize) -> u64;

    /// A hash of the bits of `values` that are set in `masks`. Its highest bits are the best mixed.
    #[inline(always)]
    fn digest<const D: usize>(values: &[Self; D], masks: &[Self; D]) -> u64 {
        // Each word ends up multiplied by the product of some of the numbers: hashing by multiplication.
        (0..Self::packed_len::<D>()).fold(0u64, |sum, index| {
            let word = Self::packed(values, index) & Self::packed(masks, index);
            sum.wrapping_add(word).wrapping_mul(multiplier(index))
        })
    }

    /// The word without its lowest `count` bits, shifted down; zero if `count` is at least
    /// [`BITS`](Self::BITS).
    fn without_low(self, count: u32) -> Self;

    /// The lowest 32 bits.
    fn low_u32(self) -> u32;
}

/// Odd numbers without a pattern, to hash by multiplication (Dietzfelbinger, "Universal Hashing and
/// k-Wise Independent Random Variables via Integer Arithmetic without Primes", 1996).
const MULTIPLIERS: [u64; 16] = {
    let mut multipliers = [0; 16];
    let mut index = 0;
    while index < 16 {
        // SplitMix64 (Steele, Lea and Flood 2014).
        let mut mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        multipliers[index] = mixed | 1;
        index += 1;
    }
    multipliers
};

/// What the sum so far is multiplied by after the word of that index was added.
#[inline(always)]
pub(crate) const fn multiplier(index: usize) -> u64 {
    MULTIPLIERS[index % MULTIPLIERS.len()]
}

macro_rules! word {
    ($type:ty, |$values:ident, $index:ident| $packed:expr, $packed_len:expr) => {
        impl Word for $type {
            const BITS: u32 = <$type>::BITS;
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const MAX: Self = <$type>::MAX;

            #[inline]
            fn truncated(number: u128) -> Self {
                number as Self
            }

            #[inline]
            fn low_bits(count: u32) -> Self {
                !<$type>::MAX.checked_shl(count).unwrap_or(0)
            }

            #[inline]
            fn significant_bits(self) -> u32 {
                <$type>::BITS - self.leading_zeros()
            }

            #[inline]
            fn trailing_zeros(self) -> u32 {
                <$type>::trailing_zeros(self)
            }

            #[inline(always)]
            fn wrapping_sub(self, other: Self) -> Self {
                <$type>::wrapping_sub(self, other)
            }

            #[inline(always)]
            fn packed_len<const D: usize>() -> usize {
                let dimensions: usize = D;
                ($packed_len)(dimensions)
            }

            #[inline(always)]
            fn packed<const D: usize>($values: &[Self; D], $index: usize) -> u64 {
                $packed
            }

            #[inline]
            fn without_low(self, count: u32) -> Self {
                self.checked_shr(count).unwrap_or(0)
            }

            #[inline]
            fn low_u32(self) -> u32 {
                self as u32
            }
        }
    };
}

word!(
    u32,
    |values, index| {
        let high = if index * 2 + 1 < D {
            values[index * 2 + 1]
        } else {
            0
        };
        u64::from(values[index * 2]) | u64::from(high) << 32
    },
    |dimensions: usize| dimensions.div_ceil(2)
);
word!(
    u128,
    |values, index| (values[index / 2] >> (index % 2 * 64)) as u64,
    |dimensions: usize| dimensions * 2
);

#[cfg(test)]
mod tests {
    use super::Word;

    fn edges<W: Word>() {
        assert_eq!(W::low_bits(0), W::ZERO);
        assert_eq!(W::low_bits(1), W::ONE);
        assert_eq!(W::low_bits(W::BITS), W::MAX);
        assert_eq!(W::low_bits(W::BITS + 1), W::MAX);
        assert_eq!(W::ZERO.significant_bits(), 0);
        assert_eq!(W::MAX.significant_bits(), W::BITS);
        assert_eq!(W::ZERO.trailing_zeros(), W::BITS);
        assert_eq!(W::MAX.without_low(W::BITS), W::ZERO);
        assert_eq!(W::MAX.without_low(W::BITS - 1), W::ONE);
    }

    #[test]
    fn full_width_shifts_do_not_wrap() {
        edges::<u32>();
        edges::<u128>();
    }
}
