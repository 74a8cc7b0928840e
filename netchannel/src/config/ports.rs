//! Ports and ranges of ports.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

use super::error::Source;
use super::section::{Section, as_integer, describe};

pub(super) const PORTS_EXPECTED: &str = "\"LOW-HIGH\" or a port, 0 to 65535";

/// TCP or UDP ports, or ICMP identifiers, `first` to `last`, both included; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ANY: PortRange = PortRange {
        first: 0,
        last: u16::MAX,
    };

    /// How many ports, 1 to 65536.
    pub fn count(&self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Whether a port is in the range.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether two ranges share a port.
    pub fn overlaps(&self, other: &PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A port, or a range of ports in text.
pub(super) fn one_port_range(value: &DeValue<'_>) -> Result<PortRange, String> {
    let wrong = || {
        format!(
            "{} is not a port range; expected {PORTS_EXPECTED}",
            describe(value)
        )
    };
    let port = |text: &str| {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let range = match value {
        DeValue::String(text) => match text.split_once('-') {
            None => port(text).map(|port| PortRange {
                first: port,
                last: port,
            }),
            Some((first, last)) => match (port(first), port(last)) {
                (Some(first), Some(last)) => Some(PortRange { first, last }),
                _ => None,
            },
        },
        _ => as_integer(value)
            .and_then(|number| u16::try_from(number).ok())
            .map(|port| PortRange {
                first: port,
                last: port,
            }),
    };
    let range = range.ok_or_else(wrong)?;
    if range.first > range.last {
        let PortRange { first, last } = range;
        return Err(format!(
            "{} runs backwards; expected \"{last}-{first}\"",
            describe(value)
        ));
    }
    Ok(range)
}

/// Ports of a key, none of them twice.
pub(super) fn port_list(
    table: &Section<'_, '_>,
    key: &str,
    source: &mut Source<'_>,
) -> Option<Vec<Spanned<PortRange>>> {
    let ports = table.list(key, PORTS_EXPECTED, source, one_port_range)?;
    let mut sorted: Vec<&Spanned<PortRange>> = ports.iter().collect();
    sorted.sort_by_key(|range| (*range.get_ref(), range.span().start));
    for pair in sorted.windows(2) {
        if let [before, after] = pair
            && before.get_ref().overlaps(after.get_ref())
        {
            let message = format!(
                "\"{}\" overlaps \"{}\"; expected each port once",
                after.get_ref(),
                before.get_ref()
            );
            source.error(&after.span(), key, message);
        }
    }
    Some(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PortRange, String> {
        one_port_range(&DeValue::String(text.into()))
    }

    #[test]
    fn ports_are_single_or_ranges() {
        assert_eq!(parse("80"), Ok(PortRange { first: 80, last: 80 }));
        assert_eq!(
            parse("1000 - 2000"),
            Ok(PortRange {
                first: 1000,
                last: 2000
            })
        );
        assert_eq!(parse("0-65535"), Ok(PortRange::ANY));
        for wrong in ["", "-", "70000", "1-", "-1", "+1", "1-2-3", "http", "\u{663}"] {
            let message = parse(wrong).unwrap_err();
            assert!(
                message.ends_with("expected \"LOW-HIGH\" or a port, 0 to 65535"),
                "{message}"
            );
        }
        assert_eq!(
            parse("9-1"),
            Err("\"9-1\" runs backwards; expected \"1-9\"".to_owned())
        );
    }
}
