//! The first line, *check*: which watch is due, what its registry answers, and what that means.

pub(super) mod adopt;
pub(super) mod due;
pub(super) mod handle;
pub(super) mod heartbeat;
pub(super) mod lines;
pub(super) mod question;
pub(super) mod registries;
pub(super) mod roster;
pub(super) mod scheduler;
pub(super) mod watched;
