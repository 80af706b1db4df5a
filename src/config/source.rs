//! The text of a config file, and locations in it.
//!
//! *Invariant:* a location lies within its text, at character boundaries, so quoting it cannot panic. It quotes nothing
//! unless the code that made it says which part is harmless.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Longer lines, which programs write, do not fit on a screen and are not quoted. In characters.
pub(super) const WIDEST_QUOTED_LINE: usize = 160;

#[derive(Debug)]
pub(super) struct SourceFile {
    /// As the user named it.
    pub(super) path: PathBuf,
    /// The absolute folder that relative paths in the file start from.
    pub(super) folder: PathBuf,
    /// Files are numbered in the order in which they are merged.
    pub(super) order: usize,
    pub(super) text: String,
    line_starts: OnceLock<Vec<usize>>,
    /// How many characters start before each block.
    characters: OnceLock<Vec<usize>>,
}

/// The characters of so many bytes are counted together: a file may be one line, and each of its faults has a column.
const BLOCK: usize = 4096;

impl SourceFile {
    pub(super) fn new(path: &Path, order: usize, text: String) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Self { path: path.to_owned(), folder, order, text, line_starts: OnceLock::new(), characters: OnceLock::new() }
    }

    fn line_starts(&self) -> &[usize] {
        self.line_starts.get_or_init(|| {
            let breaks = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect()
        })
    }

    /// How many characters start before a byte.
    fn characters_before(&self, at: usize) -> usize {
        let count = |bytes: &[u8]| bytes.iter().filter(|byte| (**byte).cast_signed() >= -0x40).count();
        let bytes = self.text.as_bytes();
        let blocks = self.characters.get_or_init(|| {
            let mut before = vec![0];
            bytes.chunks_exact(BLOCK).for_each(|block| before.push(before[before.len() - 1] + count(block)));
            before
        });
        let block = at / BLOCK;
        blocks[block] + count(&bytes[block * BLOCK..at])
    }

    /// The line of a byte, counted from 1.
    fn line_of(&self, at: usize) -> usize {
        self.line_starts().partition_point(|start| *start <= at).max(1)
    }
}

/// A part of a file that a fault is about.
#[derive(Debug, Clone)]
pub(super) struct Location {
    file: Arc<SourceFile>,
    start: usize,
    end: usize,
    /// What may be shown of the file: the harmless setting that this is a part of.
    quotable: Option<Range<usize>>,
}

/// One line, and the part of it to underline.
#[derive(Debug, PartialEq)]
pub(super) struct Excerpt {
    pub(super) line: String,
    pub(super) span: Range<usize>,
}

impl Location {
    pub(super) fn new(file: &Arc<SourceFile>, span: Range<usize>) -> Self {
        let start = (0..=span.start.min(file.text.len())).rev().find(|at| file.text.is_char_boundary(*at)).unwrap_or(0);
        let end = span.end.max(start);
        let end = (end..file.text.len()).find(|at| file.text.is_char_boundary(*at)).unwrap_or(file.text.len());
        Self { file: Arc::clone(file), start, end, quotable: None }
    }

    /// Allows faults to show this part of the file, which contains the location.
    pub(super) fn quoting(self, part: Option<Range<usize>>) -> Self {
        Self { quotable: part, ..self }
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// The number of the file, then the position in it: faults are sorted by this.
    pub(super) fn order(&self) -> (usize, usize) {
        (self.file.order, self.start)
    }

    /// Counted from 1.
    pub(super) fn line(&self) -> usize {
        self.file.line_of(self.start)
    }

    pub(super) fn last_line(&self) -> usize {
        self.file.line_of(self.end)
    }

    /// In characters, counted from 1.
    pub(super) fn column(&self) -> usize {
        self.file.characters_before(self.start) - self.file.characters_before(self.line_start()) + 1
    }

    /// The harmless setting, at its column but without anything that stands before or after it on its line.
    pub(super) fn excerpt(&self) -> Option<Excerpt> {
        let part = self.quotable.clone()?;
        if part.end - self.line_start() > WIDEST_QUOTED_LINE * 4 {
            return None; // No character has more bytes.
        }
        let indent = self.file.text.get(self.line_start()..part.start)?.chars().count();
        let setting = self.file.text.get(part.clone())?;
        let holds_location = part.start <= self.start && self.end <= part.end;
        if !holds_location || setting.contains('\n') || indent + setting.chars().count() > WIDEST_QUOTED_LINE {
            return None;
        }
        let moved = |at: usize| at - part.start + indent;
        Some(Excerpt { line: " ".repeat(indent) + setting, span: moved(self.start)..moved(self.end) })
    }

    fn line_start(&self) -> usize {
        self.file.line_starts()[self.line() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str, meant: &str) -> Location {
        let at = text.find(meant).unwrap();
        Location::new(&Arc::new(SourceFile::new(Path::new("x.toml"), 0, text.to_owned())), at..at + meant.len())
    }

    #[test]
    fn a_location_knows_its_line_and_column_in_characters() {
        let file = Arc::new(SourceFile::new(Path::new("x.toml"), 0, "a = 1\nä = \"é!\"\n".into()));
        let location = Location::new(&file, 14..15);
        assert_eq!((location.line(), location.column()), (2, 7));
        let end = Location::new(&file, 99..120);
        assert_eq!((end.line(), end.column()), (3, 1));
    }

    #[test]
    fn a_column_counts_characters_on_a_line_of_any_length() {
        let text = format!("x\n{}!", "é1".repeat(9000));
        for (at, column) in
            [(0, 1), (2, 1), (2 + 3 * 1365, 1 + 2 * 1365), (2 + 3 * 1366, 1 + 2 * 1366), (text.len() - 1, 18_001)]
        {
            let file = Arc::new(SourceFile::new(Path::new("x.toml"), 0, text.clone()));
            assert_eq!(Location::new(&file, at..at).column(), column, "{at}");
        }
        let file = Arc::new(SourceFile::new(Path::new("x.toml"), 0, "x".repeat(BLOCK)));
        assert_eq!(Location::new(&file, BLOCK..BLOCK).column(), BLOCK + 1);
    }

    #[test]
    fn only_the_quotable_part_of_a_line_is_shown_and_it_keeps_its_column() {
        let text = "x = 1\nh = { é = 'hunter2', rate = '5' } # hunter2";
        let part = text.find("rate").unwrap()..text.find(" }").unwrap();
        let shown = location(text, "'5'").quoting(Some(part.clone())).excerpt().unwrap();
        assert_eq!(shown.line, format!("{}rate = '5'", " ".repeat(21)));
        assert_eq!(&shown.line[shown.span], "'5'");
        assert_eq!(location(text, "'5'").excerpt(), None, "nobody said that it is harmless");
        assert_eq!(location(text, "hunter2").quoting(Some(part)).excerpt(), None);
        let lines = "on = [ # hunter2\n'x']";
        assert_eq!(location(lines, "on").quoting(Some(0..lines.len())).excerpt(), None, "comments lie within");
        let long = format!("hooks = '{}'", "x".repeat(WIDEST_QUOTED_LINE));
        assert_eq!(location(&long, "hooks").quoting(Some(0..long.len())).excerpt(), None);
    }
}
