//! A JSON schema of the configuration: tables and keys are those that the parser knows, descriptions and defaults those of the sample
//! configuration, `docs/netchannel.toml`.

mod sample;
mod shapes;

use serde_json::{Map, Value, json};

use super::schema::{SCHEMAS, Schema};
use sample::Sample;

/// The schema of a configuration as a TOML file has it, as JSON Schema, draft 2020-12. What depends on several keys is not in it.
pub fn json_schema() -> Value {
    let sample = Sample::read();
    let mut definitions = Map::new();
    for schema in SCHEMAS.iter().filter(|schema| !schema.header.is_empty()) {
        definitions.insert(name_of(schema.header).to_owned(), table(schema, &sample));
    }
    let mut top = table(SCHEMAS[0], &sample);
    if let Some(top) = top.as_object_mut() {
        top.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        top.insert("title".to_owned(), json!("netchannel configuration"));
        top.insert("$defs".to_owned(), Value::Object(definitions));
    }
    top
}

/// `channel.limits` of `[channel.limits]`.
fn name_of(header: &str) -> &str {
    header.trim_matches(['[', ']'])
}

fn table(schema: &Schema, sample: &Sample) -> Value {
    let own = name_of(schema.header);
    let mut properties = Map::new();
    for key in schema.keys {
        let path = match own {
            "" => (*key).to_owned(),
            own => format!("{own}.{key}"),
        };
        let mut property = property(&path, own, key);
        if let Some(property) = property.as_object_mut() {
            let entry = sample.key(own, key);
            if let Some(description) = entry
                .map(|entry| entry.description.as_str())
                .filter(|it| !it.is_empty())
            {
                property.insert("description".to_owned(), json!(description));
            }
            if let Some(default) = entry.and_then(|entry| entry.default.clone()) {
                property.insert("default".to_owned(), default);
            }
        }
        properties.insert((*key).to_owned(), property);
    }
    let mut value = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if let Some(description) = sample.table(own) {
        value["description"] = json!(description);
    }
    let required = shapes::required(own);
    if !required.is_empty() {
        value["required"] = json!(required);
    }
    value
}

fn property(path: &str, table: &str, key: &str) -> Value {
    let below = SCHEMAS
        .iter()
        .find(|schema| !schema.header.is_empty() && name_of(schema.header) == path);
    let own = shapes::of(table, key).map(|shape| shape.to_json());
    let tables = below.map(|schema| {
        let reference = json!({ "$ref": format!("#/$defs/{path}") });
        match schema.header.starts_with("[[") {
            true => json!({ "type": "array", "items": reference }),
            false => reference,
        }
    });
    match (tables, own) {
        (Some(tables), None) => tables,
        (None, Some(own)) => own,
        (Some(tables), Some(own)) => json!({ "anyOf": [own, tables] }),
        // Anything, which a test does not let happen.
        (None, None) => json!({}),
    }
}

#[cfg(test)]
mod tests;
