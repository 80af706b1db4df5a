//! What is wrong with a config: where, what, and what to write instead.
//!
//! *Invariant:* a fault never shows a secret: of the lines that are quoted, the values are masked that are not plainly harmless.

use std::fmt;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level as Style, Renderer, Snippet};

use super::source::{Excerpt, Place};

/// So many faults are rendered; nobody reads on, and the rest is counted.
const RENDERED: usize = 100;

/// Whether the config can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The config is refused.
    Error,
    /// The config is used; something is probably not meant.
    Warning,
}

impl Level {
    /// The word, for JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One fault of a config.
#[derive(Debug, Clone)]
pub struct Fault {
    level: Level,
    message: String,
    place: Option<Place>,
    label: Option<&'static str>,
    help: Option<String>,
    first: Option<Place>,
}

impl Fault {
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self { level: Level::Error, message: message.into(), place: None, label: None, help: None, first: None }
    }

    pub(super) fn warning(message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(message) }
    }

    pub(super) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says that the same thing was already defined at `first`.
    pub(super) fn again_after(mut self, first: Place) -> Self {
        self.label = Some("defined again here");
        self.first = Some(first);
        self
    }

    /// Error or warning.
    pub fn level(&self) -> Level {
        self.level
    }

    /// What is wrong, without a place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, where the message does not say it.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The file that it stands in, where it stands in one.
    pub fn file(&self) -> Option<&Path> {
        self.place.as_ref().map(Place::file)
    }

    /// The line, counted from 1.
    pub fn line(&self) -> Option<usize> {
        self.place.as_ref().map(Place::line)
    }

    /// The column in characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.place.as_ref().map(Place::column)
    }

    /// Where a name that is defined twice was defined first: file and line.
    pub fn first_defined(&self) -> Option<(&Path, usize)> {
        self.first.as_ref().map(|place| (place.file(), place.line()))
    }

    pub(super) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    fn render(&self, renderer: &Renderer) -> String {
        let style = match self.level {
            Level::Error => Style::ERROR,
            Level::Warning => Style::WARNING,
        };
        let mut group = Group::with_title(style.primary_title(self.message.as_str()));
        if let Some(place) = &self.place {
            group = group.element(quote(place, AnnotationKind::Primary, self.label));
        }
        if let Some(first) = &self.first {
            group = group.element(quote(first, AnnotationKind::Context, Some("first defined here")));
        }
        if let Some(help) = &self.help {
            group = group.element(Style::HELP.message(help.as_str()));
        }
        let mut rendered = renderer.render(&[group]);
        // What is masked has moved in the line; the column is that of the file all the same.
        for place in [&self.place, &self.first].into_iter().flatten() {
            let Excerpt { line, span } = place.excerpt();
            let at = |column| format!("{}:{}:{column}", place.file().display(), place.line());
            rendered = rendered.replacen(&at(line[..span.start].chars().count() + 1), &at(place.column()), 1);
        }
        rendered
    }
}

fn quote(
    place: &Place,
    kind: AnnotationKind,
    label: Option<&'static str>,
) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
    let excerpt = place.excerpt();
    Snippet::source(excerpt.line)
        .line_start(place.line())
        .path(place.file().display().to_string())
        .annotation(kind.span(excerpt.span).label(label))
}

/// `file:line:column: message; help`, on one line.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}:{}: ", place.file().display(), place.line(), place.column())?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// Every fault of a config: errors, then warnings, each in the order of the files and their lines. There is an error.
#[derive(Debug, Clone)]
pub struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// The faults.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// The faults.
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }

    /// The faults for people: the place, the line with what is wrong underlined, and what to write instead.
    pub fn render(&self, colour: bool) -> String {
        render(&self.0, colour)
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}

/// Renders faults or warnings for people, parted by an empty line.
pub fn render(faults: &[Fault], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut parts: Vec<String> = faults.iter().take(RENDERED).map(|fault| fault.render(&renderer)).collect();
    if let Some(more) = faults.len().checked_sub(RENDERED).filter(|more| *more > 0) {
        parts.push(format!("and {more} more"));
    }
    parts.join("\n\n")
}
