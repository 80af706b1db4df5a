//! A config file's text, and places in it.
//!
//! *Invariant:* a place lies within its text, at character boundaries; so quoting it cannot panic.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::mask;

/// What is quoted of a line after the fault; configs that a program wrote may have lines of any length.
const TAIL: usize = 200;

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
    hidden: OnceLock<Vec<Range<usize>>>,
}

impl Source {
    pub(super) fn new(path: &Path, order: usize, text: String) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Self { path: path.to_owned(), folder, order, text, line_starts: OnceLock::new(), hidden: OnceLock::new() }
    }

    fn line_starts(&self) -> &[usize] {
        self.line_starts.get_or_init(|| {
            let breaks = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect()
        })
    }

    /// The parts of this range that may not be quoted.
    pub(super) fn hidden(&self, within: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let hidden = self.hidden.get_or_init(|| mask::hidden(&self.text));
        let first = hidden.partition_point(|part| part.end <= within.start);
        let overlapping = hidden[first..].iter().take_while(move |part| part.start < within.end);
        overlapping.map(move |part| part.start.max(within.start)..part.end.min(within.end))
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
        let hidden: Vec<_> =
            self.source.hidden(start..start + line.len()).map(|part| clip(part.start)..clip(part.end)).collect();
        masked(line, clip(self.start)..clip(end), &hidden)
    }

    fn line_start(&self) -> usize {
        self.source.line_starts()[self.line() - 1]
    }
}

/// The first character boundary at or after `at`.
fn boundary_from(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// Puts `***` for the hidden parts of a line, and moves the span along.
fn masked(line: &str, span: Range<usize>, hidden: &[Range<usize>]) -> Excerpt {
    const MASK: &str = "***";
    let mut masked = String::new();
    let mut shown_to = 0;
    for part in hidden {
        masked.push_str(&line[shown_to..part.start]);
        masked.push_str(MASK);
        shown_to = part.end;
    }
    masked.push_str(&line[shown_to..]);
    // Where a place within a hidden part goes is up to the side of the span that it is.
    let moved = |at: usize, within: usize| {
        let before = hidden.iter().take_while(|part| part.end <= at);
        let (count, length) = before.fold((0, 0), |(count, length), part| (count + 1, length + part.len()));
        let inside = hidden.get(count).filter(|part| part.start < at);
        let (at, within) = inside.map_or((at, 0), |part| (part.start, within));
        at - length + count * MASK.len() + within
    };
    Excerpt { span: moved(span.start, 0)..moved(span.end, MASK.len()), line: masked }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, meant: &str) -> Excerpt {
        let at = text.find(meant).unwrap();
        Place::new(&Arc::new(Source::new(Path::new("x.toml"), 0, text.to_owned())), at..at + meant.len()).excerpt()
    }

    #[test]
    fn only_values_that_are_plainly_no_secrets_are_quoted() {
        for (text, line) in [
            ("[hook.h]\nenv = { A = \"hunter2\", B = 7 } # hunter2", "env = { A = \"***\", B = *** } #***"),
            ("[hook.h.env]\nimage = 'hunter2'", "image = '***'"),
            ("[hook]\nh.env.A = 'hunter2'", "h.env.A = '***'"),
            ("[hook.h]\ncommand = 'curl -u hunter2'", "command = 'curl ***'"),
            ("[hook.h]\ncommand = ['sshpass', \"-p\", 'hunter2']", "command = ['sshpass', \"***\", '***']"),
            ("[hook.h]\ncommand = 'P=hunter2 x'", "command = '***'"),
            ("[hook.h]\ncomand = 'curl hunter2'", "comand = '***'"),
            ("[hook.h]\ncommand = curl -u hunter2", "command = ***"),
            ("[hook.h]\ncommand = 'curl hunter2", "command = 'curl ***"),
            ("[hook.h]\ntimeout = '5s' password = 'hunter2'", "timeout = '5s' *** = '***'"),
            ("[hook.h]\npass_env = ['A=hunter2', 'B']", "pass_env = ['A=***', 'B']"),
            ("[watch.w]\nimage = 'https://u:hunter2@h/p?q'", "image = 'https://***@h/***'"),
            ("[registry.h]\nendpoint = 'https://u:hu/nter2@h/p'", "endpoint = 'https://***@h/***'"),
            ("[registry.h]\npassword = aHVudGVyMg==", "password = ***=="),
            ("[registry.h]\npassword = \"hunter2", "password = \"***"),
            ("[wtach.w]\nimage = 'hunter2'", "image = '***'"),
            ("image = 'hunter2'", "image = '***'"),
            ("['x', 'hunter2']", "['***', '***']"),
            ("timezone 'hunter2'", "timezone '***'"),
            ("[watch.\"token.x\"] hunter2", "[watch.\"token.x\"] ***"),
            ("[watch.w]\nhooks = ['a', 'b']", "hooks = ['a', 'b']"),
            ("[hook.h]\nattempts = 1.5", "attempts = 1.5"),
        ] {
            let start = text.find('\n').map_or(0, |at| at + 1);
            assert_eq!(excerpt(text, &text[start..]).line, line, "{text}");
        }
    }

    #[test]
    fn what_spans_lines_is_hidden_in_each_of_them() {
        let text = "[hook.h]\nenv = { A = \"\"\"\nhunter2\nx = 'hunter3'\"\"\" }\ncommand = [\n  'curl', # hunter4\n  'hunter5',\n\
                    hunter6=\n[hook.i]\ntimeout = '5s'\nhunter7=\n";
        for (meant, line) in [
            ("hunter2", "***"),
            ("hunter3", "***\"\"\" }"),
            ("hunter4", "  'curl', #***"),
            ("hunter5", "  '***',"),
            ("hunter6", "***="),
            ("hook.i", "[hook.i]"),
            ("5s", "timeout = '5s'"),
            ("hunter7", "***="),
        ] {
            assert_eq!(excerpt(text, meant).line, line, "{meant}");
        }
    }

    #[test]
    fn what_is_underlined_stays_underlined_when_it_is_masked() {
        for (text, meant, underlined) in [
            ("password = \"hunter2\"", "password", "password"),
            ("password = \"hunter2\"", "\"hunter2\"", "\"***\""),
            ("env = { TOKEN = \"abcde\", B = 17 }", "17", "***"),
            ("env = { TOKEN = \"abcde\", B = 17 }", "B", "B"),
            ("endpoint = \"https://u:p@h/x\"", "u:p", "***"),
            ("token = [\"a\", \"bc\"]", "\"bc\"", "\"***\""),
        ] {
            let Excerpt { line, span } = excerpt(text, meant);
            assert_eq!(&line[span], underlined, "{text}");
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
