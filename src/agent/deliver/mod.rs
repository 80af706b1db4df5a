//! The second line, *deliver*: what is owed is claimed, run, and recorded.

pub(super) mod deliverer;
pub(super) mod holds;
pub(super) mod message;
pub(super) mod runs;
pub(super) mod trial;
