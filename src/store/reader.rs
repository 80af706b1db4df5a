//! Reading the state beside its owner, or without one.
//!
//! *Invariant:* a reader never writes, so a user of the group may be one, and never blocks the writer.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Params, Row, params};

use super::error::Error;
use super::queries::{self, AttemptRow, ChangeRow, DeliveryRow, WatchRow, delivery, select_delivery};
use super::record;
use super::retry::{self, RetryRefused};
use super::schema::{self, DATABASE};
use super::sql::{Time, time};
use crate::domain::ChangeKind;
use crate::domain::delivery::DeliveryState;

/// A read-only connection.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

/// What is looked for among changes and deliveries; `None` is everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub watch: Option<String>,
    /// Accepted then or later.
    pub since: Option<Timestamp>,
    /// Accepted earlier than that.
    pub until: Option<Timestamp>,
    pub change: Option<ChangeKind>,
    /// For deliveries.
    pub hook: Option<String>,
    /// For deliveries.
    pub state: Option<DeliveryState>,
    /// At most this many, of the newest.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether anything is left out, but for what is too old for the limit.
    pub fn is_narrow(&self) -> bool {
        let Self { watch, since, until, change, hook, state, limit: _ } = self;
        let is_named = watch.is_some() || hook.is_some() || change.is_some() || state.is_some();
        is_named || since.is_some() || until.is_some()
    }
}

impl Reader {
    /// Opens the database of a state directory.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(DATABASE);
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(Error::Missing(dir.to_owned())),
            Err(source) => {
                let remedy = "be a member of the group that owns it, or use sudo";
                return Err(Error::Directory { path: dir.to_owned(), remedy, source });
            }
        }
        let of = |error| Error::from_sqlite(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(of)?;
        connection.busy_timeout(schema::BUSY_TIMEOUT).map_err(of)?;
        schema::version(&connection, &path)?;
        Ok(Self { connection, path })
    }

    /// Every watch that was ever checked, by name; an earlier reference or platform of a name has a row of its own.
    pub fn watches(&self) -> Result<Vec<WatchRow>, Error> {
        queries::watches(&self.connection).map_err(|error| error.with_path(&self.path))
    }

    /// The names of all watches that were ever checked.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        self.rows("SELECT DISTINCT name FROM watches ORDER BY name", (), |row| row.get(0))
    }

    /// The changes that are looked for, newest first.
    pub fn changes(&self, filter: &Filter) -> Result<Vec<ChangeRow>, Error> {
        let sql = "SELECT c.id, w.name, c.kind, c.from_digest, c.to_digest, c.at, w.reference
             FROM changes c JOIN watches w ON w.id = c.watch
             WHERE (?1 IS NULL OR w.name = ?1) AND (?2 IS NULL OR c.at >= ?2) AND (?3 IS NULL OR c.at < ?3)
             AND (?4 IS NULL OR c.kind = ?4) ORDER BY c.id DESC LIMIT ?5";
        let Filter { watch, since, until, change, limit, .. } = filter;
        let params = params![watch, since.map(Time), until.map(Time), change, limit.map_or(-1, |limit| limit as i64)];
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

    /// When the next change of the same lane came, if one did: until then the tag stood where this change had led.
    pub fn until(&self, change: &ChangeRow) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT n.at FROM changes n WHERE n.watch = (SELECT watch FROM changes WHERE id = ?1) AND n.id > ?1
             AND n.lane = ?2 ORDER BY n.id LIMIT 1";
        let found = self.rows(sql, params![change.id, change.change.lane()], |row| time(row, 0))?;
        Ok(found.into_iter().flatten().next())
    }

    /// What a change has owed to hooks, in the order in which it was owed.
    pub fn deliveries_of(&self, change: &ChangeRow) -> Result<Vec<DeliveryRow>, Error> {
        self.rows(&select_delivery("d.change = ?1 ORDER BY d.number"), [change.id], delivery)
    }

    /// The deliveries that are looked for, newest first.
    pub fn deliveries(&self, filter: &Filter) -> Result<Vec<DeliveryRow>, Error> {
        let sql = select_delivery(
            "(?1 IS NULL OR w.name = ?1) AND (?2 IS NULL OR c.at >= ?2) AND (?3 IS NULL OR c.at < ?3)
             AND (?4 IS NULL OR c.kind = ?4) AND (?5 IS NULL OR d.hook = ?5) AND (?6 IS NULL OR d.state = ?6)
             ORDER BY d.number DESC LIMIT ?7",
        );
        let Filter { watch, since, until, change, hook, state, limit } = filter;
        let limit = limit.map_or(-1, |limit| limit as i64);
        let params = params![watch, since.map(Time), until.map(Time), change, hook, state, limit];
        self.rows(&sql, params, delivery)
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let rows = || self.connection.prepare(sql)?.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>();
        rows().map_err(|error| Error::from_sqlite(&self.path, error))
    }

    /// How much is owed or has failed that the config did not feed any more when it was last read.
    pub fn left_over(&self) -> Result<u64, Error> {
        queries::left_over(&self.connection).map_err(|error| error.with_path(&self.path))
    }

    /// What was given up, the latest first, and the end of what it printed; but for what is left over.
    pub fn failed(&self) -> Result<Vec<DeliveryRow>, Error> {
        queries::failed(&self.connection).map_err(|error| error.with_path(&self.path))
    }

    /// The latest attempts of a watch's hooks, newest first.
    pub fn last_attempts(&self, watch: &str, limit: usize) -> Result<Vec<AttemptRow>, Error> {
        let sql = format!("{ATTEMPT} WHERE w.name = ?1 ORDER BY a.started DESC, a.delivery DESC LIMIT ?2");
        self.rows(&sql, params![watch, limit as i64], attempt)
    }

    /// All attempts of a delivery (its whole id, or the end of it), newest first.
    pub fn attempts_of(&self, id: &str) -> Result<Result<Vec<AttemptRow>, RetryRefused>, Error> {
        match retry::find(&self.connection, id).map_err(|error| error.with_path(&self.path))? {
            Err(refused) => Ok(Err(refused)),
            Ok(number) => {
                let sql = format!("{ATTEMPT} WHERE a.delivery = ?1 ORDER BY a.attempt DESC");
                self.rows(&sql, [number], attempt).map(Ok)
            }
        }
    }

    /// When an agent was last known to be alive on this state.
    pub fn last_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        record::last_heartbeat(&self.connection).map_err(|error| error.with_path(&self.path))
    }
}

const ATTEMPT: &str = "SELECT d.id, w.name, d.hook, c.kind, a.attempt, a.started, a.ended, a.code, a.error, a.output
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
        output: row.get(9)?,
    })
}
