//! Exit statuses, and the one table from errors to them.

use std::io::{ErrorKind, IsTerminal};
use std::process::ExitCode;

use super::logging;
use crate::config::{self, Fault, Faults};
use crate::store::LockError;
use crate::{agent, control, store};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Ok = 0,
    /// Something that was checked or run has failed, or is still owed.
    Failed = 1,
    /// The caller must change the arguments or the config first. systemd does not restart the agent after this
    /// (`RestartPreventExitStatus=2`).
    Usage = 2,
}

impl Exit {
    pub(super) fn of(is_well: bool) -> Self {
        if is_well { Self::Ok } else { Self::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Config(#[from] Faults),
    #[error(transparent)]
    Agent(#[from] agent::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Control(#[from] control::Error),
    /// The arguments name something that does not exist, or the like.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl CliError {
    /// Prints the error. Faults of the config bring their own headings.
    pub(super) fn print(&self) {
        match self {
            Self::Config(faults) => print_faults(&faults[..]),
            Self::Io(error) if error.kind() == ErrorKind::BrokenPipe => {}
            _ => logging::say(format_args!("error: {self}")),
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) | Self::Control(control::Error::Refused(_)) => Exit::Usage,
            Self::Agent(error) => of_agent(error),
            Self::Store(error) => of_store(error),
            Self::Control(_) => Exit::Failed,
            // The reader of our output has seen enough, as `head` does.
            Self::Io(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Ok,
            Self::Io(_) => Exit::Failed,
        }
    }
}

/// Prints faults or warnings of the config, if there are any, with the lines that they are about.
pub(super) fn print_faults(faults: &[Fault]) {
    if !faults.is_empty() {
        logging::say(config::render(faults, std::io::stderr().is_terminal()).trim_end());
    }
}

fn of_agent(error: &agent::Error) -> Exit {
    match error {
        agent::Error::Lock(LockError::State(error)) => of_store(error),
        agent::Error::Lock(LockError::Held { .. })
        | agent::Error::Interrupted
        | agent::Error::Broken
        | agent::Error::Lost { .. } => Exit::Failed,
        agent::Error::Store(error) => of_store(error),
        _ => Exit::Usage,
    }
}

fn of_store(error: &store::Error) -> Exit {
    match error {
        store::Error::Commit(error) => of_store(error),
        store::Error::Full(_)
        | store::Error::FileLimit(_)
        | store::Error::Disk { .. }
        | store::Error::Locked { .. }
        | store::Error::Lost { .. }
        | store::Error::Gone { .. }
        | store::Error::Sqlite { .. }
        | store::Error::Ended
        | store::Error::Value(_) => Exit::Failed,
        _ => Exit::Usage,
    }
}
