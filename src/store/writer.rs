//! The one thread that writes.
//!
//! Whoever wants to write hands it a closure. It runs what comes in until there is no more, each in a savepoint of its own,
//! and commits all with one fsync; only after that commit does anyone get an answer. Who only reads is answered after the
//! commit, too, but whether that worked or not: what is known can be told also while nothing can be written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::Error;
use super::schema::{self, DATABASE};

/// Closures that may wait; beyond that, callers wait.
const QUEUE: usize = 1024;

/// The handle of the writing thread. The last one that is dropped ends it.
#[derive(Debug, Clone)]
pub struct Store {
    queue: mpsc::Sender<Job>,
    path: Arc<PathBuf>,
    write_failure: watch::Receiver<Option<WriteFailure>>,
}

/// Why nothing can be written, as it was when it was last tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    /// See [`Error::kind`].
    pub kind: &'static str,
    /// With the remedy.
    pub message: String,
}

/// A piece of work. Given a reason instead of a connection, it only passes that on.
type Work = Box<dyn FnOnce(Result<&Connection, Arc<Error>>) -> JobResult + Send>;

/// What the writing thread can be asked.
enum Job {
    /// To be done in a savepoint.
    Work(Work),
    /// To be done after the commit.
    Read(Box<dyn FnOnce(&Connection) + Send>),
    /// Writes the log back into the database.
    Checkpoint(oneshot::Sender<()>),
}

/// Whether the work succeeded (if not, its savepoint is rolled back), and whom to tell the fate of the commit.
struct JobResult {
    worked: bool,
    /// If the disk was the reason.
    write_failure: Option<WriteFailure>,
    /// Of the savepoint.
    fate: Result<(), Arc<Error>>,
    tell: Box<dyn FnOnce(Result<(), Arc<Error>>) + Send>,
}

impl Store {
    /// Opens the database of a state directory, makes it, or brings it up to date. Blocks: for use at start.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(DATABASE);
        Self::start(schema::open(&path)?, path)
    }

    fn start(connection: Connection, path: PathBuf) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (told, write_failure) = watch::channel(None);
        let database = path.clone();
        let spawned =
            std::thread::Builder::new().name("store".into()).spawn(move || serve(&connection, &database, jobs, &told));
        let remedy = "raise the limit of threads";
        spawned.map_err(|source| Error::Directory { path: path.clone(), remedy, source })?;
        Ok(Self { queue, path: path.into(), write_failure })
    }

    /// A store that nothing outlives: for looking without leaving a trace.
    pub fn in_memory() -> Result<Self, Error> {
        Self::start(schema::in_memory()?, PathBuf::new())
    }

    /// Waits until the writing thread has ended, which it does not while there is a handle: by a bug.
    pub async fn ended(&self) {
        self.queue.closed().await;
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Why nothing can be written; `None` once something was.
    pub fn write_failure(&self) -> Option<WriteFailure> {
        self.write_failure.borrow().clone()
    }

    /// Tells when that changes.
    pub fn watch_write_failures(&self) -> watch::Receiver<Option<WriteFailure>> {
        self.write_failure.clone()
    }

    /// Runs `work` in a transaction; `Ok` means that it is on disk.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let work = move |connection: Result<&Connection, Arc<Error>>| {
            let result = connection.map_err(Error::Commit).and_then(work).map_err(|error| error.with_path(&path));
            JobResult {
                worked: result.is_ok(),
                write_failure: result.as_ref().err().filter(|error| error.prevents_writing()).map(WriteFailure::of),
                fate: Ok(()),
                // Whoever asked may have given up waiting; the transaction stands all the same.
                tell: Box::new(move |fate| drop(reply.send(fate.map_err(Error::Commit).and(result)))),
            }
        };
        self.queue.send(Job::Work(Box::new(work))).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Looks at what is on disk.
    pub(super) async fn read<T, F>(&self, look: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let look =
            move |connection: &Connection| drop(reply.send(look(connection).map_err(|error| error.with_path(&path))));
        self.queue.send(Job::Read(Box::new(look))).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Writes the log back into the database and waits for it: part of a clean end.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Job::Checkpoint(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

fn ended() -> Error {
    Error::Ended
}

impl WriteFailure {
    fn of(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

fn serve(
    connection: &Connection,
    path: &Path,
    mut jobs: mpsc::Receiver<Job>,
    told: &watch::Sender<Option<WriteFailure>>,
) {
    while let Some(first) = jobs.blocking_recv() {
        let (mut reads, mut checkpoints) = (Vec::new(), Vec::new());
        // What comes in while others run goes along, up to a bound: it would wait for the same disk otherwise.
        let mut come = std::iter::once(first).chain(std::iter::from_fn(|| jobs.try_recv().ok())).take(QUEUE);
        let work = std::iter::from_fn(|| {
            come.find_map(|job| match job {
                Job::Work(job) => Some(job),
                Job::Read(job) => {
                    reads.push(job);
                    None
                }
                Job::Checkpoint(reply) => {
                    checkpoints.push(reply);
                    None
                }
            })
        });
        let written = connection.total_changes();
        if let Some(write_failure) = commit_together(connection, path, work) {
            told.send_replace(Some(write_failure));
        } else if connection.total_changes() != written {
            told.send_replace(None);
        }
        for read in reads {
            read(connection);
        }
        // A reader without write access cannot move its own mark in the WAL's index; ours makes the commit visible.
        let _ = connection.query_row("SELECT count(*) FROM heartbeat", [], |_| Ok(()));
        if !checkpoints.is_empty() {
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            for reply in checkpoints {
                let _ = reply.send(());
            }
        }
    }
}

/// Tells why it could not.
fn commit_together(connection: &Connection, path: &Path, work: impl Iterator<Item = Work>) -> Option<WriteFailure> {
    let mut work = work.peekable();
    work.peek()?;
    let run = |sql: &str| connection.execute_batch(sql).map_err(|error| Arc::new(Error::from_sqlite(path, error)));
    let began = run("BEGIN IMMEDIATE");
    let answers: Vec<JobResult> = work.map(|job| in_savepoint(connection, &began, run, job)).collect();
    let committed = began.and_then(|()| run("COMMIT"));
    if committed.is_err() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    let mut write_failure = committed.as_ref().err().map(|why| WriteFailure::of(why));
    for answer in answers {
        write_failure = write_failure.or(answer.write_failure);
        (answer.tell)(committed.clone().and(answer.fate));
    }
    write_failure
}

fn in_savepoint(
    connection: &Connection,
    began: &Result<(), Arc<Error>>,
    run: impl Fn(&str) -> Result<(), Arc<Error>>,
    job: Work,
) -> JobResult {
    if let Err(why) = began {
        return job(Err(why.clone()));
    }
    // SQLite ends a whole transaction by itself on a full disk or an I/O error. What comes after must not run alone.
    if connection.is_autocommit() {
        return job(Err(Arc::new(Error::Value("an earlier part of the same commit failed".into()))));
    }
    if let Err(why) = run("SAVEPOINT job") {
        return job(Err(why));
    }
    let mut answer = job(Ok(connection));
    answer.fate = run(if answer.worked { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" });
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DATABASE;

    /// The commits in a write-ahead log: the frames that tell a size of the database (fileformat2.html, section 4.1).
    fn commits(log: &[u8]) -> usize {
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
