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
    /// A string of a form of its own: an example, and how many characters it has at most.
    Form(&'static str, usize),
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

    /// How many characters a string of this kind has at most, and all of them on one line; `None` if it may be any text.
    pub(super) fn longest(self) -> Option<usize> {
        match self {
            Self::Form(_, longest) => Some(longest),
            Self::Duration | Self::Changes => Some(64),
            Self::Text | Self::Texts => Some(256),
            Self::Url(_) => Some(2048),
            // PATH_MAX of Linux.
            Self::Path => Some(4096),
            Self::Flag | Self::Count => Some(0),
            Self::Command | Self::Variables => None,
        }
    }
}
