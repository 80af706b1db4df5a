//! What a watch asks of its registry.

use std::fmt;

use super::platform::Platform;
use super::reference::{InvalidReference, Reference, Repository};
use super::selection::Select;

/// A repository, which of its tags, and for which platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    pub repository: Repository,
    pub select: Select,
    /// The platform whose manifest counts, if one is chosen.
    pub platform: Option<Platform>,
}

impl Question {
    /// What the tag of a reference points at.
    pub fn of(reference: Reference, platform: Option<Platform>) -> Self {
        Self { repository: reference.repository, select: Select::Tag(reference.tag), platform }
    }

    /// Reads the texts that [`Question::reference`] and the platform's `Display` give.
    pub fn parse(reference: &str, platform: Option<Platform>) -> Result<Self, InvalidReference> {
        Ok(Self::of(Reference::parse(reference)?, platform))
    }

    /// The canonical text of repository and selection, `host/repository:tag`.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.select)
    }
}

/// The canonical text, with the platform in brackets if one is chosen.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.select)?;
        match &self.platform {
            Some(platform) => write!(f, " ({platform})"),
            None => Ok(()),
        }
    }
}
