//! Values of rules as every notation writes them: addresses, ports, protocols, TCP flags and the further fields.
//!
//! What is refused is refused with a text that says what was found and what was expected.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use super::{AddressRange, FieldRange, FlagMatch, PROTOCOLS, PortRange, WrongValue};
use crate::channel::nat::Filtering;
use crate::config::FILTERINGS;
use crate::dispatch::dimensions::{Field, Notation};
use crate::text::{one_of, quoted};

/// `10.0.0.0/24`, `10.0.0.1` or `10.0.0.1-10.0.0.9`; the same of IPv6.
pub(crate) fn addresses(text: &str) -> Result<AddressRange, String> {
    text.parse().map_err(|WrongValue(message)| message)
}

/// The first and the last address.
pub(crate) fn address_ends(range: &AddressRange) -> (IpAddr, IpAddr) {
    match *range {
        AddressRange::V4(first, last) => (first.into(), last.into()),
        AddressRange::V6(first, last) => (first.into(), last.into()),
    }
}

/// As its `Display` does, which is slow for the millions of addresses of a large rule set.
pub(crate) fn write_addresses(range: &AddressRange, out: &mut String) {
    let AddressRange::V4(first, last) = *range else {
        // Writing to a string can't fail.
        let _ = write!(out, "{range}");
        return;
    };
    write_v4(first, out);
    let free = first.to_bits() ^ last.to_bits();
    if free == 0 {
    } else if free & free.wrapping_add(1) == 0 && first.to_bits() & free == 0 {
        out.push('/');
        write_number(free.leading_zeros(), out);
    } else {
        out.push('-');
        write_v4(last, out);
    }
}

fn write_v4(address: Ipv4Addr, out: &mut String) {
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push('.');
        }
        write_number(octet.into(), out);
    }
}

/// Writes a number; millions of them are in a large rule set, for which formatting is slow.
pub(crate) fn write_number(mut number: u32, out: &mut String) {
    let mut digits = [0; 10];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    // They are digits.
    out.push_str(str::from_utf8(&digits[start..]).unwrap_or_default());
}

/// Decimal digits, and nothing else.
pub(crate) fn number(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    let value = text.bytes().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'))
    });
    value.and_then(|value| u32::try_from(value).ok())
}

/// `25` or `6660-6669`.
pub(crate) fn ports(text: &str) -> Result<PortRange, String> {
    text.parse().map_err(|WrongValue(message)| message)
}

/// A port, or the lowest and the highest.
pub(crate) fn write_ports(range: &PortRange, out: &mut String) {
    write_range(range.first.into(), range.last.into(), out);
}

fn write_range(first: u32, last: u32, out: &mut String) {
    write_number(first, out);
    if first != last {
        out.push('-');
        write_number(last, out);
    }
}

/// A protocol by its name.
pub(crate) fn named_protocol(text: &str) -> Option<u8> {
    find(&PROTOCOLS, text)
}

/// A protocol by name or number.
pub(crate) fn protocol(text: &str) -> Result<u8, String> {
    super::parse_protocol(text).map_err(|WrongValue(message)| message)
}

/// Whether a protocol has a name.
pub(crate) fn has_name(protocol: u8) -> bool {
    PROTOCOLS.iter().any(|(_, number)| *number == protocol)
}

/// A protocol by its name, if it has one.
pub(crate) fn write_protocol(protocol: u8, out: &mut String) {
    match PROTOCOLS.iter().find(|(_, number)| *number == protocol) {
        Some((name, _)) => out.push_str(name),
        None => write_number(protocol.into(), out),
    }
}

/// The names of protocols.
pub(crate) fn protocol_names() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|(name, _)| *name)
}

/// `endpoint-independent` and so on.
pub(crate) fn filtering(text: &str) -> Result<Filtering, String> {
    find(&FILTERINGS, text).ok_or_else(|| {
        let expected = one_of(FILTERINGS.iter().map(|(name, _)| *name));
        format!("{} is no way to filter; expected {expected}", quoted(text))
    })
}

/// The name of a way to filter.
pub(crate) fn filtering_name(filtering: Filtering) -> &'static str {
    let found = FILTERINGS.iter().find(|(_, value)| *value == filtering);
    found.map_or("", |(name, _)| *name)
}

fn find<T: Copy>(names: &[(&'static str, T)], text: &str) -> Option<T> {
    let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value)
}

fn names<T>(names: &[(&'static str, T)]) -> String {
    names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What stands for the values of a field.
pub(crate) fn field_expected(field: &Field) -> String {
    match field.notation {
        Notation::Numbers {
            highest,
            names: known,
        } => {
            let mut expected = format!("a number, 0 to {highest}, or a range LOW-HIGH");
            if !known.is_empty() {
                expected.push_str(&format!(", or one of {}", names(known)));
            }
            expected
        }
        Notation::Names(known) => one_of(known.iter().map(|(name, _)| *name)),
        Notation::Interfaces => "the name of an interface".to_owned(),
        Notation::TcpFlags => FLAGS_EXPECTED.to_owned(),
    }
}

/// A number, a name for one, or a range of them, of a field that is neither interfaces nor TCP flags.
pub(crate) fn field_range(text: &str, field: &Field) -> Result<FieldRange, String> {
    let value = |text: &str| match field.notation {
        Notation::Numbers { highest, names } => {
            let number = || number(text).filter(|number| *number <= highest);
            find(names, text).or_else(number)
        }
        Notation::Names(names) => find(names, text),
        Notation::Interfaces | Notation::TcpFlags => None,
    };
    let ends = match text.split_once('-') {
        None => value(text).map(|value| (value, value)),
        Some((first, last)) => value(first).zip(value(last)),
    };
    match ends {
        None => Err(format!(
            "found {}; expected {}",
            quoted(text),
            field_expected(field)
        )),
        Some((first, last)) if first > last => {
            let (first_text, last_text) = text.split_once('-').unwrap_or((text, text));
            Err(format!(
                "{} runs backwards; expected {last_text}-{first_text}",
                quoted(text)
            ))
        }
        Some((first, last)) => Ok(FieldRange { first, last }),
    }
}

/// A single value by its name, if it has one, else by numbers.
pub(crate) fn write_field_range(range: &FieldRange, field: &Field, out: &mut String) {
    let (names, has_numbers): (&[_], _) = match field.notation {
        Notation::Numbers { names, .. } => (names, true),
        Notation::Names(names) => (names, false),
        Notation::Interfaces | Notation::TcpFlags => (&[], true),
    };
    let name = |value| {
        let found = names.iter().find(|(_, known)| *known == value);
        found.map(|(name, _)| *name)
    };
    match (name(range.first), name(range.last)) {
        (Some(only), _) if range.first == range.last => out.push_str(only),
        (Some(first), Some(last)) if !has_numbers => {
            out.push_str(first);
            out.push('-');
            out.push_str(last);
        }
        _ => write_range(range.first, range.last, out),
    }
}

pub(crate) const FLAGS_EXPECTED: &str = "TCP flags, as in syn/syn,ack";

/// `SET/MASK`: of the flags in MASK those in SET are set, and the others are not. `SET` alone is `SET/SET`.
pub(crate) fn flag_match(text: &str) -> Result<FlagMatch, String> {
    text.parse().map_err(|WrongValue(message)| message)
}
