//! The kinds of values that the file holds: addresses, protocols, times.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::section::{as_integer, describe};
use crate::rules::{self, ADDRESSES_EXPECTED, AddressRange, PREFIX_EXPECTED, WrongValue};
use crate::text::quoted;

pub(super) const DURATION_EXPECTED: &str = "seconds, or text with units, such as \"90s\", \"5m\" or \"2h4m\"";

/// A prefix, an address, or a range of addresses, in text.
pub(super) fn addresses(value: &DeValue<'_>) -> Result<AddressRange, String> {
    let DeValue::String(text) = value else {
        let found = describe(value);
        return Err(format!(
            "{found} is not an address; expected {ADDRESSES_EXPECTED}"
        ));
    };
    text.parse().map_err(|wrong: WrongValue| wrong.0)
}

/// An address of either family, in text.
pub(super) fn address(value: &DeValue<'_>) -> Result<IpAddr, String> {
    let wrong = || {
        format!(
            "{} is not an address; expected one such as \"192.0.2.1\"",
            describe(value)
        )
    };
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)
}

/// Refuses an IPv4 address that packets can't be sent from.
pub(super) fn check_unicast(address: Ipv4Addr) -> Result<(), &'static str> {
    let first = address.octets()[0];
    if first == 0 || address.is_loopback() || first >= 224 {
        return Err("can not be the source of a packet");
    }
    Ok(())
}

/// A prefix without host bits.
pub(super) fn prefix(value: &DeValue<'_>) -> Result<IpNet, String> {
    rules::prefix(prefix_text(value, PREFIX_EXPECTED)?)
}

/// An address with the length of its prefix.
pub(super) fn interface_address(value: &DeValue<'_>, expected: &str) -> Result<IpNet, String> {
    rules::interface_address(prefix_text(value, expected)?, expected)
}

fn prefix_text<'v>(value: &'v DeValue<'_>, expected: &str) -> Result<&'v str, String> {
    let text = value.as_str();
    text.ok_or_else(|| format!("{} is not a prefix; expected {expected}", describe(value)))
}

/// A protocol by name or number.
pub(super) fn protocol(value: &DeValue<'_>) -> Result<u8, String> {
    let number = as_integer(value).and_then(|number| u8::try_from(number).ok());
    match (value, number) {
        (DeValue::String(text), _) => rules::parse_protocol(text).map_err(|wrong| wrong.0),
        (_, Some(number)) => Ok(number),
        (_, None) => {
            let found = describe(value);
            Err(format!(
                "{found} is not a protocol; expected a name or a number, 0 to 255"
            ))
        }
    }
}

/// A time in whole seconds: a number, or text with the units d, h, m and s in this order.
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    let wrong = || format!("{} is not a time; expected {DURATION_EXPECTED}", describe(value));
    let seconds = match value {
        DeValue::String(text) => seconds_in(text),
        _ => as_integer(value).and_then(|number| u64::try_from(number).ok()),
    };
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

/// A time in whole seconds as the configuration has them: `90s`, `5m`, `2h4m`, `1d`, or a number of seconds.
///
/// # Errors
/// A text that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if digits {
        text.parse().ok()
    } else {
        seconds_in(text)
    };
    let wrong = || format!("{} is not a time; expected {DURATION_EXPECTED}", quoted(text));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

fn seconds_in(text: &str) -> Option<u64> {
    let mut units = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)].into_iter();
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest[..end].parse().ok()?;
        let unit = rest[end..].chars().next()?;
        let (_, seconds) = units.find(|(letter, _)| *letter == unit)?;
        total = total.checked_add(amount.checked_mul(seconds)?)?;
        rest = rest[end + unit.len_utf8()..].trim_start();
    }
    Some(total)
}

/// A short time: text with a number and one of the units us and ms.
pub(super) fn short_duration(value: &DeValue<'_>) -> Option<Duration> {
    let text = value.as_str()?;
    let (amount, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let amount = amount.parse().ok()?;
    match unit.trim_start() {
        "us" => Some(Duration::from_micros(amount)),
        "ms" => Some(Duration::from_millis(amount)),
        _ => None,
    }
}

/// A time as the file would say it.
pub(super) fn in_units(time: Duration) -> String {
    let mut rest = time.as_secs();
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= seconds {
            text.push_str(&format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A unicast Ethernet address, in text.
pub(super) fn mac(value: &DeValue<'_>) -> Result<[u8; 6], String> {
    let found = describe(value);
    let parse = |text: &str| {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next()?;
            let hex = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            *octet = hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()?;
        }
        parts.next().is_none().then_some(octets)
    };
    let octets = value.as_str().and_then(parse).ok_or_else(|| {
        format!("{found} is not an Ethernet address; expected one such as \"02:00:00:00:00:01\"")
    })?;
    if octets[0] & 1 == 1 || octets == [0; 6] {
        return Err(format!(
            "{found} is not a unicast Ethernet address, which an interface must have"
        ));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> DeValue<'_> {
        DeValue::String(text.into())
    }

    #[test]
    fn addresses_are_prefixes_addresses_or_ranges() {
        let range = |a: &str| addresses(&text(a)).map(|range| range.to_string());
        assert_eq!(range("10.0.0.0/24").unwrap(), "10.0.0.0/24");
        assert_eq!(range("10.0.0.7").unwrap(), "10.0.0.7");
        assert_eq!(range("10.0.0.7-10.0.1.9").unwrap(), "10.0.0.7-10.0.1.9");
        assert_eq!(range("2001:db8::/127").unwrap(), "2001:db8::/127");
        assert!(
            range("10.0.0.9-10.0.0.1")
                .unwrap_err()
                .contains("expected \"10.0.0.1-10.0.0.9\"")
        );
        assert!(
            range("10.0.0.9-2001:db8::")
                .unwrap_err()
                .contains("mixes IPv4 and IPv6")
        );
        assert!(range("localhost").unwrap_err().contains("is not an address"));
        assert!(range("10.0.0.0/33").unwrap_err().contains("which is not 0 to 32"));
    }

    #[test]
    fn host_bits_are_refused_with_what_was_meant() {
        assert_eq!(
            prefix(&text("10.0.0.1/24")).unwrap_err(),
            "\"10.0.0.1/24\" has host bits set; expected the prefix \"10.0.0.0/24\", or \"10.0.0.1/32\" for the \
             one address"
        );
        assert!(
            prefix(&text("10.0.0.0"))
                .unwrap_err()
                .contains("expected for example \"10.0.0.0/32\"")
        );
    }

    #[test]
    fn times_have_units() {
        for (given, seconds) in [
            ("2h4m", 7440),
            ("5m", 300),
            ("60s", 60),
            ("1d 1s", 86_401),
            ("0s", 0),
        ] {
            assert_eq!(
                duration(&text(given)),
                Ok(Duration::from_secs(seconds)),
                "{given}"
            );
        }
        for wrong in [
            "",
            "5",
            "4m2h",
            "5m5m",
            "m",
            "1w",
            "99999999999999999d",
            "5 minutes",
            "-5s",
        ] {
            assert!(duration(&text(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(in_units(Duration::from_secs(7440)), "2h4m");
        assert_eq!(in_units(Duration::ZERO), "0s");
    }

    #[test]
    fn ethernet_addresses_are_unicast() {
        assert_eq!(mac(&text("02:00:00:00:00:0a")), Ok([2, 0, 0, 0, 0, 10]));
        for wrong in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:0a:0b",
            "01:00:5e:00:00:01",
            "2:0:0:0:0:1",
        ] {
            assert!(mac(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn protocols_have_names_and_numbers() {
        assert_eq!(protocol(&text("TCP")), Ok(6));
        assert_eq!(protocol(&text("89")), Ok(89));
        assert!(protocol(&text("tpc")).is_err());
        assert!(protocol(&text("256")).is_err());
    }
}
