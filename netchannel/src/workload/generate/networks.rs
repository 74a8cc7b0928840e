//! The prefixes that a rule set names.

use std::ops;

use classifier::Range;

use super::addresses::Addresses;
use super::properties::Properties;
use super::random::Random;
use super::style::Style;

/// Prefixes of fewer bits are as good as wildcards.
const WILDCARD_BITS: u32 = 4;

/// From so many pairs of lengths it is seen how often each length is.
pub(super) const LENGTHS_SAMPLE: usize = 4_096;

/// The prefixes of one side.
#[derive(Debug)]
pub(super) struct Networks {
    pub(super) addresses: Addresses,
    /// The share of the addresses, in the order of their values, that prefixes of each length are made of.
    pub(super) parts: Vec<ops::Range<f64>>,
}

impl Networks {
    /// A prefix of this length. The share `nesting` of them is made of any address; the others don't lie in
    /// one another if their lengths differ, as in most of the sets that ClassBench was made from.
    pub(super) fn draw(&self, length: u32, nesting: f64, random: &mut Random) -> Range<u32> {
        let own = self.parts.get(length as usize).cloned();
        let part = own.filter(|_| !random.chance(nesting)).unwrap_or(0.0..1.0);
        Range::prefix(self.addresses.draw(part, random), length, 32).unwrap_or(Range::any(32))
    }
}

/// Shares the addresses out among the lengths from 0 to 32, by how often each is there.
pub(super) fn parts(lengths: impl ExactSizeIterator<Item = u32>) -> Vec<ops::Range<f64>> {
    let sum = lengths.len() as f64;
    let mut counts = [0_u32; 33];
    for length in lengths {
        counts[length.min(32) as usize] += 1;
    }
    let mut before = 0;
    let shares = counts.map(|count| {
        let start = before;
        before += count;
        f64::from(start) / sum..f64::from(before) / sum
    });
    shares.to_vec()
}

/// The lengths of a source and a destination prefix.
pub(super) fn lengths(style: Style, properties: &Properties, random: &mut Random) -> [u32; 2] {
    let profile = style.profile();
    let pairs = if random.chance(properties.wildcards) {
        profile.wildcard
    } else {
        profile.specific
    };
    random
        .weighted(pairs)
        .map(|length| smoothed(length.into(), properties, random))
}

/// A length that departs from this one a little. Wildcards stay wildcards, and the others don't become any.
fn smoothed(length: u32, properties: &Properties, random: &mut Random) -> u32 {
    let mut steps = 0;
    for _ in 0..properties.smoothness {
        steps += u32::from(random.chance(0.2));
    }
    let (low, high) = if length < WILDCARD_BITS {
        (0, WILDCARD_BITS - 1)
    } else {
        (WILDCARD_BITS, 32)
    };
    let longer = length == low || (length < high && random.chance(0.5));
    let length = if longer {
        (length + steps).min(high)
    } else {
        length.saturating_sub(steps).max(low)
    };
    if length > WILDCARD_BITS && random.chance(properties.random_lengths) {
        random.between(WILDCARD_BITS, length)
    } else {
        length
    }
}
