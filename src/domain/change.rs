//! What can happen to a watch that a hook can be owed.

use std::sync::Arc;

use jiff::Timestamp;

use super::digest::Digest;
use super::selection::Choice;
use super::words::words;

words! {
    /// The kinds of change, in OCI's and operators' words.
    pub enum ChangeKind {
        /// The tag was seen for the first time; a baseline.
        First = "first",
        /// Another digest is found.
        Moved = "moved",
        /// The tag is gone.
        Removed = "removed",
        /// The tag is back.
        Restored = "restored",
        /// Checks have been failing for a while.
        Failing = "failing",
        /// Checks work again after `Failing`.
        Recovered = "recovered",
    }
}

words! {
    /// Newest wins within a lane: news about content never cancels news about health.
    pub enum Lane {
        Content = "content",
        Health = "health",
    }
}

words! {
    /// Who has brought a change about.
    pub enum Cause {
        Registry = "registry",
        /// An operator, by hand.
        Person = "person",
    }
}

impl ChangeKind {
    /// The lane that a change of this kind belongs to: the one list of what is in which lane.
    pub fn lane(self) -> Lane {
        match self {
            Self::First | Self::Moved | Self::Removed | Self::Restored => Lane::Content,
            Self::Failing | Self::Recovered => Lane::Health,
        }
    }
}

/// A set of kinds: what a hook subscribes to. One bit for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeSet(u16);

// A kind more than there are bits does not compile.
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

/// One accepted change of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    pub cause: Cause,
    /// The choice before; `None` at first sight.
    pub from: Option<Choice>,
    /// The choice now; `None` when the tag is gone.
    pub to: Option<Choice>,
    /// With a platform: the index that `to` was chosen from.
    pub index_digest: Option<Digest>,
    /// Media type of the manifest that `to` names.
    pub media_type: Option<Arc<str>>,
    /// When it was accepted.
    pub at: Timestamp,
}
