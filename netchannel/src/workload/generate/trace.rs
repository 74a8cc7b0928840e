//! Traces for a rule set.

use std::fmt;
use std::str::FromStr;

use classifier::trie::Ipv4Trie;
use classifier::{Classifier, Ipv4Key, Ipv4Rule, Key, Lookup, Match};

use super::random::{Random, Weights};
use super::{GenerateError, Purpose};
use crate::workload::trace::Header;

/// Which rules headers are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Each rule equally often.
    Uniform,
    /// By Zipf's law: the *n*th rule of a random order has the weight 1/*n*.
    Zipf,
}

impl Distribution {
    /// All distributions.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Zipf];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no distribution has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{0}`, expected uniform or zipf")]
pub struct UnknownDistribution(String);

impl FromStr for Distribution {
    type Err = UnknownDistribution;

    fn from_str(name: &str) -> Result<Self, UnknownDistribution> {
        let found = Self::ALL
            .into_iter()
            .find(|distribution| distribution.name() == name);
        found.ok_or_else(|| UnknownDistribution(name.to_owned()))
    }
}

/// What a trace shall be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// How many headers.
    pub headers: u32,
    /// Which rules they are made of.
    pub distribution: Distribution,
    /// What the random numbers start from.
    pub seed: u64,
}

/// How many headers are looked up a second time, by linear search.
const CHECKED: usize = 64;

/// Makes headers for rules that stand in the order of their priorities: each a random point of a rule that is
/// drawn, with the first rule that matches it.
///
/// # Errors
///
/// [`GenerateError::NoRules`] and [`GenerateError::Insert`]; [`GenerateError::Disagreement`] if the
/// winners of a sample are not what a linear search finds.
pub fn trace(rules: &[Ipv4Rule<u32>], options: &TraceOptions) -> Result<Vec<Header>, GenerateError> {
    if rules.is_empty() {
        return Err(GenerateError::NoRules);
    }
    let mut random = Purpose::Trace.random(options.seed);
    let drawer = Drawer::new(options.distribution, rules.len(), &mut random);
    let keys: Vec<Ipv4Key> = (0..options.headers)
        .map(|_| {
            let ranges = rules[drawer.draw(&mut random)].ranges;
            Key::new(ranges.map(|range| random.between(range.low(), range.high())))
        })
        .collect();
    let winners = winners(rules, &keys)?;
    let step = (keys.len() / CHECKED).max(1);
    for (key, &found) in keys.iter().zip(&winners).step_by(step) {
        let expected = rules.iter().zip(0..).find(|(rule, _)| rule.matches(key));
        let expected = expected.map(|(_, place)| place);
        if found != expected {
            return Err(GenerateError::Disagreement {
                key: *key,
                found,
                expected,
            });
        }
    }
    let headers = keys.into_iter().zip(winners);
    Ok(headers
        .map(|(key, winner)| Header {
            key,
            winner: Some(winner.into()),
        })
        .collect())
}

/// The first rule that matches each key.
fn winners(rules: &[Ipv4Rule<u32>], keys: &[Ipv4Key]) -> Result<Vec<Option<u32>>, GenerateError> {
    let mut trie = Ipv4Trie::new();
    for (place, rule) in rules.iter().enumerate() {
        // Priorities are the places, whatever they were.
        let placed = Ipv4Rule::new(rule.ranges, place as u32, ());
        trie.insert(placed)
            .map_err(|source| GenerateError::Insert { rule: place, source })?;
    }
    let place = |found: &Match<()>| found.priority;
    Ok(keys.iter().map(|key| trie.lookup(key).map(place)).collect())
}

/// Draws rules.
enum Drawer {
    Uniform(usize),
    Zipf { order: Vec<usize>, weights: Weights },
}

impl Drawer {
    fn new(distribution: Distribution, rules: usize, random: &mut Random) -> Self {
        match distribution {
            Distribution::Uniform => Self::Uniform(rules),
            Distribution::Zipf => {
                let mut order: Vec<usize> = (0..rules).collect();
                random.shuffle(&mut order);
                let weights = Weights::new((0..rules).map(|rank| 1.0 / (rank as f64 + 1.0)));
                Self::Zipf { order, weights }
            }
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        match self {
            Self::Uniform(rules) => random.index(*rules),
            Self::Zipf { order, weights } => order[weights.draw(random)],
        }
    }
}
