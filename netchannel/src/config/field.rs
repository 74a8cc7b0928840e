//! The fields that a rule may ask for besides addresses, protocol and ports: what a file says of them, as values of the
//! classifier's dimensions.

use toml::Spanned;
use toml::de::DeValue;

use super::error::Source;
use super::interface::{Interface, KnownInterfaces};
use super::section::{Section, as_integer, describe, one_of, quoted};
use super::value::PROTOCOLS;
use crate::dispatch::dimensions::{FIELDS, Field, LATER, Notation, dimension};
use crate::dispatch::{TCP_FLAGS, tcp_flags_ranges};

/// Values of a field as they stand in a classifier's key, `first` to `last`, both included; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldRange {
    /// The lowest value.
    pub first: u32,
    /// The highest value.
    pub last: u32,
}

/// For each of [`FIELDS`] the values that a rule takes; none for any.
pub type RuleFields = [Vec<FieldRange>; FIELDS.len()];

/// Reads all fields of a rule and checks that its protocols have them.
pub(super) fn read(
    table: &Section<'_, '_>,
    protocols: &Option<Vec<Spanned<u8>>>,
    interfaces: (&[Interface], &KnownInterfaces),
    source: &mut Source<'_>,
) -> RuleFields {
    let mut has_transport_field = None;
    for field in FIELDS.iter().filter(|field| !field.protocols.is_empty()) {
        if let Some(span) = table.key_span(field.key) {
            check_protocols(field, &span, protocols, source);
            has_transport_field = Some(field.key);
        }
    }
    std::array::from_fn(|index| {
        let field = &FIELDS[index];
        let Some(ranges) = ranges(table, field, interfaces, source) else {
            return Vec::new();
        };
        if dimension::FIVE_TUPLE + index == dimension::FRAGMENT
            && let Some(key) = has_transport_field
            && let Some(later) = ranges.iter().find(|range| range.get_ref().last == LATER)
        {
            let message = format!("later fragments have no `{key}`; expected \"whole\" or \"first\"");
            source.error(&later.span(), field.key, message);
        }
        ranges.into_iter().map(Spanned::into_inner).collect()
    })
}

/// A field of a transport header means something only in protocols that have it.
fn check_protocols(
    field: &Field,
    span: &std::ops::Range<usize>,
    protocols: &Option<Vec<Spanned<u8>>>,
    source: &mut Source<'_>,
) {
    let names = PROTOCOLS
        .iter()
        .filter(|(_, number)| field.protocols.contains(number));
    let expected = one_of(names.map(|(name, _)| *name));
    let Some(protocols) = protocols else {
        let message = format!("needs a protocol; expected also protocol = {expected}");
        source.error(span, field.key, message);
        return;
    };
    for protocol in protocols {
        if !field.protocols.contains(protocol.get_ref()) {
            let message = format!(
                "protocol {} has no `{}`, which is given; expected protocol = {expected}",
                protocol.get_ref(),
                field.key
            );
            source.error(&protocol.span(), "protocol", message);
        }
    }
}

/// The values of one field. `None` if the rule takes any.
fn ranges(
    table: &Section<'_, '_>,
    field: &Field,
    (interfaces, known): (&[Interface], &KnownInterfaces),
    source: &mut Source<'_>,
) -> Option<Vec<Spanned<FieldRange>>> {
    let exact = |value| FieldRange {
        first: value,
        last: value,
    };
    let ranges = match field.notation {
        Notation::Numbers { highest, names } => {
            let expected = numbers_expected(highest, names);
            table.list(field.key, &expected, source, |value| {
                numbers(value, highest, names, &expected)
            })
        }
        Notation::Names(names) => {
            let expected = one_of(names.iter().map(|(name, _)| *name));
            table.list(field.key, &expected, source, |value| {
                let found = value.as_str().and_then(|text| named(text, names)).map(exact);
                found.ok_or_else(|| wrong(value, &expected))
            })
        }
        Notation::Interfaces => {
            let expected = "the name of an [[interface]] of this file";
            table.list(field.key, expected, source, |value| {
                let number = value.as_str().and_then(|name| {
                    let number = interfaces.iter().position(|interface| interface.name == name);
                    // One that is there but wrong is reported in its own place.
                    number.or_else(|| known.contains_key(name).then_some(usize::MAX))
                });
                let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
                names.sort_unstable();
                number.map(|number| exact(number as u32)).ok_or_else(|| {
                    let expected = one_of(names.iter().take(20));
                    format!(
                        "{} is not an [[interface]] of this file; expected {expected}",
                        describe(value)
                    )
                })
            })
        }
        Notation::TcpFlags => return all_tcp_flags(table, field.key, source),
    }?;
    let mut sorted: Vec<&Spanned<FieldRange>> = ranges.iter().collect();
    sorted.sort_by_key(|range| (*range.get_ref(), range.span().start));
    for pair in sorted.windows(2) {
        if pair[1].get_ref().first <= pair[0].get_ref().last {
            let message = "overlaps another value of the list; expected each value once";
            source.error(&pair[1].span(), field.key, message);
        }
    }
    Some(ranges)
}

fn wrong(value: &DeValue<'_>, expected: &str) -> String {
    format!("found {}; expected {expected}", describe(value))
}

fn named(text: &str, names: &[(&str, u32)]) -> Option<u32> {
    let lower = text.trim().to_ascii_lowercase();
    let found = names.iter().find(|(name, _)| *name == lower);
    found.map(|(_, value)| *value)
}

fn numbers_expected(highest: u32, names: &[(&str, u32)]) -> String {
    let mut expected = format!("a number, 0 to {highest}, or a range \"LOW-HIGH\"");
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        expected.push_str(&format!(", or one of {}", names.join(", ")));
    }
    expected
}

/// A number, a name for one, or a range of them.
fn numbers(
    value: &DeValue<'_>,
    highest: u32,
    names: &[(&str, u32)],
    expected: &str,
) -> Result<FieldRange, String> {
    let number = |text: &str| {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        named(text, names).or(number).filter(|number| *number <= highest)
    };
    let ends = match value {
        DeValue::String(text) => match text.split_once('-') {
            None => number(text).map(|number| (number, number)),
            Some((first, last)) => number(first).zip(number(last)),
        },
        _ => as_integer(value)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number <= highest)
            .map(|number| (number, number)),
    };
    let (first, last) = ends.ok_or_else(|| wrong(value, expected))?;
    if first > last {
        return Err(format!(
            "{} runs backwards; expected \"{last}-{first}\"",
            describe(value)
        ));
    }
    Ok(FieldRange { first, last })
}

const FLAGS_EXPECTED: &str = "TCP flags, as in \"syn/syn,ack\"";

/// What at least one entry of the list takes, as ranges of values that do not overlap.
fn all_tcp_flags(
    table: &Section<'_, '_>,
    key: &str,
    source: &mut Source<'_>,
) -> Option<Vec<Spanned<FieldRange>>> {
    let entries = table.list(key, FLAGS_EXPECTED, source, tcp_flags)?;
    let span = table.value(key)?.span();
    let wanted = |flags: u8| {
        let mut entries = entries.iter().map(Spanned::get_ref);
        entries.any(|(set, mask)| flags & mask == *set)
    };
    let ranges = tcp_flags_ranges(wanted).into_iter();
    let ranges = ranges.map(|range| FieldRange {
        first: (*range.start()).into(),
        last: (*range.end()).into(),
    });
    Some(ranges.map(|range| Spanned::new(span.clone(), range)).collect())
}

/// `SET/MASK`: of the flags in MASK those in SET are set, and the others are not. `SET` alone is `SET/SET`.
fn tcp_flags(value: &DeValue<'_>) -> Result<(u8, u8), String> {
    let text = value.as_str().ok_or_else(|| wrong(value, FLAGS_EXPECTED))?;
    let lower = text.to_ascii_lowercase();
    let (set, mask) = lower.split_once('/').unwrap_or((&lower, &lower));
    let set = match set.trim() {
        "none" if lower.contains('/') => 0,
        set => flags(set)?,
    };
    let mask = match mask.trim() {
        "all" => u8::MAX,
        mask => flags(mask)?,
    };
    if set & !mask != 0 {
        return Err(format!(
            "{} wants flags set that are not behind the slash; expected all of them there, as in \"syn/syn,ack\"",
            quoted(text)
        ));
    }
    Ok((set, mask))
}

/// Names of flags, one at least.
fn flags(text: &str) -> Result<u8, String> {
    let mut flags = 0;
    for word in text.split(',').map(str::trim) {
        let Some((_, bit)) = TCP_FLAGS.iter().find(|(name, _)| *name == word) else {
            let names: Vec<&str> = TCP_FLAGS.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "{} is not a TCP flag; expected some of {}, as in \"syn/syn,ack\", or \"none\" before the slash or \
                 \"all\" behind it",
                quoted(word),
                names.join(", ")
            ));
        };
        flags |= bit;
    }
    Ok(flags)
}
