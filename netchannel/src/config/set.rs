//! `[[set]]` and `[rules]`: named sets, and rules in files of their own.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::error::Source;
use super::ports::one_port_range;
use super::schema;
use super::section::{Section, Value, refuse};
use super::value;
use crate::rules::{
    self, ADDRESSES_EXPECTED, MAX_SET_VALUES, NamedSet, PORTS_EXPECTED, Reader, Set, matching, overlap,
};
use crate::text::quoted;

/// Reads all sets into `reader`.
pub(super) fn read(file: &Section<'_, '_>, reader: &mut Reader, source: &mut Source<'_>) {
    for table in &file.tables("set", &schema::SET, source) {
        if table.value("name").is_none() {
            table.missing("name", "the name by which rules name the set", source);
        }
        let name = table.string("name", "the name of the set", source);
        let addresses = table.list("addresses", ADDRESSES_EXPECTED, source, value::addresses);
        let ports = table.list("ports", PORTS_EXPECTED, source, one_port_range);
        let Some(name) = name else { continue };
        let text = *name.get_ref();
        if let Err(message) = reader.check_set_name(text) {
            source.error(&name.span(), "name", message);
            continue;
        }
        let shared = reader.name(text);
        let set = match (addresses, ports) {
            (Some(values), None) => {
                let values = checked("addresses", &values, rules::address_ends, source);
                Set::Addresses(Arc::new(NamedSet { name: shared, values }))
            }
            (None, Some(values)) => {
                let values = checked("ports", &values, |range| (range.first, range.last), source);
                Set::Ports(Arc::new(NamedSet { name: shared, values }))
            }
            _ => {
                let message = "has both or none of them; expected `addresses` or `ports`";
                source.error(&table.span, "", message);
                continue;
            }
        };
        let warning = format!("no rule names the set {}", quoted(text));
        let unused = source.problem(&name.span(), "name", warning);
        reader.add_set(text, set, unused);
    }
}

/// Values of a set are not too many, and none is in another one.
fn checked<T: Copy + ToString, E: Ord + Copy>(
    key: &str,
    values: &[Spanned<T>],
    ends: impl Fn(&T) -> (E, E),
    source: &mut Source<'_>,
) -> Vec<T> {
    if let Some(first) = values.get(MAX_SET_VALUES) {
        let message = format!("the set has more than {MAX_SET_VALUES} values; expected fewer");
        source.error(&first.span(), key, message);
    } else if let Some((first, second)) = overlap(values, |value| ends(value.get_ref())) {
        let message = format!(
            "\"{}\" overlaps \"{}\"; expected each value once",
            values[second].get_ref().to_string(),
            values[first].get_ref().to_string()
        );
        source.error(&values[second].span(), key, message);
    }
    values.iter().map(|value| *value.get_ref()).collect()
}

/// Reads the files that `[rules]` names into `reader`.
pub(super) fn read_files(file: &Section<'_, '_>, reader: &mut Reader, source: &mut Source<'_>) {
    const EXPECTED: &str = "a file or a pattern such as \"rules.d/*.rules\", or a list";
    let Some(table) = file.table("rules", &schema::RULES, source) else {
        return;
    };
    let Some(value) = table.value("files") else { return };
    let items: &[Value<'_>] = match value.get_ref() {
        DeValue::Array(items) => items,
        _ => std::slice::from_ref(value),
    };
    for item in items {
        let DeValue::String(pattern) = item.get_ref() else {
            refuse(item, "files", EXPECTED, source);
            continue;
        };
        let from = source.file_at(item.span().start);
        let directory = from.parent().unwrap_or(Path::new(""));
        let found = match matching(directory, pattern) {
            Ok(found) => found,
            Err(message) => {
                source.error(&item.span(), "files", message);
                continue;
            }
        };
        for path in found {
            if let Err(message) = rules::read_into(&path, reader) {
                source.error(&item.span(), "files", format!("{} {message}", path.display()));
            }
        }
    }
}
