//! The text of a file → a TOML table, and every syntax error.
//!
//! *Invariant:* a syntax error is told in the parser's words, which are fixed texts without anything from the file, and the
//! file is not quoted. What stands behind the first one is not looked at. No text can make this take more time or memory
//! than its length allows, nor overflow the stack.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::log::FaultLog;
use super::names::defined_twice;
use super::source::{Location, SourceFile};
use super::syntax::{self, SyntaxError};

/// The parser's word for a key or a table that is defined twice.
const DUPLICATE: &str = "duplicate key";

const SYNTAX_HELP: &str =
    "a quote or a bracket may be missing, here or above; text stands in quotes, as in KEY = \"text\"";

/// Of so many names that are defined twice it is said where they were defined first.
const MOST_TWINS: usize = 20;

/// Parses a file as far as it can be parsed, and reports its syntax errors, one for each line.
pub(super) fn parse<'a>(file: &'a Arc<SourceFile>, log: &FaultLog) -> DeTable<'a> {
    let Parsed { table, errors, torn, twins } = apart(|| parse_text(&file.text));
    for SyntaxError { message, span, .. } in errors {
        let fault = Fault::error(format!("this is not TOML: {message}")).help(SYNTAX_HELP);
        log.add_syntax(fault, Location::new(file, span));
    }
    if let Some(torn) = torn {
        log.tear(&Location::new(file, torn..torn));
    }
    for twin in twins {
        let fault = defined_twice(&twin.kind, name_of(&file.text, &twin.again));
        let first = twin.first.map(|first| Location::new(file, first));
        log.add_incomplete(fault.at(Location::new(file, twin.again)).again_after(first));
    }
    table.into_inner()
}

struct Parsed<'t> {
    /// What stands before the first syntax error.
    table: Spanned<DeTable<'t>>,
    errors: Vec<SyntaxError>,
    /// Where that is, with the list or the table that it is in.
    torn: Option<usize>,
    twins: Vec<Twin>,
}

/// A key that stands twice in a table, or a table that stands twice in a file.
struct Twin {
    /// The table that it stands in, if that is at the top of the file.
    kind: String,
    first: Option<Range<usize>>,
    again: Range<usize>,
}

/// Parses on a thread of its own: the tree of a large file takes several times the memory of what it means, and the C
/// library returns memory only where nothing else lies behind it. What a thread allocates lies apart.
fn apart<'t>(parse: impl Fn() -> Parsed<'t> + Sync) -> Parsed<'t> {
    std::thread::scope(|scope| {
        // If no thread can be started, it is done here.
        let Ok(thread) = std::thread::Builder::new().spawn_scoped(scope, &parse) else { return parse() };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn parse_text(text: &str) -> Parsed<'_> {
    let excess = syntax::excess(text);
    // The usual case. It keeps one error, where `parse_recoverable` keeps one for each byte of some texts.
    if excess.is_none()
        && let Ok(table) = DeTable::parse(text)
    {
        return Parsed { table, errors: Vec::new(), torn: None, twins: Vec::new() };
    }
    let mut errors = syntax::errors(excess.as_ref().map_or(text, |excess| &text[..line_start(text, excess.torn)]));
    errors.extend(excess);
    let torn = errors.iter().map(|error| error.torn).min().map(|torn| first_torn(text, torn));
    let sound = torn.map_or(text, |torn| &text[..torn]);
    let (table, found) = DeTable::parse_recoverable(sound);
    let span = |error: &toml::de::Error| error.span().unwrap_or(sound.len()..sound.len());
    let (twice, other): (Vec<_>, Vec<_>) = found.iter().partition(|error| error.message() == DUPLICATE);
    let twice: Vec<Range<usize>> = twice.into_iter().map(span).collect();
    // Of a text that was cut off, the end is no news.
    if torn.is_none() {
        errors.extend(other.into_iter().map(|error| SyntaxError {
            message: error.message().to_owned(),
            span: span(error),
            torn: span(error).start,
        }));
    }
    let torn = torn.or_else(|| Some(line_start(text, errors.iter().map(|error| error.torn).min()?)));
    Parsed { table, errors, torn, twins: twins(sound, twice) }
}

/// The start of the line from which on nothing is what it seems: a quote that is missing from three turns all that follows
/// inside out, long before anything is found to be wrong.
fn first_torn(text: &str, error: usize) -> usize {
    let quotes = ["\"\"\"", "'''"].iter().filter_map(|quotes| text.find(quotes));
    line_start(text, quotes.chain([error]).min().unwrap_or(error))
}

fn line_start(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}

/// Finds where the first of these names were defined first.
///
/// The parser does not say it. So in another parse each second one has a name of its own: then both are in the same table.
fn twins(text: &str, mut twice: Vec<Range<usize>>) -> Vec<Twin> {
    twice.sort_by_key(|again| again.start);
    let mut twins: Vec<Twin> =
        twice.into_iter().map(|again| Twin { kind: String::new(), first: None, again }).collect();
    let told = twins.len().min(MOST_TWINS);
    let (mut renamed, mut end) = (String::new(), 0);
    // Up to where each one stands in the other text, and where the text goes on in this one.
    let mut moves = Vec::new();
    for (number, twin) in twins[..told].iter().enumerate() {
        renamed += &text[end..twin.again.start];
        renamed += &format!("\"{OTHER_NAME}{number}\"");
        end = twin.again.end;
        moves.push((renamed.len(), end));
    }
    if told == 0 {
        return twins;
    }
    renamed += &text[end..];
    let (tree, _) = DeTable::parse_recoverable(&renamed);
    find_first(text, &[], tree.get_ref(), &mut twins[..told]);
    let here = |at: usize| match moves.iter().rev().find(|(there, _)| *there <= at) {
        Some((there, here)) => at - there + here,
        None => at,
    };
    for twin in &mut twins[..told] {
        let first = twin.first.take().map(|first| here(first.start)..here(first.end));
        twin.first = first.filter(|first| first.start < twin.again.start);
    }
    twins
}

const OTHER_NAME: &str = "taghook: defined again ";

/// Completes the twins that stand in this table, to which `path` leads; what it finds are places in the other text.
fn find_first(text: &str, path: &[&str], table: &DeTable<'_>, twins: &mut [Twin]) {
    for (key, value) in table {
        let number = key.get_ref().strip_prefix(OTHER_NAME).and_then(|number| number.parse::<usize>().ok());
        if let Some(twin) = number.and_then(|number| twins.get_mut(number)) {
            let name = name_of(text, &twin.again);
            twin.first = table.get_key_value(name).map(|(first, _)| first.span());
            twin.kind = if let [kind] = path { (*kind).to_owned() } else { String::new() };
        }
        if let DeValue::Table(inner) = value.get_ref() {
            find_first(text, &[path, &[&**key.get_ref()]].concat(), inner, twins);
        }
    }
}

/// The name that is written there.
fn name_of<'t>(text: &'t str, at: &Range<usize>) -> &'t str {
    text[at.clone()].trim_matches(['"', '\''])
}
