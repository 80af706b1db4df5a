//! Errors about names that do not exist, which name the nearest one that does.

use crate::config::nearest;

pub fn unknown_watch<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    unknown("watch", name, known)
}

pub(crate) fn unknown_hook<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    unknown("hook", name, known)
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = nearest(name, known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    format!("there is no {what} {name:?}{near}")
}
