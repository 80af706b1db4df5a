//! The names of watches and hooks: fit for file names, metrics, URLs and command lines.

use super::fault::Fault;
use super::walk::{Item, Report};

/// No name is longer.
const LONGEST: usize = 128;

/// Whether the key of `item` is a name; what is not is reported.
pub(super) fn check(kind: &str, item: Item<'_>, report: &Report) -> bool {
    let name = item.name();
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let (at, reason) = if let Some((at, bad)) = name.char_indices().find(|(_, c)| !inside(*c)) {
        (Some(at), format!("a name cannot have {bad:?}; it is made of letters, digits, \".\", \"_\" and \"-\""))
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        (Some(0), "a name starts with a letter or a digit".to_owned())
    } else if name.len() > LONGEST {
        (None, format!("a name is at most {LONGEST} characters long, not {}", name.len()))
    } else {
        return true;
    };
    let place = at.map_or_else(|| item.key_place(), |at| item.key_character(at));
    report.add(Fault::error(format!("{kind} {name:?}: {reason}")).at(place));
    false
}
