//! The text of a file → a TOML table, and every syntax error.
//!
//! *Invariant:* a syntax error is told in the parser's words, which are fixed texts without anything from the file, and the
//! file is not quoted.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::log::FaultLog;
use super::names::defined_twice;
use super::source::{Location, SourceFile};

/// The parser's word for a key or a table that is defined twice.
const DUPLICATE: &str = "duplicate key";

const SYNTAX_HELP: &str =
    "a quote or a bracket may be missing, here or above; text stands in quotes, as in KEY = \"text\"";

/// To find where a name was defined first takes another parse of the whole file, so this is done for the first few only.
const MOST_TWINS: usize = 20;

/// Parses a file as far as it can be parsed, and reports its syntax errors: one for each line, as the next ones tend to
/// follow from it.
pub(super) fn parse<'a>(file: &'a Arc<SourceFile>, log: &FaultLog) -> DeTable<'a> {
    let (table, errors) = parse_apart(&file.text);
    let end = file.text.len();
    let places = errors.iter().map(|error| (error.message(), error.span().unwrap_or(end..end)));
    let (twice, mut broken): (Vec<_>, Vec<_>) = places.partition(|(message, _)| *message == DUPLICATE);
    broken.sort_by_key(|(_, span)| span.start);
    let mut told = None;
    for (message, span) in broken {
        let location = Location::new(file, span);
        if told.replace(location.line()) != Some(location.line()) {
            log.add_syntax(Fault::error(format!("this is not TOML: {message}")).help(SYNTAX_HELP), location);
        }
    }
    for (n, (_, span)) in twice.into_iter().enumerate() {
        log.add_incomplete(duplicate(file, span, n < MOST_TWINS));
    }
    table.into_inner()
}

/// Parses on a thread of its own: the tree of a large file takes several times the memory of what it means, and the C
/// library returns memory only where nothing else lies behind it. What a thread allocates lies apart.
fn parse_apart(text: &str) -> (Spanned<DeTable<'_>>, Vec<toml::de::Error>) {
    let parse = || DeTable::parse_recoverable(text);
    std::thread::scope(|scope| {
        // If no thread can be started, it is done here.
        let Ok(thread) = std::thread::Builder::new().spawn_scoped(scope, parse) else { return parse() };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A key that stands twice in a table, or a table that stands twice in a file.
///
/// The parser does not say where the first one is. So the second one is given a name of its own: then both are in the
/// same table.
fn duplicate(file: &Arc<SourceFile>, again: Range<usize>, finds_first: bool) -> Fault {
    const OTHER_NAME: &str = "taghook: defined again";
    let name = file.text[again.clone()].trim_matches(['"', '\'']);
    let location = Location::new(file, again.clone());
    let rename = || format!("{}{OTHER_NAME:?}{}", &file.text[..again.start], &file.text[again.end..]);
    let renamed = finds_first.then(rename).unwrap_or_default();
    let (tree, _) = DeTable::parse_recoverable(&renamed);
    let Some((path, table)) = table_with(tree.get_ref(), OTHER_NAME) else {
        return defined_twice("", name).at(location);
    };
    let first = table.get_key_value(name).map(|(key, _)| key.span()).filter(|first| first.start < again.start);
    let kind = if let [kind] = path[..] { kind } else { "" };
    defined_twice(kind, name).at(location).again_after(first.map(|first| Location::new(file, first)))
}

/// The table that has this key, and the keys that lead to it.
fn table_with<'t>(table: &'t DeTable<'_>, key: &str) -> Option<(Vec<&'t str>, &'t DeTable<'t>)> {
    if table.contains_key(key) {
        return Some((Vec::new(), table));
    }
    table.iter().find_map(|(name, value)| {
        let DeValue::Table(inner) = value.get_ref() else { return None };
        let (mut path, found) = table_with(inner, key)?;
        path.insert(0, name.get_ref());
        Some((path, found))
    })
}
