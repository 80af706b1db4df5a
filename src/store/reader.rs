//! Reading the state beside its owner, or without one.
//!
//! *Invariant:* a reader never writes, so a user of the group may be one, and never blocks the writer.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row, params};

use super::record::{self, COLUMNS};
use super::{DATABASE, Error, Refused, act, schema};
use crate::domain::ChangeKind;
use crate::domain::judge::Record;

/// A read-only connection.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

/// The state of a watch.
#[derive(Debug, Clone)]
pub struct WatchRow {
    /// The watch's name.
    pub name: String,
    /// Its reference, canonical.
    pub reference: String,
    /// Its platform, if one is chosen.
    pub platform: Option<String>,
    /// Whether its hooks are held.
    pub paused: bool,
    /// What is remembered.
    pub record: Record,
    /// What its hooks are owed.
    pub owed: OwedCounts,
}

/// Deliveries that are not done, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OwedCounts {
    /// Waiting to be run.
    pub pending: u64,
    /// Running.
    pub running: u64,
    /// Given up.
    pub failed: u64,
    /// How many of those that wait are held.
    pub held: u64,
}

/// What one hook is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookOwed {
    /// Its name.
    pub hook: String,
    /// How much, over all watches.
    pub counts: OwedCounts,
}

/// What is looked for among changes and deliveries; `None` is everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The watch's name.
    pub watch: Option<String>,
    /// Accepted then or later.
    pub since: Option<Timestamp>,
    /// Accepted earlier than that.
    pub until: Option<Timestamp>,
    /// What happened.
    pub change: Option<String>,
    /// The hook's name; for deliveries.
    pub hook: Option<String>,
    /// The state; for deliveries.
    pub state: Option<String>,
    /// At most so many, of the newest.
    pub limit: Option<usize>,
}

/// One change, as `history` shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ChangeRow {
    /// Its number.
    pub id: i64,
    /// The watch's name.
    pub watch: String,
    /// What happened.
    pub change: String,
    /// The digest before.
    pub from: Option<String>,
    /// The digest after.
    pub to: Option<String>,
    /// When it was accepted.
    pub at: Timestamp,
    /// The watch's reference then.
    #[serde(skip)]
    pub image: String,
}

/// One delivery, as `deliveries` shows it.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct DeliveryRow {
    /// Globally unique.
    pub id: String,
    /// The watch's name.
    pub watch: String,
    /// The hook's name.
    pub hook: String,
    /// What happened.
    pub change: String,
    /// The digest that the run starts from.
    pub from: Option<String>,
    /// The digest that it brings.
    pub to: Option<String>,
    /// `pending`, `running`, `succeeded`, `failed` or `superseded`.
    pub state: String,
    /// Starts so far.
    pub attempts: u32,
    /// When it is due, while pending.
    pub due: Option<Timestamp>,
    /// Of the latest attempt.
    pub exit_code: Option<i32>,
    /// Of the latest attempt.
    pub error: Option<String>,
    /// When the latest attempt ended.
    #[serde(skip)]
    pub ended: Option<Timestamp>,
    /// Whether its watch is paused, or does not feed its hook at the moment.
    #[serde(skip)]
    pub held: bool,
    /// Why it waits although it may be due: `paused`, or `not_fed` where the config does not feed it.
    #[serde(rename = "held")]
    pub why_held: Option<String>,
    /// What the latest attempt printed, where it was asked for.
    #[serde(skip)]
    pub output: Option<String>,
}

/// One attempt, as `log` shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AttemptRow {
    /// The delivery's id.
    pub delivery: String,
    /// The watch's name.
    pub watch: String,
    /// The hook's name.
    pub hook: String,
    /// What happened.
    pub change: String,
    /// 1 for the first start.
    pub attempt: u32,
    /// When its command was started.
    pub started: Timestamp,
    /// When that ended; `None` while it runs.
    pub ended: Option<Timestamp>,
    /// The exit status, where there was one.
    pub exit_code: Option<i32>,
    /// What went wrong.
    pub error: Option<String>,
    /// What it printed, as far as that is kept.
    pub output: Option<String>,
}

impl Filter {
    /// Whether anything is left out, but for what is too old for the limit.
    pub fn is_narrow(&self) -> bool {
        let Self { watch, since, until, change, hook, state, limit: _ } = self;
        let words = [watch, change, hook, state].iter().any(|word| word.is_some());
        words || since.is_some() || until.is_some()
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
        let of = |error| Error::of(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(of)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(of)?;
        schema::version(&connection, &path)?;
        Ok(Self { connection, path })
    }

    /// Every watch that was ever checked, by name; an earlier reference or platform of a name has a row of its own.
    pub fn watches(&self) -> Result<Vec<WatchRow>, Error> {
        watches(&self.connection).map_err(|error| error.at(&self.path))
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
        let params =
            params![watch, milliseconds(since), milliseconds(until), change, limit.map_or(-1, |limit| limit as i64)];
        self.rows(sql, params, |row| {
            Ok(ChangeRow {
                id: row.get(0)?,
                watch: row.get(1)?,
                change: row.get(2)?,
                from: row.get(3)?,
                to: row.get(4)?,
                at: timestamp(row, 5)?.unwrap_or_default(),
                image: row.get(6)?,
            })
        })
    }

    /// When the next change of the same lane came, if one did: until then the tag stood where this change had led.
    pub fn until(&self, change: &ChangeRow) -> Result<Option<Timestamp>, Error> {
        let lane = ChangeKind::parse(&change.change).map(ChangeKind::lane);
        let lane: Vec<&str> =
            ChangeKind::ALL.iter().filter(|kind| Some(kind.lane()) == lane).map(|kind| kind.as_str()).collect();
        let lane = serde_json::to_string(&lane).map_err(|error| Error::Value(error.to_string()))?;
        let sql = "SELECT n.at FROM changes n WHERE n.watch = (SELECT watch FROM changes WHERE id = ?1) AND n.id > ?1
             AND n.kind IN (SELECT value FROM json_each(?2)) ORDER BY n.id LIMIT 1";
        let found = self.rows(sql, params![change.id, lane], |row| timestamp(row, 0))?;
        Ok(found.into_iter().flatten().next())
    }

    /// What a change has owed to hooks, in the order in which it was owed.
    pub fn deliveries_of(&self, change: &ChangeRow) -> Result<Vec<DeliveryRow>, Error> {
        self.rows(&format!("{DELIVERY} WHERE d.change = ?1 ORDER BY d.number"), [change.id], delivery)
    }

    /// The deliveries that are looked for, newest first.
    pub fn deliveries(&self, filter: &Filter) -> Result<Vec<DeliveryRow>, Error> {
        let sql = format!(
            "{DELIVERY} WHERE (?1 IS NULL OR w.name = ?1) AND (?2 IS NULL OR c.at >= ?2) AND (?3 IS NULL OR c.at < ?3)
             AND (?4 IS NULL OR c.kind = ?4) AND (?5 IS NULL OR d.hook = ?5) AND (?6 IS NULL OR d.state = ?6)
             ORDER BY d.number DESC LIMIT ?7"
        );
        let Filter { watch, since, until, change, hook, state, limit } = filter;
        let limit = limit.map_or(-1, |limit| limit as i64);
        let params = params![watch, milliseconds(since), milliseconds(until), change, hook, state, limit];
        self.rows(&sql, params, delivery)
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let rows = || self.connection.prepare(sql)?.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>();
        rows().map_err(|error| Error::of(&self.path, error))
    }

    /// How much is owed or has failed that the config did not feed any more when it was last read.
    pub fn left_over(&self) -> Result<u64, Error> {
        left_over(&self.connection).map_err(|error| error.at(&self.path))
    }

    /// What was given up, the latest first, and the end of what it printed; but for what is left over.
    pub fn failed(&self) -> Result<Vec<DeliveryRow>, Error> {
        failed(&self.connection).map_err(|error| error.at(&self.path))
    }

    /// The latest attempts of a watch's hooks, newest first.
    pub fn last_attempts(&self, watch: &str, limit: usize) -> Result<Vec<AttemptRow>, Error> {
        let sql = format!("{ATTEMPT} WHERE w.name = ?1 ORDER BY a.started DESC, a.delivery DESC LIMIT ?2");
        self.rows(&sql, params![watch, limit as i64], attempt)
    }

    /// All attempts of a delivery (its whole id, or the end of it), newest first.
    pub fn attempts_of(&self, id: &str) -> Result<Result<Vec<AttemptRow>, Refused>, Error> {
        match act::find(&self.connection, id).map_err(|error| error.at(&self.path))? {
            Err(refused) => Ok(Err(refused)),
            Ok(number) => {
                let sql = format!("{ATTEMPT} WHERE a.delivery = ?1 ORDER BY a.attempt DESC");
                self.rows(&sql, [number], attempt).map(Ok)
            }
        }
    }

    /// When an agent was last known to be alive on this state.
    pub fn last_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        record::last_heartbeat(&self.connection).map_err(|error| error.at(&self.path))
    }
}

impl super::Store {
    /// What the hooks of each watch are owed; watches that owe nothing are left out.
    pub async fn owed(&self) -> Result<Vec<(super::WatchId, OwedCounts)>, Error> {
        self.read(owed).await
    }

    /// How many deliveries were given up, but for what is left over.
    pub async fn given_up(&self) -> Result<u64, Error> {
        self.read(|connection| {
            let sql = "SELECT count(*) FROM deliveries WHERE state = 'failed' AND NOT held";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
        })
        .await
    }

    /// What each hook is owed; hooks that are owed nothing are left out.
    pub async fn owed_by_hook(&self) -> Result<Vec<HookOwed>, Error> {
        self.read(owed_by_hook).await
    }

    /// How much is owed or has failed that the config does not feed any more.
    pub async fn left_over(&self) -> Result<u64, Error> {
        self.read(left_over).await
    }

    /// What was given up, the latest first, and the end of what it printed; but for what is left over.
    pub async fn failed_deliveries(&self) -> Result<Vec<DeliveryRow>, Error> {
        self.read(failed).await
    }

    /// The deliveries with these ids, and what their latest attempts printed.
    pub async fn deliveries(&self, ids: Vec<String>) -> Result<Vec<DeliveryRow>, Error> {
        self.read(move |connection| deliveries(connection, &ids)).await
    }

    /// Deliveries of a watch that are pending or running.
    pub async fn open_deliveries(&self, watch: super::WatchId) -> Result<Vec<DeliveryRow>, Error> {
        self.read(move |connection| {
            let sql = format!(
                "{DELIVERY} WHERE d.number IN (
                 SELECT number FROM deliveries INDEXED BY deliveries_pending WHERE watch = ?1 AND state = 'pending'
                 UNION ALL SELECT number FROM deliveries INDEXED BY deliveries_running WHERE watch = ?1 AND state = 'running') ORDER BY d.number"
            );
            let mut query = connection.prepare_cached(&sql)?;
            let rows = query.query_map([watch.0], delivery)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// The deliveries with these ids, and what their latest attempts printed.
pub(super) fn deliveries(connection: &Connection, ids: &[String]) -> Result<Vec<DeliveryRow>, Error> {
    let mut query = connection.prepare_cached(&format!("{DELIVERY} WHERE d.id = ?1"))?;
    let mut printed = connection.prepare_cached(
        "SELECT a.output FROM attempts a JOIN deliveries d ON d.number = a.delivery AND d.attempts = a.attempt
         WHERE d.id = ?1",
    )?;
    let one = |id: &String| {
        let output = printed.query_row([id], |row| row.get(0)).optional()?.flatten();
        Ok(DeliveryRow { output, ..query.query_row([id], delivery)? })
    };
    ids.iter().map(one).collect()
}

const DELIVERY: &str = "SELECT d.id, w.name, d.hook, c.kind, d.from_digest, c.to_digest, d.state, d.attempts, d.due,
    d.exit_code, d.error, w.paused OR d.held, d.ended, CASE WHEN d.held AND d.state IN ('pending', 'failed') THEN 'not_fed'
    WHEN w.paused AND d.state = 'pending' THEN 'paused' END FROM deliveries d JOIN watches w ON w.id = d.watch JOIN changes c ON c.id = d.change";

fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: row.get(0)?,
        watch: row.get(1)?,
        hook: row.get(2)?,
        change: row.get(3)?,
        from: row.get(4)?,
        to: row.get(5)?,
        state: row.get(6)?,
        attempts: row.get(7)?,
        due: timestamp(row, 8)?,
        exit_code: row.get(9)?,
        error: row.get(10)?,
        held: row.get(11)?,
        ended: timestamp(row, 12)?,
        why_held: row.get(13)?,
        output: None,
    })
}

fn failed(connection: &Connection) -> Result<Vec<DeliveryRow>, Error> {
    let sql = format!("{DELIVERY} WHERE d.state = 'failed' AND NOT d.held ORDER BY d.number DESC");
    let mut query = connection.prepare_cached(&sql)?;
    let rows = query.query_map([], delivery)?.collect::<Result<Vec<_>, _>>()?;
    let mut printed = connection.prepare_cached(
        "SELECT substr(a.output, -500) FROM attempts a JOIN deliveries d ON d.number = a.delivery AND d.attempts = a.attempt
         WHERE d.id = ?1",
    )?;
    let one = |row: DeliveryRow| {
        let output = printed.query_row([&row.id], |row| row.get(0)).optional()?.flatten();
        Ok(DeliveryRow { output, ..row })
    };
    rows.into_iter().map(one).collect()
}

const ATTEMPT: &str =
    "SELECT d.id, w.name, d.hook, c.kind, a.attempt, a.started, a.ended, a.exit_code, a.error, a.output
    FROM attempts a JOIN deliveries d ON d.number = a.delivery JOIN watches w ON w.id = d.watch
    JOIN changes c ON c.id = d.change";

fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    Ok(AttemptRow {
        delivery: row.get(0)?,
        watch: row.get(1)?,
        hook: row.get(2)?,
        change: row.get(3)?,
        attempt: row.get(4)?,
        started: timestamp(row, 5)?.unwrap_or_default(),
        ended: timestamp(row, 6)?,
        exit_code: row.get(7)?,
        error: row.get(8)?,
        output: row.get(9)?,
    })
}

fn milliseconds(at: &Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millisecond)
}

fn timestamp(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    let milliseconds: Option<i64> = row.get(index)?;
    Ok(milliseconds.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
}

fn watches(connection: &Connection) -> Result<Vec<WatchRow>, Error> {
    let owed: std::collections::HashMap<_, _> = owed(connection)?.into_iter().collect();
    let mut query = connection
        .prepare(&format!("SELECT {COLUMNS}, id, name, reference, platform, paused FROM watches ORDER BY name, id"))?;
    let mut rows = query.query([])?;
    let mut watches = Vec::new();
    while let Some(row) = rows.next()? {
        let id = super::WatchId(row.get(8)?);
        watches.push(WatchRow {
            name: row.get(9)?,
            reference: row.get(10)?,
            platform: Some(row.get(11)?).filter(|platform: &String| !platform.is_empty()),
            paused: row.get(12)?,
            record: record::read(row)?,
            owed: owed.get(&id).copied().unwrap_or_default(),
        });
    }
    Ok(watches)
}

fn owed(connection: &Connection) -> Result<Vec<(super::WatchId, OwedCounts)>, Error> {
    owed_by(connection, "watch", |row| Ok(super::WatchId(row.get(0)?)))
}

fn owed_by_hook(connection: &Connection) -> Result<Vec<HookOwed>, Error> {
    let owed = owed_by(connection, "hook", |row| row.get(0))?;
    Ok(owed.into_iter().map(|(hook, counts)| HookOwed { hook, counts }).collect())
}

/// What is not done, counted by a column.
fn owed_by<T>(
    connection: &Connection,
    column: &str,
    key: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<(T, OwedCounts)>, Error> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT o.{column}, sum(state = 'pending'), sum(state = 'running'), sum(state = 'failed'),
             sum(state = 'pending' AND (held OR w.paused)) FROM (
             SELECT watch, hook, state, held FROM deliveries WHERE state = 'pending'
             UNION ALL SELECT watch, hook, state, held FROM deliveries WHERE state = 'running'
             UNION ALL SELECT watch, hook, state, held FROM deliveries WHERE state = 'failed' AND NOT held
         ) o JOIN watches w ON w.id = o.watch GROUP BY o.{column}",
    ))?;
    let rows = query.query_map([], |row| {
        let count = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
        let owed = OwedCounts { pending: count(1)?, running: count(2)?, failed: count(3)?, held: count(4)? };
        Ok((key(row)?, owed))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn left_over(connection: &Connection) -> Result<u64, Error> {
    let sql = "SELECT (SELECT count(*) FROM deliveries WHERE state = 'pending' AND held)
         + (SELECT count(*) FROM deliveries WHERE state = 'failed' AND held)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
}
