//! What can happen to a watch that a hook can be owed.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::Digest;

/// The kinds of change, in OCI's and operators' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// The tag was seen for the first time; a baseline.
    First,
    /// The tag points at another digest.
    Moved,
    /// The tag is gone.
    Removed,
    /// The tag is back.
    Restored,
    /// Checks have been failing for a while.
    Failing,
    /// Checks work again after `Failing`.
    Recovered,
}

/// Newest wins within a lane: news about content never cancels news about health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// `first`, `moved`, `removed`, `restored`.
    Content,
    /// `failing`, `recovered`.
    Health,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::First, Self::Moved, Self::Removed, Self::Restored, Self::Failing, Self::Recovered];

    /// The word in config, database, JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Moved => "moved",
            Self::Removed => "removed",
            Self::Restored => "restored",
            Self::Failing => "failing",
            Self::Recovered => "recovered",
        }
    }

    /// The kind with this word, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The lane that the change belongs to.
    pub fn lane(self) -> Lane {
        match self {
            Self::First | Self::Moved | Self::Removed | Self::Restored => Lane::Content,
            Self::Failing | Self::Recovered => Lane::Health,
        }
    }
}

impl Lane {
    /// The lane with this word, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Content, Self::Health].into_iter().find(|lane| lane.as_str() == word)
    }

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Health => "health",
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of kinds: what a hook subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeSet(u8);

impl ChangeSet {
    /// Whether the kind is in the set.
    pub fn contains(self, kind: ChangeKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// The kinds in the set.
    pub fn iter(self) -> impl Iterator<Item = ChangeKind> {
        ChangeKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<ChangeKind> for ChangeSet {
    fn from_iter<I: IntoIterator<Item = ChangeKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | 1 << kind as u8))
    }
}

/// One accepted change of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The digest before; `None` at first sight.
    pub from: Option<Digest>,
    /// The digest now; `None` when the tag is gone.
    pub to: Option<Digest>,
    /// With a platform: the index that `to` was chosen from.
    pub index_digest: Option<Digest>,
    /// Media type of the manifest that `to` names.
    pub media_type: Option<Arc<str>>,
    /// When it was accepted.
    pub at: Timestamp,
}
