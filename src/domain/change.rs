//! The changes of a watch that a hook can subscribe to.

use std::sync::Arc;

use jiff::Timestamp;

use super::digest::Digest;
use super::selection::Choice;
use super::words::words;

words! {
    pub enum ChangeKind {
        /// The tag was seen for the first time. This is the baseline.
        First = "first",
        /// The tag points at another digest.
        Moved = "moved",
        Removed = "removed",
        /// The tag exists again after `Removed`.
        Restored = "restored",
        /// Several checks in a row have failed, over a minimum time.
        Failing = "failing",
        /// A check succeeded after `Failing`.
        Recovered = "recovered",
    }
}

words! {
    /// A newer change supersedes an older one only within its lane, so a change of content never cancels a change of
    /// health.
    pub enum Lane {
        Content = "content",
        Health = "health",
    }
}

words! {
    /// Who caused a change.
    pub enum Cause {
        Registry = "registry",
        /// An operator caused it by hand.
        Person = "person",
    }
}

impl ChangeKind {
    /// The lane of this kind. No other list of the kinds in each lane exists.
    pub fn lane(self) -> Lane {
        match self {
            Self::First | Self::Moved | Self::Removed | Self::Restored => Lane::Content,
            Self::Failing | Self::Recovered => Lane::Health,
        }
    }
}

/// The set of kinds that a hook subscribes to, as a bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeSet(u16);

// Compilation fails if there are more kinds than bits.
const _: () = assert!(ChangeKind::ALL.len() <= u16::BITS as usize);

impl ChangeSet {
    pub fn contains(self, kind: ChangeKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = ChangeKind> {
        ChangeKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<ChangeKind> for ChangeSet {
    fn from_iter<I: IntoIterator<Item = ChangeKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | 1 << kind as u8))
    }
}

/// An accepted change. A digest that is still settling is not a change yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    pub cause: Cause,
    /// The tag and digest before; `None` for the first sighting.
    pub from: Option<Choice>,
    /// The tag and digest now; `None` if the tag is gone.
    pub to: Option<Choice>,
    /// For a watch with a platform: the digest of the index that lists `to`.
    pub index_digest: Option<Digest>,
    /// Media type of the manifest that `to` names.
    pub media_type: Option<Arc<str>>,
    pub at: Timestamp,
}
