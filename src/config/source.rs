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
        Excerpt { line: mask(line), span: clip(self.start)..clip(end) }
    }

    fn line_start(&self) -> usize {
        self.source.line_starts()[self.line() - 1]
    }
}

/// The first character boundary at or after `at`.
fn boundary_from(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// Puts stars for all that follows the key of a line that looks as if it held a secret; as long as what they cover.
fn mask(line: &str) -> String {
    let lower = line.to_ascii_lowercase().replace("password_file", "");
    let userinfo =
        lower.split("://").skip(1).any(|rest| rest.split(['/', '"', '\'']).next().unwrap_or("").contains('@'));
    if !userinfo && (names_things(line) || !SECRETS.iter().any(|word| lower.contains(word))) {
        return line.to_owned();
    }
    let (key, value) = line.split_at(line.find('=').map_or(0, |at| at + 1));
    let covered = value.chars().flat_map(|c| {
        let cover = if matches!(c, ' ' | '\t' | '[' | ']' | '{' | '}' | ',') { c } else { '*' };
        std::iter::repeat_n(cover, c.len_utf8())
    });
    key.chars().chain(covered).collect()
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
            (r#"password = "hunter2""#, r#"password = *********"#),
            (r#"env = { API_TOKEN = "a b" }"#, r#"env = { ********* * ** ** }"#),
            (r#"endpoint = "https://u:p@h/x""#, r#"endpoint = *****************"#),
            (r#"image = "ghcr.io/acme/Token""#, r#"image = "ghcr.io/acme/Token""#),
            (r#"[watch."token.x"]"#, r#"[watch."token.x"]"#),
            (r#""Authorization: x","#, r#"*************** **,"#),
            (r#"password_file = "/run/x""#, r#"password_file = "/run/x""#),
            (r#"endpoint = "https://h/x@y""#, r#"endpoint = "https://h/x@y""#),
        ] {
            assert_eq!(mask(line), masked);
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
