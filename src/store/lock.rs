//! The lock on a state directory: one process at a time owns the state, and the lock file names its pid and socket.
//!
//! What counts is the kernel's lock (`flock`), which ends with its process. The text in the file only tells other
//! processes whom to talk to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// The name of the lock file in the state directory.
const LOCK: &str = "taghook.lock";

/// The pause between two attempts to take a lock that another process holds. Short enough that nobody notices it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The process that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub pid: u32,
    /// The socket on which an agent listens; `None` for a one-shot command.
    pub socket: Option<PathBuf>,
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    dir: PathBuf,
}

/// Why the lock cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{}", held_message(.dir, .owner.as_ref()))]
    Held {
        dir: PathBuf,
        /// `None` if the lock file does not name it.
        owner: Option<Owner>,
    },
    /// This process runs as root, and the state belongs to another user.
    #[error("root does not work on the state in {dir:?}, which belongs to {user}; run: sudo -u {user} {command}", dir = .dir.display().to_string())]
    Root {
        dir: PathBuf,
        /// The owner's name, or its numeric id if it has no name.
        user: String,
        /// The command line of this process.
        command: String,
    },
    /// The disk has no room for the text of the lock file.
    #[error("the disk of {dir:?} is full; make room, nothing is forgotten meanwhile", dir = .0.display().to_string())]
    Full(PathBuf),
    /// This process may not write even the text of the lock file.
    #[error("{file:?} has reached the limit on the size of files; raise it (RLIMIT_FSIZE: see `ulimit -f`, or LimitFSIZE= of the \
        unit)", file = .0.display().to_string())]
    FileLimit(PathBuf),
    /// The file or its directory cannot be used.
    #[error("cannot use the state directory {dir:?}: {source}; run as the user that owns it, or set `state` to a directory of your own",
        dir = .dir.display().to_string())]
    Io { dir: PathBuf, source: std::io::Error },
}

fn held_message(dir: &Path, owner: Option<&Owner>) -> String {
    let dir = dir.display();
    match owner {
        Some(Owner { pid, socket: Some(_) }) => {
            format!(
                "an agent (pid {pid}) already runs on the state in {dir}; stop it first, or set `state` to another directory"
            )
        }
        Some(Owner { pid, socket: None }) => {
            format!(
                "pid {pid} is working on the state in {dir} (a check, or an agent that starts or stops); try again when it has ended"
            )
        }
        None => format!("another process works on the state in {dir}; try again when it has ended"),
    }
}

impl LockError {
    fn from_io(dir: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full(dir.to_owned()),
            std::io::ErrorKind::FileTooLarge => Self::FileLimit(dir.join(LOCK)),
            _ => Self::Io { dir: dir.to_owned(), source },
        }
    }
}

impl Lock {
    /// Takes the lock of a state directory; creates the directory if it is missing.
    ///
    /// Waits up to `patience` for a one-shot command to end, for an agent that is starting or stopping, or for a child
    /// that a killed agent left behind. Does not wait for an agent that is up.
    pub async fn acquire(dir: &Path, patience: Duration) -> Result<Self, LockError> {
        let io = |source| LockError::from_io(dir, source);
        refuse_root(dir)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(io)?;
        let path = dir.join(LOCK);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).clone();
        let file = options.open(&path).map_err(io)?;
        let until = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(io(source)),
                Err(TryLockError::WouldBlock) => {
                    let holder = read_owner(&path);
                    let is_agent = holder.as_ref().is_some_and(|owner| owner.socket.is_some() && !is_gone(owner.pid));
                    if is_agent || Instant::now() >= until {
                        return Err(LockError::Held { dir: dir.to_owned(), owner: holder });
                    }
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        }
        let mut lock = Self { file, dir: dir.to_owned() };
        lock.name(None)?;
        Ok(lock)
    }

    /// Whether the lock file in the directory is still ours, and was not moved, removed or replaced.
    pub fn is_in_place(&self) -> bool {
        let ours = self.file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let found = std::fs::metadata(self.dir.join(LOCK)).map(|meta| (meta.dev(), meta.ino()));
        matches!((ours, found), (Ok(ours), Ok(found)) if ours == found)
    }

    /// Names this process and its socket in the lock file. With a socket, nobody waits for this process to end.
    pub fn name(&mut self, socket: Option<PathBuf>) -> Result<(), LockError> {
        let owner = Owner { pid: std::process::id(), socket };
        let text = serde_json::to_string(&owner).unwrap_or_default();
        let file = &mut self.file;
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(|source| LockError::from_io(&self.dir, source))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file must not name a process that has ended. The kernel releases the lock itself.
        let _ = self.file.set_len(0);
    }
}

/// The process that the lock file names. It may have been killed, so callers still have to try its socket.
pub fn owner(dir: &Path) -> Option<Owner> {
    read_owner(&dir.join(LOCK))
}

fn read_owner(path: &Path) -> Option<Owner> {
    let mut text = String::new();
    File::open(path).ok()?.take(64 * 1024).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether no process has this pid. If an agent is killed while it starts a hook, its child holds the lock until it has
/// executed the hook's program.
fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// Refuses to work as root on another user's state: root would create files that this user cannot write.
fn refuse_root(dir: &Path) -> Result<(), LockError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match std::fs::metadata(dir) {
        Ok(meta) if meta.uid() != 0 => {
            let command = std::env::args().collect::<Vec<_>>().join(" ");
            Err(LockError::Root { dir: dir.to_owned(), user: user_name(meta.uid()), command })
        }
        _ => Ok(()),
    }
}

fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("'#{uid}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_owner_is_refused_and_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Lock::acquire(dir.path(), Duration::ZERO).await.unwrap();
        lock.name(Some("/run/x.sock".into())).unwrap();
        let pid = std::process::id();
        assert_eq!(owner(dir.path()), Some(Owner { pid, socket: Some("/run/x.sock".into()) }));
        // Nobody waits for an agent that is up, however long the patience.
        let refused = Lock::acquire(dir.path(), Duration::from_secs(60)).await.unwrap_err();
        assert!(refused.to_string().contains(&format!("pid {pid}")), "{refused}");
        drop(lock);
        assert_eq!(owner(dir.path()), None);
        Lock::acquire(dir.path(), Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn a_state_that_was_removed_or_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let lock = Lock::acquire(&state, Duration::ZERO).await.unwrap();
        assert!(lock.is_in_place());
        std::fs::rename(&state, dir.path().join("elsewhere")).unwrap();
        assert!(!lock.is_in_place());
        let _other = Lock::acquire(&state, Duration::ZERO).await.unwrap();
        assert!(!lock.is_in_place());
    }

    #[tokio::test]
    async fn what_a_killed_agent_left_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::acquire(dir.path(), Duration::ZERO).await.unwrap();
        let mut agent = std::process::Command::new("true").spawn().unwrap();
        agent.wait().unwrap();
        let gone = Owner { pid: agent.id(), socket: Some("/run/x.sock".into()) };
        std::fs::write(dir.path().join(LOCK), serde_json::to_string(&gone).unwrap()).unwrap();
        let waiting = Lock::acquire(dir.path(), Duration::from_secs(30));
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        drop(held);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_one_shot_command_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::acquire(dir.path(), Duration::ZERO).await.unwrap();
        let waiting = Lock::acquire(dir.path(), Duration::from_secs(30));
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        drop(held);
        waiting.await.unwrap();
    }
}
