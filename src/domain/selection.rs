//! Which tag of a repository a watch selects, and what that tag points at.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::reference::Tag;

/// How a watch selects a tag of its repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Select {
    Tag(Tag),
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
        }
    }
}

/// The tag that was selected, and the digest that it points at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Choice {
    pub tag: Tag,
    pub digest: Digest,
}

impl Choice {
    /// Parses `TAG@DIGEST`.
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
