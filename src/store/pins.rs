//! The files of the state as they were opened, to notice when a name in the state directory stands for another file, or for
//! none: what is written to an open file that was removed is lost, and nothing else tells.
//!
//! *Invariant:* a pinned file is open for its identity only (`O_PATH`). To close any other descriptor of a database would
//! release the locks that SQLite holds on it (howtocorrupt.html, section 2.2).

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

use super::error::Error;
use super::names::{DATABASE, FLOCK, LOCK, SHM, WAL};

/// The files of an open state.
#[derive(Debug)]
pub(super) struct Pins {
    pins: Vec<Pin>,
    /// The largest size of the database so far. Nothing makes it smaller.
    database: AtomicU64,
    log: AtomicU64,
}

#[derive(Debug)]
struct Pin {
    name: &'static str,
    path: PathBuf,
    file: OwnedFd,
    /// Device and inode. They stay in use while `file` is open.
    id: (u64, u64),
}

/// What has become of the database that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    InPlace,
    /// It has no name any more, and is gone as soon as it is closed.
    Removed,
    /// It is somewhere else, or has another content.
    Changed,
}

impl Pins {
    /// Pins the files of a database that has just been opened, and those of the state's lock, where they are held.
    pub(super) fn new(dir: &Path) -> Result<Self, Error> {
        let mut pins = Vec::new();
        for name in [DATABASE, WAL, SHM, LOCK, FLOCK] {
            let path = dir.join(name);
            match Pin::new(name, &path) {
                Ok(pin) => pins.push(pin),
                Err(error) if error.kind() == ErrorKind::NotFound && [LOCK, FLOCK].contains(&name) => {}
                Err(source) => return Err(Error::from_io(&path, source)),
            }
        }
        Ok(Self { pins, database: AtomicU64::new(0), log: AtomicU64::new(0) })
    }

    /// Whether every name still stands for the file that is open.
    pub(super) fn look(&self) -> Result<(), Error> {
        self.pins.iter().try_for_each(|pin| {
            let size = pin.look()?;
            match pin.name {
                DATABASE if self.database.fetch_max(size, Ordering::Relaxed) > size => Err(pin.lost("was cut short")),
                WAL => {
                    self.log.store(size, Ordering::Relaxed);
                    Ok(())
                }
                _ => Ok(()),
            }
        })
    }

    /// How large the write-ahead log was at the last look.
    pub(super) fn log_size(&self) -> u64 {
        self.log.load(Ordering::Relaxed)
    }

    pub(super) fn fate(&self) -> Fate {
        let Some(pin) = self.pins.iter().find(|pin| pin.name == DATABASE) else { return Fate::Changed };
        match pin.look() {
            Ok(size) if size >= self.database.load(Ordering::Relaxed) => Fate::InPlace,
            Err(_) if pin.is_removed() => Fate::Removed,
            _ => Fate::Changed,
        }
    }
}

impl Pin {
    fn new(name: &'static str, path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(CWD, path, flags, Mode::empty())?;
        let found = fstat(&file)?;
        Ok(Self { name, path: path.to_owned(), file, id: (found.st_dev, found.st_ino) })
    }

    /// The size of the file.
    fn look(&self) -> Result<u64, Error> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.id => Ok(found.len()),
            Ok(_) => Err(self.lost("was replaced")),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Err(self.lost(if self.is_removed() { "was removed" } else { "was moved away" }))
            }
            // It is there, and cannot be seen for the moment.
            Err(source) => Err(Error::from_io(&self.path, source)),
        }
    }

    fn is_removed(&self) -> bool {
        fstat(&self.file).is_ok_and(|found| found.st_nlink == 0)
    }

    fn lost(&self, how: &'static str) -> Error {
        Error::Lost { path: self.path.clone(), how }
    }
}
