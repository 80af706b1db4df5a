//! Runs a command under supervision: clean environment, standard input, timeout, process group, captured output.
//!
//! Theory of operation: the command leads a process group of its own, and its exit status decides the outcome. After it
//! has exited, its pipes are only read for two seconds more, because a background child may hold them open; what that
//! prints later is read and thrown away (`background.rs`), so that it does not die of a closed pipe. On a
//! timeout or a shutdown of the agent, the whole group and what has left it is sent SIGTERM and later SIGKILL.
//!
//! *Invariant:* once started, a run ends within its timeout plus these two grace periods, whatever the command does.

mod background;
mod capture;
pub(super) mod listener;
pub(super) mod options;
pub(super) mod output;
pub(super) mod run;
pub(super) mod session;
pub(super) mod survivors;
