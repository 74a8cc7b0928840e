//! Which tables to have, for a set of rules.
//!
//! A rule can be in a table if its ranges take few values under the table's shape. Each table costs each
//! lookup a look at one bucket, and a comparison for each entry that is there. So tables are chosen one by
//! one, each time the one that takes most rules for what it costs (the greedy way to cover a set), as in
//! TupleMerge (Daly et al., "TupleMerge: Fast Software Packet Processing for Online Packet Classification",
//! 2019), but with the costs measured on a sample of the rules and of keys drawn from them.

use std::collections::HashMap;

use super::random::Random;
use super::shape::{Shape, shared_prefix};
use crate::range::Range;
use crate::schema::Schema;

/// The most buckets that one rule may be in.
pub(super) const MAX_COPIES: u64 = 2;

/// One round plans for all but this part of the rules.
const ROUND: usize = 6;

/// Rules that are looked at; more are represented by these.
const SAMPLE: usize = 4_096;

/// Keys that costs are measured on.
const KEYS: usize = 512;

/// How many levels to either side of a prefix length are tried in its place.
const NEAR: usize = 3;

/// What asking one table costs, in comparisons with one entry: the look at its bucket, and its share of
/// what is done for each group of tables.
const TABLE_COST: f64 = 1.5;

/// Rules of the residual list that cost as much as one comparison with an entry.
const RESIDUAL_PER_COST: f64 = 8.0;

/// How much a rule's second copy counts against a table, for the memory and the caches it takes.
const COPY_COST: f64 = 0.25;

/// The shapes of the next tables for these rules, in the order in which a rule shall be offered to them. When all
/// rules have been, what is left is to be planned for again, with a sample of its own. No shape means that
/// no table is worth its cost for what is left.
pub(super) fn plan<S: Schema<D>, const D: usize>(rules: &[[Range<S::Word>; D]]) -> Vec<Shape<S::Word, D>> {
    let step = rules.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<_> = rules.iter().step_by(step).copied().collect();
    let mut planner = Planner::<S, D>::new(&sample, step);
    let mut remaining: Vec<u32> = (0..sample.len() as u32).collect();
    let mut shapes = Vec::new();
    // What is a small part of the sample is measured badly by it.
    while remaining.len() * ROUND > sample.len() {
        let Some(best) = planner.best(&remaining) else {
            break;
        };
        if best.worth < RESIDUAL_PER_COST {
            break;
        }
        let shape = Shape::new::<S>(&best.lengths);
        remaining.retain(|&rule| shape.copies(&sample[rule as usize]) > MAX_COPIES);
        shapes.push(shape);
    }
    shapes
}

/// A table that could be.
#[derive(Debug, Clone, Copy)]
struct Choice<const D: usize> {
    lengths: [u32; D],
    /// Rules per cost.
    worth: f64,
}

struct Planner<'sample, S: Schema<D>, const D: usize> {
    sample: &'sample [[Range<S::Word>; D]],
    /// How many rules each of the sample stands for.
    stands_for: usize,
    keys: Vec<[S::Word; D]>,
    /// The lengths to try in each dimension, ascending, 0 first.
    levels: [Vec<u32>; D],
    /// For each rule of the sample and dimension, the longest level that its range fits.
    fitting: Vec<[u32; D]>,
    counts: Counts,
}

impl<'sample, S: Schema<D>, const D: usize> Planner<'sample, S, D> {
    fn new(sample: &'sample [[Range<S::Word>; D]], stands_for: usize) -> Self {
        let mut random = Random::new(sample.len() as u64);
        let every = sample.len().div_ceil(KEYS).max(1);
        let keys = sample
            .iter()
            .step_by(every)
            .map(|ranges| random.point(ranges))
            .collect();
        let levels = S::WIDTHS.map(levels);
        let fitting = sample
            .iter()
            .map(|ranges| {
                std::array::from_fn(|dimension| {
                    let length = shared_prefix(&ranges[dimension], S::WIDTHS[dimension]);
                    let levels: &Vec<u32> = &levels[dimension];
                    levels[levels.partition_point(|&level| level <= length).saturating_sub(1)]
                })
            })
            .collect();
        Self {
            sample,
            stands_for,
            keys,
            levels,
            fitting,
            counts: Counts::default(),
        }
    }

    /// The best table for the rules that remain, if one fits any.
    fn best(&mut self, remaining: &[u32]) -> Option<Choice<D>> {
        let mut tried = HashMap::new();
        let mut best: Option<Choice<D>> = None;
        for seed in self.seeds(remaining) {
            let mut current = self.choice(&seed, remaining, &mut tried);
            loop {
                let mut improved = current;
                for dimension in 0..D {
                    for level in self.neighbours(dimension, current.lengths[dimension]) {
                        let mut lengths = current.lengths;
                        lengths[dimension] = level;
                        let other = self.choice(&lengths, remaining, &mut tried);
                        if other.worth > improved.worth {
                            improved = other;
                        }
                    }
                }
                if improved.worth <= current.worth {
                    break;
                }
                current = improved;
            }
            if best.is_none_or(|best| current.worth > best.worth) {
                best = Some(current);
            }
        }
        best.filter(|best| best.worth > 0.0)
    }

    /// Where to begin: the lengths that most rules have, and those of a few rules more.
    fn seeds(&self, remaining: &[u32]) -> Vec<[u32; D]> {
        let mut frequency: HashMap<[u32; D], usize> = HashMap::new();
        for &rule in remaining {
            *frequency.entry(self.fitting[rule as usize]).or_default() += 1;
        }
        let mut by_frequency: Vec<_> = frequency.into_iter().collect();
        by_frequency.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut seeds: Vec<_> = by_frequency.iter().take(3).map(|(lengths, _)| *lengths).collect();
        let step = remaining.len().div_ceil(3).max(1);
        seeds.extend(
            remaining
                .iter()
                .step_by(step)
                .map(|&rule| self.fitting[rule as usize]),
        );
        seeds
    }

    /// The lengths to try in place of this one.
    fn neighbours(&self, dimension: usize, length: u32) -> Vec<u32> {
        let levels = &self.levels[dimension];
        let at = levels.partition_point(|&level| level < length);
        let near = at.saturating_sub(NEAR)..(at + NEAR + 1).min(levels.len());
        let mut neighbours: Vec<u32> = levels[near].to_vec();
        neighbours.extend([0, levels[levels.len() - 1]]);
        neighbours.retain(|&level| level != length);
        neighbours
    }

    fn choice(
        &mut self,
        lengths: &[u32; D],
        remaining: &[u32],
        tried: &mut HashMap<[u32; D], f64>,
    ) -> Choice<D> {
        let worth = match tried.get(lengths) {
            Some(&worth) => worth,
            None => {
                let worth = self.worth(lengths, remaining);
                tried.insert(*lengths, worth);
                worth
            }
        };
        Choice {
            lengths: *lengths,
            worth,
        }
    }

    /// How many of the remaining rules a table of these lengths takes, for what it costs a lookup.
    fn worth(&mut self, lengths: &[u32; D], remaining: &[u32]) -> f64 {
        let shape = Shape::<S::Word, D>::new::<S>(lengths);
        self.counts.clear(remaining.len() * MAX_COPIES as usize);
        let (mut rules, mut entries) = (0usize, 0usize);
        for &rule in remaining {
            let ranges = &self.sample[rule as usize];
            let copies = shape.copies(ranges);
            if copies > MAX_COPIES {
                continue;
            }
            rules += 1;
            entries += copies as usize;
            shape.each_hash(ranges, |hash| self.counts.add(hash));
        }
        if rules == 0 {
            return 0.0;
        }
        let compared: usize = self
            .keys
            .iter()
            .map(|key| self.counts.of(shape.hash(key)) as usize)
            .sum();
        let compared = (compared * self.stands_for) as f64 / self.keys.len() as f64;
        let copied = (entries - rules) as f64 / rules as f64;
        (rules * self.stands_for) as f64 / (TABLE_COST + compared + COPY_COST * copied)
    }
}

/// The prefix lengths to try in a dimension of that width, ascending, 0 first.
fn levels(width: u32) -> Vec<u32> {
    let step = match width {
        // Protocols and flags: as a whole or not at all.
        0..=8 => width.max(1),
        // Ports.
        9..=16 => width.div_ceil(4),
        // Addresses.
        _ => width.div_ceil(16),
    };
    (0..width).step_by(step as usize).chain([width]).collect()
}

/// How many entries there are by hash: a table of its own, quick to fill and to clear.
#[derive(Debug, Default)]
struct Counts {
    slots: Vec<(u64, u32)>,
}

impl Counts {
    /// Forgets all; then there is room for that many.
    fn clear(&mut self, room: usize) {
        self.slots.clear();
        self.slots.resize((room * 2).next_power_of_two().max(16), (0, 0));
    }

    fn slot(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (hash >> 32) as usize & mask;
        while self.slots[at].1 != 0 && self.slots[at].0 != hash {
            at = (at + 1) & mask;
        }
        at
    }

    fn add(&mut self, hash: u64) {
        let at = self.slot(hash);
        self.slots[at].0 = hash;
        self.slots[at].1 += 1;
    }

    fn of(&self, hash: u64) -> u32 {
        self.slots[self.slot(hash)].1
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_COPIES, plan};
    use crate::tuple::random::Random;
    use crate::{Ipv4FiveTuple, Range, Schema};

    fn fitting(rules: &[[Range<u32>; 5]]) -> usize {
        let shapes = plan::<Ipv4FiveTuple, 5>(rules);
        assert!(shapes.len() < 4, "{shapes:?}");
        rules
            .iter()
            .filter(|ranges| shapes.iter().any(|shape| shape.copies(ranges) <= MAX_COPIES))
            .count()
    }

    #[test]
    fn few_tables_take_most_rules() {
        let mut random = Random::new(1);
        let rules: Vec<_> = (0..10_000)
            .map(|index| {
                let mut ranges = Ipv4FiveTuple::any();
                let length = 20 + (random.next() % 13) as u32;
                let address = random.next() as u32;
                ranges[index % 2] = Range::prefix(address, length, 32).expect("no longer than an address");
                ranges[3] = Range::exact((random.next() % 1_000) as u32);
                ranges
            })
            .collect();
        assert!(fitting(&rules) > 8_000);
    }

    #[test]
    fn rules_that_nothing_tells_apart_need_no_table() {
        let rules = vec![Ipv4FiveTuple::any(); 1_000];
        assert_eq!(plan::<Ipv4FiveTuple, 5>(&rules), []);
        assert_eq!(plan::<Ipv4FiveTuple, 5>(&[]), []);
    }
}
