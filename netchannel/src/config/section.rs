//! Reading one table of the file: known keys, kinds of values, and what to say when they are wrong.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Source;
use super::schema::{Schema, unknown_key};
use crate::text::{nearest, one_of, quoted};

/// A value and its place in the file.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// One table, its keys checked against its schema.
pub(super) struct Section<'a, 'i> {
    table: &'a DeTable<'i>,
    /// The table's header, where a missing key is reported.
    pub(super) span: Range<usize>,
    schema: &'static Schema,
}

impl<'a, 'i> Section<'a, 'i> {
    /// Takes a table and reports its unknown keys.
    pub(super) fn open(
        table: &'a DeTable<'i>,
        span: Range<usize>,
        schema: &'static Schema,
        source: &mut Source<'_>,
    ) -> Self {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if !schema.keys.contains(&name) {
                source.error(&key.span(), "", unknown_key(name, schema));
            }
        }
        Section { table, span, schema }
    }

    /// Whether tables of this kind may hold the key at all.
    pub(super) fn may_have(&self, key: &str) -> bool {
        self.schema.keys.contains(&key)
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Value<'i>> {
        debug_assert!(self.schema.keys.contains(&key), "{key} is not in the schema");
        self.table.get(key)
    }

    /// The place of a key's name.
    pub(super) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }

    /// Reports that `key` is missing. `expected` says what it should hold.
    pub(super) fn missing(&self, key: &str, expected: &str, source: &mut Source<'_>) {
        let message = format!("missing in {}; expected {expected}", self.schema.header);
        source.error(&self.span, key, message);
    }

    /// The table under `key`; anything else is reported. `None` if the key is absent.
    pub(super) fn table(
        &self,
        key: &'static str,
        schema: &'static Schema,
        source: &mut Source<'_>,
    ) -> Option<Section<'a, 'i>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                let span = if value.span().is_empty() {
                    self.key_span(key)?
                } else {
                    value.span()
                };
                Some(Section::open(table, span, schema, source))
            }
            other => {
                let found = describe(other);
                source.error(
                    &value.span(),
                    key,
                    format!("{found} is not a table; expected {}", schema.header),
                );
                None
            }
        }
    }

    /// The tables under `key`, which are written as an array of tables.
    pub(super) fn tables(
        &self,
        key: &'static str,
        schema: &'static Schema,
        source: &mut Source<'_>,
    ) -> Vec<Section<'a, 'i>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            let found = describe(value.get_ref());
            let message = format!(
                "{found} stands where there can be several; expected {}",
                schema.header
            );
            let span = self
                .key_span(key)
                .filter(|_| value.span().is_empty())
                .unwrap_or(value.span());
            source.error(&span, key, message);
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Section::open(table, item.span(), schema, source));
                }
                other => {
                    let found = describe(other);
                    let message = format!("{found} is not a table; expected {}", schema.header);
                    source.error(&item.span(), key, message);
                }
            }
        }
        sections
    }

    /// The text under `key`; anything else is reported.
    pub(super) fn string(
        &self,
        key: &str,
        expected: &str,
        source: &mut Source<'_>,
    ) -> Option<Spanned<&'a str>> {
        let value = self.value(key)?;
        let text = as_string(value);
        if text.is_none() {
            refuse(value, key, expected, source);
        }
        text
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
        source: &mut Source<'_>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let found = match value.get_ref() {
            DeValue::String(text) => choices.iter().find(|(word, _)| *word == text.as_ref()),
            _ => None,
        };
        if found.is_none() {
            let words = || choices.iter().map(|(word, _)| *word);
            let mut expected = one_of(words());
            if let DeValue::String(text) = value.get_ref()
                && let Some(near) = nearest(text, words())
            {
                expected.push_str(&format!(" (did you mean \"{near}\"?)"));
            }
            refuse(value, key, &expected, source);
        }
        found.map(|(_, choice)| *choice)
    }

    /// A truth value, `default` if absent.
    pub(super) fn boolean(&self, key: &str, default: bool, source: &mut Source<'_>) -> bool {
        match self.value(key).map(|value| (value, value.get_ref())) {
            None => default,
            Some((_, DeValue::Boolean(value))) => *value,
            Some((value, _)) => {
                refuse(value, key, "true or false", source);
                default
            }
        }
    }

    /// A whole number within limits, `default` if absent.
    pub(super) fn number(
        &self,
        key: &str,
        default: u32,
        limits: RangeInclusive<u32>,
        source: &mut Source<'_>,
    ) -> u32 {
        let Some(value) = self.value(key) else {
            return default;
        };
        match as_integer(value.get_ref()).and_then(|number| u32::try_from(number).ok()) {
            Some(number) if limits.contains(&number) => number,
            _ => {
                let expected = format!("a whole number from {} to {}", limits.start(), limits.end());
                refuse(value, key, &expected, source);
                default
            }
        }
    }

    /// A power of two within limits, `default` if absent.
    pub(super) fn power_of_two(
        &self,
        key: &str,
        default: u32,
        limits: RangeInclusive<u32>,
        source: &mut Source<'_>,
    ) -> u32 {
        let Some(value) = self.value(key) else {
            return default;
        };
        let number = as_integer(value.get_ref());
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) if limits.contains(&number) && number.is_power_of_two() => number,
            number => {
                let mut expected = format!("a power of two from {} to {}", limits.start(), limits.end());
                let near = number
                    .filter(|number| limits.contains(number))
                    .map(u32::next_power_of_two);
                if let Some(near) = near {
                    expected.push_str(&format!(" (the next one is {near})"));
                }
                refuse(value, key, &expected, source);
                default
            }
        }
    }

    /// One value, or the values of a list, each taken by `take`; what it refuses is reported. An empty list is
    /// refused. `None` if the key is absent.
    pub(super) fn list<T>(
        &self,
        key: &str,
        expected: &str,
        source: &mut Source<'_>,
        mut take: impl FnMut(&DeValue<'i>) -> Result<T, String>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.value(key)?;
        let items: &[Value<'i>] = match value.get_ref() {
            DeValue::Array(items) if items.is_empty() => {
                let message = format!("the list is empty; expected {expected}, or leave the key out");
                source.error(&value.span(), key, message);
                return Some(Vec::new());
            }
            DeValue::Array(items) => items,
            _ => std::slice::from_ref(value),
        };
        let mut taken = Vec::with_capacity(items.len());
        for item in items {
            match take(item.get_ref()) {
                Ok(value) => taken.push(Spanned::new(item.span(), value)),
                Err(message) => source.error(&item.span(), key, message),
            }
        }
        Some(taken)
    }
}

/// Reports a value that is not what its key holds.
pub(super) fn refuse(value: &Value<'_>, key: &str, expected: &str, source: &mut Source<'_>) {
    let found = describe(value.get_ref());
    source.error(&value.span(), key, format!("found {found}; expected {expected}"));
}

pub(super) fn as_string<'a>(value: &'a Value<'_>) -> Option<Spanned<&'a str>> {
    value
        .get_ref()
        .as_str()
        .map(|text| Spanned::new(value.span(), text))
}

pub(super) fn as_integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A value as an error names it.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
