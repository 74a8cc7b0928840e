//! The values that a rule accepts in one dimension.

use ipnet::{Ipv4Net, Ipv6Net};
use thiserror::Error;

use crate::word::Word;

/// An inclusive range of values in one dimension. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range<W> {
    low: W,
    high: W,
}

/// Why a [`Range`] could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RangeError {
    /// The range ends before it starts.
    #[error("the range {low} to {high} ends before it starts: swap its ends")]
    Reversed {
        /// The first value.
        low: u128,
        /// The last value.
        high: u128,
    },
    /// The prefix is longer than the dimension is wide.
    #[error("a prefix of {length} bits does not fit into {width} bits: use a length from 0 to {width}")]
    PrefixTooLong {
        /// The length of the prefix in bits.
        length: u32,
        /// The width of the dimension in bits.
        width: u32,
    },
    /// The value needs more bits than the dimension has.
    #[error("the value {value} does not fit into {width} bits")]
    TooWide {
        /// The value.
        value: u128,
        /// The width of the dimension in bits.
        width: u32,
    },
}

impl<W: Word> Range<W> {
    /// The values from `low` to `high`, both included.
    ///
    /// # Errors
    ///
    /// [`RangeError::Reversed`] if `low` is above `high`.
    pub fn new(low: W, high: W) -> Result<Self, RangeError> {
        if low > high {
            return Err(RangeError::Reversed {
                low: low.into(),
                high: high.into(),
            });
        }
        Ok(Self { low, high })
    }

    /// The values from `low` to `high`, which is not below it.
    pub(crate) const fn between(low: W, high: W) -> Self {
        Self { low, high }
    }

    /// This value alone.
    pub const fn exact(value: W) -> Self {
        Self {
            low: value,
            high: value,
        }
    }

    /// Every value of a dimension that is `width` bits wide (at most those of the word).
    pub fn any(width: u32) -> Self {
        Self {
            low: W::ZERO,
            high: W::low_bits(width),
        }
    }

    /// The values of a dimension of `width` bits whose first `length` bits are those of `value`. The bits
    /// of `value` behind the prefix don't matter.
    ///
    /// # Errors
    ///
    /// [`RangeError::PrefixTooLong`] if `length` is above `width`, or `width` above the word's;
    /// [`RangeError::TooWide`] if `value` has bits above `width`.
    pub fn prefix(value: W, length: u32, width: u32) -> Result<Self, RangeError> {
        let width = width.min(W::BITS);
        if length > width {
            return Err(RangeError::PrefixTooLong { length, width });
        }
        if value.significant_bits() > width {
            return Err(RangeError::TooWide {
                value: value.into(),
                width,
            });
        }
        Ok(Prefix::new(value, width - length).range())
    }

    /// The lowest value.
    pub const fn low(&self) -> W {
        self.low
    }

    /// The highest value.
    pub const fn high(&self) -> W {
        self.high
    }

    /// Whether the value is in the range.
    #[inline]
    pub fn contains(&self, value: W) -> bool {
        self.low <= value && value <= self.high
    }

    /// Whether the range holds the values of one prefix.
    #[inline]
    pub(crate) fn is_prefix(&self) -> bool {
        Prefix::first_of(self.low, self.high).last() == self.high
    }

    /// The fewest prefixes that together hold exactly the range's values, from low to high: at most
    /// 2*w* − 2 for values of *w* bits.
    pub(crate) fn prefixes(self) -> Prefixes<W> {
        Prefixes { rest: Some(self) }
    }
}

impl From<Ipv4Net> for Range<u32> {
    fn from(net: Ipv4Net) -> Self {
        Self {
            low: net.network().to_bits(),
            high: net.broadcast().to_bits(),
        }
    }
}

impl From<Ipv6Net> for Range<u128> {
    fn from(net: Ipv6Net) -> Self {
        Self {
            low: net.network().to_bits(),
            high: net.broadcast().to_bits(),
        }
    }
}

/// The values that agree in all but their lowest `free` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix<W> {
    /// The lowest value: its `free` lowest bits are zero.
    pub(crate) bits: W,
    /// How many low bits may have any value: the dimension's width less the prefix's length.
    pub(crate) free: u32,
}

impl<W: Word> Prefix<W> {
    pub(crate) fn new(value: W, free: u32) -> Self {
        Self {
            bits: value & !W::low_bits(free),
            free,
        }
    }

    /// The largest prefix that starts with the value `low` and ends at `high` or before.
    #[inline]
    pub(crate) fn first_of(low: W, high: W) -> Self {
        let span = high - low;
        let fits = if span == W::MAX {
            W::BITS
        } else {
            (span + W::ONE).significant_bits() - 1
        };
        Self {
            bits: low,
            free: low.trailing_zeros().min(fits),
        }
    }

    /// The highest value.
    #[inline]
    pub(crate) fn last(self) -> W {
        self.bits + W::low_bits(self.free)
    }

    fn range(self) -> Range<W> {
        Range {
            low: self.bits,
            high: self.last(),
        }
    }
}

/// Iterator of [`Range::prefixes`].
#[derive(Debug, Clone)]
pub(crate) struct Prefixes<W> {
    rest: Option<Range<W>>,
}

impl<W: Word> Iterator for Prefixes<W> {
    type Item = Prefix<W>;

    fn next(&mut self) -> Option<Prefix<W>> {
        let Range { low, high } = self.rest?;
        let prefix = Prefix::first_of(low, high);
        let end = prefix.last();
        self.rest = (end < high).then(|| Range {
            low: end + W::ONE,
            high,
        });
        Some(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::{Prefix, Range, RangeError};
    use crate::word::Word;
    use ipnet::{Ipv4Net, Ipv6Net};
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_no_range() {
        assert_eq!(Range::new(2u32, 1), Err(RangeError::Reversed { low: 2, high: 1 }));
        assert_eq!(
            Range::prefix(0u32, 17, 16),
            Err(RangeError::PrefixTooLong {
                length: 17,
                width: 16
            })
        );
        assert_eq!(
            Range::prefix(0u32, 33, 99),
            Err(RangeError::PrefixTooLong {
                length: 33,
                width: 32
            })
        );
        let error = RangeError::TooWide {
            value: 0x1_0000,
            width: 16,
        };
        assert_eq!(Range::prefix(0x1_0000u32, 3, 16), Err(error));
    }

    #[test]
    fn prefixes_of_the_extremes() {
        assert_eq!(
            Range::any(32),
            Range {
                low: 0,
                high: u32::MAX
            }
        );
        assert_eq!(Range::any(0), Range::exact(0u32));
        assert_eq!(Range::prefix(0xffu32, 0, 8), Ok(Range::any(8)));
        assert_eq!(Range::prefix(u128::MAX, 0, 128), Ok(Range::any(128)));
        assert_eq!(Range::prefix(u128::MAX, 128, 128), Ok(Range::exact(u128::MAX)));
        assert_eq!(
            Range::prefix(0xc0a8_01ffu32, 24, 32),
            Range::new(0xc0a8_0100, 0xc0a8_01ff)
        );
    }

    #[test]
    fn networks_become_ranges() -> Result<(), Box<dyn std::error::Error>> {
        let net: Ipv4Net = "192.168.1.77/24".parse()?;
        assert_eq!(Range::from(net), Range::new(0xc0a8_0100, 0xc0a8_01ff)?);
        assert_eq!(Range::from("0.0.0.0/0".parse::<Ipv4Net>()?), Range::any(32));
        assert_eq!(Range::from("::/0".parse::<Ipv6Net>()?), Range::any(128));
        assert_eq!(
            Range::from("2001:db8::1/128".parse::<Ipv6Net>()?),
            Range::exact((0x2001_0db8 << 96) + 1)
        );
        Ok(())
    }

    #[test]
    fn splits_no_more_than_needed() {
        assert_eq!(
            Range::<u32>::any(32).prefixes().collect::<Vec<_>>(),
            [Prefix { bits: 0, free: 32 }]
        );
        assert_eq!(Range::<u128>::any(128).prefixes().count(), 1);
        assert_eq!(
            Range::exact(u32::MAX).prefixes().collect::<Vec<_>>(),
            [Prefix::new(u32::MAX, 0)]
        );
        // The worst case: everything but the lowest and the highest value.
        assert_eq!(
            Range::new(1, u32::MAX - 1).map(|range| range.prefixes().count()),
            Ok(62)
        );
        assert_eq!(
            Range::new(1, u128::MAX - 1).map(|range| range.prefixes().count()),
            Ok(254)
        );
        assert_eq!(
            Range::new(1u32, 65_534).map(|range| range.prefixes().count()),
            Ok(30)
        );
        // The unprivileged ports.
        assert_eq!(
            Range::new(1024u32, 65_535).map(|range| range.prefixes().count()),
            Ok(6)
        );
    }

    fn splits_exactly<W: Word>(low: W, high: W) {
        let (low, high) = (low.min(high), low.max(high));
        let prefixes: Vec<_> = Range { low, high }.prefixes().map(Prefix::range).collect();
        assert_eq!(prefixes.first().map(Range::low), Some(low));
        assert_eq!(prefixes.last().map(Range::high), Some(high));
        for pair in prefixes.windows(2) {
            assert_eq!(pair[0].high + W::ONE, pair[1].low);
        }
        assert!(prefixes.len() <= (2 * W::BITS - 2) as usize);
    }

    proptest! {
        #[test]
        fn prefixes_cover_the_range_and_nothing_else(low: u32, high: u32) {
            splits_exactly(low, high);
            splits_exactly(low, low.saturating_add(high % 1000));
        }

        #[test]
        fn wide_prefixes_cover_the_range_and_nothing_else(low: u128, high: u128) {
            splits_exactly(low, high);
            splits_exactly(low, low.saturating_add(high % 1000));
        }
    }
}
