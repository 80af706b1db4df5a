//! The writer thread, which owns the only writing connection.
//!
//! Callers send it closures through a queue. It runs all waiting writes in one transaction, each in a savepoint of its
//! own, so that one that fails does not undo the others, and commits them with one fsync (group commit). Only after
//! that commit does any caller get its result. Reads run after the commit, and also if it failed: what is on disk can
//! be read while nothing can be written.
//!
//! *Invariant:* nothing is committed to a database that is not the one in the state directory any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{Error, LOST};
use super::names::DATABASE;
use super::pins::{Fate, Pins};
use super::{lockers, place, schema};

/// Capacity of the queue, and the largest number of jobs in one group commit. Enough for a check of many watches at
/// once to share one fsync; callers wait while the queue is full.
const QUEUE_CAPACITY: usize = 1024;

/// A write-ahead log of this size has not begun anew for long: SQLite begins one anew at 4 MiB, unless somebody still reads it.
const LONG_LOG: u64 = 64 << 20;

/// A handle to the writer thread, which ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    queue: mpsc::Sender<Job>,
    path: Arc<PathBuf>,
    /// `None` for a database in memory.
    pins: Option<Arc<Pins>>,
    write_failure: watch::Receiver<Option<WriteFailure>>,
}

/// Why the last write failed, if the disk or the database file was the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    /// See [`Error::kind`].
    pub kind: &'static str,
    /// Includes the remedy.
    pub message: String,
}

/// A write, as a closure. If no savepoint could be opened, it gets the reason instead of a connection, for its caller.
type Write = Box<dyn FnOnce(Result<&Connection, Arc<Error>>) -> Written + Send>;

enum Job {
    /// Runs in a savepoint of the next group commit.
    Write(Write),
    /// Runs after the commit, outside any transaction.
    Read(Box<dyn FnOnce(&Connection) + Send>),
}

/// A write that has run, and waits for the commit.
struct Written {
    /// If not, its savepoint is rolled back.
    succeeded: bool,
    write_failure: Option<WriteFailure>,
    /// Whether its savepoint could be released or rolled back.
    savepoint: Result<(), Arc<Error>>,
    /// Sends the caller its result, or the reason why the commit failed.
    reply: Box<dyn FnOnce(Result<(), Arc<Error>>) + Send>,
}

impl Store {
    /// Opens the database of a state directory; creates or migrates it where needed. Blocks the thread, so call it at
    /// start.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let connection = schema::open(dir)?;
        let pins = Arc::new(Pins::new(dir)?);
        Self::start(connection, dir.join(DATABASE), Some(pins))
    }

    fn start(connection: Connection, path: PathBuf, pins: Option<Arc<Pins>>) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::channel(QUEUE_CAPACITY);
        let (failures, write_failure) = watch::channel(None);
        let database = path.clone();
        let mut guard = Guard { pins: pins.clone(), failures, was_lost: false, was_long: false };
        let spawned = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || serve(&connection, &database, jobs, &mut guard));
        let remedy = "raise the limit of threads".to_owned();
        spawned.map_err(|source| Error::Directory { path: path.clone(), remedy, source })?;
        Ok(Self { queue, path: path.into(), pins, write_failure })
    }

    /// An empty store in memory, for a run that must leave no trace.
    pub fn in_memory() -> Result<Self, Error> {
        Self::start(schema::in_memory()?, PathBuf::new(), None)
    }

    /// Waits until the writer thread has ended. While a handle exists, only a panic ends it.
    pub async fn ended(&self) {
        self.queue.closed().await;
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Why the last write failed; `None` after one that succeeded.
    pub fn write_failure(&self) -> Option<WriteFailure> {
        self.write_failure.borrow().clone()
    }

    /// Why the state in use is not the one in the state directory any more, if so. Looks now: [`Store::write_failure`] tells
    /// it from then on.
    pub async fn loss(&self) -> Option<WriteFailure> {
        let _ = self.read(|_| Ok(())).await;
        self.write_failure().filter(WriteFailure::is_loss)
    }

    /// Follows [`Store::write_failure`].
    pub fn watch_write_failures(&self) -> watch::Receiver<Option<WriteFailure>> {
        self.write_failure.clone()
    }

    /// Runs `body` in a savepoint of the next group commit. `Ok` means that what it wrote is on disk.
    pub(super) async fn write<T, F>(&self, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let write = move |connection: Result<&Connection, Arc<Error>>| {
            let result = connection.map_err(Error::Commit).and_then(body).map_err(|error| error.with_path(&path));
            Written {
                succeeded: result.is_ok(),
                write_failure: result.as_ref().err().filter(|error| error.prevents_writing()).map(WriteFailure::new),
                savepoint: Ok(()),
                // The caller may have stopped waiting; the transaction is committed all the same.
                reply: Box::new(move |committed| drop(reply.send(committed.map_err(Error::Commit).and(result)))),
            }
        };
        self.queue.send(Job::Write(Box::new(write))).await.map_err(|_| Error::Ended)?;
        answer.await.map_err(|_| Error::Ended)?
    }

    /// Runs `body` after the next group commit, without a transaction.
    pub(super) async fn read<T, F>(&self, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let read =
            move |connection: &Connection| drop(reply.send(body(connection).map_err(|error| error.with_path(&path))));
        self.queue.send(Job::Read(Box::new(read))).await.map_err(|_| Error::Ended)?;
        answer.await.map_err(|_| Error::Ended)?
    }

    /// Copies the write-ahead log into the database and truncates it, as part of a clean shutdown. If a reader is in
    /// the way, the log stays: nothing is lost. Does nothing to a database that was changed under our hands.
    ///
    /// If the database was removed, all that it held is saved in a new file beside it, whose path is returned.
    pub async fn checkpoint(&self) -> Result<Option<PathBuf>, Error> {
        let (pins, path) = (self.pins.clone(), self.path.clone());
        self.read(move |connection| match pins.map_or(Fate::InPlace, |pins| pins.fate()) {
            Fate::InPlace => {
                let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
                Ok(None)
            }
            Fate::Removed => save(connection, &path).map(Some),
            Fate::Changed => Ok(None),
        })
        .await
    }
}

/// Saves a database that has no name any more beside where it was.
fn save(connection: &Connection, path: &Path) -> Result<PathBuf, Error> {
    let saved = path.with_extension(format!("db.saved-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
    let file = place::open_own(&saved, schema::DATABASE_MODE)?;
    let copied = saved.to_str().ok_or_else(|| Error::Value("the path is not UTF-8".into())).and_then(|name| {
        connection.execute("VACUUM INTO ?1", [name]).map_err(|error| Error::from_sqlite(&saved, error))?;
        file.sync_all().map_err(|source| Error::from_io(&saved, source))
    });
    if copied.is_err() {
        let _ = std::fs::remove_file(&saved);
    }
    copied.map(|()| saved)
}

/// What the writer watches: the files of the state, and why nothing can be written.
struct Guard {
    pins: Option<Arc<Pins>>,
    failures: watch::Sender<Option<WriteFailure>>,
    was_lost: bool,
    was_long: bool,
}

impl Guard {
    /// Whether the state is still the one that is open.
    fn look(&mut self, path: &Path) -> Result<(), Arc<Error>> {
        let Some(pins) = &self.pins else { return Ok(()) };
        let looked = pins.look().map_err(Arc::new);
        let found = looked.as_ref().err().map(|error| WriteFailure::new(error));
        if found.is_some() || self.was_lost {
            self.was_lost = found.is_some();
            self.failures.send_if_modified(|known| std::mem::replace(known, found.clone()) != found);
        }
        let is_long = pins.log_size() > LONG_LOG;
        if is_long && !self.was_long {
            let (size, by) = (pins.log_size() >> 20, lockers::of_log(path));
            tracing::warn!(
                "the log of the database has grown to {size} MiB, because it is read without a pause by {by}; end that process"
            );
        }
        self.was_long = is_long;
        looked
    }
}

impl WriteFailure {
    fn new(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }

    /// Whether the state is not the one any more that this process has open.
    pub fn is_loss(&self) -> bool {
        self.kind == LOST
    }
}

fn serve(connection: &Connection, path: &Path, mut jobs: mpsc::Receiver<Job>, guard: &mut Guard) {
    while let Some(first) = jobs.blocking_recv() {
        let looked = guard.look(path);
        let mut reads = Vec::new();
        // Jobs that arrive while others run join the same commit, because they would wait for the same disk otherwise.
        let mut batch = std::iter::once(first).chain(std::iter::from_fn(|| jobs.try_recv().ok())).take(QUEUE_CAPACITY);
        let writes = std::iter::from_fn(|| {
            batch.find_map(|job| match job {
                Job::Write(write) => Some(write),
                Job::Read(read) => {
                    reads.push(read);
                    None
                }
            })
        });
        let changes_before = connection.total_changes();
        if let Some(write_failure) = group_commit(connection, path, looked, writes) {
            guard.failures.send_replace(Some(write_failure));
        } else if connection.total_changes() != changes_before {
            guard.failures.send_replace(None);
        }
        for read in reads {
            read(connection);
        }
        // A reader without write access cannot move its read mark in the index of the write-ahead log. This query moves
        // the mark on its behalf, so that the reader sees the commit.
        let _ = connection.query_row("SELECT count(*) FROM heartbeat", [], |_| Ok(()));
    }
}

/// Runs all writes in one transaction and replies to their callers. Returns why something could not be written, if so.
fn group_commit(
    connection: &Connection,
    path: &Path,
    looked: Result<(), Arc<Error>>,
    writes: impl Iterator<Item = Write>,
) -> Option<WriteFailure> {
    let mut writes = writes.peekable();
    writes.peek()?;
    let run = |sql: &str| connection.execute_batch(sql).map_err(|error| Arc::new(Error::from_sqlite(path, error)));
    let began = looked.and_then(|()| run("BEGIN IMMEDIATE"));
    let all_written: Vec<Written> = writes.map(|write| in_savepoint(connection, &began, run, write)).collect();
    let committed = began.and_then(|()| run("COMMIT"));
    if committed.is_err() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    let mut write_failure = committed.as_ref().err().map(|error| WriteFailure::new(error));
    for written in all_written {
        write_failure = write_failure.or(written.write_failure);
        (written.reply)(committed.clone().and(written.savepoint));
    }
    write_failure
}

fn in_savepoint(
    connection: &Connection,
    began: &Result<(), Arc<Error>>,
    run: impl Fn(&str) -> Result<(), Arc<Error>>,
    write: Write,
) -> Written {
    if let Err(error) = began {
        return write(Err(error.clone()));
    }
    // On a full disk or an I/O error, SQLite rolls back the whole transaction by itself. Later writes of this group
    // must not run outside of it, where each statement would be committed on its own.
    if connection.is_autocommit() {
        return write(Err(Arc::new(Error::Value("an earlier part of the same commit failed".into()))));
    }
    if let Err(error) = run("SAVEPOINT job") {
        return write(Err(error));
    }
    let mut written = write(Ok(connection));
    written.savepoint = run(if written.succeeded { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" });
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the commits in a write-ahead log: a commit's last frame has the size of the database in its header
    /// (fileformat2.html, section 4.1).
    fn commits(log: &[u8]) -> usize {
        if log.is_empty() {
            return 0;
        }
        let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
        log[32..].chunks_exact(24 + page).filter(|frame| frame[4..8] != [0; 4]).count()
    }

    #[tokio::test]
    async fn what_comes_together_is_committed_together_and_synced() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let log = || std::fs::read(dir.path().join(format!("{DATABASE}-wal"))).unwrap();
        let before = commits(&log());
        let write = |at: i64| {
            store.write(move |connection| {
                let sql = "INSERT INTO heartbeat VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = excluded.at";
                Ok(connection.execute(sql, [at])?)
            })
        };
        futures_util::future::try_join_all((0..500).map(write)).await.unwrap();
        let written = commits(&log()) - before;
        assert!((1..100).contains(&written), "{written} commits for 500 writes that were waiting together");

        let synchronous =
            store.write(|connection| Ok(connection.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?));
        assert_eq!(synchronous.await.unwrap(), 2, "FULL: what was answered survives a power cut");
    }
}
