//! What can go wrong with the state, each with its remedy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{ErrorCode, ffi};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be made or opened.
    #[error("cannot use the state in {path:?}: {source}; {remedy}", path = .path.display().to_string())]
    Directory {
        /// The path.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// There is no database to read.
    #[error("there is no state in {dir:?} yet; start `taghook run` or `taghook check` once, or name the config with --config",
        dir = .0.display().to_string())]
    Missing(PathBuf),
    /// The file is not a database, or another program's.
    #[error("{file:?} is not a database of taghook; move it away, or set `state` to another directory", file = .0.display().to_string())]
    NotOurs(PathBuf),
    /// The file is damaged.
    #[error("the database {file:?} is damaged ({detail}); restore a backup, or move it away to start with new baselines",
        file = .path.display().to_string())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// A newer taghook has written the file.
    #[error("the database {file:?} has version {found}, this taghook knows up to {known}; install the newer taghook again",
        file = .path.display().to_string())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// No room.
    #[error("the disk of {file:?} is full; make room, nothing is forgotten meanwhile", file = .0.display().to_string())]
    Full(PathBuf),
    /// May not write.
    #[error("the database {file:?} cannot be written: {detail}; check the owner and mode of it and its directory",
        file = .path.display().to_string())]
    ReadOnly {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// The disk fails.
    #[error("the disk of {file:?} fails: {detail}; see the kernel's log (dmesg), nothing is forgotten meanwhile",
        file = .path.display().to_string())]
    Disk {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// Any other error of SQLite.
    #[error("the database {file:?} failed: {source}", file = .path.display().to_string())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A stored value means nothing: a bug, or an edit by hand.
    #[error("the database holds an invalid value: {0}")]
    Value(String),
    /// The transaction that it shared with others failed.
    #[error("{0}")]
    Commit(Arc<Error>),
    /// The writing thread has ended.
    #[error("the store has ended")]
    Ended,
}

impl Error {
    /// The stable word for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory",
            Self::Missing(_) => "missing",
            Self::NotOurs(_) => "not_a_database",
            Self::Corrupt { .. } => "corrupt",
            Self::Newer { .. } => "newer",
            Self::Full(_) => "full",
            Self::ReadOnly { .. } => "read_only",
            Self::Disk { .. } => "disk",
            Self::Sqlite { .. } => "sqlite",
            Self::Value(_) => "value",
            Self::Commit(error) => error.kind(),
            Self::Ended => "ended",
        }
    }

    /// Whether it lies with the disk, and not with what was asked.
    pub(super) fn is_of_disk(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Disk { .. } | Self::ReadOnly { .. } | Self::Corrupt { .. })
    }

    /// What an error of SQLite means for the database at `path`.
    pub(super) fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let detail = source.to_string();
        // The index of the log cannot grow: SQLite has no code of its own for a disk that is too full for it.
        if source.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE) {
            return Self::Full(path);
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotOurs(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, detail },
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::SystemIoFailure) => Self::Disk { path, detail },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { path, detail }
            }
            _ => Self::Sqlite { path, source },
        }
    }
}

impl Error {
    /// The same error, with the database that it is of.
    pub(super) fn at(self, path: &Path) -> Self {
        match self {
            Self::Sqlite { source, .. } => Self::of(path, source),
            other => other,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sqlite { path: PathBuf::new(), source }
    }
}
