//! The addresses that a rule set names, nested as networks are.

use super::random::{Random, Weights};

/// Addresses, each with a weight by which rules name it. Prefixes of different lengths made of them nest.
#[derive(Debug)]
pub(super) struct Addresses {
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
        Self {
            all: trie.all,
            weights: Weights::new(trie.weights),
        }
    }

    /// One of them, by their weights.
    pub(super) fn draw(&self, random: &mut Random) -> u32 {
        self.all[self.weights.draw(random)]
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
        for count in [1, 2, 3, 7, 100, 65_537, 1 << 20] {
            for (clustering, skew) in [(0.0, 0.0), (0.5, 0.3), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)] {
                let all = addresses(count, clustering, skew).all;
                let distinct: HashSet<_> = all.iter().collect();
                assert_eq!((all.len(), distinct.len()), (count as usize, count as usize));
            }
        }
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
                *counts.entry(addresses.draw(&mut random)).or_insert(0) += 1;
            }
            counts.into_values().max()
        };
        assert!(most_named(0.0) < Some(200), "{:?}", most_named(0.0));
        assert!(most_named(1.0) > Some(1_000), "{:?}", most_named(1.0));
    }
}
