//! Sets of numbers as ranges.

/// A set of numbers: ranges from low to high, both ends included, that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans(Vec<(u128, u128)>);

impl Spans {
    /// All numbers that are in one of the ranges, which may overlap; a range that runs backwards holds none.
    pub(crate) fn new(ranges: impl IntoIterator<Item = (u128, u128)>) -> Self {
        let mut ranges: Vec<(u128, u128)> =
            ranges.into_iter().filter(|(first, last)| first <= last).collect();
        ranges.sort_unstable();
        let mut spans: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match spans.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => spans.push((first, last)),
            }
        }
        Self(spans)
    }

    pub(crate) fn one(number: u128) -> Self {
        Self(vec![(number, number)])
    }

    pub(crate) fn range(first: u128, last: u128) -> Self {
        Self::new([(first, last)])
    }

    /// All numbers up to the highest.
    pub(crate) fn up_to(highest: u128) -> Self {
        Self(vec![(0, highest)])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ranges there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, number: u128) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after > 0 && self.0[after - 1].1 >= number
    }

    /// The ranges, from low to high.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.0.iter().copied()
    }

    /// The numbers one by one.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u128> + '_ {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        let (mut one, mut two) = (0, 0);
        while let (Some(a), Some(b)) = (self.0.get(one), other.0.get(two)) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                common.push((first, last));
            }
            if a.1 < b.1 {
                one += 1;
            } else {
                two += 1;
            }
        }
        Self(common)
    }

    /// The numbers up to the highest that are not in the set.
    pub(crate) fn complement(&self, highest: u128) -> Self {
        let mut others = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(0);
        for &(first, last) in &self.0 {
            if let Some(start) = next
                && start < first
            {
                others.push((start, (first - 1).min(highest)));
            }
            next = last.checked_add(1);
        }
        if let Some(start) = next.filter(|start| *start <= highest) {
            others.push((start, highest));
        }
        others.retain(|(first, last)| first <= last);
        Self(others)
    }

    /// The numbers that are not in the other set.
    pub(crate) fn without(&self, other: &Self) -> Self {
        self.intersection(&other.complement(u128::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans() -> impl Strategy<Value = Spans> {
        proptest::collection::vec((0_u128..24, 0_u128..6), 0..6)
            .prop_map(|ranges| Spans::new(ranges.into_iter().map(|(first, length)| (first, first + length))))
    }

    proptest! {
        #[test]
        fn they_are_sets(a in spans(), b in spans()) {
            for number in 0..40 {
                let (in_a, in_b) = (a.contains(number), b.contains(number));
                prop_assert_eq!(a.intersection(&b).contains(number), in_a && in_b);
                prop_assert_eq!(a.without(&b).contains(number), in_a && !in_b);
                prop_assert_eq!(a.complement(31).contains(number), !in_a && number <= 31);
                prop_assert_eq!(a.numbers().any(|found| found == number), in_a);
            }
            for set in [a.intersection(&b), a.without(&b), a.complement(31)] {
                prop_assert!(set.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", set);
                prop_assert_eq!(Spans::new(set.iter()), set);
            }
        }
    }

    #[test]
    fn the_highest_number_is_no_end() {
        let all = Spans::up_to(u128::MAX);
        assert!(all.complement(u128::MAX).is_empty());
        assert_eq!(Spans::default().complement(u128::MAX), all);
        assert_eq!(Spans::new([(0, u128::MAX), (5, 6)]), all);
    }
}
