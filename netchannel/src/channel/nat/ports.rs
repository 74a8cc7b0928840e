//! External ports: which of them may be given out, which are free, and the choice of one.

use std::ops::RangeInclusive;

use rand::RngExt;
use rand::rngs::StdRng;

/// Ports up to this one are well known (RFC 6335 §6).
const LAST_WELL_KNOWN: u16 = 1023;
/// Words of 64 ports.
const WORDS: usize = 1 << 10;
/// Words in a block that is counted as one.
const BLOCK: usize = 64;
const BLOCKS: usize = WORDS / BLOCK;
/// Ports in a block.
const BLOCK_PORTS: usize = BLOCK * 64;

/// Ports that are tried before the free ones are counted.
const GUESSES: usize = 4;

/// How a port is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The inside host's own port, if it is free.
    pub(super) preserve: bool,
    /// Even for even and odd for odd, as long as there are any (RFC 4787 REQ-4).
    pub(super) parity: bool,
    /// Well-known for well-known and others for others, as long as there are any (RFC 4787 REQ-3 (a)).
    pub(super) class: bool,
}

impl Choice {
    /// Which ports will do for one that is wanted: as it was asked for, then without parity, then of all.
    pub(super) fn wishes(self, wanted: u16) -> impl Iterator<Item = Wish> {
        let class = match (self.class, wanted <= LAST_WELL_KNOWN) {
            (false, _) => None,
            (true, true) => Some((0, LAST_WELL_KNOWN)),
            (true, false) => Some((LAST_WELL_KNOWN + 1, u16::MAX)),
        };
        let parity = self.parity.then(|| Parity::of(wanted));
        let wishes = [
            class.zip(parity),
            class.map(|class| (class, Parity::Any)),
            parity.map(|parity| (ANY_PORT, parity)),
            Some((ANY_PORT, Parity::Any)),
        ];
        let wishes = wishes.into_iter().flatten();
        wishes.map(|(span, parity)| Wish { span, parity })
    }
}

/// Some of the free ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    span: Span,
    parity: Parity,
}

impl Wish {
    /// The part of a span that this is about.
    fn part_of(self, within: Span) -> Span {
        (self.span.0.max(within.0), self.span.1.min(within.1))
    }
}

/// Even ports, odd ones, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parity {
    Even,
    Odd,
    Any,
}

impl Parity {
    fn of(port: u16) -> Self {
        if port.is_multiple_of(2) {
            Self::Even
        } else {
            Self::Odd
        }
    }

    const fn mask(self) -> u64 {
        match self {
            Self::Even => 0x5555_5555_5555_5555,
            Self::Odd => 0xaaaa_aaaa_aaaa_aaaa,
            Self::Any => u64::MAX,
        }
    }
}

/// First and last port.
pub(super) type Span = (u16, u16);

/// All ports.
pub(super) const ANY_PORT: Span = (0, u16::MAX);

/// The ports of one address and protocol that can be given out now: a bit for each, and two counts for each 4096, so that a random choice among
/// all free ports of any range costs the same from the first port to the last: at most 16 counts and 64 words are looked at, twice.
#[derive(Clone, Debug)]
pub(super) struct FreePorts {
    free: Box<[u64; WORDS]>,
    /// By block: even and odd ones.
    counts: [[u16; 2]; BLOCKS],
    len: u32,
}

impl FreePorts {
    /// The ports of `ranges` without those of `reserved`; port 0 is never one of them. Ranges may overlap.
    pub(super) fn new(ranges: &[RangeInclusive<u16>], reserved: &[RangeInclusive<u16>]) -> Self {
        let mut ports = Self {
            free: Box::new([0; WORDS]),
            counts: [[0; 2]; BLOCKS],
            len: 0,
        };
        for port in ranges.iter().cloned().flatten().filter(|&port| port != 0) {
            ports.put(port);
        }
        for port in reserved.iter().cloned().flatten() {
            ports.remove(port);
        }
        ports
    }

    /// How many are free.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    #[inline]
    pub(super) fn contains(&self, port: u16) -> bool {
        self.free[usize::from(port) / 64] & bit(port) != 0
    }

    /// Takes a port: `wanted` if it is free and may be preserved, else any of the free ones of its class and parity with equal chance (RFC
    /// 4787 REQ-3 and REQ-4, RFC 6056 §3 and §4, RFC 7857 §9). Only ports `within` are taken. `None` when none of those is free.
    pub(super) fn take(
        &mut self,
        wanted: u16,
        within: Span,
        choice: Choice,
        random: &mut StdRng,
    ) -> Option<u16> {
        // Where ports have run out everybody who asks is told so at once.
        if self.len == 0 {
            return None;
        }
        if choice.preserve && (within.0..=within.1).contains(&wanted) && self.remove(wanted) {
            return Some(wanted);
        }
        let port = choice
            .wishes(wanted)
            .find_map(|wish| self.any_of(within, wish, random))?;
        self.remove(port);
        Some(port)
    }

    /// Any free port of these, with equal chance.
    fn any_of(&self, within: Span, wish: Wish, random: &mut StdRng) -> Option<u16> {
        let (first, last) = wish.part_of(within);
        // Guesses that hit have equal chances too, and mostly cost less than counting.
        if first <= last && self.len >= u32::from(last - first) / 4 {
            for _ in 0..GUESSES {
                let port = random.random_range(first..=last);
                if self.contains(port) && wish.parity.mask() & bit(port) != 0 {
                    return Some(port);
                }
            }
        }
        match self.count_of(within, wish) {
            0 => None,
            free => self.nth_of(within, wish, random.random_range(0..free)),
        }
    }

    /// How many ports of these are free.
    pub(super) fn count_of(&self, within: Span, wish: Wish) -> u32 {
        let span = wish.part_of(within);
        if span.0 > span.1 {
            return 0;
        }
        blocks(span)
            .map(|block| self.count(block, span, wish.parity))
            .sum()
    }

    /// The free port that `rank` others are below.
    pub(super) fn nth(&self, rank: u32) -> Option<u16> {
        let any = Wish {
            span: ANY_PORT,
            parity: Parity::Any,
        };
        self.nth_of(ANY_PORT, any, rank)
    }

    /// The free port of these that `rank` others are below.
    pub(super) fn nth_of(&self, within: Span, wish: Wish, mut rank: u32) -> Option<u16> {
        let (span, parity) = (wish.part_of(within), wish.parity);
        if span.0 > span.1 {
            return None;
        }
        let block = blocks(span).find(|&block| {
            let count = self.count(block, span, parity);
            let is_here = rank < count;
            rank -= if is_here { 0 } else { count };
            is_here
        })?;
        for word in block * BLOCK..(block + 1) * BLOCK {
            let candidates = self.free[word] & mask(word, span) & parity.mask();
            let count = candidates.count_ones();
            if rank < count {
                return Some((word * 64) as u16 + nth_one(candidates, rank) as u16);
            }
            rank -= count;
        }
        None
    }

    /// Free ports of a block.
    fn count(&self, block: usize, span: Span, parity: Parity) -> u32 {
        let (first, last) = (block * BLOCK_PORTS, block * BLOCK_PORTS + BLOCK_PORTS - 1);
        if usize::from(span.0) <= first && last <= usize::from(span.1) {
            let [even, odd] = self.counts[block].map(u32::from);
            return match parity {
                Parity::Even => even,
                Parity::Odd => odd,
                Parity::Any => even + odd,
            };
        }
        let first = (usize::from(span.0) / 64).max(block * BLOCK);
        let last = (usize::from(span.1) / 64).min((block + 1) * BLOCK - 1);
        (first..=last)
            .map(|word| (self.free[word] & mask(word, span) & parity.mask()).count_ones())
            .sum()
    }

    /// Makes a port free. It must be one of those that may be given out.
    pub(super) fn put(&mut self, port: u16) {
        let word = &mut self.free[usize::from(port) / 64];
        if *word & bit(port) == 0 {
            *word |= bit(port);
            self.counts[usize::from(port) / BLOCK_PORTS][usize::from(port % 2)] += 1;
            self.len += 1;
        }
    }

    /// Takes this port. `false` if it isn't free.
    pub(super) fn remove(&mut self, port: u16) -> bool {
        let word = &mut self.free[usize::from(port) / 64];
        let is_free = *word & bit(port) != 0;
        if is_free {
            *word &= !bit(port);
            self.counts[usize::from(port) / BLOCK_PORTS][usize::from(port % 2)] -= 1;
            self.len -= 1;
        }
        is_free
    }

    /// The ranges of free ports, in ascending order.
    pub(super) fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for port in (1..=u16::MAX).filter(|&port| self.contains(port)) {
            match ranges.last_mut() {
                Some(range) if *range.end() == port - 1 => *range = *range.start()..=port,
                _ => ranges.push(port..=port),
            }
        }
        ranges
    }
}

fn bit(port: u16) -> u64 {
    1 << (port % 64)
}

/// The blocks that a span is in.
fn blocks(span: Span) -> RangeInclusive<usize> {
    usize::from(span.0) / BLOCK_PORTS..=usize::from(span.1) / BLOCK_PORTS
}

/// The bits of a word that are in a span.
fn mask(word: usize, (first, last): Span) -> u64 {
    let (low, high) = (word * 64, word * 64 + 63);
    let (first, last) = (usize::from(first), usize::from(last));
    if first > high || last < low {
        return 0;
    }
    let from = first.saturating_sub(low);
    let to = last.min(high) - low;
    (u64::MAX << from) & (u64::MAX >> (63 - to))
}

/// The position of the bit that is set and has `rank` such bits below it.
fn nth_one(mut word: u64, rank: u32) -> u32 {
    for _ in 0..rank {
        word &= word - 1;
    }
    word.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    const ALL: Span = (1, u16::MAX);
    const PLAIN: Choice = Choice {
        preserve: true,
        parity: false,
        class: true,
    };

    fn random() -> StdRng {
        StdRng::seed_from_u64(1)
    }

    /// What is above the chi-square statistic of a uniform choice once in a thousand times (Wilson and Hilferty's approximation).
    fn chi_square_limit(degrees: f64) -> f64 {
        let spread = 2.0 / (9.0 * degrees);
        degrees * (1.0 - spread + 3.09 * spread.sqrt()).powi(3)
    }

    fn chi_square(counts: &[u32]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        counts
            .iter()
            .map(|&count| (f64::from(count) - expected).powi(2) / expected)
            .sum()
    }

    #[test]
    fn ranges_are_joined_and_reserved_ports_are_none() {
        let ports = FreePorts::new(&[5000..=5009, 0..=3, 1000..=1040, 5005..=5019], &[1010..=1019]);
        assert_eq!(ports.ranges(), [1..=3, 1000..=1009, 1020..=1040, 5000..=5019]);
        assert_eq!(ports.len(), 54);
    }

    /// 4787-3: no port twice; 6888-13: the port space is used to the last port.
    #[test]
    fn rfc_4787_3_every_port_is_given_out_exactly_once() {
        for parity in [false, true] {
            let choice = Choice { parity, ..PLAIN };
            let (mut ports, mut random) = (FreePorts::new(&[0..=65535], &[]), random());
            let mut seen = BTreeSet::new();
            while let Some(port) = ports.take(5000, ALL, choice, &mut random) {
                assert!(seen.insert(port));
            }
            assert_eq!(seen.len(), 65535);
            ports.put(77);
            assert_eq!(ports.take(5000, ALL, choice, &mut random), Some(77));
        }
    }

    /// 4787-3a.
    #[test]
    fn rfc_4787_3a_well_known_ports_stay_well_known_as_long_as_there_are_any() {
        let (mut ports, mut random) = (FreePorts::new(&[1000..=1100], &[]), random());
        let low: BTreeSet<_> = (0..24)
            .map(|_| ports.take(500, ALL, PLAIN, &mut random).unwrap())
            .collect();
        assert_eq!(low, (1000..=1023).collect());
        assert!(ports.take(500, ALL, PLAIN, &mut random).unwrap() > 1023);
        ports.put(1003);
        for _ in 0..76 {
            assert!(ports.take(2000, ALL, PLAIN, &mut random).unwrap() > 1023);
        }
        assert_eq!(ports.take(2000, ALL, PLAIN, &mut random), Some(1003));
        assert_eq!(ports.take(2000, ALL, PLAIN, &mut random), None);
    }

    /// 4787-4, 6056-4c: parity is kept as long as it can be, and the class goes before it.
    #[test]
    fn rfc_4787_4_parity_is_kept_as_long_as_it_can_be() {
        let choice = Choice {
            preserve: false,
            parity: true,
            class: true,
        };
        let (mut ports, mut random) = (FreePorts::new(&[1000..=1003, 2000..=2099], &[]), random());
        let even: Vec<_> = (0..50)
            .map(|_| ports.take(7000, ALL, choice, &mut random).unwrap())
            .collect();
        assert!(even.iter().all(|port| port % 2 == 0 && *port >= 2000));
        assert!(!even.is_sorted());
        let next = ports.take(7000, ALL, choice, &mut random).unwrap();
        assert!(next >= 2000 && next % 2 == 1);
        assert_eq!(ports.take(10, ALL, choice, &mut random).unwrap() % 2, 0);
    }

    #[test]
    fn only_ports_within_a_block_are_taken() {
        let (mut ports, mut random) = (FreePorts::new(&[1024..=65535], &[]), random());
        let block = (4000, 4200);
        let mut seen = BTreeSet::new();
        while let Some(port) = ports.take(5000, block, PLAIN, &mut random) {
            seen.insert(port);
        }
        assert_eq!(seen, (4000..=4200).collect());
    }

    /// 7857-9, 6056-3.3: each free port is as likely as the others, whatever is taken around it.
    #[test]
    fn rfc_7857_9_the_choice_is_uniform_over_the_free_ports() {
        let (mut ports, mut random) = (FreePorts::new(&[2000..=2999, 8000..=8999], &[]), random());
        // All ports but 20 are taken; ten of those stand in a row.
        let free: Vec<u16> = (2500..2510).chain((0..10).map(|n| 8007 + 93 * n)).collect();
        for port in (2000..=2999).chain(8000..=8999) {
            if !free.contains(&port) {
                assert!(ports.remove(port));
            }
        }
        let mut counts = vec![0u32; free.len()];
        for _ in 0..20_000 {
            let port = ports.take(2000, ALL, PLAIN, &mut random).unwrap();
            counts[free.iter().position(|&other| other == port).unwrap()] += 1;
            ports.put(port);
        }
        let chi = chi_square(&counts);
        assert!(chi < chi_square_limit(19.0), "{chi}: {counts:?}");
    }

    /// 6056-3.2, 6056-4a, 6888-15: the whole range is used, reserved ports are not, one port says nothing about the next one.
    #[test]
    fn rfc_6056_3_2_the_whole_range_is_used_and_ports_do_not_follow_each_other() {
        let reserved = 10_000..=19_999;
        let mut ports = FreePorts::new(&[1024..=65535], std::slice::from_ref(&reserved));
        let mut random = random();
        let choice = Choice {
            preserve: false,
            ..PLAIN
        };
        let drawn: Vec<u16> = (0..100_000)
            .map(|_| {
                let port = ports.take(1024, ALL, choice, &mut random).unwrap();
                ports.put(port);
                port
            })
            .collect();
        assert!(drawn.iter().all(|port| *port >= 1024 && !reserved.contains(port)));
        // A histogram of the ports, and one of the distances from each to the next.
        let place = |port: u16| u32::from(port) - if port < 10_000 { 1024 } else { 11_024 };
        let (len, bins) = (ports.len(), 512);
        let (mut values, mut steps) = (vec![0u32; bins], vec![0u32; bins]);
        for pair in drawn.windows(2) {
            let (from, to) = (place(pair[0]), place(pair[1]));
            values[(from * bins as u32 / len) as usize] += 1;
            steps[((to + len - from) % len * bins as u32 / len) as usize] += 1;
        }
        for counts in [values, steps] {
            let chi = chi_square(&counts);
            // The number of ports is no multiple of the bins: that adds less than 2 to it.
            assert!(chi < chi_square_limit(511.0) + 2.0, "{chi}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            operations in proptest::collection::vec(
                (990u16..1100, 0u16..120, 0u16..120, any::<[bool; 4]>()), 0..400,
            ),
        ) {
            let usable: BTreeSet<u16> = (1000..=1060).chain(1080..=1090).collect();
            let (mut ports, mut random) = (FreePorts::new(&[1000..=1060, 1080..=1090], &[]), random());
            let mut model = usable.clone();
            for (port, first, len, [take, preserve, parity, class]) in operations {
                let within = (990 + first, 990 + first + len);
                if take {
                    let free: Vec<u16> = model.range(within.0..=within.1).copied().collect();
                    match ports.take(port, within, Choice { preserve, parity, class }, &mut random) {
                        Some(given) => {
                            prop_assert!(given == port || !preserve || !free.contains(&port));
                            prop_assert!(free.contains(&given));
                            let same_class = |other: u16| (other <= 1023) == (port <= 1023);
                            let same_parity = |other: u16| other % 2 == port % 2;
                            if !(preserve && given == port) {
                                prop_assert!(!class || same_class(given) || !free.iter().any(|&p| same_class(p)));
                                let candidates = free.iter().filter(|&&p| !class || same_class(p) == same_class(given));
                                prop_assert!(!parity || same_parity(given) || !candidates.clone().any(|&p| same_parity(p)));
                            }
                            model.remove(&given);
                        }
                        None => prop_assert!(free.is_empty()),
                    }
                } else if usable.contains(&port) {
                    ports.put(port);
                    model.insert(port);
                }
                prop_assert_eq!(ports.len() as usize, model.len());
            }
        }
    }
}
