//! The name of a config key, the kind of its values, and what it does.

#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: ValueKind,
    /// What it does, in sentences that the schema shows and the example repeats.
    pub(super) about: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// Any string.
    Text,
    /// A string of a form of its own, of which this is an example.
    Form(&'static str),
    /// A URL, of which this is an example.
    Url(&'static str),
    Duration,
    Path,
    Flag,
    /// A whole number of at least one.
    Count,
    /// A string or a list of strings.
    Texts,
    /// One or several kinds of change.
    Changes,
    /// A shell command, or a program and its arguments.
    Command,
    /// A table of strings.
    Variables,
}

impl ValueKind {
    /// Whether values may be shown. Variables and arguments are where secrets stand, and the path of a URL can be one.
    pub(super) fn is_harmless(self) -> bool {
        !matches!(self, Self::Url(_) | Self::Command | Self::Variables)
    }
}
