//! Exit statuses, and the one table from errors to them.

use std::io::{ErrorKind, IsTerminal};
use std::process::ExitCode;

use super::logging;
use crate::agent::SocketError;
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
        agent::Error::Lock(error) => of_lock(error),
        agent::Error::Store(error) => of_store(error),
        agent::Error::Socket(error) => of_socket(error),
        agent::Error::Inside { .. }
        | agent::Error::Interrupted
        | agent::Error::Broken
        | agent::Error::Lost { .. }
        | agent::Error::Stopping => Exit::Failed,
        agent::Error::Refused(_) => Exit::Usage,
    }
}

fn of_lock(error: &LockError) -> Exit {
    match error {
        LockError::Held { .. } => Exit::Failed,
        LockError::State(error) => of_store(error),
        LockError::Root { .. } => Exit::Usage,
    }
}

fn of_socket(error: &SocketError) -> Exit {
    match error {
        SocketError::InUse { .. } | SocketError::NoDirectory(_) => Exit::Failed,
        SocketError::Io { source, .. } => of_io(source),
        SocketError::TooLong(_) | SocketError::NotASocket(_) | SocketError::OfAnother { .. } => Exit::Usage,
    }
}

fn of_store(error: &store::Error) -> Exit {
    match error {
        store::Error::Commit(error) => of_store(error),
        store::Error::Directory { source, .. } => of_io(source),
        store::Error::Full(_)
        | store::Error::FileLimit(_)
        | store::Error::Disk { .. }
        | store::Error::Locked { .. }
        | store::Error::Lost { .. }
        | store::Error::Gone { .. }
        | store::Error::Sqlite { .. }
        | store::Error::Ended
        | store::Error::NotRunning(_)
        | store::Error::Value(_) => Exit::Failed,
        store::Error::Missing(_)
        | store::Error::Foreign { .. }
        | store::Error::Orphaned(_)
        | store::Error::Unreadable { .. }
        | store::Error::NotOurs(_)
        | store::Error::Corrupt { .. }
        | store::Error::Newer { .. }
        | store::Error::ReadOnly { .. } => Exit::Usage,
    }
}

/// What only a person can mend is a matter of the arguments or the config. All else may be over in a moment, or after a
/// restart: a full disk or table, too few threads, descriptors or memory, a mount that is not there yet.
fn of_io(error: &std::io::Error) -> Exit {
    match error.kind() {
        ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::AlreadyExists
        | ErrorKind::Unsupported => Exit::Usage,
        _ => Exit::Failed,
    }
}
