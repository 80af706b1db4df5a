//! The question that a watch asks its registry.

use std::fmt;

use super::platform::Platform;
use super::reference::{InvalidReference, Reference, Repository};
use super::selection::Select;

/// A repository, the selection among its tags, and the platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    pub repository: Repository,
    pub select: Select,
    /// If set, only the manifest for this platform is compared, not the whole index.
    pub platform: Option<Platform>,
}

impl Question {
    /// Asks what the tag of `reference` points at.
    pub fn of(reference: Reference, platform: Option<Platform>) -> Self {
        Self { repository: reference.repository, select: Select::Tag(reference.tag), platform }
    }

    /// Parses a reference, canonical (see [`Question::reference`]) or as people write it.
    pub fn parse(reference: &str, platform: Option<Platform>) -> Result<Self, InvalidReference> {
        Ok(Self::of(Reference::parse(reference)?, platform))
    }

    /// The canonical text of the repository and the selection, `host/repository:tag`.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.select)
    }
}

/// The canonical text, followed by the platform in parentheses if one is set.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reference())?;
        match &self.platform {
            Some(platform) => write!(f, " ({platform})"),
            None => Ok(()),
        }
    }
}
