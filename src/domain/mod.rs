//! What taghook knows and decides: pure types and pure functions.
//!
//! *Architecture invariant:* nothing in this folder does I/O, awaits, or reads a clock. The current time and random
//! numbers are passed in, so every decision can be tested by calling a function.

pub mod answer;
pub mod backoff;
pub mod change;
pub mod delivery;
pub mod digest;
pub mod gate;
pub mod judge;
pub mod platform;
pub mod question;
pub mod reference;
pub mod schedule;
pub mod selection;
pub mod shown;
pub mod watch;
pub(crate) mod words;

pub use answer::{Answer, Failure, FailureKind, Sighting};
pub use change::{Cause, Change, ChangeKind, ChangeSet, Lane};
pub use digest::Digest;
pub use platform::Platform;
pub use question::Question;
pub use reference::{Reference, Repository, Tag};
pub use schedule::Schedule;
pub use selection::{Choice, Select};
pub use watch::{Watch, WatchKey};
