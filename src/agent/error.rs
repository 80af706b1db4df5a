//! Why the agent, or a command that works on the state without one, cannot go on.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::store::{self, LockError};

/// Why the agent, or a one-shot check, cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state is another's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The control socket cannot be made.
    #[error("cannot listen on {socket:?}: {source}; set `socket` to a free path that this user can write, of at most 107 bytes",
        socket = .socket.display().to_string())]
    Socket {
        /// Its path.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The port for metrics cannot be had.
    #[error("cannot listen on {address}: {source}; set `listen` to a free port (`ss -ltnp` tells who holds one)")]
    Listen {
        /// What `listen` says.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The request names something that does not exist.
    #[error("{0}")]
    Refused(String),
    /// The state directory was removed or replaced while we worked on it.
    #[error("the state in {dir:?} was removed or replaced while the agent ran; start it again", dir = .0.display().to_string())]
    Lost(PathBuf),
    /// A part of the agent has ended by itself: a bug.
    #[error("a part of the agent has ended unexpectedly; please report the log above")]
    Broken,
    /// A signal came.
    #[error("interrupted; what is owed stays owed")]
    Interrupted,
}
