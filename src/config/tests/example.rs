//! `config.example.toml` is the reference: it works, it is complete, and its defaults are the real ones.

use super::*;

/// The shipped example.
const EXAMPLE: &str = include_str!("../../../config.example.toml");

/// The example with its commented settings in force: those that `choose` wants.
fn example(choose: impl Fn(&str) -> bool) -> String {
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if is_setting(setting) && choose(setting) => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_default(setting: &str) -> bool {
    !setting.ends_with("# no default")
}

fn load_example(text: &str) -> Config {
    let environment = Environment { state_directory: Some("/var/lib/taghook".into()), ..environment() };
    let config = load_in(&Folder::new(text, &[]).path(), &environment).unwrap().config;
    Config { identity: None, ..config }
}

#[test]
fn the_example_works_as_it_is() {
    let loaded = Folder::new(EXAMPLE, &[]).load().unwrap();
    assert_eq!(loaded.config.watches.len(), 1);
    assert!(loaded.warnings.is_empty(), "{}", render(&loaded.warnings, false));
}

#[test]
fn the_examples_defaults_are_the_real_ones() {
    let spelt_out = example(is_default);
    assert!(spelt_out.lines().filter(|line| line.contains(" = ")).count() > 20);
    assert_eq!(format!("{:#?}", load_example(&spelt_out)), format!("{:#?}", load_example(EXAMPLE)));
}

#[test]
fn the_example_has_every_key_and_no_other() {
    // With all settings in force it is accepted, so it has no other; but for one that stands instead of another.
    load_example(&example(|setting| !setting.starts_with("password_credential")));
    load_example(&example(|setting| !setting.starts_with("password_file")));
    let table: toml::Table = example(|_| true).parse().unwrap();
    let keys = |path: [&str; 2]| -> Vec<String> {
        let [kind, name] = path;
        let table = if kind.is_empty() { &table } else { table[kind].as_table().unwrap() };
        let table = if name.is_empty() { table } else { table[name].as_table().unwrap() };
        table.keys().cloned().collect()
    };
    for (kind, mut written) in [
        ("", keys(["", ""])),
        ("defaults", keys(["defaults", ""])),
        ("retention", keys(["retention", ""])),
        ("watch", [keys(["defaults", ""]), keys(["watch", "alpine"])].concat()),
        ("hook", keys(["hook", "announce"])),
        ("registry", keys(["registry", "registry.example.com:5000"])),
    ] {
        let tables = sections::tables().map(|section| section.kind).filter(|_| kind.is_empty());
        let known = known(kind).into_iter().map(|key| key.name).chain(tables);
        let mut known: Vec<String> = known.map(str::to_owned).collect();
        known.sort();
        written.sort();
        written.dedup();
        assert_eq!(written, known, "{kind}");
    }
}

/// The keys of a section.
fn known(kind: &str) -> Vec<key::Key> {
    (sections::section(kind).unwrap().keys)()
}

#[test]
fn the_example_says_of_each_key_what_the_schema_says() {
    // Each key of the example, with the comment above it, by section.
    let (mut kind, mut comment, mut said) = ("", String::new(), Vec::new());
    for line in EXAMPLE.lines() {
        let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
        match line.strip_prefix('#').unwrap_or(line) {
            "" => comment.clear(),
            header if header.starts_with('[') => {
                kind = header.trim_start_matches('[').split(['.', ']']).next().unwrap();
            }
            setting if is_setting(setting) => {
                said.push((kind, setting.split(' ').next().unwrap().to_owned(), comment.clone()));
            }
            text => comment.push_str(text),
        }
    }
    let mut wrong = Vec::new();
    for kind in ["", "defaults", "hook", "registry"] {
        for key in known(kind) {
            let found = said.iter().find(|(section, name, _)| *section == kind && name == key.name);
            let comment = found.map_or("", |(_, _, comment)| comment.trim());
            if !comment.contains(key.about) {
                wrong.push(format!("[{kind}] {}: {:?} is not in {comment:?}", key.name, key.about));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_schema_knows_every_key_and_default_of_the_example() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let spelt_out: toml::Table = example(is_default).parse().unwrap();
    let properties = |kind: &str| match kind {
        "" => schema["properties"].clone(),
        kind => schema["definitions"][kind]["properties"].clone(),
    };
    for (kind, table) in [
        ("defaults", &spelt_out["defaults"]),
        ("hook", &spelt_out["hook"]["announce"]),
        ("registry", &spelt_out["registry"]["registry.example.com:5000"]),
    ] {
        for (key, value) in table.as_table().unwrap() {
            let property = &properties(kind)[key];
            if key != "command" {
                assert_eq!(property["default"], serde_json::json!(value), "{kind} {key}");
            }
            assert!(property["description"].as_str().is_some_and(|about| about.ends_with('.')), "{kind} {key}");
        }
    }
    assert_eq!(properties("")["shutdown_grace"]["default"], "30s");
    assert!(properties("")["state"]["default"].is_null(), "it depends on the surroundings");
}

/// Whether `value` is what `schema` describes, as far as our schema goes; the path of what is not.
fn mismatch(
    root: &serde_json::Value,
    schema: &serde_json::Value,
    value: &serde_json::Value,
    at: &str,
) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return mismatch(root, root.pointer(reference.trim_start_matches('#')).unwrap(), value, at);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().find_map(|schema| mismatch(root, schema, value, at));
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = any.iter().any(|schema| mismatch(root, schema, value, at).is_none());
        return (!fits).then(|| format!("{at} fits none"));
    }
    if let Some(words) = schema["enum"].as_array() {
        return (!words.contains(value)).then(|| format!("{at} is not one of the words"));
    }
    let is_right = match schema["type"].as_str().unwrap() {
        "string" => value.as_str().is_some_and(|text| !text.is_empty() || schema["minLength"].is_null()),
        "boolean" => value.is_boolean(),
        "integer" => value.as_i64().is_some_and(|number| number >= schema["minimum"].as_i64().unwrap()),
        "array" => {
            let items = value.as_array()?;
            return items.iter().find_map(|item| mismatch(root, &schema["items"], item, at));
        }
        "object" => {
            let required = schema["required"].as_array().into_iter().flatten();
            for key in required.filter_map(|key| key.as_str()) {
                if value.get(key).is_none() {
                    return Some(format!("{at} has no {key}"));
                }
            }
            return value.as_object()?.iter().find_map(|(key, value)| {
                let at = format!("{at}.{key}");
                match (&schema["properties"][key], &schema["additionalProperties"]) {
                    (serde_json::Value::Null, serde_json::Value::Bool(false)) => Some(format!("{at} is unknown")),
                    (serde_json::Value::Null, other) => mismatch(root, other, value, &at),
                    (property, _) => mismatch(root, property, value, &at),
                }
            });
        }
        other => panic!("the schema has the type {other}"),
    };
    (!is_right).then(|| format!("{at} is of another type"))
}

#[test]
fn the_example_is_what_the_schema_describes() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let mismatch = |text: &str| {
        let value = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
        mismatch(&schema, &schema, &value, "")
    };
    assert_eq!(mismatch(EXAMPLE), None);
    assert_eq!(mismatch(&example(|_| true)), None);
    for (text, expected) in [
        ("[watch.a]", ".watch.a has no image"),
        ("[watch.a]\nimage = 'a'\nx = 1", ".watch.a.x is unknown"),
        ("[hook.h]\ncommand = 'x'\non = ['mvoed']", ".hook.h.on fits none"),
        ("[hook.h]\ncommand = 'x'\nattempts = 0", ".hook.h.attempts is of another type"),
        ("[defaults]\nimage = 'x'", ".defaults.image is unknown"),
        ("shutdown_grace = 30", ".shutdown_grace is of another type"),
    ] {
        assert_eq!(mismatch(text).as_deref(), Some(expected));
    }
}

#[test]
fn the_schema_that_editors_read_is_the_one_that_the_command_prints() {
    assert!(EXAMPLE.starts_with("#:schema ./config.schema.json\n"));
    let written = include_str!("../../../config.schema.json");
    assert!(written == schema(), "taghook config schema > config.schema.json");
}
