//! What is wrong with a config: where, what, and what to write instead.
//!
//! *Invariant:* a fault never shows a secret. It quotes the file only where its location says that this is harmless.

use std::fmt;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level as Style, Origin, Renderer, Snippet};

use super::source::Location;

/// Nobody reads on after this many faults; the rest is counted.
const MOST_RENDERED: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The config is refused.
    Error,
    /// The config is used, but something in it is probably not meant.
    Warning,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Fault {
    level: Level,
    message: String,
    location: Option<Location>,
    help: Option<String>,
    /// Where a name that is defined twice was defined first.
    first: Option<Box<Location>>,
}

impl Fault {
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self { level: Level::Error, message: message.into(), location: None, help: None, first: None }
    }

    pub(super) fn warning(message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(message) }
    }

    pub(super) fn at(mut self, location: Location) -> Self {
        self.location = Some(location);
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Names the place at which the same thing was defined before.
    pub(super) fn again_after(mut self, first: Option<Location>) -> Self {
        self.first = first.map(Box::new);
        self
    }

    pub fn level(&self) -> Level {
        self.level
    }

    /// What is wrong, without a location.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, where the message does not say it.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }

    pub fn file(&self) -> Option<&Path> {
        self.location.as_ref().map(Location::path)
    }

    /// The line, counted from 1.
    pub fn line(&self) -> Option<usize> {
        self.location.as_ref().map(Location::line)
    }

    /// The column in characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.location.as_ref().map(Location::column)
    }

    /// Where a name that is defined twice was defined first: file and line.
    pub fn first_defined(&self) -> Option<(&Path, usize)> {
        self.first.as_ref().map(|first| (first.path(), first.line()))
    }

    pub(super) fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    fn render(&self, renderer: &Renderer) -> String {
        let style = match self.level {
            Level::Error => Style::ERROR,
            Level::Warning => Style::WARNING,
        };
        let mut group = Group::with_title(style.primary_title(self.message.as_str()));
        if let Some(location) = &self.location {
            let path = location.path().display().to_string();
            group = match location.excerpt() {
                Some(excerpt) => {
                    let snippet = Snippet::source(excerpt.line).line_start(location.line()).path(path);
                    group.element(snippet.annotation(AnnotationKind::Primary.span(excerpt.span)))
                }
                None => group.element(Origin::path(path).line(location.line()).char_column(location.column())),
            };
        }
        let first = self.first.as_ref().map(|first| format!("first defined at {}", place(first)));
        if let Some(first) = &first {
            group = group.element(Style::NOTE.message(first.as_str()));
        }
        if let Some(help) = &self.help {
            group = group.element(Style::HELP.message(help.as_str()));
        }
        let rendered = renderer.render(&[group]);
        // Without an excerpt there is no column of line numbers, which indents the lines of other faults.
        let is_unquoted = self.location.as_ref().is_some_and(|location| location.excerpt().is_none());
        if is_unquoted { rendered.replace('\n', "\n ") } else { rendered }
    }
}

fn place(location: &Location) -> String {
    format!("{}:{}:{}", location.path().display(), location.line(), location.column())
}

/// `file:line:column: message; help`, on one line.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{}: ", place(location))?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// Every fault of a config that is refused: errors, then warnings, each in the order of the files and their lines.
#[derive(Debug, Clone)]
pub struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// The faults for people: the place, what is wrong underlined where it may be quoted, and what to write instead.
    pub fn render(&self, colour: bool) -> String {
        render(&self.0, colour)
    }
}

impl std::ops::Deref for Faults {
    type Target = [Fault];

    fn deref(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}

/// Renders faults or warnings for people, separated by empty lines.
pub fn render(faults: &[Fault], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut parts: Vec<String> = faults.iter().take(MOST_RENDERED).map(|fault| fault.render(&renderer)).collect();
    if let Some(more) = faults.len().checked_sub(MOST_RENDERED).filter(|more| *more > 0) {
        parts.push(format!("and {more} more"));
    }
    parts.join("\n\n")
}
