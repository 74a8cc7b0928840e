//! The addresses that a rule set names, nested as networks are.

use std::ops::Range;

use super::random::{Random, Weights};

/// Addresses, each with a weight by which rules name it.
#[derive(Debug)]
pub(super) struct Addresses {
    /// From the lowest to the highest.
    all: Vec<u32>,
    weights: Weights,
}

/// How addresses share the space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// How many there are, at least 1.
    pub(super) count: u32,
    /// The share, from 0 to 1, of the bits in which addresses differ that stands at their ends: 0 for
    /// addresses far apart, 1 for a single network.
    pub(super) clustering: f64,
    /// From 0 (all equally likely) to 1 (most rules name few addresses).
    pub(super) skew: f64,
}

impl Addresses {
    /// Makes a binary trie in the way of ClassBench, from the first bit to the last: at each level it
    /// branches or not, and a branch shares addresses and rules out more or less evenly.
    pub(super) fn new(spread: Spread, random: &mut Random) -> Self {
        let bits = ceil_log2(spread.count);
        let far = ((1.0 - spread.clustering) * f64::from(bits)).round() as u32;
        let mut trie = Trie {
            skew: spread.skew,
            all: Vec::with_capacity(spread.count as usize),
            weights: Vec::with_capacity(spread.count as usize),
            random,
        };
        trie.grow(Node {
            prefix: 0,
            depth: 0,
            addresses: spread.count,
            networks: if far == bits { spread.count } else { 1 << far },
            weight: 1.0,
        });
        // The branches of ones come first half of the time.
        let mut all: Vec<(u32, f64)> = trie.all.into_iter().zip(trie.weights).collect();
        all.sort_unstable_by_key(|(address, _)| *address);
        Self {
            weights: Weights::new(all.iter().map(|(_, weight)| *weight)),
            all: all.into_iter().map(|(address, _)| address).collect(),
        }
    }

    /// One of them, by their weights, of those between these shares of all, in the order of their values. At
    /// least one is there to draw.
    pub(super) fn draw(&self, between: Range<f64>, random: &mut Random) -> u32 {
        let count = self.all.len();
        let index = |share: f64| (share * count as f64) as usize;
        let first = index(between.start).min(count - 1);
        let last = index(between.end).clamp(first + 1, count);
        self.all[self.weights.draw_of(first..last, random)]
    }
}

struct Trie<'random> {
    skew: f64,
    all: Vec<u32>,
    weights: Vec<f64>,
    random: &'random mut Random,
}

struct Node {
    /// The bits so far, at the top of the word.
    prefix: u32,
    /// How many they are.
    depth: u32,
    /// How many addresses start with them, at least 1.
    addresses: u32,
    /// How many networks those addresses are in, at least 1.
    networks: u32,
    weight: f64,
}

impl Trie<'_> {
    fn grow(&mut self, mut node: Node) {
        loop {
            if node.addresses == 1 {
                self.all
                    .push(node.prefix | (self.random.bits() & low_bits(32 - node.depth)));
                self.weights.push(node.weight);
                return;
            }
            // So many more levels at least must branch.
            let needed = ceil_log2(node.addresses);
            if node.networks == 1 {
                // Inside of a network the first bits are the same.
                let unused = 32 - node.depth - needed;
                let shared = unused.saturating_sub(self.random.between(0, 2));
                self.lengthen(&mut node, shared);
            }
            let full = needed >= 32 - node.depth;
            if full || node.networks == 1 || self.random.chance(0.75) {
                break;
            }
            self.lengthen(&mut node, 1);
        }
        let heavy_share = 0.5 + 0.5 * self.skew * self.random.unit();
        let heavy_weight = 0.5 + 0.5 * self.skew * self.random.unit();
        // Each half has room for so many.
        let room = low_bits(31 - node.depth).saturating_add(1);
        let heavy = ((f64::from(node.addresses) * heavy_share).round() as u32).clamp(
            node.addresses.saturating_sub(room).max(1),
            (node.addresses - 1).min(room),
        );
        let light = node.addresses - heavy;
        let heavy_networks = node.networks.div_ceil(2).clamp(1, heavy);
        let light_networks = (node.networks / 2).clamp(1, light);
        let bit = 1 << (31 - node.depth);
        let flip = self.random.chance(0.5);
        for (is_heavy, addresses, networks, share) in [
            (true, heavy, heavy_networks, heavy_weight),
            (false, light, light_networks, 1.0 - heavy_weight),
        ] {
            self.grow(Node {
                prefix: node.prefix | if is_heavy != flip { bit } else { 0 },
                depth: node.depth + 1,
                addresses,
                networks,
                weight: node.weight * share,
            });
        }
    }

    /// Adds random bits.
    fn lengthen(&mut self, node: &mut Node, bits: u32) {
        let added = self.random.bits() & low_bits(32 - node.depth) & !low_bits(32 - node.depth - bits);
        node.prefix |= added;
        node.depth += bits;
    }
}

fn low_bits(count: u32) -> u32 {
    !u32::MAX.checked_shl(count).unwrap_or(0)
}

/// The fewest bits that tell so many values apart.
fn ceil_log2(count: u32) -> u32 {
    32 - count.saturating_sub(1).leading_zeros()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Addresses, Spread};
    use crate::workload::generate::random::Random;

    fn addresses(count: u32, clustering: f64, skew: f64) -> Addresses {
        let spread = Spread {
            count,
            clustering,
            skew,
        };
        Addresses::new(spread, &mut Random::new(7, 7))
    }

    #[test]
    fn addresses_are_as_many_as_asked_for() {
        for count in [1, 2, 3, 7, 100, 65_537] {
            for (clustering, skew) in [(0.0, 0.0), (0.5, 0.3), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)] {
                let all = addresses(count, clustering, skew).all;
                let distinct: HashSet<_> = all.iter().collect();
                assert_eq!((all.len(), distinct.len()), (count as usize, count as usize));
            }
        }
    }

    #[test]
    fn parts_have_addresses_of_their_own() {
        let addresses = addresses(1_000, 0.5, 0.3);
        let mut random = Random::new(9, 9);
        let mut drawn = |between: std::ops::Range<f64>| {
            let all = (0..1_000).map(|_| addresses.draw(between.clone(), &mut random));
            all.collect::<HashSet<_>>()
        };
        let (low, high) = (drawn(0.0..0.25), drawn(0.25..1.0));
        assert!(low.len() <= 250 && high.len() <= 750 && low.is_disjoint(&high));
        assert_eq!(drawn(0.5..0.5).len(), 1);
        assert_eq!(drawn(1.0..1.0).len(), 1);
    }

    #[test]
    fn clustering_decides_where_bits_differ() {
        let networks = |clustering| {
            let all = addresses(4_096, clustering, 0.2).all;
            let distinct: HashSet<_> = all.iter().map(|address| address >> 16).collect();
            distinct.len()
        };
        assert_eq!(networks(1.0), 1);
        assert!((30..=64).contains(&networks(0.5)), "{}", networks(0.5));
        assert!(networks(0.0) > 800, "{}", networks(0.0));
    }

    #[test]
    fn skew_decides_who_is_named() {
        let most_named = |skew| {
            let addresses = addresses(256, 0.5, skew);
            let mut random = Random::new(8, 8);
            let mut counts = std::collections::HashMap::new();
            for _ in 0..25_600 {
                *counts.entry(addresses.draw(0.0..1.0, &mut random)).or_insert(0) += 1;
            }
            counts.into_values().max()
        };
        assert!(most_named(0.0) < Some(200), "{:?}", most_named(0.0));
        assert!(most_named(1.0) > Some(1_000), "{:?}", most_named(1.0));
    }
}
