//! The ports that a rule set names.

use std::collections::HashSet;

use classifier::Range;

use super::random::{Random, Weights};
use super::style::PortClass;

/// Services that rules name most, the most named first (IANA's registry, and those in common use).
const SERVICES: [u16; 40] = [
    80, 443, 53, 22, 25, 21, 23, 161, 123, 1521, 1433, 110, 143, 514, 69, 137, 139, 445, 389, 3306, 3389,
    8080, 162, 88, 113, 119, 750, 544, 67, 68, 135, 138, 993, 995, 5060, 1812, 1813, 1645, 5500, 8443,
];

/// Ports and port ranges, each with a weight by which rules name it.
#[derive(Debug)]
pub(super) struct Ports {
    exact: Vec<u16>,
    exact_weights: Weights,
    arbitrary: Vec<Range<u32>>,
    arbitrary_weights: Weights,
}

impl Ports {
    /// `values` ports (at most all) and half as many ranges, of which the share `wide` starts and ends
    /// anywhere; the others are a few dozen ports in a row.
    pub(super) fn new(values: u32, wide: f64, random: &mut Random) -> Self {
        let values = values.clamp(1, 1 << 16) as usize;
        let mut seen = HashSet::new();
        let mut exact = Vec::with_capacity(values);
        let mut services = SERVICES.into_iter();
        while exact.len() < values {
            let port = services.next().unwrap_or_else(|| random.bits() as u16);
            if seen.insert(port) {
                exact.push(port);
            }
        }
        let ranges = values.div_ceil(2);
        let mut seen = HashSet::new();
        let mut arbitrary = Vec::with_capacity(ranges);
        while arbitrary.len() < ranges {
            let (low, high) = if random.chance(wide) {
                let ends = [random.between(0, 65_535), random.between(0, 65_535)];
                (ends[0].min(ends[1]), ends[0].max(ends[1]))
            } else {
                let low = random.between(1, 65_400);
                (low, low + random.between(1, 100))
            };
            let named = [(0, 65_535), (0, 1_023), (1_024, 65_535)].contains(&(low, high));
            if low < high
                && !named
                && seen.insert((low, high))
                && let Ok(range) = Range::new(low, high)
            {
                arbitrary.push(range);
            }
        }
        Self {
            exact_weights: falling(exact.len()),
            exact,
            arbitrary_weights: falling(arbitrary.len()),
            arbitrary,
        }
    }

    /// A range of the class.
    pub(super) fn draw(&self, class: PortClass, random: &mut Random) -> Range<u32> {
        let (low, high) = match class {
            PortClass::Wildcard => (0, 65_535),
            PortClass::High => (1_024, 65_535),
            PortClass::Low => (0, 1_023),
            PortClass::Exact => {
                let port = self.exact[self.exact_weights.draw(random)].into();
                (port, port)
            }
            PortClass::Arbitrary => return self.arbitrary[self.arbitrary_weights.draw(random)],
        };
        Range::new(low, high).unwrap_or(Range::any(16))
    }
}

/// Zipf's law, flattened for the first few.
fn falling(count: usize) -> Weights {
    Weights::new((0..count).map(|rank| 1.0 / (rank as f64 + 3.0)))
}
