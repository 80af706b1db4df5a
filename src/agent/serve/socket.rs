//! The file of the control socket.
//!
//! *Invariant:* only a socket on which nobody listens is replaced, and only one's own is removed. Starts that want the same
//! path take turns.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{error, warn};

/// What the kernel takes as the path of a socket, in bytes.
const MAX_PATH: usize = 107;
/// How long to wait for another start that wants a socket in the same directory. Whoever holds the lock for longer is no
/// agent, and must not keep us from starting.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The file of our socket.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
    /// For a listener that takes over, where the file was lost.
    newer: mpsc::UnboundedSender<UnixListener>,
    is_lost: bool,
}

/// Whoever connects to the socket.
pub(crate) struct Listeners {
    current: UnixListener,
    newer: mpsc::UnboundedReceiver<UnixListener>,
}

impl Listeners {
    pub(super) fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        while let Poll::Ready(Some(newer)) = self.newer.poll_recv(context) {
            self.current = newer;
        }
        self.current.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{} answers on the socket {socket:?}; stop it first, or set `socket` to another path", who(.pid), socket = .socket.display().to_string())]
    InUse { socket: PathBuf, pid: Option<u32> },
    #[error("the path of the socket {socket:?} is longer than {MAX_PATH} bytes, which is what the kernel takes; set `socket` to a shorter one",
        socket = .0.display().to_string())]
    TooLong(PathBuf),
    #[error("{socket:?} is not a socket, and is left alone; set `socket` to a free path", socket = .0.display().to_string())]
    NotASocket(PathBuf),
    #[error("the directory of the socket {socket:?} does not exist; create it, or set `socket` to another path", socket = .0.display().to_string())]
    NoDirectory(PathBuf),
    #[error("the socket {socket:?} belongs to another user (uid {uid}) and cannot be taken over: {source}; if nobody uses it, have it removed, or \
        set `socket` to another path", socket = .socket.display().to_string())]
    OfAnother { socket: PathBuf, uid: u32, source: io::Error },
    #[error("cannot listen on {socket:?}: {source}; {}", remedy(.source), socket = .socket.display().to_string())]
    Io { socket: PathBuf, source: io::Error },
}

fn who(pid: &Option<u32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("another process (pid {pid})"))
}

fn remedy(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::MFILE | Errno::NFILE) => "there are too few file descriptors: raise LimitNOFILE",
        Some(Errno::NOSPC | Errno::DQUOT) => "make room on its disk, or set `socket` to a path on another one",
        _ => "set `socket` to a free path that this user can write",
    }
}

/// Binds the socket, for its owner and group only. The file of a socket on which nobody listens any more is replaced.
pub(crate) async fn bind(path: &Path) -> Result<(ControlSocket, Listeners), SocketError> {
    let (current, id) = bind_file(path).await?;
    let (sender, newer) = mpsc::unbounded_channel();
    let socket = ControlSocket { path: path.to_owned(), id, newer: sender, is_lost: false };
    Ok((socket, Listeners { current, newer }))
}

async fn bind_file(path: &Path) -> Result<(UnixListener, (u64, u64)), SocketError> {
    if path.as_os_str().len() > MAX_PATH {
        return Err(SocketError::TooLong(path.to_owned()));
    }
    let _turn = turn(path).await;
    if let Some(found) = look(path)? {
        refuse_if_in_use(path, &found).await?;
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(unusable(path, Some(&found), source)),
            _ => {}
        }
    }
    let listener = UnixListener::bind(path).map_err(|source| unusable(path, None, source))?;
    let io = |source| SocketError::Io { socket: path.to_owned(), source };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(io)?;
    let id = id(&std::fs::symlink_metadata(path).map_err(io)?);
    Ok((listener, id))
}

impl ControlSocket {
    /// Puts the socket back where it was removed. What others have put in its place is told, and left alone.
    pub(crate) async fn look_after(&mut self) {
        let lost = match look(&self.path) {
            Ok(Some(found)) if id(&found) == self.id => None,
            Ok(None) => match bind_file(&self.path).await {
                Ok((listener, id)) => {
                    warn!(socket = %self.path.display(), "the socket was removed, and is there again");
                    self.id = id;
                    let _ = self.newer.send(listener);
                    None
                }
                Err(why) => Some(why),
            },
            Ok(Some(_)) => Some(SocketError::InUse { socket: self.path.clone(), pid: None }),
            Err(why) => Some(why),
        };
        let was_lost = std::mem::replace(&mut self.is_lost, lost.is_some());
        if let Some(why) = lost.filter(|_| !was_lost) {
            error!(
                "the socket of this agent was taken away, so no command can reach it until it is started again: {why}"
            );
        }
    }

    /// Removes the file, if it is still ours. To be called while the listener is open, which keeps the inode from being given
    /// to another file.
    pub(crate) async fn remove(self) {
        let _turn = turn(&self.path).await;
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| id(&found) == self.id) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn id(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// The socket file at a path, if one is there.
fn look(path: &Path) -> Result<Option<Metadata>, SocketError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(Some(found)),
        Ok(_) => Err(SocketError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(unusable(path, None, source)),
    }
}

/// The dead refuse connections. A full queue or a socket of another type is that of somebody who is there.
async fn refuse_if_in_use(path: &Path, found: &Metadata) -> Result<(), SocketError> {
    let socket = path.to_owned();
    let source = match UnixStream::connect(path).await {
        Err(source) => source,
        Ok(stream) => {
            let pid = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
            return Err(SocketError::InUse { socket, pid });
        }
    };
    match Errno::from_io_error(&source) {
        Some(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        Some(Errno::AGAIN | Errno::PROTOTYPE) => Err(SocketError::InUse { socket, pid: None }),
        _ => Err(unusable(path, Some(found), source)),
    }
}

fn unusable(path: &Path, found: Option<&Metadata>, source: io::Error) -> SocketError {
    let socket = path.to_owned();
    let us = rustix::process::geteuid().as_raw();
    match found.filter(|found| found.uid() != us) {
        Some(found) => SocketError::OfAnother { socket, uid: found.uid(), source },
        None if source.kind() == ErrorKind::NotFound => SocketError::NoDirectory(socket),
        // Somebody else has bound it since we looked.
        None if Errno::from_io_error(&source) == Some(Errno::ADDRINUSE) => SocketError::InUse { socket, pid: None },
        None => SocketError::Io { socket, source },
    }
}

/// A lock on the directory, so that nobody removes a socket that another start has just bound. Where it cannot be had, we
/// do without.
async fn turn(path: &Path) -> Option<File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::DIRECTORY.bits().cast_signed();
    let directory = OpenOptions::new().read(true).custom_flags(flags).open(directory).ok()?;
    let until = Instant::now() + TURN_TIMEOUT;
    loop {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(POLL_INTERVAL).await,
            Err(_) => return None,
        }
    }
}
