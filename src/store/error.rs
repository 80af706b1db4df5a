//! Everything that can go wrong with the state database, each error with its remedy.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{ErrorCode, ffi};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::lockers;
use super::names::WAL;
use super::remedy::remedy;

/// The label of [`Error::Lost`].
pub(super) const LOST: &str = "lost";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be created or opened.
    #[error("cannot use the state in {path:?}: {source}; {remedy}", path = .path.display().to_string())]
    Directory { path: PathBuf, remedy: String, source: std::io::Error },
    /// Something stands in place of a file of the state that taghook neither follows, opens nor writes.
    #[error("{file:?} is {what}, and taghook uses only a plain file of its own there; move it away, or set `state` to another directory",
        file = .path.display().to_string())]
    Foreign { path: PathBuf, what: &'static str },
    /// The write-ahead log holds changes, and the database that they belong to is empty or not there.
    #[error("{wal:?} holds changes of a database that is gone: {db:?} is empty or missing; put a backup there and remove \
        the -wal, or move both away to start with new baselines", wal = .0.with_file_name(WAL).display().to_string(),
        db = .0.display().to_string())]
    Orphaned(PathBuf),
    /// A file of the state is not the one any more that this process has open. What is written to it now is lost.
    #[error("the state in use is lost: {file:?} {how} while taghook ran; nothing is recorded any more", file = .path.display().to_string())]
    Lost { path: PathBuf, how: &'static str },
    /// A reader finds no database, but an agent that works on one.
    #[error("the database of {dir:?} was removed or emptied while an agent (pid {pid}) works on it; see `taghook health`",
        dir = .dir.display().to_string())]
    Gone { dir: PathBuf, pid: u32 },
    /// Another process holds a lock on the database for longer than anyone may.
    #[error("the database {file:?} is locked by {by}; end that process, nothing is forgotten meanwhile",
        file = .path.display().to_string())]
    Locked { path: PathBuf, by: String },
    /// A reader finds no database in this state directory.
    #[error("no agent has run here yet: there is no state in {dir:?}; start `taghook run` or `taghook check` once, or name the config with --config",
        dir = .0.display().to_string())]
    Missing(PathBuf),
    /// The file is not a database, or it belongs to another program.
    #[error("{file:?} is not a database of taghook; move it away, or set `state` to another directory", file = .0.display().to_string())]
    NotOurs(PathBuf),
    #[error("the database {file:?} is damaged ({detail}); restore a backup, or move it away to start with new baselines",
        file = .path.display().to_string())]
    Corrupt { path: PathBuf, detail: String },
    /// A newer taghook wrote the file.
    #[error("the database {file:?} has version {found}, this taghook knows up to {known}; install the newer taghook again",
        file = .path.display().to_string())]
    Newer {
        path: PathBuf,
        /// The schema version of the file.
        found: i64,
        /// The newest schema version that this build supports.
        known: i64,
    },
    #[error("the disk of {file:?} is full; make room, nothing is forgotten meanwhile", file = .0.display().to_string())]
    Full(PathBuf),
    /// A file has reached the limit that this process was started with.
    #[error("{file:?} has reached the limit on the size of files; raise it (RLIMIT_FSIZE: see `ulimit -f`, or LimitFSIZE= of the \
        unit) and restart, nothing is forgotten meanwhile", file = .0.display().to_string())]
    FileLimit(PathBuf),
    /// This process has no permission to write the database.
    #[error("the database {file:?} cannot be written: {detail}; {remedy}", file = .path.display().to_string())]
    ReadOnly { path: PathBuf, detail: String, remedy: String },
    /// This process has no permission to read the database.
    #[error("the database {file:?} cannot be read: {detail}; {remedy}", file = .path.display().to_string())]
    Unreadable { path: PathBuf, detail: String, remedy: &'static str },
    /// The disk reports an I/O error.
    #[error("the disk of {file:?} fails: {detail}; see the kernel's log (dmesg), nothing is forgotten meanwhile",
        file = .path.display().to_string())]
    Disk { path: PathBuf, detail: String },
    /// SQLite reports an error that none of the other variants describes.
    #[error("the database {file:?} failed: {source}", file = .path.display().to_string())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    /// A stored value is invalid: because of a bug, or because somebody edited the database by hand.
    #[error("the database holds an invalid value: {0}")]
    Value(String),
    /// The end of an attempt has no place: somebody has changed the state of the delivery meanwhile.
    #[error("delivery {0} does not count as running any more; was the database edited by hand?")]
    NotRunning(String),
    /// The group commit that included this write failed, so nothing of it was written.
    #[error("{0}")]
    Commit(Arc<Error>),
    /// The writer thread has ended.
    #[error("the store has ended")]
    Ended,
}

impl Error {
    /// A stable label for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory",
            Self::Foreign { .. } => "foreign",
            Self::Orphaned(_) => "orphaned",
            Self::Lost { .. } => LOST,
            Self::Gone { .. } => "gone",
            Self::Locked { .. } => "locked",
            Self::Unreadable { .. } => "unreadable",
            Self::Missing(_) => "missing",
            Self::NotOurs(_) => "not_a_database",
            Self::Corrupt { .. } => "corrupt",
            Self::Newer { .. } => "newer",
            Self::Full(_) | Self::FileLimit(_) => "full",
            Self::ReadOnly { .. } => "read_only",
            Self::Disk { .. } => "disk",
            Self::Sqlite { .. } => "sqlite",
            Self::Value(_) => "value",
            Self::NotRunning(_) => "not_running",
            Self::Commit(error) => error.kind(),
            Self::Ended => "ended",
        }
    }

    /// Whether the cause is the disk or the database file, rather than the request.
    pub(super) fn prevents_writing(&self) -> bool {
        let by_space = matches!(self, Self::Full(_) | Self::FileLimit(_));
        by_space
            || matches!(
                self,
                Self::Disk { .. }
                    | Self::ReadOnly { .. }
                    | Self::Corrupt { .. }
                    | Self::Locked { .. }
                    | Self::Lost { .. }
                    | Self::Directory { .. }
            )
    }

    /// Classifies an error of the file system for a file or directory of the state.
    pub(super) fn from_io(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(path),
            ErrorKind::FileTooLarge => Self::FileLimit(path),
            ErrorKind::ReadOnlyFilesystem => {
                Self::Directory { path, remedy: "mount its file system for writing".to_owned(), source }
            }
            _ => Self::Directory { remedy: remedy(&path), path, source },
        }
    }

    /// Classifies an error that SQLite reported for the database at `path`.
    pub(super) fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let detail = source.to_string();
        if is_at_file_limit(&path) && source.sqlite_error().is_some_and(|error| cannot_grow(error.extended_code)) {
            return Self::FileLimit(path);
        }
        // The shared-memory index of the write-ahead log cannot grow. SQLite has no separate code for a disk that is
        // too full for it.
        if source.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE) {
            return Self::Full(path);
        }
        // SQLite does not say why it cannot open a file. Where there are too few file descriptors, we cannot either.
        if source.sqlite_error_code() == Some(ErrorCode::CannotOpen)
            && let Err(source) = std::fs::File::open(&path)
            && matches!(Errno::from_io_error(&source), Some(Errno::MFILE | Errno::NFILE))
        {
            let remedy = "there are too few file descriptors: raise LimitNOFILE (`ulimit -n`)".to_owned();
            return Self::Directory { path, remedy, source };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotOurs(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, detail },
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::SystemIoFailure) => Self::Disk { path, detail },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { remedy: remedy(&path), path, detail }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Locked { by: lockers::of_database(&path), path }
            }
            _ => Self::Sqlite { path, source },
        }
    }

    /// The same for a reader, which has other rights and needs another remedy.
    pub(super) fn of_reader(self) -> Self {
        let Self::ReadOnly { path, detail, .. } = self else { return self };
        let is_at_rest = !path.with_file_name(WAL).exists();
        let remedy = match is_at_rest {
            true => "start the agent once, which makes the files beside it that a reader needs, or use sudo",
            false => "be a member of the group that owns it, or use sudo",
        };
        Self::Unreadable { path, detail, remedy }
    }

    /// Adds the path of the database to an error that was converted without it, and classifies it.
    pub(super) fn with_path(self, path: &Path) -> Self {
        match self {
            Self::Sqlite { source, .. } => Self::from_sqlite(path, source),
            other => other,
        }
    }
}

/// Whether SQLite says so of a file that the kernel refused to make longer. It has no code for EFBIG.
fn cannot_grow(code: i32) -> bool {
    let codes = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_TRUNCATE, ffi::SQLITE_FULL];
    codes.contains(&code)
}

/// Whether a file of the database is about as long as this process may write any.
fn is_at_file_limit(path: &Path) -> bool {
    let Some(limit) = getrlimit(Resource::Fsize).current else { return false };
    let file = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        std::fs::metadata(name).map_or(0, |meta| meta.len())
    };
    // What one write may still have had room for.
    const NEAR: u64 = 64 << 10;
    ["", "-wal", "-shm", "-journal"].into_iter().any(|end| file(end) + NEAR >= limit)
}

/// Lets queries use `?`. The path is still empty: [`Error::with_path`] adds it where the connection's file is known.
impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sqlite { path: PathBuf::new(), source }
    }
}
