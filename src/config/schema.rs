//! The JSON Schema of the config, for editors: draft-07, which is what TOML language servers read.

use serde_json::{Map, Value, json};

use crate::domain::ChangeKind;

use super::effective::defaults_of;
use super::key::{Key, ValueKind};
use super::sections::{Names, SECTIONS, Section, tables};

/// The schema, as a JSON text.
pub fn schema() -> String {
    let mut top = properties(&SECTIONS[0]);
    top.extend(tables().map(|section| (section.kind.to_owned(), reference(section))));
    let definitions: Map<String, Value> = tables().map(|section| (section.kind.to_owned(), table(section))).collect();
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The config of taghook",
        "type": "object",
        "additionalProperties": false,
        "properties": top,
        "definitions": definitions,
    });
    format!("{schema:#}\n")
}

/// What the top of the file says about a section.
fn reference(section: &Section) -> Value {
    let definition = json!({ "$ref": format!("#/definitions/{}", section.kind) });
    let mut table = match section.names {
        // Beside a reference, draft-07 ignores everything else.
        None => json!({ "allOf": [definition] }),
        Some(_) => json!({ "type": "object", "additionalProperties": definition }),
    };
    if section.names == Some(Names::Chosen) {
        table["propertyNames"] = json!({ "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$" });
    }
    table["description"] = section.about.into();
    table
}

fn table(section: &Section) -> Value {
    let required: Vec<&str> = section.required.into_iter().collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties(section),
    })
}

fn properties(section: &Section) -> Map<String, Value> {
    // [defaults] has the defaults of watches.
    let defaults = defaults_of(if section.kind == "defaults" { "watch" } else { section.kind });
    let property = |key: &Key| {
        let mut property = value(key.kind);
        property["description"] = key.about.into();
        if let Some((_, default)) = defaults.iter().find(|(name, _)| *name == key.name) {
            property["default"] = json!(default);
        }
        (key.name.to_owned(), property)
    };
    (section.keys)().iter().map(property).collect()
}

fn value(kind: ValueKind) -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let one_or_more = |one: Value| json!({ "anyOf": [one, { "type": "array", "items": one }] });
    match kind {
        ValueKind::Text | ValueKind::Path => text,
        ValueKind::Form(example, _) | ValueKind::Url(example) => {
            json!({ "type": "string", "minLength": 1, "examples": [example] })
        }
        ValueKind::Duration => json!({ "type": "string", "minLength": 1, "examples": ["30s", "15m", "1h 30m", "3d"] }),
        ValueKind::Flag => json!({ "type": "boolean" }),
        ValueKind::Count => json!({ "type": "integer", "minimum": 1 }),
        ValueKind::Texts | ValueKind::Command => one_or_more(text),
        ValueKind::Changes => {
            let words: Vec<&str> = ChangeKind::ALL.iter().map(|kind| kind.as_str()).collect();
            one_or_more(json!({ "enum": words }))
        }
        ValueKind::Variables => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    }
}
