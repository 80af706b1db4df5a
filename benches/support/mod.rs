//! What the benchmarks stand on: the real binary and its sandbox, as the tests have them; a registry that is faster than
//! any client; what a process has used.
//!
//! *Invariant:* absolute times drift with the machine, so each is told beside a floor that was measured in the same run; and
//! only ratios and counts can fail a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    reason = "support for benchmarks fails by panicking, and none uses all of it"
)]

pub mod stub;
#[path = "../../tests/support/mod.rs"]
mod tests;
pub mod usage;

pub use tests::*;

/// Whether the short form is wanted, as CI runs it: `cargo bench --bench NAME -- --short`. It measures little and fails only
/// on gross regressions of ratios and counts.
pub fn short() -> bool {
    std::env::args().any(|argument| argument == "--short")
}

/// The command, on this core alone where there is more than one: client and server keep out of each other's way.
pub fn pinned(core: usize, command: &std::process::Command) -> std::process::Command {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    wrapped(&["taskset", "--cpu-list", &(core % cores).to_string()], command)
}

/// The command, run by this one.
pub fn wrapped(by: &[&str], command: &std::process::Command) -> std::process::Command {
    let mut wrapped = std::process::Command::new(by[0]);
    wrapped.args(&by[1..]).arg(command.get_program()).args(command.get_args());
    wrapped.env_clear();
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    wrapped
}
