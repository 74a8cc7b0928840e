//! How many dimensions there are, and how wide each is.

use std::fmt::Debug;

use crate::range::Range;
use crate::word::Word;

/// The dimensions that rules and keys of one classifier have.
///
/// `D` is their number. To add a dimension, write a schema with one more width: the structures follow.
pub trait Schema<const D: usize>: Copy + Debug + Send + Sync + 'static {
    /// The word that holds the value of one dimension: wide enough for the widest.
    type Word: Word;

    /// The width of each dimension in bits: at most the width of [`Self::Word`], else making a
    /// structure for this schema doesn't compile.
    const WIDTHS: [u32; D];

    /// The ranges of a rule that matches every key.
    fn any() -> [Range<Self::Word>; D] {
        Self::WIDTHS.map(Range::any)
    }
}

/// Stops the compiler if a dimension is wider than its word.
pub(crate) const fn check_widths<S: Schema<D>, const D: usize>() {
    let mut index = 0;
    while index < D {
        assert!(
            S::WIDTHS[index] <= <S::Word as Word>::BITS,
            "a dimension is wider than its word"
        );
        index += 1;
    }
}

/// The dimensions of [`Ipv4FiveTuple`] and [`Ipv6FiveTuple`], as indices into a rule's ranges and a
/// key's values.
pub mod dimension {
    /// Source address, 32 or 128 bits.
    pub const SOURCE_ADDRESS: usize = 0;
    /// Destination address, 32 or 128 bits.
    pub const DESTINATION_ADDRESS: usize = 1;
    /// Source port, 16 bits.
    pub const SOURCE_PORT: usize = 2;
    /// Destination port, 16 bits.
    pub const DESTINATION_PORT: usize = 3;
    /// Protocol of the transport header (IANA protocol number), 8 bits.
    pub const PROTOCOL: usize = 4;
}

/// Source and destination address, source and destination port and protocol of an IPv4 packet; see
/// [`dimension`] for their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4FiveTuple;

impl Schema<5> for Ipv4FiveTuple {
    type Word = u32;
    const WIDTHS: [u32; 5] = [32, 32, 16, 16, 8];
}

/// Source and destination address, source and destination port and protocol of an IPv6 packet; see
/// [`dimension`] for their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6FiveTuple;

impl Schema<5> for Ipv6FiveTuple {
    type Word = u128;
    const WIDTHS: [u32; 5] = [128, 128, 16, 16, 8];
}
