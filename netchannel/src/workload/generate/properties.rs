//! What can be changed about a style.

use super::MAX_RULES;
use super::style::Style;

/// The properties of a rule set. Start from those of a [`Style`] and change what shall be different.
#[derive(Clone, Debug, PartialEq)]
pub struct Properties {
    /// The share, 0 to 1, of rules that name any source or any destination address, or nearly any (a prefix
    /// of a few bits).
    pub wildcards: f64,
    /// How many source addresses the prefixes are made of, from 1 to [`MAX_RULES`].
    pub source_addresses: u32,
    /// How many destination addresses the prefixes are made of, from 1 to [`MAX_RULES`].
    pub destination_addresses: u32,
    /// Where addresses differ: from 0 (in their first bits: all over the address space) to 1 (in their last
    /// bits: all in one network).
    pub clustering: f64,
    /// How unevenly rules share the addresses: from 0 (each as often as the others) to 1 (most rules name few).
    pub skew: f64,
    /// The share, 0 to 1, of prefixes that are made of any address, so that networks lie in networks. Others are
    /// made of addresses that only prefixes of their length are made of.
    pub nesting: f64,
    /// The share, 0 to 1, of prefixes that are cut to a random length.
    pub random_lengths: f64,
    /// By how many bits, 0 to 32, prefix lengths depart from the style's at most; a fifth of that is usual.
    pub smoothness: u32,
    /// The share, 0 to 1, of rules with a port range that is neither all ports, nor those from 1024, nor
    /// those below.
    pub port_ranges: f64,
    /// The share, 0 to 1, of those ranges that start and end anywhere instead of being up to 101 ports long.
    pub wide_port_ranges: f64,
    /// How many ports, and half as many port ranges, are named: from 1 to 65,536.
    pub port_values: u32,
    /// The share, 0 to 1, of rules for any protocol.
    pub any_protocol: f64,
    /// The share, 0 to 1, of rules whose place in the order is random, instead of by how specific they are.
    pub disorder: f64,
}

/// A property that is out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{property}: found {found}, expected {low} to {high}")]
pub struct OutOfRange {
    /// Its name.
    pub property: &'static str,
    /// Its value.
    pub found: f64,
    /// The lowest that is allowed.
    pub low: f64,
    /// The highest that is allowed.
    pub high: f64,
}

impl OutOfRange {
    pub(super) fn new(property: &'static str, found: u32, low: u32, high: u32) -> Self {
        Self {
            property,
            found: found.into(),
            low: low.into(),
            high: high.into(),
        }
    }
}

impl Style {
    /// The usual properties of a set of so many rules.
    pub fn properties(self, rules: u32) -> Properties {
        let profile = self.profile();
        let [source_addresses, destination_addresses] =
            (profile.addresses)(rules).map(|count| count.clamp(1, rules.clamp(1, MAX_RULES)));
        Properties {
            wildcards: profile.wildcards,
            source_addresses,
            destination_addresses,
            clustering: profile.clustering,
            skew: profile.skew,
            nesting: profile.nesting,
            random_lengths: 0.0,
            smoothness: 2,
            port_ranges: profile.port_ranges,
            wide_port_ranges: 0.1,
            port_values: profile.port_values,
            any_protocol: profile.any_protocol,
            disorder: 0.15,
        }
    }
}

impl Properties {
    /// Refuses values out of range.
    pub(super) fn check(&self) -> Result<(), OutOfRange> {
        let shares = [
            ("wildcards", self.wildcards),
            ("clustering", self.clustering),
            ("skew", self.skew),
            ("nesting", self.nesting),
            ("random-lengths", self.random_lengths),
            ("port-ranges", self.port_ranges),
            ("wide-port-ranges", self.wide_port_ranges),
            ("any-protocol", self.any_protocol),
            ("disorder", self.disorder),
        ];
        for (property, found) in shares {
            if !(0.0..=1.0).contains(&found) {
                return Err(OutOfRange {
                    property,
                    found,
                    low: 0.0,
                    high: 1.0,
                });
            }
        }
        let counts = [
            ("source-addresses", self.source_addresses, 1, MAX_RULES),
            ("destination-addresses", self.destination_addresses, 1, MAX_RULES),
            ("smoothness", self.smoothness, 0, 32),
            ("port-values", self.port_values, 1, 65_536),
        ];
        for (property, found, low, high) in counts {
            if !(low..=high).contains(&found) {
                return Err(OutOfRange::new(property, found, low, high));
            }
        }
        Ok(())
    }

    /// How likely a rule with (or without) an arbitrary port range is for any protocol. Such rules are for
    /// one protocol as far as the two shares allow it.
    pub(super) fn any_protocol_where(&self, with_range: bool) -> f64 {
        let (any, ranges) = (self.any_protocol, self.port_ranges);
        if with_range {
            ((any + ranges - 1.0) / ranges).clamp(0.0, 1.0)
        } else if ranges < 1.0 {
            (any / (1.0 - ranges)).clamp(0.0, 1.0)
        } else {
            any
        }
    }
}
