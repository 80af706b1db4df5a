//! The agent as the first process of a container: it runs as a child of this one, which passes signals on and reaps.
//!
//! Whatever hooks leave behind becomes a child of process 1. A process of its own reaps it, because the agent's own children
//! are waited for by the agent.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{CliError, Exit};
use super::runtime::{Signals, runtime};

pub(super) fn is_us() -> bool {
    std::process::id() == 1
}

/// Runs the same command line as a child, and returns as it has ended.
pub(super) fn run_child() -> Result<Exit, CliError> {
    runtime()?.block_on(async {
        // Before the child is there, so that its end is not missed.
        let mut ended = signal(SignalKind::child())?;
        let mut signals = Signals::new()?;
        let agent = start()?;
        let Some(agent) = Pid::from_raw(agent.id().cast_signed()) else { return Ok(Exit::Failed) };
        loop {
            tokio::select! {
                _ = ended.recv() => if let Some(status) = reap(agent) { return Ok(exit(status)) },
                signal = signals.next_signal() => drop(kill_process(agent, signal)),
            }
        }
    })
}

/// In a group of its own, so that what the terminal sends to ours reaches it once, from us.
fn start() -> std::io::Result<Child> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "taghook".into());
    Command::new(std::env::current_exe()?).arg0(name).args(arguments).process_group(0).spawn()
}

/// Reaps whatever has ended. Returns the agent's end, if it is among it.
fn reap(agent: Pid) -> Option<ExitStatus> {
    let reaped = std::iter::from_fn(|| wait(WaitOptions::NOHANG).ok().flatten());
    let status = |(pid, status): (Pid, WaitStatus)| (pid == agent).then(|| ExitStatus::from_raw(status.as_raw()));
    // All of them, also after the agent.
    reaped.filter_map(status).last()
}

fn exit(status: ExitStatus) -> Exit {
    match status.code() {
        Some(0) => Exit::Ok,
        Some(2) => Exit::Usage,
        _ => Exit::Failed,
    }
}
