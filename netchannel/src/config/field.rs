//! The fields that a rule may ask for besides addresses, protocol and ports: what a file says of them, as values of the
//! classifier's dimensions.

use toml::Spanned;
use toml::de::DeValue;

use super::error::Source;
use super::section::{Section, as_integer, describe};
use crate::dispatch::dimensions::{Field, Notation};
use crate::rules::{FieldRange, FlagMatch, Name};
use crate::text::one_of;

/// The values of one field of numbers or names. `None` if the rule takes any.
pub(super) fn ranges(
    table: &Section<'_, '_>,
    field: &Field,
    source: &mut Source<'_>,
) -> Option<Vec<Spanned<FieldRange>>> {
    match field.notation {
        Notation::Numbers { highest, names } => {
            let expected = numbers_expected(highest, names);
            table.list(field.key, &expected, source, |value| {
                numbers(value, highest, names, &expected)
            })
        }
        Notation::Names(names) => {
            let expected = one_of(names.iter().map(|(name, _)| *name));
            table.list(field.key, &expected, source, |value| {
                let found = value.as_str().and_then(|text| named(text, names));
                found
                    .map(FieldRange::exact)
                    .ok_or_else(|| wrong(value, &expected))
            })
        }
        Notation::Interfaces | Notation::TcpFlags => None,
    }
}

/// The name of an interface.
pub(super) fn interface(value: &DeValue<'_>) -> Result<Name, String> {
    let name = value.as_str().map(Name::from);
    name.ok_or_else(|| wrong(value, "the name of an [[interface]]"))
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

pub(super) const FLAGS_EXPECTED: &str = "TCP flags, as in \"syn/syn,ack\"";

/// TCP flags that must be set, of those that are looked at.
pub(super) fn tcp_flags(value: &DeValue<'_>) -> Result<FlagMatch, String> {
    let text = value.as_str().ok_or_else(|| wrong(value, FLAGS_EXPECTED))?;
    text.parse().map_err(|wrong: crate::rules::WrongValue| wrong.0)
}
