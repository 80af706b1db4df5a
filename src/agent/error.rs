//! Why the agent, or a command that works on the state without one, cannot go on.

use std::path::{Path, PathBuf};

use super::serve::socket::SocketError;
use crate::store::{self, LockError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A hook has called this command, and whoever runs the hook has the state until the hook has ended.
    #[error("this runs inside a hook of pid {pid}, which works on the state in {dir:?} until that hook has ended; let an agent (`taghook run`) run \
        the hook, or do this after it", dir = .dir.display().to_string())]
    Inside { dir: PathBuf, pid: u32 },
    /// The request cannot be carried out as it is, for example because it names something that does not exist.
    #[error("{0}")]
    Refused(String),
    /// The state was removed, moved or replaced while we worked on it.
    #[error("{loss}; {}", after_loss(.saved.as_deref(), .database))]
    Lost {
        loss: String,
        /// Where what was in the database is saved.
        saved: Option<PathBuf>,
        database: PathBuf,
    },
    /// A part of the agent has ended by itself: a bug.
    #[error("a part of the agent has ended unexpectedly; please report the log above")]
    Broken,
    /// A signal came.
    #[error("interrupted; what is owed stays owed")]
    Interrupted,
    #[error("the agent is stopping; try again")]
    Stopping,
}

fn after_loss(saved: Option<&Path>, database: &Path) -> String {
    let start = "the next start opens what is there then";
    match saved {
        None => start.to_owned(),
        Some(saved) => format!(
            "{start}. What was recorded is saved: to go on with it, stop the agent, remove {database} with its -wal and -shm, \
             and move {saved} there",
            saved = saved.display(),
            database = database.display()
        ),
    }
}
