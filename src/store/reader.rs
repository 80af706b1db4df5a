//! Reading the state from another process, whether or not an agent runs.
//!
//! *Invariant:* a reader never writes. So read permission for the group is enough, and it never blocks the writer.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Params, Row, params};

use super::error::Error;
use super::lock::{self, Owner};
use super::names::DATABASE;
use super::place;
use super::queries::{self, AttemptRow, ChangeRow, DeliveryRow, WatchRow, delivery, select_delivery};
use super::record;
use super::retry::{self, RetryRefused};
use super::schema;
use super::sql::{Time, printed, readable, time};
use crate::domain::ChangeKind;
use crate::domain::delivery::DeliveryState;

/// A read-only connection.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

/// Restricts which changes or deliveries are listed; `None` restricts nothing.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub watch: Option<String>,
    /// Only changes that were accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Only changes that were accepted before this time.
    pub until: Option<Timestamp>,
    pub change: Option<ChangeKind>,
    /// Applies to deliveries only.
    pub hook: Option<String>,
    /// Applies to deliveries only.
    pub state: Option<DeliveryState>,
    /// The newest so many.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether anything but the limit restricts the list.
    pub fn is_narrow(&self) -> bool {
        let Self { watch, since, until, change, hook, state, limit: _ } = self;
        let is_named = watch.is_some() || hook.is_some() || change.is_some() || state.is_some();
        is_named || since.is_some() || until.is_some()
    }

    /// The value for SQL's `LIMIT`, where a negative one means no limit.
    fn sql_limit(&self) -> i64 {
        self.limit.map_or(-1, |limit| limit as i64)
    }
}

impl Reader {
    /// Opens the database of a state directory. What a reader cannot see yet is [`Error::Missing`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        if !has_database(dir)? {
            return Err(missing(dir));
        }
        place::refuse_foreign_files(dir)?;
        let path = place::database_in(dir)?;
        let classify = |error| Error::from_sqlite(&path, error).of_reader();
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(&path, flags).map_err(classify)?;
        connection.busy_timeout(schema::BUSY_TIMEOUT).map_err(classify)?;
        match schema::version(&connection, &path).map_err(Error::of_reader)? {
            0 => Err(missing(dir)),
            _ => Ok(Self { connection, path }),
        }
    }

    /// Every watch that was ever checked, by name. Each reference and platform that a watch has had is a row of its
    /// own.
    pub fn watches(&self) -> Result<Vec<WatchRow>, Error> {
        queries::watches(&self.connection).map_err(|error| error.with_path(&self.path))
    }

    /// The names of all watches that were ever checked.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        self.rows("SELECT DISTINCT name FROM watches ORDER BY name", (), |row| row.get(0))
    }

    /// The changes that match the filter, newest first.
    pub fn changes(&self, filter: &Filter) -> Result<Vec<ChangeRow>, Error> {
        let sql = "SELECT c.id, w.name, c.kind, c.from_digest, c.to_digest, c.at, w.reference
             FROM changes c JOIN watches w ON w.id = c.watch
             WHERE (?1 IS NULL OR w.name = ?1) AND (?2 IS NULL OR c.at >= ?2) AND (?3 IS NULL OR c.at < ?3)
             AND (?4 IS NULL OR c.kind = ?4) ORDER BY c.id DESC LIMIT ?5";
        let Filter { watch, since, until, change, .. } = filter;
        let params = params![watch, since.map(Time), until.map(Time), change, filter.sql_limit()];
        self.rows(sql, params, |row| {
            Ok(ChangeRow {
                id: row.get(0)?,
                watch: row.get(1)?,
                change: row.get(2)?,
                from: row.get(3)?,
                to: row.get(4)?,
                at: time(row, 5)?.unwrap_or_default(),
                image: row.get(6)?,
            })
        })
    }

    /// When the next change of the same lane was accepted, so how long the result of this change lasted. `None` if it
    /// still does.
    pub fn until(&self, change: &ChangeRow) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT n.at FROM changes n WHERE n.watch = (SELECT watch FROM changes WHERE id = ?1) AND n.id > ?1
             AND n.lane = ?2 ORDER BY n.id LIMIT 1";
        let found = self.rows(sql, params![change.id, change.change.lane()], |row| time(row, 0))?;
        Ok(found.into_iter().flatten().next())
    }

    /// The deliveries of a change, in the order in which they were made.
    pub fn deliveries_of(&self, change: &ChangeRow) -> Result<Vec<DeliveryRow>, Error> {
        self.rows(&select_delivery("d.change = ?1 ORDER BY d.number"), [change.id], delivery)
    }

    /// The deliveries that match the filter, newest first.
    pub fn deliveries(&self, filter: &Filter) -> Result<Vec<DeliveryRow>, Error> {
        let sql = select_delivery(
            "(?1 IS NULL OR w.name = ?1) AND (?2 IS NULL OR c.at >= ?2) AND (?3 IS NULL OR c.at < ?3)
             AND (?4 IS NULL OR c.kind = ?4) AND (?5 IS NULL OR d.hook = ?5) AND (?6 IS NULL OR d.state = ?6)
             ORDER BY d.number DESC LIMIT ?7",
        );
        let Filter { watch, since, until, change, hook, state, .. } = filter;
        let params = params![watch, since.map(Time), until.map(Time), change, hook, state, filter.sql_limit()];
        self.rows(&sql, params, delivery)
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let rows = || readable(self.connection.prepare(sql)?.query_map(params, read)?);
        rows().map_err(|error| Error::from_sqlite(&self.path, error))
    }

    /// Counts the pending or failed deliveries that are left over from an earlier config.
    pub fn left_over(&self) -> Result<u64, Error> {
        queries::left_over(&self.connection).map_err(|error| error.with_path(&self.path))
    }

    /// The failed deliveries that are not held, newest first, with the end of their latest output.
    pub fn failed(&self) -> Result<Vec<DeliveryRow>, Error> {
        queries::failed(&self.connection).map_err(|error| error.with_path(&self.path))
    }

    /// The latest attempts of a watch's hooks, newest first.
    pub fn last_attempts(&self, watch: &str, limit: usize) -> Result<Vec<AttemptRow>, Error> {
        let sql = format!("{SELECT_ATTEMPT} WHERE w.name = ?1 ORDER BY a.started DESC, a.delivery DESC LIMIT ?2");
        self.rows(&sql, params![watch, limit as i64], attempt)
    }

    /// All attempts of the delivery whose id is, or ends in, this text, newest first.
    pub fn attempts_of(&self, id: &str) -> Result<Result<Vec<AttemptRow>, RetryRefused>, Error> {
        match retry::find(&self.connection, id).map_err(|error| error.with_path(&self.path))? {
            Err(refused) => Ok(Err(refused)),
            Ok(number) => {
                let sql = format!("{SELECT_ATTEMPT} WHERE a.delivery = ?1 ORDER BY a.attempt DESC");
                self.rows(&sql, [number], attempt).map(Ok)
            }
        }
    }

    /// When an agent was last known to be alive on this state.
    pub fn last_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        record::last_heartbeat(&self.connection).map_err(|error| error.with_path(&self.path))
    }
}

fn has_database(dir: &Path) -> Result<bool, Error> {
    match std::fs::symlink_metadata(dir.join(DATABASE)) {
        Ok(found) => Ok(found.len() > 0 || !found.is_file()),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => {
            let remedy = "be a member of the group that owns it, or use sudo".to_owned();
            Err(Error::Directory { path: dir.to_owned(), remedy, source })
        }
    }
}

/// No agent has run here yet, unless one runs that must have made a database: it names its socket only after that.
fn missing(dir: &Path) -> Error {
    let agent = lock::owner(dir).filter(|owner| owner.socket.is_some() && !lock::is_gone(owner.pid));
    match agent {
        Some(Owner { pid, .. }) => Error::Gone { dir: dir.to_owned(), pid },
        None => Error::Missing(dir.to_owned()),
    }
}

/// The query whose rows [`attempt`] reads; a condition follows.
const SELECT_ATTEMPT: &str =
    "SELECT d.id, w.name, d.hook, c.kind, a.attempt, a.started, a.ended, a.code, a.error, a.output
    FROM attempts a JOIN deliveries d ON d.number = a.delivery JOIN watches w ON w.id = d.watch
    JOIN changes c ON c.id = d.change";

fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    Ok(AttemptRow {
        delivery: row.get(0)?,
        watch: row.get(1)?,
        hook: row.get(2)?,
        change: row.get(3)?,
        attempt: row.get(4)?,
        started: time(row, 5)?.unwrap_or_default(),
        ended: time(row, 6)?,
        code: row.get(7)?,
        error: row.get(8)?,
        output: printed(row, 9)?,
    })
}
