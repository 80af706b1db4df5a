//! Remedies for keys that are not known where they stand.

use toml::de::{DeTable, DeValue};

use super::keys::{DEFAULTS, HOOK, REGISTRY, Section, TABLES, TOP, WATCH};
use super::suggest::nearest;
use super::walk::Item;

/// What to do about a key that `section` does not have; `title` is how messages call the table.
pub(super) fn help(item: Item<'_>, section: &Section, title: &str) -> String {
    let name = item.name();
    match name.to_ascii_lowercase().as_str() {
        "password" | "passwd" if section.has("password_file") => {
            return "write the password to a file of its own and name it with password_file".to_owned();
        }
        "tag" if section.has("image") => {
            return "the tag is a part of image, as in image = \"nginx:1.27\"".to_owned();
        }
        _ => {}
    }
    let is_table = item.value.get_ref().is_table();
    let is_top = section.header.is_empty();
    let tables = TABLES.iter().map(|(name, _)| *name).filter(|_| is_top);
    if let Some(near) = nearest(name, tables.clone()).filter(|_| is_table) {
        return format!("did you mean {near:?}?");
    }
    if let Some(place) = elsewhere(name) {
        return format!("it belongs {place}");
    }
    if let Some(near) = nearest(name, section.keys().map(|key| key.name).chain(tables.clone())) {
        return format!("did you mean {near:?}?");
    }
    match item.value.get_ref() {
        DeValue::Table(inside) if is_top => match owner(inside) {
            Some(kind) => format!("write [{kind}.{name}]"),
            None => "tables are [defaults], [watch.NAME], [hook.NAME] and [registry.\"HOST\"]".to_owned(),
        },
        DeValue::Table(_) => format!("a name with a dot in it is quoted, as in {}", quoted_example(title, name)),
        _ => {
            let known: Vec<&str> = section.keys().map(|key| key.name).chain(tables).collect();
            format!("known keys are {}", known.join(", "))
        }
    }
}

/// Where a key of this very name belongs, if not where it was found.
fn elsewhere(name: &str) -> Option<String> {
    if TOP.has(name) {
        return Some("at the top of the file, above the first [table]".to_owned());
    }
    if DEFAULTS.has(name) {
        return Some(format!("into {} or a {}", DEFAULTS.header, WATCH.header));
    }
    let owners: Vec<&str> =
        [WATCH, HOOK, REGISTRY].iter().filter(|section| section.has(name)).map(|section| section.header).collect();
    (!owners.is_empty()).then(|| format!("into a {}", owners.join(" or a ")))
}

/// The kind of table that has all these keys.
fn owner(table: &DeTable<'_>) -> Option<&'static str> {
    let has_all = |section: &Section| table.keys().all(|key| section.has(key.get_ref()));
    let mut named = TABLES.iter().filter(|(name, _)| *name != "defaults" && !table.is_empty());
    named.find(|(_, section)| has_all(section)).map(|(name, _)| *name)
}

/// `[registry."ghcr.io"]` for the key `io` in `registry "ghcr"`.
fn quoted_example(title: &str, key: &str) -> String {
    let (kind, name) = title.split_once(' ').unwrap_or((title, "\"\""));
    format!("[{kind}.\"{}.{key}\"]", name.trim_matches('"'))
}
