//! What rule sets of a kind look like: the distributions that the published descriptions name.

use std::fmt;
use std::str::FromStr;

/// A kind of rule set, after the families of ClassBench's filter sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// Access lists of routers: mostly TCP between single hosts, to few servers and many services.
    AccessList,
    /// Firewalls: one address is almost always a wildcard; services by both ports.
    Firewall,
    /// Chains of Linux ipchains: many combinations of prefix lengths, a third for any protocol.
    IpChain,
}

impl Style {
    /// All styles.
    pub const ALL: [Self; 3] = [Self::AccessList, Self::Firewall, Self::IpChain];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessList => "acl",
            Self::Firewall => "fw",
            Self::IpChain => "ipc",
        }
    }

    pub(super) const fn profile(self) -> &'static Profile {
        match self {
            Self::AccessList => &ACCESS_LIST,
            Self::Firewall => &FIREWALL,
            Self::IpChain => &IP_CHAIN,
        }
    }
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no style has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{0}`, expected acl, fw or ipc")]
pub struct UnknownStyle(String);

impl FromStr for Style {
    type Err = UnknownStyle;

    fn from_str(name: &str) -> Result<Self, UnknownStyle> {
        let found = Self::ALL.into_iter().find(|style| style.name() == name);
        found.ok_or_else(|| UnknownStyle(name.to_owned()))
    }
}

/// The classes of port ranges, as ClassBench names them: wildcard, ephemeral (1024 and up), well-known (below
/// 1024), arbitrary range, exact match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PortClass {
    Wildcard,
    High,
    Low,
    Arbitrary,
    Exact,
}

use PortClass::{Arbitrary, Exact, High, Low, Wildcard};

/// A protocol: its number, or `None` for any.
pub(super) type Protocol = Option<u8>;

/// Weighted classes of the source and the destination port.
pub(super) type PortPairs = &'static [(u32, [PortClass; 2])];

/// The distributions of a style.
#[derive(Debug)]
pub(super) struct Profile {
    /// Lengths of source and destination prefix, before they are smoothed, of rules without wildcard addresses.
    pub(super) specific: &'static [(u32, [u8; 2])],
    /// The same of rules of which at least one address is a wildcard, or close to it.
    pub(super) wildcard: &'static [(u32, [u8; 2])],
    /// The share of the latter.
    pub(super) wildcards: f64,
    /// Protocols of rules without arbitrary port ranges, each with its pairs of port classes.
    pub(super) protocols: &'static [(u32, (Protocol, PortPairs))],
    /// The share of rules for any protocol.
    pub(super) any_protocol: f64,
    /// Protocols of rules with an arbitrary port range.
    pub(super) arbitrary: &'static [(u32, (Protocol, PortPairs))],
    /// The share of the latter.
    pub(super) port_ranges: f64,
    /// How many ports are named by rules.
    pub(super) port_values: u32,
    /// Source and destination addresses for a number of rules.
    pub(super) addresses: fn(u32) -> [u32; 2],
    /// How much of the address bits that differ are at the end.
    pub(super) clustering: f64,
    /// How unevenly addresses are used.
    pub(super) skew: f64,
    /// The share of prefixes that are cut from addresses of other lengths.
    pub(super) nesting: f64,
}

const TCP: Protocol = Some(6);
const UDP: Protocol = Some(17);
const ICMP: Protocol = Some(1);
const GRE: Protocol = Some(47);
const ESP: Protocol = Some(50);
const AH: Protocol = Some(51);

const WITHOUT_PORTS: PortPairs = &[(1, [Wildcard, Wildcard])];

const ACCESS_LIST: Profile = Profile {
    specific: &[
        (67, [32, 32]),
        (8, [32, 22]),
        (8, [24, 32]),
        (5, [32, 24]),
        (4, [30, 23]),
        (3, [24, 30]),
        (2, [23, 16]),
        (1, [28, 28]),
        (1, [22, 17]),
    ],
    wildcard: &[
        (5, [32, 0]),
        (2, [24, 0]),
        (2, [0, 32]),
        (1, [0, 24]),
        (1, [8, 1]),
    ],
    wildcards: 0.03,
    protocols: &[
        (
            955,
            (TCP, &[(775, [Wildcard, Exact]), (225, [Wildcard, Wildcard])]),
        ),
        (33, (ICMP, WITHOUT_PORTS)),
        (12, (UDP, &[(1, [Wildcard, Exact])])),
    ],
    any_protocol: 0.083,
    arbitrary: &[
        (99, (TCP, &[(1, [Wildcard, Arbitrary])])),
        (1, (UDP, &[(1, [Wildcard, Arbitrary])])),
    ],
    port_ranges: 0.11,
    port_values: 75,
    // Hosts of many networks to a few hundred servers.
    addresses: |rules| [rules, 400],
    clustering: 0.6,
    skew: 0.5,
    nesting: 0.05,
};

const FIREWALL: Profile = Profile {
    specific: &[
        (60, [32, 32]),
        (8, [32, 28]),
        (8, [28, 32]),
        (8, [24, 32]),
        (8, [21, 28]),
        (8, [32, 22]),
    ],
    wildcard: &[
        (66, [0, 32]),
        (2, [0, 28]),
        (3, [0, 21]),
        (17, [32, 0]),
        (6, [28, 0]),
        (3, [22, 0]),
        (1, [13, 0]),
        (2, [0, 0]),
    ],
    wildcards: 0.92,
    protocols: &[
        (
            590,
            (
                TCP,
                &[
                    (79, [Wildcard, Exact]),
                    (14, [Wildcard, Wildcard]),
                    (7, [High, High]),
                ],
            ),
        ),
        (
            327,
            (
                UDP,
                &[
                    (43, [Wildcard, Exact]),
                    (29, [Exact, Wildcard]),
                    (9, [Exact, Exact]),
                    (7, [High, Exact]),
                    (6, [High, High]),
                    (6, [Exact, High]),
                ],
            ),
        ),
        (48, (GRE, WITHOUT_PORTS)),
        (35, (ICMP, WITHOUT_PORTS)),
    ],
    any_protocol: 0.01,
    arbitrary: &[(1, (UDP, &[(1, [Arbitrary, High]), (1, [High, Arbitrary])]))],
    port_ranges: 0.001,
    port_values: 40,
    addresses: |rules| [rules / 2, rules],
    clustering: 0.25,
    skew: 0.2,
    nesting: 0.0,
};

const IP_CHAIN: Profile = Profile {
    specific: &[
        (23, [32, 32]),
        (18, [24, 32]),
        (20, [24, 24]),
        (6, [32, 24]),
        (4, [24, 26]),
        (4, [26, 24]),
        (4, [26, 32]),
        (4, [16, 24]),
        (4, [16, 32]),
        (4, [24, 16]),
        (4, [32, 16]),
        (2, [28, 28]),
        (2, [22, 22]),
        (1, [16, 16]),
    ],
    wildcard: &[
        (30, [0, 32]),
        (20, [0, 24]),
        (6, [0, 16]),
        (22, [24, 0]),
        (8, [32, 0]),
        (7, [16, 0]),
        (4, [0, 28]),
        (3, [0, 0]),
    ],
    wildcards: 0.22,
    protocols: &[
        (
            580,
            (
                UDP,
                &[
                    (58, [Wildcard, Exact]),
                    (22, [Exact, Wildcard]),
                    (17, [Wildcard, High]),
                    (1, [High, Wildcard]),
                    (1, [Exact, Exact]),
                    (1, [Wildcard, Wildcard]),
                ],
            ),
        ),
        (
            390,
            (
                TCP,
                &[
                    (57, [Wildcard, Exact]),
                    (33, [Exact, Wildcard]),
                    (9, [Wildcard, Wildcard]),
                    (1, [Wildcard, Low]),
                ],
            ),
        ),
        (20, (ICMP, WITHOUT_PORTS)),
        (6, (GRE, WITHOUT_PORTS)),
        (2, (ESP, WITHOUT_PORTS)),
        (2, (AH, WITHOUT_PORTS)),
    ],
    any_protocol: 0.34,
    arbitrary: &[
        (
            7,
            (
                TCP,
                &[
                    (5, [Wildcard, Arbitrary]),
                    (5, [Arbitrary, Wildcard]),
                    (1, [Exact, Arbitrary]),
                ],
            ),
        ),
        (
            2,
            (UDP, &[(3, [Wildcard, Arbitrary]), (1, [Arbitrary, Wildcard])]),
        ),
    ],
    port_ranges: 0.045,
    port_values: 45,
    addresses: |rules| [rules, rules],
    clustering: 0.5,
    skew: 0.4,
    nesting: 0.05,
};
