//! What the sample configuration says of each key.

use std::collections::HashMap;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

const SAMPLE: &str = include_str!("../../../../docs/netchannel.toml");

/// The sample, by table and key.
pub(super) struct Sample {
    tables: HashMap<String, String>,
    keys: HashMap<(String, String), Entry>,
}

/// What is said of a key where it stands first.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) description: String,
    pub(super) default: Option<Value>,
}

impl Sample {
    /// Reads the sample line by line: a comment in front of a table's header is about the table, one behind a key and on the lines after it
    /// about the key. A key that is commented out has its default value.
    pub(super) fn read() -> Self {
        let mut sample = Self {
            tables: HashMap::new(),
            keys: HashMap::new(),
        };
        let mut table = String::new();
        let mut comment = Vec::new();
        let mut last: Option<(String, String)> = None;
        for line in SAMPLE.lines() {
            let continued = line
                .starts_with(' ')
                .then(|| line.trim_start().strip_prefix('#'))
                .flatten();
            if let Some(text) = continued {
                if let Some(entry) = last.as_ref().and_then(|key| sample.keys.get_mut(key)) {
                    entry.description.push(' ');
                    entry.description.push_str(text.trim());
                }
                continue;
            }
            last = None;
            if let Some(text) = line.strip_prefix("# ").filter(|text| !text.starts_with("---")) {
                comment.push(text.trim());
            } else if line.starts_with('[') {
                line.trim_matches(['[', ']']).clone_into(&mut table);
                if !comment.is_empty() {
                    sample
                        .tables
                        .entry(table.clone())
                        .or_insert_with(|| comment.join(" "));
                }
                comment.clear();
            } else if let Some((key, entry)) = key(line) {
                let place = (table.clone(), key);
                if !sample.keys.contains_key(&place) {
                    let mut entry = entry;
                    if entry.description.is_empty() {
                        // A comment of its own in front of it.
                        entry.description = comment.join(" ");
                    }
                    sample.keys.insert(place.clone(), entry);
                    last = Some(place);
                }
                comment.clear();
            } else {
                comment.clear();
            }
        }
        for entry in sample.keys.values_mut() {
            entry.description = entry.description.trim().to_owned();
        }
        sample
    }

    pub(super) fn table(&self, table: &str) -> Option<&str> {
        self.tables.get(table).map(String::as_str)
    }

    pub(super) fn key(&self, table: &str, key: &str) -> Option<&Entry> {
        self.keys.get(&(table.to_owned(), key.to_owned()))
    }
}

/// `key = value   # description`, with a `#` in front if it is the default.
fn key(line: &str) -> Option<(String, Entry)> {
    let is_default = line.starts_with('#');
    let text = line.strip_prefix('#').unwrap_or(line);
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let (name, value) = table.get_ref().iter().next().filter(|_| errors.is_empty())?;
    let description = text.get(value.span().end..).unwrap_or_default();
    let entry = Entry {
        description: description.trim().trim_start_matches('#').trim().to_owned(),
        default: is_default.then(|| to_json(value.get_ref())),
    };
    Some((name.get_ref().to_string(), entry))
}

/// The value as JSON has it.
pub(super) fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let entries = table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}
