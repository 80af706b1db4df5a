//! What waits for a reader that may stand still: so many lines, and the count of what did not fit.
//!
//! *Invariant:* lines come in order, and where some are missing a notice says how many.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::outbox::Outbox;

/// Bytes that may wait: some ten thousand lines, which a reader that is merely slow catches up with.
const MAX_WAITING: usize = 4 * 1024 * 1024;

pub(super) struct Backlog<T> {
    outbox: Outbox<(T, usize)>,
    tally: Arc<BacklogTally>,
}

#[derive(Default)]
struct BacklogTally {
    /// Bytes of lines that were put in and are not written yet.
    waiting: AtomicUsize,
    /// Lines that did not fit since the last notice.
    lost: AtomicU64,
}

impl<T: Send + 'static> Backlog<T> {
    /// `write` writes one line, and may take as long as its reader does. `lost` is called where so many lines are missing.
    pub(super) fn start(
        name: &str,
        mut write: impl FnMut(T) + Send + 'static,
        mut lost: impl FnMut(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let tally = Arc::new(BacklogTally::default());
        let mine = tally.clone();
        let outbox = Outbox::start(name, move |(line, length): (T, usize)| {
            write(line);
            if mine.waiting.fetch_sub(length, Relaxed) == length {
                match mine.lost.swap(0, Relaxed) {
                    0 => {}
                    count => lost(count),
                }
            }
        })?;
        Ok(Self { outbox, tally })
    }

    /// Takes a line of so many bytes, or counts it. Never waits.
    pub(super) fn put(&self, line: T, length: usize) {
        let BacklogTally { waiting, lost } = &*self.tally;
        // Once a line is lost, so is all that comes before the notice: else the notice would stand in a wrong place. A line
        // that is larger than the bound passes alone.
        let before = waiting.load(Relaxed);
        if before > 0 && (lost.load(Relaxed) > 0 || before + length > MAX_WAITING) {
            lost.fetch_add(1, Relaxed);
            return;
        }
        waiting.fetch_add(length, Relaxed);
        self.outbox.put(|lines| lines.push_back((line, length)));
    }

    /// Waits until all is written, at most for `limit`. Says whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        self.outbox.flush(limit)
    }
}

/// A stream of ours, without the lock of the standard library: who holds that would hold up all others.
pub(super) fn stream(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// Writes all, however long the reader takes, also where whoever shares the stream has made it non-blocking.
pub(super) fn write_all(stream: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match poll(&mut [PollFd::new(&*stream, PollFlags::OUT)], None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_told_in_its_place() {
        let (written, seen) = mpsc::channel();
        let notices = written.clone();
        let (go, gone) = mpsc::channel::<()>();
        let write = move |line: u32| {
            let _ = gone.recv();
            let _ = written.send(line.to_string());
        };
        let lines = Backlog::start("test", write, move |count| drop(notices.send(format!("{count} lost")))).unwrap();
        for line in 1..=4 {
            lines.put(line, MAX_WAITING / 2);
        }
        // It would fit by itself, and would come before the notice.
        lines.put(5, 0);
        drop(go);
        assert!(lines.flush(Duration::from_secs(60)));
        lines.put(6, MAX_WAITING + 1);
        assert!(lines.flush(Duration::from_secs(60)));
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["1", "2", "3 lost", "6"]);
    }
}
