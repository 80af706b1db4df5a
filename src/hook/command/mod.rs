//! Runs one command, supervised: argument list, clean environment, standard input, timeout, process group, output.
//!
//! Theory of operation: the command leads a process group of its own. Its exit decides; its pipes are read for two
//! seconds more, because a background child may hold them open. A timeout, or our own end, signals the whole group.
//! *Invariant:* a run ends within its timeout plus the two graces, whatever the command does.

pub(super) mod options;
pub(super) mod output;
pub(super) mod run;
pub(super) mod survivors;
