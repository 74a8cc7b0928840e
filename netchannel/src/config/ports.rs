//! Ports and ranges of ports.

use toml::Spanned;
use toml::de::DeValue;

use super::error::Source;
use super::section::{Section, as_integer, describe};
use crate::rules::{PORTS_EXPECTED, PortRange, WrongValue};

/// A port, or a range of ports in text.
pub(super) fn one_port_range(value: &DeValue<'_>) -> Result<PortRange, String> {
    if let DeValue::String(text) = value {
        return text.parse().map_err(|wrong: WrongValue| wrong.0);
    }
    let port = as_integer(value).and_then(|number| u16::try_from(number).ok());
    let port = port.ok_or_else(|| {
        format!(
            "{} is not a port range; expected {PORTS_EXPECTED}",
            describe(value)
        )
    })?;
    Ok(PortRange {
        first: port,
        last: port,
    })
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
