//! Errors about names that do not exist, which name the nearest one that does.

use crate::config::nearest;

/// `what`: a watch or a hook.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>) -> String {
    let near = nearest(name, known.map(AsRef::as_ref));
    let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    format!("there is no {what} {name:?}{near}")
}
