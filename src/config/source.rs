//! A config file's text, and places in it.
//!
//! *Invariant:* a place lies within its text, at character boundaries; so quoting it cannot panic.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// What is quoted of a line after the fault; configs that a program wrote may have lines of any length.
const TAIL: usize = 200;

/// Words of lines that probably hold a secret.
const SECRETS: [&str; 10] = [
    "passw",
    "secret",
    "token",
    "credential",
    "api_key",
    "apikey",
    "api-key",
    "private_key",
    "authorization",
    "bearer",
];

/// The text of one file.
#[derive(Debug)]
pub(super) struct Source {
    /// As it was named.
    pub(super) path: PathBuf,
    /// The absolute folder that relative paths in it start from.
    pub(super) folder: PathBuf,
    /// The files are numbered in the order in which they are merged.
    pub(super) order: usize,
    pub(super) text: String,
    line_starts: OnceLock<Vec<usize>>,
}

impl Source {
    pub(super) fn new(path: &Path, order: usize, text: String) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Self { path: path.to_owned(), folder, order, text, line_starts: OnceLock::new() }
    }

    fn line_starts(&self) -> &[usize] {
        self.line_starts.get_or_init(|| {
            let breaks = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect()
        })
    }
}

/// A part of a file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    source: Arc<Source>,
    start: usize,
    end: usize,
}

/// One line, and the part of it that is meant.
pub(super) struct Excerpt {
    pub(super) line: String,
    pub(super) span: Range<usize>,
}

impl Place {
    pub(super) fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        let start = (0..=span.start.min(source.text.len())).rev().find(|at| source.text.is_char_boundary(*at));
        let start = start.unwrap_or(0);
        Self { source: Arc::clone(source), start, end: boundary_from(&source.text, span.end.max(start)) }
    }

    pub(super) fn file(&self) -> &Path {
        &self.source.path
    }

    /// By file, then by position: the order in which faults are told.
    pub(super) fn order(&self) -> (usize, usize) {
        (self.source.order, self.start)
    }

    /// Counted from 1.
    pub(super) fn line(&self) -> usize {
        self.source.line_starts().partition_point(|start| *start <= self.start).max(1)
    }

    /// In characters, counted from 1.
    pub(super) fn column(&self) -> usize {
        self.source.text[self.line_start()..self.start].chars().count() + 1
    }

    /// The first line of the place, without secrets and without a tail that nobody can read.
    pub(super) fn excerpt(&self) -> Excerpt {
        let text = &self.source.text;
        let (start, rest) = (self.line_start(), &text[self.start..]);
        let line_end = rest.find('\n').map_or(text.len(), |at| self.start + at);
        let end = self.end.min(line_end);
        let cut = boundary_from(text, end.saturating_add(TAIL)).min(line_end);
        let line = text[start..cut].trim_end_matches('\r');
        let clip = |at: usize| (at - start).min(line.len());
        mask(line, clip(self.start)..clip(end))
    }

    fn line_start(&self) -> usize {
        self.source.line_starts()[self.line() - 1]
    }
}

/// The first character boundary at or after `at`.
fn boundary_from(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// Whether a line looks as if it held a secret.
pub(super) fn looks_secret(line: &str) -> bool {
    let lower = line.to_ascii_lowercase().replace("password_file", "").replace("password_credential", "");
    let has_user =
        lower.split("://").skip(1).any(|rest| rest.split(['/', '"', '\'']).next().unwrap_or("").contains('@'));
    has_user || !names_things(line) && SECRETS.iter().any(|word| lower.contains(word))
}

/// Puts `***` for the values of a line that looks as if it held a secret, and moves the span along.
fn mask(line: &str, span: Range<usize>) -> Excerpt {
    if !looks_secret(line) {
        return Excerpt { line: line.to_owned(), span };
    }
    let mut masked = String::new();
    let (mut start, mut end) = (None, None);
    let first = line.find('=').map_or(0, |at| at + 1);
    let kept = std::iter::once((0..first, false)).filter(|(kept, _)| !kept.is_empty());
    for (piece, is_secret) in kept.chain(pieces(line, first)) {
        let at = masked.len();
        let within = |place: usize| at + if is_secret { 0 } else { place - piece.start };
        if piece.contains(&span.start) {
            start = Some(within(span.start));
        }
        let begins = piece.start < span.end;
        masked.push_str(if is_secret { "***" } else { &line[piece.clone()] });
        if begins {
            end = Some(if is_secret || span.end >= piece.end { masked.len() } else { within(span.end) });
        }
    }
    let start = start.unwrap_or(masked.len());
    let end = end.unwrap_or(masked.len()).max(start);
    Excerpt { line: masked, span: start..end }
}

/// The pieces of a line from `first` on, and whether each may be secret: what stands in quotes, and bare values.
fn pieces(line: &str, first: usize) -> Vec<(Range<usize>, bool)> {
    let mut pieces = Vec::new();
    let mut at = first;
    while let Some(c) = line[at..].chars().next() {
        let rest = &line[at + c.len_utf8()..];
        let length = match c {
            '"' | '\'' => {
                let inside = closing(rest, c).unwrap_or(rest.len());
                let has_end = inside < rest.len();
                let after = &rest[(inside + usize::from(has_end)).min(rest.len())..];
                pieces.push((at..at + 1, false));
                pieces.push((at + 1..at + 1 + inside, !after.trim_start().starts_with('=')));
                at += 1 + inside;
                if has_end {
                    pieces.push((at..at + 1, false));
                    at += 1;
                }
                continue;
            }
            '#' => line.len() - at,
            c if is_mark(c) => {
                pieces.push((at..at + c.len_utf8(), false));
                at += c.len_utf8();
                continue;
            }
            _ => line[at..].find(|c: char| is_mark(c) || matches!(c, '"' | '\'')).unwrap_or(line.len() - at),
        };
        let is_key = line[at + length..].trim_start().starts_with('=');
        pieces.push((at..at + length, !is_key));
        at += length;
    }
    pieces.retain(|(piece, _)| !piece.is_empty());
    pieces
}

fn is_mark(c: char) -> bool {
    c.is_whitespace() || matches!(c, '=' | '[' | ']' | '{' | '}' | ',')
}

/// Where the string ends that has begun before `rest`.
fn closing(rest: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if quote == '"' => is_escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// Headers, and keys whose values are names: a watch may well be called "token-service".
fn names_things(line: &str) -> bool {
    let line = line.trim_start();
    let key = line.split('=').next().unwrap_or("").trim_end();
    matches!(key, "image" | "hooks")
        || ["[watch.", "[hook.", "[registry."].iter().any(|header| line.starts_with(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked() {
        for (line, masked) in [
            (r#"password = "hunter2""#, r#"password = "***""#),
            (r#"env = { API_TOKEN = "a b", B = 1 }"#, r#"env = { API_TOKEN = "***", B = *** }"#),
            (r#"endpoint = "https://u:p@h/x""#, r#"endpoint = "***""#),
            (r#"token = 'a"b' # hunter2"#, r#"token = '***' ***"#),
            (r#"secret = "a\"b"#, r#"secret = "***"#),
            ("password = hunter2", "password = ***"),
            (r#"image = "ghcr.io/acme/Token""#, r#"image = "ghcr.io/acme/Token""#),
            (r#"[watch."token.x"]"#, r#"[watch."token.x"]"#),
            (r#""Authorization: x","#, r#""***","#),
            (r#"password_file = "/run/x""#, r#"password_file = "/run/x""#),
            (r#"endpoint = "https://h/x@y""#, r#"endpoint = "https://h/x@y""#),
        ] {
            assert_eq!(mask(line, 0..0).line, masked);
        }
    }

    #[test]
    fn what_is_underlined_stays_underlined_when_it_is_masked() {
        for (line, meant, underlined) in [
            (r#"password = "hunter2""#, "password", "password"),
            (r#"password = "hunter2""#, r#""hunter2""#, r#""***""#),
            (r#"env = { TOKEN = "a", B = 17 }"#, "17", "***"),
            (r#"endpoint = "https://u:p@h/x""#, "u:p", "***"),
            (r#"token = ["a", "bc"]"#, r#""bc""#, r#""***""#),
        ] {
            let at = line.find(meant).unwrap();
            let Excerpt { line: masked, span } = mask(line, at..at + meant.len());
            assert_eq!(&masked[span], underlined, "{line}");
        }
    }

    #[test]
    fn a_place_knows_its_line_and_column_in_characters() {
        let source = Arc::new(Source::new(Path::new("x.toml"), 0, "a = 1\nä = \"é!\"\n".into()));
        let place = Place::new(&source, 14..15);
        assert_eq!((place.line(), place.column()), (2, 7));
        let end = Place::new(&source, 99..120);
        assert_eq!((end.line(), end.column()), (3, 1));
    }
}
