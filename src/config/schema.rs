//! The JSON Schema of the config, for editors: draft-07, which is what TOML language servers read.
//!
//! Keys, kinds and sentences are those of [`keys`], defaults those of the loader.

use serde_json::{Map, Value, json};

use crate::domain::ChangeKind;

use super::effective::defaults_of;
use super::keys::{self, DEFAULTS, HOOK, Key, Kind, REGISTRY, RETENTION, Section, TOP, WATCH};

/// The schema, as a JSON text.
pub fn schema() -> String {
    let mut properties = properties(&TOP, "");
    let names = json!({ "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$" });
    let tables = [
        (
            "defaults",
            "What holds for every watch that does not say otherwise.",
            json!({ "$ref": "#/definitions/defaults" }),
        ),
        (
            "retention",
            "What is kept of the past, for history, deliveries and log. What is owed or has failed always is.",
            json!({ "$ref": "#/definitions/retention" }),
        ),
        ("watch", "The watches by name: a tag each, and what is done when it moves.", named("watch", Some(&names))),
        (
            "hook",
            "The hooks by name: commands that run with the change in their environment.",
            named("hook", Some(&names)),
        ),
        ("registry", "Registries that need more than the defaults, by host and port.", named("registry", None)),
    ];
    for (name, about, mut table) in tables {
        // Beside a reference, draft-07 ignores everything else.
        if table.get("$ref").is_some() {
            table = json!({ "allOf": [table] });
        }
        table["description"] = about.into();
        properties.insert(name.to_owned(), table);
    }
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The config of taghook",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "definitions": {
            "defaults": table(&DEFAULTS, "watch"),
            "retention": table(&RETENTION, "retention"),
            "watch": table(&WATCH, "watch"),
            "hook": table(&HOOK, "hook"),
            "registry": table(&REGISTRY, "registry"),
        },
    });
    format!("{schema:#}\n")
}

fn named(kind: &str, names: Option<&Value>) -> Value {
    let mut table = json!({ "type": "object", "additionalProperties": { "$ref": format!("#/definitions/{kind}") } });
    if let Some(names) = names {
        table["propertyNames"] = names.clone();
    }
    table
}

fn table(section: &Section, kind: &str) -> Value {
    let required: Vec<&str> = section.required.into_iter().collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties(section, kind),
    })
}

/// The keys of a section, with the defaults that hold in a table of this kind.
fn properties(section: &Section, kind: &str) -> Map<String, Value> {
    let defaults = defaults_of(kind);
    let property = |key: &keys::Key| {
        let mut property = value(key);
        property["description"] = key.about.into();
        if let Some((_, default)) = defaults.iter().find(|(name, _)| *name == key.name) {
            property["default"] = json!(default);
        }
        (key.name.to_owned(), property)
    };
    section.keys().map(property).collect()
}

fn value(key: &Key) -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let one_or_more = |one: Value| json!({ "anyOf": [one, { "type": "array", "items": one }] });
    match key.kind {
        Kind::Text | Kind::Path => text,
        Kind::Form(example) => json!({ "type": "string", "minLength": 1, "examples": [example] }),
        Kind::Duration => json!({ "type": "string", "minLength": 1, "examples": ["30s", "15m", "1h 30m", "3d"] }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Count => json!({ "type": "integer", "minimum": 1 }),
        Kind::Texts => one_or_more(text),
        Kind::Changes => {
            let words: Vec<&str> = ChangeKind::ALL.iter().map(|kind| kind.as_str()).collect();
            one_or_more(json!({ "enum": words }))
        }
        Kind::Variables => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    }
}
