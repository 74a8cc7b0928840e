//! Numbers that are the same on every machine for a seed.

use std::ops::Range;

/// SplitMix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of a seed, and of a purpose: those of different purposes have nothing in common.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut mixed = Self(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self(mixed.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 32 random bits.
    pub(crate) fn bits(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    /// A number below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The upper half of a 128-bit product.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        let span = u64::from(high.saturating_sub(low)) + 1;
        // Below the span, which has at most 33 bits.
        low + self.below(span) as u32
    }

    /// An index of a slice or other list of this length.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// Whether something happens that does so with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number from 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        // 53 bits are exact in a double.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts the items into a random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, self.index(place + 1));
        }
    }

    /// One of the choices, drawn by their weights. There is at least one, and their sum is not 0.
    pub(crate) fn weighted<'choices, T>(&mut self, choices: &'choices [(u32, T)]) -> &'choices T {
        let sum = choices.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut drawn = self.below(sum);
        for (weight, choice) in choices {
            match drawn.checked_sub(u64::from(*weight)) {
                Some(rest) => drawn = rest,
                None => return choice,
            }
        }
        &choices[choices.len() - 1].1
    }
}

/// Draws indices by weights, in O(log n).
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// The sum of the weights up to and with each index.
    sums: Vec<f64>,
}

impl Weights {
    /// Weights, none of them negative. Additions are done in this order, so the sums are the same everywhere.
    pub(crate) fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let sums = weights
            .into_iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        Self { sums }
    }

    /// An index; 0 if there are none.
    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        self.draw_of(0..self.sums.len(), random)
    }

    /// An index of this part; its start if the part is empty.
    pub(crate) fn draw_of(&self, part: Range<usize>, random: &mut Random) -> usize {
        let Some((last, sums)) = self.sums.get(part.clone()).and_then(<[f64]>::split_last) else {
            return part.start;
        };
        let before = part.start.checked_sub(1).map_or(0.0, |before| self.sums[before]);
        let drawn = before + random.unit() * (last - before);
        part.start + sums.partition_point(|sum| *sum <= drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, Weights};

    #[test]
    fn numbers_never_change() {
        let mut random = Random(0);
        // The first numbers of SplitMix64 from 0.
        assert_eq!(
            [random.next(), random.next(), random.next()],
            [
                0xe220_a839_7b1d_cdaf,
                0x6e78_9e6a_a1b9_65f4,
                0x06c4_5d18_8009_454f
            ]
        );
    }

    #[test]
    fn draws_follow_the_weights() {
        let mut random = Random::new(1, 2);
        let weights = Weights::new([1.0, 0.0, 3.0]);
        let mut counts = [0; 3];
        let mut choices = [0; 3];
        for _ in 0..40_000 {
            counts[weights.draw(&mut random)] += 1;
            choices[*random.weighted(&[(1, 0), (0, 1), (3, 2)])] += 1;
        }
        assert_eq!(weights.draw_of(0..2, &mut random), 0);
        assert_eq!(weights.draw_of(1..1, &mut random), 1);
        for counts in [counts, choices] {
            assert!((9_500..10_500).contains(&counts[0]), "{counts:?}");
            assert_eq!(counts[1], 0);
        }
    }

    #[test]
    fn bounds_are_kept() {
        let mut random = Random::new(3, 4);
        for _ in 0..1_000 {
            assert!((5..=7).contains(&random.between(5, 7)));
            assert!(random.below(3) < 3);
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert_eq!(random.between(9, 9), 9);
        assert!(random.between(0, u32::MAX) > 0);
    }
}
