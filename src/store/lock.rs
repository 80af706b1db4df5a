//! The lock on a state directory: one process at a time owns the state, and the lock file names its pid and socket.
//!
//! What counts is the kernel's lock (`flock`), which ends with its process. It is on a file that only the owner of the
//! state may open, because whoever can open a file can lock it. The text in another file, which the group may read, only tells
//! other processes whom to talk to.

use std::fs::{File, Permissions, TryLockError};
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::lockers;
use super::names::{FLOCK, LOCK};
use super::place::{make_directory, open_own, read_text};
use super::remedy::user_name;

/// The pause between two attempts to take a lock that another process holds. Short enough that nobody notices it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The process that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub pid: u32,
    /// The socket on which an agent listens; `None` for a one-shot command.
    pub socket: Option<PathBuf>,
    /// The id of that agent, different for each start. Whoever answers on the socket without it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    /// What the kernel locks.
    flock: File,
    text: File,
    dir: PathBuf,
    id: String,
}

/// Why the lock cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{}", held_message(.dir, .owner.as_ref(), .by))]
    Held {
        dir: PathBuf,
        /// `None` if the lock file does not name it.
        owner: Option<Owner>,
        /// Who holds it by the kernel's word.
        by: String,
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
    /// The directory or the files of the lock cannot be used.
    #[error(transparent)]
    State(#[from] Error),
}

fn held_message(dir: &Path, owner: Option<&Owner>, by: &str) -> String {
    let dir = dir.display();
    match owner {
        Some(Owner { pid, socket: Some(_), .. }) => {
            format!(
                "an agent (pid {pid}) already runs on the state in {dir}; stop it first, or set `state` to another directory"
            )
        }
        Some(Owner { pid, socket: None, .. }) => {
            format!(
                "pid {pid} is working on the state in {dir} (a check, or an agent that starts or stops); try again when it has ended"
            )
        }
        None => format!("{by} holds the state in {dir}; try again when it has ended"),
    }
}

impl Lock {
    /// Takes the lock of a state directory; creates the directory if it is missing.
    ///
    /// Waits up to `patience` for a one-shot command to end, for an agent that is starting or stopping, or for a child
    /// that a killed agent left behind. Does not wait for an agent that is up.
    pub async fn acquire(dir: &Path, patience: Duration) -> Result<Self, LockError> {
        refuse_root(dir)?;
        make_directory(dir)?;
        let path = dir.join(FLOCK);
        let until = Instant::now() + patience;
        let flock = loop {
            let flock = open_own(&path, 0o600)?;
            match flock.try_lock() {
                // Its last owner may have removed it since we opened it.
                Ok(()) if is_at(&flock, &path) => break flock,
                Ok(()) => continue,
                Err(TryLockError::Error(source)) => return Err(Error::from_io(&path, source).into()),
                Err(TryLockError::WouldBlock) => {}
            }
            let owner = owner(dir);
            let is_agent = owner.as_ref().is_some_and(|owner| owner.socket.is_some() && !is_gone(owner.pid));
            if is_agent || Instant::now() >= until {
                return Err(LockError::Held { dir: dir.to_owned(), owner, by: lockers::of_flock(&path) });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        flock.set_permissions(Permissions::from_mode(0o600)).map_err(|source| Error::from_io(&path, source))?;
        let (text, id) = (open_own(&dir.join(LOCK), 0o640)?, uuid::Uuid::now_v7().to_string());
        let mut lock = Self { flock, text, dir: dir.to_owned(), id };
        lock.name(None)?;
        Ok(lock)
    }

    /// Identifies this owner of the state, whatever paths and process ids it and others see.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the lock file in the directory is still ours, and was not moved, removed or replaced.
    pub fn is_in_place(&self) -> bool {
        is_at(&self.flock, &self.dir.join(FLOCK)) && is_at(&self.text, &self.dir.join(LOCK))
    }

    /// Names this process and its socket in the lock file. With a socket, nobody waits for this process to end.
    pub fn name(&mut self, socket: Option<PathBuf>) -> Result<(), LockError> {
        let agent = socket.is_some().then(|| self.id.clone());
        let owner = Owner { pid: std::process::id(), socket, agent };
        let line = serde_json::to_string(&owner).unwrap_or_default();
        let text = &mut self.text;
        let written = text.set_len(0).and_then(|()| text.rewind()).and_then(|()| text.write_all(line.as_bytes()));
        Ok(written.map_err(|source| Error::from_io(&self.dir.join(LOCK), source))?)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file must not name a process that has ended. The kernel releases the lock itself.
        let _ = self.text.set_len(0);
        let path = self.dir.join(FLOCK);
        if is_at(&self.flock, &path) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether this is the file that stands at the path.
fn is_at(file: &File, path: &Path) -> bool {
    let ours = file.metadata().map(|found| (found.dev(), found.ino()));
    let there = std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
}

/// The process that the lock file names. It may have been killed, so callers still have to try its socket.
pub fn owner(dir: &Path) -> Option<Owner> {
    serde_json::from_str(&read_text(&dir.join(LOCK))?).ok()
}

/// Whether no process has this pid. If an agent is killed while it starts a hook, its child holds the lock until it has
/// executed the hook's program.
pub(super) fn is_gone(pid: u32) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_owner_is_refused_and_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Lock::acquire(dir.path(), Duration::ZERO).await.unwrap();
        lock.name(Some("/run/x.sock".into())).unwrap();
        let pid = std::process::id();
        let agent = Some(lock.id().to_owned());
        assert_eq!(owner(dir.path()), Some(Owner { pid, socket: Some("/run/x.sock".into()), agent }));
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
    async fn whoever_holds_the_lock_without_a_name_is_named_by_the_kernels_word() {
        let dir = tempfile::tempdir().unwrap();
        let mut holder = std::process::Command::new("flock");
        holder.arg(dir.path().join(FLOCK)).args(["-c", "echo held; cat"]);
        let mut holder =
            holder.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut held = [0; 5];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();

        let refused = Lock::acquire(dir.path(), Duration::ZERO).await.unwrap_err().to_string();

        assert!(refused.contains(&format!("pid {} (flock)", holder.id())), "{refused}");
        drop(holder.stdin.take());
        holder.wait().unwrap();
        Lock::acquire(dir.path(), Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_killed_agent_left_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::acquire(dir.path(), Duration::ZERO).await.unwrap();
        let mut agent = std::process::Command::new("true").spawn().unwrap();
        agent.wait().unwrap();
        let gone = Owner { pid: agent.id(), socket: Some("/run/x.sock".into()), agent: None };
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
