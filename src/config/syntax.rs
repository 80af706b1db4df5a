//! What is not TOML, in words that say what to write instead.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::source::{Place, Source};
use super::walk::Report;

/// What the parser says (the beginning of it), what we say, and the remedy.
const WORDS: [(&str, &str, &str); 25] = [
    ("invalid basic string", "this string has no closing quote", "end it with \""),
    ("invalid literal string", "this string has no closing quote", "end it with '"),
    ("invalid multi-line", "this string has no closing quotes", "end it with the three quotes that it starts with"),
    ("missing escaped value", BACKSLASH, ESCAPE),
    ("too few unicode", BACKSLASH, ESCAPE),
    ("missing assignment", "a key has no value", "write KEY = VALUE"),
    ("key with no value", "a key has no value", "write KEY = VALUE"),
    ("missing value", "there is no value after =", "write KEY = VALUE, or remove the line"),
    ("unclosed table", "this header has no closing ]", "end it with ]"),
    ("unclosed array table", "this header has no closing ]]", "write [KIND.NAME]"),
    ("unclosed inline table", "this table has no closing }", "end it with }"),
    ("unclosed array", "this list has no closing ]", "end it with ]"),
    ("missing comma between array", "a comma is missing between two values of a list", "write [\"a\", \"b\"]"),
    ("missing comma between key", "a comma is missing in this table", "write { a = \"1\", b = \"2\" }"),
    ("unexpected key or value", "something follows the value", "one setting stands on a line; a comment starts with #"),
    ("unexpected content", "something follows the value", "one setting stands on a line; a comment starts with #"),
    ("extra assignment", "there is an = too many", "write KEY = VALUE"),
    ("invalid unquoted key", "a key has characters that it can have in quotes only", "write it in quotes"),
    ("string values must be quoted", QUOTES, "write KEY = \"TEXT\""),
    ("unexpected leading zero", "a number cannot start with 0", "leave the zero out, or write text in quotes"),
    ("invalid fraction", NUMBER, "write text in quotes"),
    ("invalid exponent", NUMBER, "write text in quotes"),
    ("invalid float", NUMBER, "write text in quotes"),
    ("invalid integer", NUMBER, "write text in quotes"),
    ("carriage return", "a line ends in a bare carriage return", "save the file with Unix line ends"),
];

const NUMBER: &str = "this is no number";
const QUOTES: &str = "text must stand in quotes";
const BACKSLASH: &str = "a backslash in \"…\" starts an escape such as \\n or \\u00e9, and this is none";
const ESCAPE: &str = "write \\\\ for a backslash, or put the text into '…', which has no escapes";

/// Parses a file as far as it can be; every syntax error of it is reported.
pub(super) fn parse<'a>(source: &'a Arc<Source>, report: &Report) -> DeTable<'a> {
    let (table, errors) = parse_apart(&source.text);
    let table = table.into_inner();
    for error in errors {
        let end = source.text.len();
        let span = error.span().unwrap_or(end..end);
        report.add_syntax(fault(source, &table, error.message(), span));
    }
    table
}

/// On a thread of its own: the tree of a large file is several times the size of what it means, and the C library gives
/// memory back only where nothing else lies behind it. A thread's allocations lie in a place of their own.
fn parse_apart(text: &str) -> (Spanned<DeTable<'_>>, Vec<toml::de::Error>) {
    let parse = || DeTable::parse_recoverable(text);
    std::thread::scope(|scope| {
        // No thread to be had: then here.
        let Ok(thread) = std::thread::Builder::new().spawn_scoped(scope, parse) else { return parse() };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn fault(source: &Arc<Source>, table: &DeTable<'_>, words: &str, span: Range<usize>) -> Fault {
    let text = &source.text;
    if words.starts_with("duplicate key") {
        return duplicate(source, table, span);
    }
    let is_list = words.starts_with("missing comma between array") && starts_a_line(text, span.start)
        || words.starts_with("string values must be quoted") && is_header(text, span.start);
    if is_list {
        let fault = Fault::error("this is not TOML: the list above this line has no closing ]");
        return fault.at(Place::new(source, span)).help("end it with ]");
    }
    if let Some((value, what, example)) = bare_word(source, &span) {
        return Fault::error(format!("this is not TOML: {what}")).at(Place::new(source, value)).help(example);
    }
    let place = Place::new(source, span);
    match WORDS.iter().find(|(beginning, ..)| words.starts_with(beginning)) {
        Some((_, ours, help)) => Fault::error(format!("this is not TOML: {ours}")).at(place).help(*help),
        None => {
            let words = words.split(", expected").next().unwrap_or(words);
            Fault::error(format!("this is not TOML: {words}")).at(place)
        }
    }
}

/// The value of the line, where it is text without quotes and the error is about it; what is wrong, and what to write.
fn bare_word(source: &Source, span: &Range<usize>) -> Option<(Range<usize>, &'static str, String)> {
    let text = &source.text;
    let is_hidden = |part: Range<usize>| source.hidden(part).next().is_some();
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next()?;
    let (key, value) = line.split_once('=').filter(|(key, _)| !is_hidden(start..start + key.len()))?;
    let value_at = start + key.len() + 1 + (value.len() - value.trim_start().len());
    let value = value.trim_start().split(" #").next()?.trim_end();
    let is_text = value.starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '~' | '.' | '*' | '@' | '$'))
        || value.starts_with(|c: char| c.is_ascii_digit()) && value.contains(|c: char| c.is_alphabetic());
    if value.is_empty() && span.start + 1 >= value_at {
        return Some((
            value_at..value_at,
            "there is no value after =",
            format!("write {} = VALUE, or remove the line", key.trim()),
        ));
    }
    let is_key = key.trim().chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !is_text || !is_key || value.contains(['"', '\'']) || span.start + 1 < value_at {
        return None;
    }
    let key = key.trim();
    let at = value_at..value_at + value.len();
    let flag = match value.to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" => Some(true),
        "no" | "off" | "false" => Some(false),
        _ => None,
    };
    Some(match flag {
        Some(flag) => (at, "this is neither true nor false", format!("write {key} = {flag}")),
        None if is_hidden(at.clone()) => (at, QUOTES, format!("write {key} = \"…\"")),
        None => (at, QUOTES, format!("write {key} = \"{value}\"")),
    })
}

/// Whether a header or a key begins at `at`, and not a value of a list.
fn starts_a_line(text: &str, at: usize) -> bool {
    let is_first = text.get(..at).is_some_and(|before| before.trim_end_matches([' ', '\t']).ends_with('\n'));
    let line = text.get(at..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let is_key = |key: &str| key.trim().chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    is_first && (line.starts_with('[') || line.split_once('=').is_some_and(|(key, _)| is_key(key)))
}

/// Whether the line of `at` is the header of a table.
fn is_header(text: &str, at: usize) -> bool {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    ["[watch.", "[hook.", "[registry.", "[defaults]"].iter().any(|header| line.starts_with(header))
}

/// A key that stands twice in a table, or a header that stands twice in a file.
fn duplicate(source: &Arc<Source>, table: &DeTable<'_>, again: Range<usize>) -> Fault {
    let text = &source.text;
    let name = text.get(again.clone()).unwrap_or("a key").trim_matches(['"', '\'']);
    let header = last_header(text, again.start);
    let (message, first) = match header {
        Some((at, parts)) if !text[at..again.start].contains('\n') => {
            let message = match parts.rsplit_once('.') {
                Some((kind, _)) => format!("{kind} {name:?} is defined twice"),
                None => format!("{name} is set twice"),
            };
            (message, earlier_header(text, at, &parts).map(|first| again.start - at + first))
        }
        header => {
            let parent = header.map(|(_, parts)| parts).unwrap_or_default();
            (format!("{name} is set twice"), earlier_key(table, &parent, name, again.start))
        }
    };
    let first = first.map(|first| Place::new(source, first..first + again.len()));
    let fault = Fault::error(message).at(Place::new(source, again)).help("remove one of the two");
    match first {
        Some(first) => fault.again_after(first),
        None => fault,
    }
}

/// The last header that starts before `end`: where, and its dotted name without quotes.
fn last_header(text: &str, end: usize) -> Option<(usize, String)> {
    let before = text.get(..end)?;
    let starts = before.rmatch_indices('[').map(|(at, _)| at);
    let at = starts.into_iter().find(|at| *at == 0 || before[..*at].ends_with('\n'))?;
    Some((at, header_name(text[at..].lines().next()?)))
}

fn header_name(line: &str) -> String {
    let inside = line.split('#').next().unwrap_or("").trim().trim_matches(['[', ']', ' ']);
    inside.chars().filter(|c| !matches!(c, '"' | '\'' | ' ')).collect()
}

/// The first header of this name before `end`.
fn earlier_header(text: &str, end: usize, name: &str) -> Option<usize> {
    let mut at = 0;
    for line in text[..end].split_inclusive('\n') {
        if line.starts_with('[') && header_name(line) == name {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// Where a key stands in the table of this dotted name, if before `end`.
fn earlier_key(table: &DeTable<'_>, parent: &str, name: &str, end: usize) -> Option<usize> {
    let mut found = None;
    visit(table, "", &mut |path, key, at| {
        if path == parent && key == name && at < end {
            found = Some(at);
        }
    });
    found
}

fn visit(table: &DeTable<'_>, path: &str, see: &mut impl FnMut(&str, &str, usize)) {
    for (key, value) in table {
        see(path, key.get_ref(), key.span().start);
        if let DeValue::Table(inside) = value.get_ref() {
            let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            visit(inside, &path, see);
        }
    }
}
