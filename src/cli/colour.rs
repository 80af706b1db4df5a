//! The colours of states and outcomes on a terminal.

use std::fmt::Display;

use crate::control::wire::HealthProblemKind;
use crate::domain::ChangeKind;
use crate::domain::delivery::DeliveryState;
use crate::domain::judge::{CheckOutcome, WatchState};

#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
    /// Whatever the terminal uses for text.
    Plain = 0,
}

/// The word in this colour (ECMA-48, "select graphic rendition").
pub(super) fn painted(colour: Colour, word: impl Display) -> String {
    match colour {
        Colour::Plain => word.to_string(),
        colour => format!("\x1b[{}m{word}\x1b[0m", colour as u8),
    }
}

/// A word for a state or an outcome that has a colour.
pub(super) trait Coloured: Copy + Display {
    fn colour(self) -> Colour;

    fn coloured(self) -> String {
        painted(self.colour(), self)
    }
}

impl Coloured for ChangeKind {
    fn colour(self) -> Colour {
        match self {
            Self::First => Colour::Cyan,
            Self::Moved | Self::Removed | Self::Restored => Colour::Yellow,
            Self::Failing => Colour::Red,
            Self::Recovered => Colour::Plain,
        }
    }
}

impl Coloured for WatchState {
    fn colour(self) -> Colour {
        match self {
            Self::Ok => Colour::Green,
            Self::Settling | Self::Absent => Colour::Yellow,
            Self::Failing => Colour::Red,
            Self::Unknown => Colour::Plain,
        }
    }
}

impl Coloured for DeliveryState {
    fn colour(self) -> Colour {
        match self {
            Self::Pending => Colour::Yellow,
            Self::Running => Colour::Cyan,
            Self::Succeeded => Colour::Green,
            Self::Failed => Colour::Red,
            Self::Superseded => Colour::Plain,
        }
    }
}

impl Coloured for CheckOutcome {
    fn colour(self) -> Colour {
        match self {
            Self::First => Colour::Cyan,
            Self::Moved | Self::Settling | Self::Restored | Self::Absent => Colour::Yellow,
            Self::Failed => Colour::Red,
            Self::Unchanged | Self::Present => Colour::Plain,
        }
    }
}

impl Coloured for HealthProblemKind {
    fn colour(self) -> Colour {
        match self {
            Self::Held => Colour::Yellow,
            Self::Failed | Self::Failing | Self::Stuck | Self::Stray => Colour::Red,
            Self::Stale | Self::Refused | Self::Unreachable => Colour::Plain,
        }
    }
}
