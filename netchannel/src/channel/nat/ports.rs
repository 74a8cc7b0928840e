//! External ports: which ones there are, which of them are free, and the choice of one.

use std::ops::RangeInclusive;

use rand::RngExt;
use rand::rngs::StdRng;

/// Ports up to this one are well known (RFC 6335 §6).
const LAST_WELL_KNOWN: u16 = 1023;

/// The ports that may be used, numbered from 0 in ascending order.
#[derive(Debug)]
pub(super) struct PortRanges {
    /// First port, last port, number of the first port; without overlaps.
    ranges: Vec<(u16, u16, u32)>,
    count: u32,
    well_known: u32,
}

impl PortRanges {
    pub(super) fn new(ranges: &[RangeInclusive<u16>]) -> Self {
        let mut sorted: Vec<(u16, u16)> = ranges
            .iter()
            .map(|range| (*range.start(), *range.end()))
            .collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(previous) if u32::from(first) <= u32::from(previous.1) + 1 => {
                    previous.1 = previous.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        let mut count = 0;
        let mut well_known = 0;
        let ranges = merged
            .into_iter()
            .map(|(first, last)| {
                let start = count;
                count += u32::from(last - first) + 1;
                if first <= LAST_WELL_KNOWN {
                    well_known += u32::from(last.min(LAST_WELL_KNOWN) - first) + 1;
                }
                (first, last, start)
            })
            .collect();
        Self {
            ranges,
            count,
            well_known,
        }
    }

    /// How many ports there are.
    pub(super) fn len(&self) -> u32 {
        self.count
    }

    /// The number of a port. O(log ranges).
    #[inline]
    pub(super) fn number(&self, port: u16) -> Option<u32> {
        let after = self.ranges.partition_point(|&(first, _, _)| first <= port);
        let &(first, last, start) = self.ranges.get(after.checked_sub(1)?)?;
        (port <= last).then(|| start + u32::from(port - first))
    }

    /// The port with this number. O(log ranges).
    ///
    /// # Panics
    /// If there is none.
    fn port(&self, number: u32) -> u16 {
        let after = self.ranges.partition_point(|&(_, _, start)| start <= number);
        let (first, last, start) = self.ranges[after - 1];
        let port = u32::from(first) + (number - start);
        assert!(port <= u32::from(last), "port numbers are below the count");
        port as u16
    }

    /// The ranges, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.ranges.iter().map(|&(first, last, _)| (first, last))
    }
}

/// Words of 64 ports in a block.
const BLOCK: usize = 64;

/// Which ports of one address and protocol are taken. A bit for each port, and a count for each 4096 of them, so that a random
/// choice among all free ports costs the same from the first port to the last: at most 16 counts and 64 words are looked at.
#[derive(Debug)]
pub(super) struct FreePorts {
    taken: Vec<u64>,
    taken_in_block: Vec<u16>,
    taken_well_known: u32,
    taken_count: u32,
}

impl FreePorts {
    pub(super) fn new(ranges: &PortRanges) -> Self {
        let words = (ranges.len() as usize).div_ceil(64);
        Self {
            taken: vec![0; words],
            taken_in_block: vec![0; words.div_ceil(BLOCK)],
            taken_well_known: 0,
            taken_count: 0,
        }
    }

    /// Ports that are taken.
    pub(super) fn taken(&self) -> u32 {
        self.taken_count
    }

    /// Takes a port: `wanted` if it may be used and is free, else any of the free ones with equal chance, well-known for
    /// well-known as long as there are any (RFC 4787 REQ-3, RFC 6056 §3 and §4). `None` when all are taken.
    pub(super) fn take(&mut self, wanted: u16, ranges: &PortRanges, random: &mut StdRng) -> Option<u16> {
        if let Some(number) = ranges.number(wanted)
            && !self.is_taken(number)
        {
            self.mark(number, ranges);
            return Some(wanted);
        }
        let well_known = ranges.well_known - self.taken_well_known;
        let others = ranges.len() - self.taken_count - well_known;
        let rank = match (wanted <= LAST_WELL_KNOWN, well_known, others) {
            (_, 0, 0) => return None,
            (true, 1.., _) | (false, 1.., 0) => random.random_range(0..well_known),
            _ => well_known + random.random_range(0..others),
        };
        let number = self.free_port(rank);
        self.mark(number, ranges);
        Some(ranges.port(number))
    }

    /// Gives a port back.
    pub(super) fn free(&mut self, port: u16, ranges: &PortRanges) {
        if let Some(number) = ranges.number(port)
            && self.is_taken(number)
        {
            let word = number as usize / 64;
            self.taken[word] &= !(1 << (number % 64));
            self.taken_in_block[word / BLOCK] -= 1;
            self.taken_count -= 1;
            self.taken_well_known -= u32::from(port <= LAST_WELL_KNOWN);
        }
    }

    fn is_taken(&self, number: u32) -> bool {
        self.taken[number as usize / 64] & (1 << (number % 64)) != 0
    }

    fn mark(&mut self, number: u32, ranges: &PortRanges) {
        let word = number as usize / 64;
        self.taken[word] |= 1 << (number % 64);
        self.taken_in_block[word / BLOCK] += 1;
        self.taken_count += 1;
        self.taken_well_known += u32::from(number < ranges.well_known);
    }

    /// The number of the free port that has `rank` free ones before it. There must be one.
    fn free_port(&self, mut rank: u32) -> u32 {
        let mut block = 0;
        // The last block and word may be partly beyond the last port; what is there counts as free and is never reached.
        for &taken in &self.taken_in_block {
            let free = (BLOCK * 64) as u32 - u32::from(taken);
            if rank < free {
                break;
            }
            rank -= free;
            block += 1;
        }
        let mut number = (block * BLOCK) as u32 * 64;
        for &taken in &self.taken[block * BLOCK..] {
            let free = taken.count_zeros();
            if rank < free {
                return number + nth_zero(taken, rank);
            }
            rank -= free;
            number += 64;
        }
        unreachable!("the rank is below the number of free ports")
    }
}

/// The position of the zero bit that has `rank` zero bits below it.
fn nth_zero(word: u64, rank: u32) -> u32 {
    let mut zeros = !word;
    for _ in 0..rank {
        zeros &= zeros - 1;
    }
    zeros.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    fn random() -> StdRng {
        StdRng::seed_from_u64(1)
    }

    #[test]
    fn ranges_are_merged_and_numbered_in_order() {
        let ranges = PortRanges::new(&[5000..=5009, 1000..=1030, 1031..=1040, 5005..=5019]);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1000, 1040), (5000, 5019)]);
        assert_eq!((ranges.len(), ranges.well_known), (61, 24));
        for number in 0..ranges.len() {
            assert_eq!(ranges.number(ranges.port(number)), Some(number));
        }
        for port in [0, 999, 1041, 4999, 5020, 65535] {
            assert_eq!(ranges.number(port), None);
        }
    }

    /// RFC 4787 REQ-3: no port twice; RFC 6888 REQ-13: the port space is used to the last port.
    #[test]
    fn rfc_4787_3_every_port_is_given_out_exactly_once() {
        let ranges = PortRanges::new(&[1..=65535]);
        let (mut ports, mut random) = (FreePorts::new(&ranges), random());
        let mut seen = BTreeSet::new();
        while let Some(port) = ports.take(5000, &ranges, &mut random) {
            assert!(seen.insert(port));
        }
        assert_eq!(seen.len(), 65535);
        ports.free(77, &ranges);
        assert_eq!(ports.take(5000, &ranges, &mut random), Some(77));
    }

    /// RFC 4787 REQ-3 (a).
    #[test]
    fn rfc_4787_3a_well_known_ports_stay_well_known_as_long_as_there_are_any() {
        let ranges = PortRanges::new(&[1000..=1100]);
        let (mut ports, mut random) = (FreePorts::new(&ranges), random());
        let low: BTreeSet<_> = (0..24)
            .map(|_| ports.take(500, &ranges, &mut random).unwrap())
            .collect();
        assert_eq!(low, (1000..=1023).collect());
        assert!(ports.take(500, &ranges, &mut random).unwrap() > 1023);
        ports.free(1003, &ranges);
        for _ in 0..76 {
            assert!(ports.take(2000, &ranges, &mut random).unwrap() > 1023);
        }
        assert_eq!(ports.take(2000, &ranges, &mut random), Some(1003));
        assert_eq!(ports.take(2000, &ranges, &mut random), None);
    }

    /// RFC 7857 §9, RFC 6056 §3: each free port is as likely as the others, whatever is taken around it.
    #[test]
    fn rfc_7857_9_the_choice_is_uniform_over_the_free_ports() {
        let ranges = PortRanges::new(&[2000..=2999, 8000..=8999]);
        let (mut ports, mut random) = (FreePorts::new(&ranges), random());
        // All ports but 20 are taken; ten of those stand in a row.
        let free: Vec<u16> = (2500..2510).chain((0..10).map(|n| 8007 + 93 * n)).collect();
        for port in (2000..=2999).chain(8000..=8999) {
            if !free.contains(&port) {
                assert_eq!(ports.take(port, &ranges, &mut random), Some(port));
            }
        }
        let mut counts = vec![0u32; free.len()];
        for _ in 0..20_000 {
            let port = ports.take(2000, &ranges, &mut random).unwrap();
            counts[free.iter().position(|&other| other == port).unwrap()] += 1;
            ports.free(port, &ranges);
        }
        // Chi-square with 19 degrees of freedom: 43.8 is exceeded once in a thousand; the seed is fixed.
        let chi: f64 = counts
            .iter()
            .map(|&count| (f64::from(count) - 1000.0).powi(2) / 1000.0)
            .sum();
        assert!(chi < 43.8, "{chi}: {counts:?}");
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            operations in proptest::collection::vec((990u16..1100, any::<bool>()), 0..400),
        ) {
            let ranges = PortRanges::new(&[1000..=1060, 1080..=1090]);
            let (mut ports, mut random) = (FreePorts::new(&ranges), random());
            let mut model = BTreeSet::new();
            for (port, take) in operations {
                if take {
                    let can_have_it = ranges.number(port).is_some() && !model.contains(&port);
                    match ports.take(port, &ranges, &mut random) {
                        Some(given) => {
                            prop_assert!(given == port || !can_have_it);
                            prop_assert!(ranges.number(given).is_some());
                            prop_assert!(model.insert(given));
                        }
                        None => prop_assert_eq!(model.len() as u32, ranges.len()),
                    }
                } else {
                    ports.free(port, &ranges);
                    model.remove(&port);
                }
                prop_assert_eq!(ports.taken() as usize, model.len());
            }
        }
    }
}
