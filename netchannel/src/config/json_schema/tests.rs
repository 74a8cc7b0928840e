use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::super::tests::{SAMPLE, uncommented};
use super::super::value::short_duration;
use super::sample::to_json;
use super::*;
use crate::config::Config;

/// Why a value is not what the schema says; the keywords that [`json_schema`] uses.
fn fault(root: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/").unwrap();
        return fault(root, &root["$defs"][name], value, path);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let faults: Vec<_> = any
            .iter()
            .map(|schema| fault(root, schema, value, path))
            .collect();
        return faults
            .iter()
            .all(Option::is_some)
            .then(|| format!("{path}: none of {faults:?}"));
    }
    if let Some(all) = schema["enum"].as_array() {
        return (!all.contains(value)).then(|| format!("{path}: {value} is not one of {all:?}"));
    }
    let wrong = |what: &str| Some(format!("{path}: {value} {what}"));
    match schema["type"].as_str() {
        Some("string") => {
            let Some(text) = value.as_str() else {
                return wrong("is no text");
            };
            let least = schema["minLength"].as_u64().unwrap_or(0) as usize;
            // The two patterns there are, of times.
            let fits = match schema["pattern"].as_str() {
                None => true,
                Some(short) if short.contains("us") => {
                    short_duration(&DeValue::String(text.into())).is_some()
                }
                Some(_) => crate::config::parse_duration(text).is_ok(),
            };
            if text.len() < least || !fits {
                wrong("is not such a text")
            } else {
                None
            }
        }
        Some("boolean") => {
            if value.is_boolean() {
                None
            } else {
                wrong("is neither true nor false")
            }
        }
        Some("integer") => {
            let Some(number) = value.as_i64() else {
                return wrong("is no number");
            };
            let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
            let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
            if (least..=most).contains(&number) {
                None
            } else {
                wrong("is out of range")
            }
        }
        Some("array") => {
            let Some(items) = value.as_array() else {
                return wrong("is no list");
            };
            if (items.len() as u64) < schema["minItems"].as_u64().unwrap_or(0) {
                return wrong("is too short");
            }
            let item = |(index, item)| fault(root, &schema["items"], item, &format!("{path}[{index}]"));
            items.iter().enumerate().find_map(item)
        }
        Some("object") => {
            let Some(entries) = value.as_object() else {
                return wrong("is no table");
            };
            let required = schema["required"].as_array().into_iter().flatten();
            if let Some(missing) = required
                .into_iter()
                .find(|key| !entries.contains_key(key.as_str().unwrap()))
            {
                return wrong(&format!("lacks {missing}"));
            }
            entries
                .iter()
                .find_map(|(key, value)| match &schema["properties"][key] {
                    Value::Null => Some(format!("{path}: {key} is not known")),
                    schema => fault(root, schema, value, &format!("{path}.{key}")),
                })
        }
        _ => Some(format!("{path}: the schema is not understood: {schema}")),
    }
}

fn as_json(text: &str) -> Value {
    let (table, errors) = DeTable::parse_recoverable(text);
    assert!(errors.is_empty(), "{errors:?}");
    let entries = table.get_ref().iter();
    entries
        .map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())))
        .collect()
}

#[test]
fn the_sample_fits_the_schema() {
    let schema = json_schema();
    for text in [SAMPLE.to_owned(), uncommented()] {
        assert_eq!(fault(&schema, &schema, &as_json(&text), ""), None);
    }
    let broken = SAMPLE.replacen("role = \"inside\"", "role = \"insider\"", 1);
    assert!(
        fault(&schema, &schema, &as_json(&broken), "")
            .unwrap()
            .contains(".interface[0].role")
    );
}

#[test]
fn every_key_of_the_parser_is_in_it_and_described() {
    let root = json_schema();
    for schema in SCHEMAS {
        let own = name_of(schema.header);
        let table = if own.is_empty() {
            &root
        } else {
            &root["$defs"][own]
        };
        let properties = table["properties"].as_object().unwrap();
        assert_eq!(properties.len(), schema.keys.len(), "{own}");
        for key in schema.keys {
            let property = &properties[*key];
            let kinds = ["type", "anyOf", "enum", "$ref"];
            assert!(
                kinds.iter().any(|kind| !property[kind].is_null()),
                "{own}.{key}: {property}"
            );
            let is_table = property.to_string().contains("$ref");
            let told = |value: &Value| value.as_str().is_some_and(|text| text.len() > 3);
            // Those of a few tables that say the same of all their keys are described with the table.
            let by_table = table["description"].is_string();
            assert!(
                is_table || by_table || told(&property["description"]),
                "{own}.{key}: {property}"
            );
        }
    }
}

/// What the schema says of numbers and words is what the parser takes: the ends of each range are taken, and what is beyond is not.
#[test]
fn limits_are_those_of_the_parser() {
    const BASE: &str = "[[interface]]\nname = \"lan\"\nrole = \"inside\"\n[[interface]]\nname = \"wan\"\nrole = \"outside\"\n";
    let root = json_schema();
    let mut checked = 0;
    let refuses = |own: &str, key: &str, value: &str| {
        let header = format!("[{own}]\n{key} = {value}\n");
        let text = match own {
            "interface" => BASE.replacen("\n[[", &format!("\n{key} = {value}\n[["), 1),
            "channel" | "rule" => return None,
            _ => format!("{header}{BASE}"),
        };
        let problems = Config::parse(&text, "test.toml")
            .err()
            .map(|error| error.problems);
        // Other keys may miss something.
        let of_key =
            |problem: &crate::config::Problem| problem.key == key && !problem.message.contains("rings");
        Some(problems.is_some_and(|problems| problems.iter().any(of_key)))
    };
    for own in ["workers", "memory", "rings", "flow_table"] {
        for (key, property) in root["$defs"][own]["properties"].as_object().unwrap() {
            let (inside, outside): (Vec<u64>, Vec<u64>) = match &property["enum"] {
                Value::Array(all) if all[0].is_u64() => {
                    let all: Vec<u64> = all.iter().map(|it| it.as_u64().unwrap()).collect();
                    let (least, most) = (all[0], all[all.len() - 1]);
                    (all, vec![least / 2, most * 2, least + 1])
                }
                _ if property["minimum"].is_null() => continue,
                _ => {
                    let end = |name: &str| property[name].as_u64().unwrap();
                    (
                        vec![end("minimum"), end("maximum")],
                        vec![end("minimum") - 1, end("maximum") + 1],
                    )
                }
            };
            for value in inside {
                assert_ne!(
                    refuses(own, key, &value.to_string()),
                    Some(true),
                    "{own}.{key} = {value}"
                );
            }
            for value in outside {
                assert_eq!(
                    refuses(own, key, &value.to_string()),
                    Some(true),
                    "{own}.{key} = {value}"
                );
            }
            checked += 1;
        }
    }
    for key in ["mode", "zero_copy"] {
        for word in root["$defs"]["interface"]["properties"][key]["enum"]
            .as_array()
            .unwrap()
        {
            assert_eq!(
                refuses("interface", key, &word.to_string()),
                Some(false),
                "{key} = {word}"
            );
        }
        assert_eq!(refuses("interface", key, "\"other\""), Some(true));
    }
    assert!(checked >= 7);
}
