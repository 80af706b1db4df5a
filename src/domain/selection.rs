//! Which of a repository's tags is watched, and which one was found.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::reference::Tag;

/// How a watch selects a tag of its repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Select {
    /// This one.
    Tag(Tag),
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
        }
    }
}

/// The tag that a watch stands at, and the digest that this tag points at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Choice {
    pub tag: Tag,
    pub digest: Digest,
}

impl Choice {
    /// Reads `TAG@DIGEST`.
    pub fn parse(text: &str) -> Option<Self> {
        let (tag, digest) = text.split_once('@')?;
        Some(Self { tag: Tag::parse(tag).ok()?, digest: Digest::parse(digest).ok()? })
    }
}

/// `TAG@DIGEST`.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.tag, self.digest)
    }
}
