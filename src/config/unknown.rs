//! Keys that are not known where they stand, and their remedies.

use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::log::FaultLog;
use super::merged::Merged;
use super::names;
use super::quote::{quoted, shortened};
use super::sections::{SECTIONS, Section, section, tables};
use super::suggest::nearest;
use super::walk::TomlEntry;

/// Reports every unknown key.
pub(super) fn report(merged: &Merged<'_>, log: &FaultLog) {
    for section in &SECTIONS {
        let known: Vec<&str> = (section.keys)().iter().map(|key| key.name).collect();
        let entries = merged.of(section.kind);
        if section.names.is_none() {
            let unknown = entries.values().filter(|entry| !known.contains(&entry.name()));
            unknown.for_each(|entry| report_one(*entry, section, section.kind, log));
            continue;
        }
        for entry in entries.values() {
            let DeValue::Table(table) = entry.value.get_ref() else { continue };
            for (key, value) in table.iter().filter(|(key, _)| !known.contains(&&**key.get_ref())) {
                let unknown = TomlEntry { key, value, ..*entry };
                report_one(unknown, section, &names::title(section.kind, entry.name()), log);
            }
        }
    }
}

/// `title` is how messages call the table.
fn report_one(entry: TomlEntry<'_>, section: &Section, title: &str, log: &FaultLog) {
    let prefix = if title.is_empty() { String::new() } else { format!("{title}: ") };
    let fault = Fault::error(format!("{prefix}unknown key {}", quoted(entry.name())));
    entry.report(fault.help(help(entry, section, title)), entry.key_location(), log);
}

fn help(entry: TomlEntry<'_>, section: &Section, title: &str) -> String {
    let name = entry.name();
    match name.to_ascii_lowercase().as_str() {
        "password" | "passwd" if section.has("password_file") => {
            return "write the password to a file of its own and name it with password_file".to_owned();
        }
        "tag" if section.has("image") => {
            return "the tag is a part of image, as in image = \"nginx:1.27\"".to_owned();
        }
        _ => {}
    }
    let is_top = section.kind.is_empty();
    let tables = tables().map(|table| table.kind).filter(|_| is_top);
    if let Some(near) = nearest(name, tables.clone()).filter(|_| entry.value.get_ref().is_table()) {
        return format!("did you mean {}?", quoted(near));
    }
    if let Some(place) = elsewhere(name) {
        return format!("it belongs {place}");
    }
    let known: Vec<&str> = (section.keys)().iter().map(|key| key.name).chain(tables).collect();
    if let Some(near) = nearest(name, known.iter().copied()) {
        return format!("did you mean {}?", quoted(near));
    }
    match entry.value.get_ref() {
        DeValue::Table(inner) if is_top => match owner(inner) {
            Some(kind) => format!("write [{kind}.{}]", shortened(name)),
            None => "tables are [defaults], [watch.NAME], [hook.NAME] and [registry.\"HOST\"]".to_owned(),
        },
        DeValue::Table(_) => format!("a name with a dot in it is quoted, as in {}", quoted_example(title, name)),
        _ => format!("known keys are {}", known.join(", ")),
    }
}

/// Where a key of this very name belongs, if not where it was found.
fn elsewhere(name: &str) -> Option<String> {
    let has = |kind: &str| section(kind).is_some_and(|section| section.has(name));
    if has("") {
        return Some("at the top of the file, above the first [table]".to_owned());
    }
    if has("defaults") {
        return Some("into [defaults] or a [watch.NAME]".to_owned());
    }
    let named = tables().filter(|section| section.names.is_some() && section.has(name));
    let owners: Vec<&str> = named.map(|section| section.header).collect();
    (!owners.is_empty()).then(|| format!("into a {}", owners.join(" or a ")))
}

/// The kind of table that has all these keys.
fn owner(table: &DeTable<'_>) -> Option<&'static str> {
    let has_all = |section: &Section| table.keys().all(|key| section.has(key.get_ref()));
    let found = tables().find(|section| section.kind != "defaults" && !table.is_empty() && has_all(section));
    found.map(|section| section.kind)
}

/// `[registry."ghcr.io"]` for the key `io` in `registry "ghcr"`.
fn quoted_example(title: &str, key: &str) -> String {
    let (kind, name) = title.split_once(' ').unwrap_or((title, "\"\""));
    format!("[{kind}.\"{}.{}\"]", name.trim_matches('"'), shortened(key))
}
