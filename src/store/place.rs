//! The state directory and its files: what may stand there, and how it is opened.
//!
//! *Invariant:* no name in the state directory leads out of it. What others may have put there (a symbolic link, a hard link
//! to a file of theirs, a pipe) is refused before anything is written, and never waited for.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::Error;
use super::names::{DATABASE, JOURNAL, SHM, WAL};

/// How long the text of an owner may be: a pid and a path.
const OWNER_LIMIT: u64 = 64 * 1024;

/// Creates the directory, if it is missing.
pub(super) fn make_directory(dir: &Path) -> Result<(), Error> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir);
    made.map_err(|source| Error::from_io(dir, source))
}

/// Refuses whatever stands in place of a file of the database. `dir` may be reached over symbolic links.
pub(super) fn refuse_foreign_files(dir: &Path) -> Result<(), Error> {
    for name in [DATABASE, WAL, SHM, JOURNAL] {
        let path = dir.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(found) => refuse_foreign(&path, &found)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(Error::from_io(&path, source)),
        }
    }
    Ok(())
}

fn refuse_foreign(path: &Path, found: &Metadata) -> Result<(), Error> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if !kind.is_file() => "a device",
        () if found.nlink() > 1 => "a file with a second name (a hard link)",
        () => return Ok(()),
    };
    Err(Error::Foreign { path: path.to_owned(), what })
}

/// Opens a file of ours for writing, or creates it with this mode. The last part of the path is not followed.
pub(super) fn open_own(path: &Path, mode: u32) -> Result<File, Error> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(mode).custom_flags(flags.bits().cast_signed());
    let opened = options.open(path).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((found, file)) => refuse_foreign(path, &found).map(|()| file),
        // A link, a directory, a device without a driver: what it is says more than the system's error.
        Err(source) => {
            std::fs::symlink_metadata(path).map_or(Ok(()), |found| refuse_foreign(path, &found))?;
            Err(Error::from_io(path, source))
        }
    }
}

/// Reads a short text of ours; `None` where there is none, or something else in its place.
pub(super) fn read_text(path: &Path) -> Option<String> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
    let mut text = String::new();
    file.metadata().ok()?.is_file().then_some(file)?.take(OWNER_LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The path of the database behind all symbolic links of its directory, so that SQLite need not follow any.
pub(super) fn database_in(dir: &Path) -> Result<PathBuf, Error> {
    let real = dir.canonicalize().map_err(|source| Error::from_io(dir, source))?;
    Ok(real.join(DATABASE))
}

/// Makes the name of a file durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(path);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| Error::from_io(dir, source))
}
