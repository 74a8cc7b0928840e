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

    /// The word with the lowest `count` bits set; all of them if `count` is at least [`BITS`](Self::BITS).
    fn low_bits(count: u32) -> Self;

    /// Bits without the leading zeros: 0 for zero, [`BITS`](Self::BITS) if the highest bit is set.
    fn significant_bits(self) -> u32;

    /// Zeros below the lowest bit that is set; [`BITS`](Self::BITS) for zero.
    fn trailing_zeros(self) -> u32;

    /// The word without its lowest `count` bits, shifted down; zero if `count` is at least
    /// [`BITS`](Self::BITS).
    fn without_low(self, count: u32) -> Self;

    /// The lowest 32 bits.
    fn low_u32(self) -> u32;
}

macro_rules! word {
    ($type:ty) => {
        impl Word for $type {
            const BITS: u32 = <$type>::BITS;
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const MAX: Self = <$type>::MAX;

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

word!(u32);
word!(u128);

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
