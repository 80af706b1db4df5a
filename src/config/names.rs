//! The names of watches, hooks and registries: which are valid, and how messages call what bears them.

use super::fault::Fault;
use super::log::FaultLog;
use super::quote::{quoted, shortened};
use super::walk::TomlEntry;

/// Names become file names and labels of metrics, whose limits are about twice this.
const LONGEST_NAME: usize = 128;

/// Reports a key that cannot be the name of a watch or a hook. A name is fit for file names, metrics, URLs and command
/// lines.
pub(super) fn check(kind: &str, entry: TomlEntry<'_>, log: &FaultLog) {
    let name = entry.name();
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let (at, reason) = if let Some((at, bad)) = name.char_indices().find(|(_, c)| !inside(*c)) {
        (Some(at), format!("a name cannot have {bad:?}; it is made of letters, digits, \".\", \"_\" and \"-\""))
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        (Some(0), "a name starts with a letter or a digit".to_owned())
    } else if name.len() > LONGEST_NAME {
        (None, format!("a name is at most {LONGEST_NAME} characters long, not {}", name.len()))
    } else {
        return;
    };
    let location = at.map_or_else(|| entry.key_location(), |at| entry.key_character(at));
    log.add(Fault::error(format!("{}: {reason}", title(kind, name))).at(location));
}

/// How messages call a table: `watch "web"`. Of a host that is written with a login, only the host is shown.
pub(super) fn title(kind: &str, name: &str) -> String {
    let shown = name.rsplit('@').next().unwrap_or(name);
    format!("{kind} {}", quoted(shown))
}

/// Says that a name is defined twice; `kind` is the table that it stands in, or empty.
pub(super) fn defined_twice(kind: &str, name: &str) -> Fault {
    let message = match kind {
        "watch" | "hook" | "registry" => format!("{} is defined twice", title(kind, name)),
        "" => format!("{} is set twice", shortened(name)),
        kind => format!("{kind}: {} is set twice", shortened(name)),
    };
    Fault::error(message).help("remove one of the two")
}
