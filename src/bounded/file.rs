//! Reading files that are not the agent's own: of any kind, of any size, on any file system.
//!
//! *Invariant:* only a regular file is read, and no more of it than its bound. A pipe, a device or a terminal in its place
//! is refused without waiting for it.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use super::pool::{FILES, PoolError};

/// How long a file may take. One that takes longer is on a file system that hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a whole file of at most `limit` bytes, on another thread and within a time limit. The error does not name the path.
pub async fn read(path: PathBuf, limit: usize) -> io::Result<Vec<u8>> {
    alone(path, move |path| read_now(path, limit)).await
}

/// What kind of file it is, how large and how old: in the same way.
pub async fn metadata(path: PathBuf) -> io::Result<Metadata> {
    alone(path, |path| path.metadata()).await
}

async fn alone<T: Send + 'static>(
    path: PathBuf,
    call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let key = path.display().to_string();
    let hangs = |text: String| Err(io::Error::new(ErrorKind::TimedOut, text + "; is it on a file system that hangs?"));
    match FILES.run_alone(key, TIMEOUT, move || call(&path)).await {
        Ok(done) => done,
        Err(PoolError::TimedOut(limit)) => hangs(format!("it could not be read within {} s", limit.as_secs())),
        Err(PoolError::Occupied { .. }) => hangs("an earlier attempt to read it has not ended".into()),
        Err(why) => Err(io::Error::other(why)),
    }
}

/// Reads a whole file of at most `limit` bytes on this thread, which a file system that hangs can hold up.
pub fn read_now(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_regular_file_is_read_and_no_more_than_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let (file, pipe) = (dir.path().join("file"), dir.path().join("pipe"));
        std::fs::write(&file, "1234").unwrap();
        assert_eq!(read(file.clone(), 4).await.unwrap(), b"1234");
        assert_eq!(read(file, 3).await.unwrap_err().kind(), ErrorKind::FileTooLarge);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [pipe, "/dev/zero".into(), "/dev/tty".into(), dir.path().to_owned()] {
            let refused = read(path.clone(), 4).await.unwrap_err().to_string();
            let is_refused = refused == "it is not a regular file" || refused.contains("No such device");
            assert!(is_refused, "{path:?}: {refused}");
        }
    }
}
