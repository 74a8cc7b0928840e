//! Random rules of several styles, and keys that meet them.

use classifier::{Key, Range, Rule, Schema, Word};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// How the rules of a set are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Prefixes of all lengths below few networks.
    Nested,
    /// One value in every dimension.
    Flows,
    /// A range that is no prefix in one dimension, networks and any value in the others.
    Ranges,
    /// Any value in most dimensions.
    Wildcards,
    /// The same few boxes again and again.
    Equal,
    /// Wide ranges in every dimension: nothing tells the rules apart.
    Wide,
    /// Networks and flows, some ranges, few wildcards.
    Mixed,
}

impl Style {
    /// Those of which sets of any size may be made.
    pub(crate) const ANY_SIZE: [Self; 3] = [Self::Mixed, Self::Flows, Self::Ranges];

    /// All but the one whose rules split into too many prefixes for tries.
    pub(crate) const SPLITTABLE: [Self; 6] = [
        Self::Nested,
        Self::Flows,
        Self::Ranges,
        Self::Wildcards,
        Self::Equal,
        Self::Mixed,
    ];

    /// Those of which some structures take but few.
    pub(crate) const OFTEN_REFUSED: [Self; 2] = [Self::Wildcards, Self::Wide];

    pub(crate) const ALL: [Self; 7] = [
        Self::Nested,
        Self::Flows,
        Self::Ranges,
        Self::Wildcards,
        Self::Equal,
        Self::Wide,
        Self::Mixed,
    ];
}

/// A number below the bound that is a function of the seed.
pub(crate) fn below(seed: u64, bound: usize) -> usize {
    StdRng::seed_from_u64(!seed).random_range(0..bound)
}

/// Draws rules and keys; what it draws is a function of its seed.
pub(crate) struct Draw {
    pub(crate) random: StdRng,
    style: Style,
    /// Values that rules of this set have in common.
    networks: Vec<u128>,
    priorities: u32,
}

impl Draw {
    /// For a set of about so many rules.
    pub(crate) fn new(seed: u64, style: Style, rules: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let networks = (rules / 8).clamp(4, 1 << 18);
        let networks = (0..networks).map(|_| random.random()).collect();
        // With one priority alone, the order of insertion decides.
        let priorities = [1, 16, 5_000, u32::MAX][random.random_range(0..4)];
        Self {
            random,
            style,
            networks,
            priorities,
        }
    }

    pub(crate) fn priorities(&self) -> u32 {
        self.priorities
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.random.random_range(0..bound)
    }

    /// A rule whose action is this number.
    pub(crate) fn rule<S: Schema<D>, const D: usize>(&mut self, action: u32) -> Rule<S::Word, D, u32> {
        let mut priority = self.random.random_range(0..self.priorities);
        let style = match self.style {
            Style::Mixed => match self.below(1000) {
                0 => Style::Wildcards,
                1..400 => Style::Flows,
                400..500 => Style::Ranges,
                _ => Style::Mixed,
            },
            style => style,
        };
        if style == Style::Wildcards && self.style != Style::Wildcards {
            priority = self.priorities;
        }
        let special = self.below(D);
        let ranges = std::array::from_fn(|dimension| {
            let width = S::WIDTHS[dimension];
            match style {
                Style::Flows => Range::exact(self.value(width)),
                Style::Ranges if dimension == special => self.short_range(width),
                Style::Ranges | Style::Mixed => self.network(width),
                Style::Nested => {
                    let length = self.random.random_range(0..=width);
                    self.prefix(length, width)
                }
                Style::Wildcards if dimension == special => self.network(width),
                Style::Wildcards => Range::any(width),
                Style::Equal => {
                    let networks = self.networks.len().min(6);
                    let value = self.networks[self.random.random_range(0..networks)];
                    range_of_prefix(value, width / 2, width)
                }
                Style::Wide => {
                    let ends = [self.value::<S::Word>(width), self.value(width)];
                    between(ends[0], ends[1])
                }
            }
        });
        Rule::new(ranges, priority, action)
    }

    /// A key: in one of the rules, or at its edge, or just beside it; or anywhere.
    pub(crate) fn key<S: Schema<D>, const D: usize>(
        &mut self,
        near: Option<&Rule<S::Word, D, u32>>,
    ) -> Key<S::Word, D> {
        let outside = self.chance(20).then(|| self.below(D));
        let values = std::array::from_fn(|dimension| {
            let width = S::WIDTHS[dimension];
            let Some(rule) = near else {
                return self.value(width);
            };
            let range = rule.ranges[dimension];
            let (low, high): (u128, u128) = (range.low().into(), range.high().into());
            let value = match self.below(4) {
                0 => low,
                1 => high,
                _ => self.random.random_range(low..=high),
            };
            if outside == Some(dimension) {
                // Beyond the width of the dimension too, where the word has room for it.
                let beside = if self.chance(50) {
                    high.saturating_add(1)
                } else {
                    low.saturating_sub(1)
                };
                return word::<S::Word>(beside.min(S::Word::MAX.into()));
            }
            word(value)
        });
        Key::new(values)
    }

    /// One of the set's values, or near one, or any.
    fn value<W: Word>(&mut self, width: u32) -> W {
        let network = self.networks[self.random.random_range(0..self.networks.len())];
        let value = match self.below(3) {
            0 => network,
            1 => network ^ u128::from(self.random.next_u32() % 256) << (128 - width.min(128)),
            _ => self.random.random(),
        };
        word(value >> (128 - width))
    }

    fn prefix<W: Word>(&mut self, length: u32, width: u32) -> Range<W> {
        let value: W = self.value(width);
        Range::prefix(value, length, width).expect("not longer than the width")
    }

    /// A prefix of a usual length; in narrow dimensions often any value.
    fn network<W: Word>(&mut self, width: u32) -> Range<W> {
        let length = match self.below(8) {
            0 if width < 32 => 0,
            0..3 => width,
            3..5 => width - width / 4,
            5..7 => width - width / 8,
            _ => width / 2,
        };
        self.prefix(length, width)
    }

    /// A range that is no prefix as a rule: it splits into some ten.
    fn short_range<W: Word>(&mut self, width: u32) -> Range<W> {
        let low: u128 = self.value::<W>(width).into();
        let most = 1 << self.random.random_range(1..=width.min(10));
        let high = low.saturating_add(self.random.random_range(0..most));
        between(word(low), word(high.min(u128::MAX >> (128 - width))))
    }
}

fn range_of_prefix<W: Word>(value: u128, length: u32, width: u32) -> Range<W> {
    Range::prefix(word(value >> (128 - width)), length, width).expect("not longer than the width")
}

fn between<W: Word>(one: W, other: W) -> Range<W> {
    Range::new(one.min(other), one.max(other)).expect("the lower end comes first")
}

fn word<W: Word>(value: u128) -> W {
    W::truncated(value)
}
