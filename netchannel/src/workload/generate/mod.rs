//! Rule sets and traces made from a seed: the same on every machine.
//!
//! A rule set is made from the distributions that Taylor and Turner (*ClassBench*, 2007) found to describe
//! filter sets: pairs of prefix lengths, smoothed; address tries whose levels branch or not, more or less
//! evenly; protocols, each with pairs of port classes (wildcard, 1024 and up, below 1024, exact, arbitrary
//! range). [`Style`] has their usual values, [`Properties`] lets each be pushed to its extreme.
//!
//! No rule is there twice, and rules stand in about the order in which people write them: the more specific
//! ones first.

mod addresses;
mod networks;
mod ports;
mod properties;
mod random;
mod style;
#[cfg(test)]
mod tests;
mod trace;

use std::cmp::Reverse;

use ahash::HashSet;
use classifier::{InsertError, Ipv4FiveTuple, Ipv4Rule, Range, Schema, dimension};

use addresses::{Addresses, Spread};
use networks::{LENGTHS_SAMPLE, Networks, lengths, parts};
use ports::Ports;
pub use properties::{OutOfRange, Properties};
pub(crate) use random::Random;
pub use style::{Style, UnknownStyle};
pub use trace::{Distribution, TraceOptions, UnknownDistribution, trace};

/// The most rules of a set.
pub const MAX_RULES: u32 = 1 << 24;

/// After so many rules in a row that were there already, no more are sought.
const MAX_REPEATS: u32 = 100_000;

/// What numbers are drawn for. Those of one purpose stay the same when another one's options change.
#[derive(Clone, Copy)]
enum Purpose {
    SourceAddresses = 1,
    DestinationAddresses,
    SourcePorts,
    DestinationPorts,
    Rules,
    Order,
    Trace,
    Lengths,
}

impl Purpose {
    fn random(self, seed: u64) -> Random {
        Random::new(seed, self as u64)
    }
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A property is out of its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// With these properties there are not that many different rules.
    #[error(
        "no more than {found} different rules were found where {wanted} were asked for: \
         ask for fewer, or allow more addresses or port values"
    )]
    TooFew {
        /// How many were asked for.
        wanted: u32,
        /// How many there were.
        found: u32,
    },
    /// There are no rules to make headers of.
    #[error("a trace needs rules to make its headers of, found none")]
    NoRules,
    /// A rule can't be searched for.
    #[error("rule {} can not be searched for: {source}", rule + 1)]
    Insert {
        /// Its place among the rules, from 0.
        rule: usize,
        /// Why not.
        source: InsertError,
    },
    /// Two searches found different rules: a defect of this program.
    #[error("two searches for {key:?} found {found:?} and {expected:?}: this is a defect, please report it")]
    Disagreement {
        /// What was looked up.
        key: classifier::Ipv4Key,
        /// The rule, from 0, that the fast search found.
        found: Option<u32>,
        /// The rule, from 0, that the linear search found.
        expected: Option<u32>,
    },
}

/// Makes a set of `count` different rules, from 1 to [`MAX_RULES`]. Priorities count from 0, actions (lines of
/// the file that the set is written to) from 1.
///
/// # Errors
///
/// [`GenerateError::OutOfRange`] and [`GenerateError::TooFew`].
pub fn rules(
    style: Style,
    count: u32,
    seed: u64,
    properties: &Properties,
) -> Result<Vec<Ipv4Rule<u32>>, GenerateError> {
    if !(1..=MAX_RULES).contains(&count) {
        return Err(OutOfRange::new("rules", count, 1, MAX_RULES).into());
    }
    properties.check()?;
    let maker = Maker::new(style, seed, properties);
    let mut random = Purpose::Rules.random(seed);
    let mut order = Purpose::Order.random(seed);
    let mut seen = HashSet::default();
    let mut made = Vec::with_capacity(count as usize);
    let mut repeats = 0;
    while made.len() < count as usize {
        let ranges = maker.ranges(&mut random);
        if seen.insert(ranges) {
            repeats = 0;
            made.push((maker.place(&ranges, &mut order), ranges));
        } else {
            repeats += 1;
            if repeats == MAX_REPEATS {
                return Err(GenerateError::TooFew {
                    wanted: count,
                    found: made.len() as u32,
                });
            }
        }
    }
    made.sort_by_key(|(place, _)| *place);
    Ok(made
        .into_iter()
        .zip(0..)
        .map(|((_, ranges), priority)| Ipv4Rule::new(ranges, priority, priority + 1))
        .collect())
}

/// Draws rules.
struct Maker<'properties> {
    style: Style,
    properties: &'properties Properties,
    source: Networks,
    destination: Networks,
    source_ports: Ports,
    destination_ports: Ports,
}

impl<'properties> Maker<'properties> {
    fn new(style: Style, seed: u64, properties: &'properties Properties) -> Self {
        let addresses = |count, purpose: Purpose| {
            let spread = Spread {
                count,
                clustering: properties.clustering,
                skew: properties.skew,
            };
            Addresses::new(spread, &mut purpose.random(seed))
        };
        let mut random = Purpose::Lengths.random(seed);
        let sample: Vec<[u32; 2]> = (0..LENGTHS_SAMPLE)
            .map(|_| lengths(style, properties, &mut random))
            .collect();
        let networks = |side: usize, count, purpose| Networks {
            addresses: addresses(count, purpose),
            parts: parts(sample.iter().map(|pair| pair[side])),
        };
        let ports = |purpose: Purpose| {
            let random = &mut purpose.random(seed);
            Ports::new(properties.port_values, properties.wide_port_ranges, random)
        };
        Self {
            style,
            properties,
            source: networks(0, properties.source_addresses, Purpose::SourceAddresses),
            destination: networks(1, properties.destination_addresses, Purpose::DestinationAddresses),
            source_ports: ports(Purpose::SourcePorts),
            destination_ports: ports(Purpose::DestinationPorts),
        }
    }

    fn ranges(&self, random: &mut Random) -> [Range<u32>; 5] {
        let profile = self.style.profile();
        let properties = self.properties;
        let [source, destination] = lengths(self.style, properties, random);
        let source = self.source.draw(source, properties.nesting, random);
        let destination = self.destination.draw(destination, properties.nesting, random);

        let with_range = random.chance(properties.port_ranges);
        let any_protocol = random.chance(properties.any_protocol_where(with_range));
        let table = if with_range {
            profile.arbitrary
        } else {
            profile.protocols
        };
        let (protocol, pairs) = *random.weighted(table);
        let [source_class, destination_class] = if any_protocol && !with_range {
            [style::PortClass::Wildcard; 2]
        } else {
            *random.weighted(pairs)
        };
        [
            source,
            destination,
            self.source_ports.draw(source_class, random),
            self.destination_ports.draw(destination_class, random),
            match protocol.filter(|_| !any_protocol) {
                Some(protocol) => Range::exact(protocol.into()),
                None => Range::any(Ipv4FiveTuple::WIDTHS[dimension::PROTOCOL]),
            },
        ]
    }

    /// Where the rule stands: lower before higher.
    fn place(&self, ranges: &[Range<u32>; 5], order: &mut Random) -> Reverse<u32> {
        if order.chance(self.properties.disorder) {
            return Reverse(order.between(0, 64));
        }
        let fixed_bits = |dimension: usize| {
            let range = &ranges[dimension];
            (range.high() - range.low()).leading_zeros()
        };
        Reverse(fixed_bits(dimension::SOURCE_ADDRESS) + fixed_bits(dimension::DESTINATION_ADDRESS))
    }
}
