//! What whoever imports rules says besides them.

use std::str::FromStr;

use ipnet::IpNet;

use super::{Dimension, Family, Region, Spans, numbers};
use crate::rules::{AddressRange, Name};
use crate::text::quoted;

/// What foreign rules mean here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The channel of what is accepted.
    pub accept: Name,
    /// The name of the first channel that translates; further ones are `NAME-2` and so on.
    pub nat: Name,
    /// By which interface packets leave, for rules that ask that.
    pub ways_out: Vec<WayOut>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            accept: "pass".into(),
            nat: "internet".into(),
            ways_out: Vec::new(),
        }
    }
}

/// Packets to these destinations leave by this interface, unless a longer prefix says otherwise. As text `10.0.0.0/24=lan0`, or
/// `default=wan0` for all destinations of both families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayOut {
    prefixes: Vec<IpNet>,
    interface: Name,
}

/// Text does not say by which interface packets leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not a way out; expected PREFIX=INTERFACE, such as 10.0.0.0/24=lan0 or default=wan0")]
pub struct RouteError {
    found: String,
}

impl FromStr for WayOut {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let error = || RouteError { found: quoted(text) };
        let (prefix, interface) = text.split_once('=').ok_or_else(error)?;
        if interface.is_empty() || interface.len() > 15 || interface.contains(['/', ' ', '+', '*']) {
            return Err(error());
        }
        let prefixes = match prefix {
            "default" => ["0.0.0.0/0", "::/0"]
                .iter()
                .filter_map(|prefix| prefix.parse().ok())
                .collect(),
            prefix => vec![prefix.parse::<IpNet>().map_err(|_| error())?.trunc()],
        };
        Ok(Self {
            prefixes,
            interface: interface.into(),
        })
    }
}

impl ImportOptions {
    /// The packets that leave by an interface, one region for each family that some do.
    pub(crate) fn leaving_by(&self, interface: &str) -> Result<Vec<Region>, String> {
        self.known_way(interface)?;
        let families = [Family::Ipv4, Family::Ipv6].into_iter();
        let regions = families.filter_map(|family| {
            let spans = self.behind(interface, family);
            (!spans.is_empty()).then(|| Region::with_addresses(Dimension::To, family, spans))
        });
        Ok(regions.collect())
    }

    /// The packets that leave by another interface than this, one region for each family.
    pub(crate) fn not_leaving_by(&self, interface: &str) -> Result<Vec<Region>, String> {
        self.known_way(interface)?;
        let families = [Family::Ipv4, Family::Ipv6].into_iter();
        let regions = families.filter_map(|family| {
            let highest = super::highest_value(Dimension::To, family);
            let spans = self.behind(interface, family).complement(highest);
            (!spans.is_empty()).then(|| Region::with_addresses(Dimension::To, family, spans))
        });
        Ok(regions.collect())
    }

    /// The interface that packets to all the world leave by.
    pub(crate) fn default_interface(&self) -> Option<&Name> {
        let mut ways = self.ways_out.iter();
        let default = ways.find(|way| way.prefixes.iter().any(|prefix| prefix.prefix_len() == 0));
        default.map(|way| &way.interface)
    }

    fn known_way(&self, interface: &str) -> Result<(), String> {
        if self.ways_out.iter().any(|way| *way.interface == *interface) {
            return Ok(());
        }
        Err(format!(
            "rules do not ask by which interface a packet leaves; expected to be told what is behind {}: --route \
             PREFIX={interface}, or --route default={interface}",
            quoted(interface)
        ))
    }

    /// The destinations behind an interface: a longer prefix takes its part from shorter ones.
    fn behind(&self, interface: &str, family: Family) -> Spans {
        let ways = self.ways_out.iter().flat_map(|way| {
            let prefixes = way.prefixes.iter();
            prefixes.map(move |prefix| (prefix, *way.interface == *interface))
        });
        let mut ways: Vec<(&IpNet, bool)> = ways.collect();
        ways.sort_by_key(|(prefix, _)| prefix.prefix_len());
        let mut behind = Spans::default();
        for (prefix, is_behind) in ways {
            let (of, first, last) = numbers(&AddressRange::from(*prefix));
            if of != family {
                continue;
            }
            let part = Spans::range(first, last);
            behind = match is_behind {
                true => Spans::new(behind.iter().chain(part.iter())),
                false => behind.without(&part),
            };
        }
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_prefixes_take_their_part() {
        let ways = [
            "default=wan0",
            "10.0.0.0/8=lan0",
            "10.1.0.0/16=lan1",
            "fd00::/8=lan0",
        ];
        let options = ImportOptions {
            ways_out: ways.iter().map(|way| way.parse().unwrap()).collect(),
            ..ImportOptions::default()
        };
        let lan0 = options.behind("lan0", Family::Ipv4);
        let ranges: Vec<_> = lan0.iter().collect();
        assert_eq!(ranges, [(0x0a00_0000, 0x0a00_ffff), (0x0a02_0000, 0x0aff_ffff)]);
        let wan0 = options.behind("wan0", Family::Ipv4);
        assert_eq!(
            wan0.iter().collect::<Vec<_>>(),
            [(0, 0x09ff_ffff), (0x0b00_0000, u32::MAX.into())]
        );
        assert_eq!(options.leaving_by("lan1").unwrap().len(), 1);
        assert_eq!(options.leaving_by("wan0").unwrap().len(), 2);
        assert_eq!(options.not_leaving_by("lan1").unwrap().len(), 2);
        assert!(
            options
                .leaving_by("ppp0")
                .unwrap_err()
                .contains("--route default=ppp0")
        );
        assert_eq!(options.default_interface().unwrap().as_ref(), "wan0");
    }

    #[test]
    fn ways_are_prefix_and_interface() {
        for wrong in [
            "",
            "lan0",
            "10.0.0.0=lan0",
            "10.0.0.0/33=lan0",
            "default=",
            "default=eth+",
        ] {
            let error = wrong.parse::<WayOut>().unwrap_err().to_string();
            assert!(error.contains("default=wan0"), "{error}");
        }
    }
}
