//! Queries about the past and about what is owed, for the agent and for readers in other processes.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::record::{self, COLUMNS, WatchId, question};
use super::sql::{printed, readable, time};
use super::subscriptions::UNSUBSCRIBED;
use super::writer::Store;
use crate::domain::delivery::{DeliveryState, OwedCounts};
use crate::domain::judge::Record;
use crate::domain::words::words;
use crate::domain::{ChangeKind, Digest, WatchKey};

/// A watch with its record and what its hooks are owed.
#[derive(Debug, Clone)]
pub struct WatchRow {
    pub key: WatchKey,
    pub paused: bool,
    pub record: Record,
    pub owed: OwedCounts,
}

/// One change, as `history` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeRow {
    pub id: i64,
    pub watch: String,
    pub change: ChangeKind,
    pub from: Option<Digest>,
    pub to: Option<Digest>,
    pub at: Timestamp,
    /// The watch's reference at that time.
    #[serde(skip)]
    pub image: String,
}

words! {
    /// Why a pending or failed delivery is held.
    pub enum HeldBecause {
        Paused = "paused",
        /// Its hook does not subscribe to its watch.
        NotFed = "not_fed",
    }
}

/// One delivery, as `deliveries` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryRow {
    pub id: String,
    pub watch: String,
    pub hook: String,
    pub change: ChangeKind,
    /// Where its run starts from, or did.
    pub from: Option<Digest>,
    pub to: Option<Digest>,
    pub state: DeliveryState,
    /// How many attempts have started.
    pub attempts: u32,
    /// When the next attempt is due; only set while pending.
    pub due: Option<Timestamp>,
    /// Of the latest attempt, like `error` and `ended`.
    #[serde(rename = "exit_code")]
    pub code: Option<i32>,
    pub error: Option<String>,
    #[serde(skip)]
    pub ended: Option<Timestamp>,
    pub held: Option<HeldBecause>,
    /// What the latest attempt printed; only set by queries that say so.
    #[serde(skip)]
    pub output: Option<String>,
}

/// One attempt, as `log` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptRow {
    pub delivery: String,
    pub watch: String,
    pub hook: String,
    pub change: ChangeKind,
    /// Counts from 1.
    pub attempt: u32,
    pub started: Timestamp,
    /// `None` while the attempt runs.
    pub ended: Option<Timestamp>,
    #[serde(rename = "exit_code")]
    pub code: Option<i32>,
    pub error: Option<String>,
    /// `None` once the retention has removed it.
    pub output: Option<String>,
}

impl Store {
    /// Counts what the hooks of each watch are owed. Leaves out watches that owe nothing.
    pub async fn owed(&self) -> Result<HashMap<WatchId, OwedCounts>, Error> {
        self.read(owed_by_watch).await
    }

    /// Counts what each hook is owed. Leaves out hooks that are owed nothing.
    pub async fn owed_by_hook(&self) -> Result<Vec<(String, OwedCounts)>, Error> {
        self.read(|connection| owed_by(connection, "hook", |row| row.get(0))).await
    }

    /// Counts the failed deliveries that are not held.
    pub async fn given_up(&self) -> Result<u64, Error> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(&select_given_up())?;
            Ok(query.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
        })
        .await
    }

    /// Counts the pending or failed deliveries that are left over from an earlier config.
    pub async fn left_over(&self) -> Result<u64, Error> {
        self.read(left_over).await
    }

    /// The failed deliveries that are not held, newest first, with the end of their latest output.
    pub async fn failed_deliveries(&self) -> Result<Vec<DeliveryRow>, Error> {
        self.read(failed).await
    }

    /// The deliveries with these ids, with their latest output.
    pub async fn deliveries(&self, ids: Vec<String>) -> Result<Vec<DeliveryRow>, Error> {
        self.read(move |connection| deliveries(connection, &ids)).await
    }

    /// The pending and running deliveries of a watch.
    pub async fn open_deliveries(&self, watch: WatchId) -> Result<Vec<DeliveryRow>, Error> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(&select_open())?;
            Ok(readable(query.query_map([watch.0], delivery)?)?)
        })
        .await
    }
}

/// The query whose rows [`delivery`] reads.
pub(super) fn select_delivery(condition: &str) -> String {
    format!(
        "SELECT d.id, w.name, d.hook, c.kind, d.from_digest, c.to_digest, d.state, d.attempts, d.due, d.code, d.error,
         d.ended, w.paused, {UNSUBSCRIBED}
         FROM deliveries d JOIN watches w ON w.id = d.watch JOIN changes c ON c.id = d.change WHERE {condition}"
    )
}

pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let (state, is_paused, is_unsubscribed) = (row.get(6)?, row.get(12)?, row.get(13)?);
    let held = match state {
        DeliveryState::Pending | DeliveryState::Failed if is_unsubscribed => Some(HeldBecause::NotFed),
        DeliveryState::Pending if is_paused => Some(HeldBecause::Paused),
        _ => None,
    };
    Ok(DeliveryRow {
        id: row.get(0)?,
        watch: row.get(1)?,
        hook: row.get(2)?,
        change: row.get(3)?,
        from: row.get(4)?,
        to: row.get(5)?,
        state,
        attempts: row.get(7)?,
        due: time(row, 8)?,
        code: row.get(9)?,
        error: row.get(10)?,
        ended: time(row, 11)?,
        held,
        output: None,
    })
}

/// How much of the end of an output is read where only its end is of interest, in characters and in bytes: a character
/// has at most four.
const TAIL_CHARS: usize = 500;
const TAIL_BYTES: usize = 4 * TAIL_CHARS;

/// Adds the output of the latest attempt to each delivery; `output` is an SQL expression that may cut it, by bytes.
fn add_latest_output(connection: &Connection, rows: &mut [DeliveryRow], output: &str) -> Result<(), Error> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {output} FROM attempts a JOIN deliveries d ON d.number = a.delivery AND d.attempts = a.attempt
         WHERE d.id = ?1"
    ))?;
    for row in rows {
        row.output = query.query_row([&row.id], |row| printed(row, 0)).optional()?.flatten();
    }
    Ok(())
}

/// The last [`TAIL_CHARS`] characters of a text that was cut by bytes, so perhaps inside a character.
fn tail(cut: &str) -> String {
    // What is left of such a character is no text.
    let text = cut.trim_start_matches(char::REPLACEMENT_CHARACTER);
    let start = text.char_indices().rev().nth(TAIL_CHARS - 1).map_or(0, |(start, _)| start);
    text[start..].to_owned()
}

/// The deliveries with these ids, with their latest output.
pub(super) fn deliveries(connection: &Connection, ids: &[String]) -> Result<Vec<DeliveryRow>, Error> {
    let mut query = connection.prepare_cached(&select_delivery("d.id = ?1"))?;
    let mut rows = readable(ids.iter().map(|id| query.query_row([id], delivery)))?;
    add_latest_output(connection, &mut rows, "a.output")?;
    Ok(rows)
}

/// The failed deliveries that are not held, newest first, with the end of their latest output.
pub(super) fn failed(connection: &Connection) -> Result<Vec<DeliveryRow>, Error> {
    let mut query = connection.prepare_cached(&select_failed())?;
    let mut rows = readable(query.query_map([], delivery)?)?;
    // Of a text, SQL's functions see no more than what stands before a NUL. Of a blob they see all.
    add_latest_output(connection, &mut rows, &format!("substr(CAST(a.output AS BLOB), -{TAIL_BYTES})"))?;
    for row in &mut rows {
        row.output = row.output.as_deref().map(tail);
    }
    Ok(rows)
}

pub(super) fn left_over(connection: &Connection) -> Result<u64, Error> {
    let mut query = connection.prepare_cached(&select_left_over())?;
    Ok(query.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

/// The pending and running deliveries of a watch.
fn select_open() -> String {
    select_delivery(
        "d.number IN (
         SELECT number FROM deliveries INDEXED BY deliveries_pending WHERE watch = ?1 AND state = 'pending'
         UNION ALL
         SELECT number FROM deliveries INDEXED BY deliveries_running WHERE watch = ?1 AND state = 'running')
         ORDER BY d.number",
    )
}

/// The order is an expression, so that SQLite uses the partial index of the failed deliveries instead of scanning all
/// deliveries in the order of their numbers.
fn select_failed() -> String {
    select_delivery(&format!("d.state = 'failed' AND NOT ({UNSUBSCRIBED}) ORDER BY +d.number DESC"))
}

fn select_given_up() -> String {
    format!("SELECT count(*) FROM deliveries d WHERE state = 'failed' AND NOT ({UNSUBSCRIBED})")
}

fn select_left_over() -> String {
    format!(
        "SELECT (SELECT count(*) FROM deliveries d WHERE state = 'pending' AND {UNSUBSCRIBED})
         + (SELECT count(*) FROM deliveries d WHERE state = 'failed' AND {UNSUBSCRIBED})"
    )
}

fn select_owed_by(column: &str) -> String {
    format!(
        "SELECT o.{column}, sum(state = 'pending'), sum(state = 'running'), sum(state = 'failed'),
             sum(state = 'pending' AND (held OR w.paused)) FROM (
             SELECT watch, hook, state, {UNSUBSCRIBED} AS held FROM deliveries d WHERE state = 'pending'
             UNION ALL SELECT watch, hook, state, 0 FROM deliveries d WHERE state = 'running'
             UNION ALL SELECT watch, hook, state, 0 FROM deliveries d WHERE state = 'failed' AND NOT ({UNSUBSCRIBED})
         ) o JOIN watches w ON w.id = o.watch GROUP BY o.{column}",
    )
}

/// Every watch that was ever checked, by name. Each reference and platform that a watch has had is a row of its own.
pub(super) fn watches(connection: &Connection) -> Result<Vec<WatchRow>, Error> {
    let owed = owed_by_watch(connection)?;
    let mut query = connection
        .prepare(&format!("SELECT {COLUMNS}, id, name, reference, platform, paused FROM watches ORDER BY name, id"))?;
    let mut rows = query.query([])?;
    let mut watches = Vec::new();
    while let Some(row) = rows.next()? {
        let question = match question(row, 11) {
            Ok(question) => question,
            // As with `readable`: one such row must not hide all others.
            Err(why) => {
                tracing::error!("a watch in the database cannot be read and is left out: {why}");
                continue;
            }
        };
        watches.push(WatchRow {
            key: WatchKey { name: row.get::<_, String>(10)?.into(), question },
            paused: row.get(13)?,
            record: record::read(row)?,
            owed: owed.get(&WatchId(row.get(9)?)).copied().unwrap_or_default(),
        });
    }
    Ok(watches)
}

fn owed_by_watch(connection: &Connection) -> Result<HashMap<WatchId, OwedCounts>, Error> {
    Ok(owed_by(connection, "watch", |row| Ok(WatchId(row.get(0)?)))?.into_iter().collect())
}

/// Counts the pending, running and failed deliveries, grouped by a column.
fn owed_by<T>(
    connection: &Connection,
    column: &str,
    key: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<(T, OwedCounts)>, Error> {
    let mut query = connection.prepare_cached(&select_owed_by(column))?;
    let rows = query.query_map([], |row| {
        let count = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
        let owed = OwedCounts { pending: count(1)?, running: count(2)?, failed: count(3)?, held: count(4)? };
        Ok((key(row)?, owed))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_does_not_look_at_all_that_ever_was() {
        let connection = crate::store::schema::in_memory().unwrap();
        let queries =
            [select_failed(), select_given_up(), select_left_over(), select_owed_by("watch"), select_owed_by("hook")];
        for sql in queries.into_iter().chain([select_open()]) {
            let mut query = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let params = vec![1; query.parameter_count()];
            let plan = query.query_map(rusqlite::params_from_iter(params), |row| row.get("detail")).unwrap();
            let plan: Vec<String> = plan.collect::<Result<_, _>>().unwrap();
            let scans = plan.iter().filter(|step| step.starts_with("SCAN d ") || step.starts_with("SCAN deliveries"));
            let partial = ["pending", "running", "failed", "due"].map(|state| format!("INDEX deliveries_{state}"));
            let is_bounded = |step: &String| partial.iter().any(|index| step.contains(index));
            assert!(scans.clone().all(is_bounded), "{sql}\n{plan:#?}");
            assert!(!plan.iter().any(|step| step == "SCAN d"), "{sql}\n{plan:#?}");
        }
    }

    #[test]
    fn a_tail_is_of_whole_characters() {
        let text = "ä".repeat(TAIL_BYTES);
        assert_eq!(tail(&String::from_utf8_lossy(&text.as_bytes()[1..])), "ä".repeat(TAIL_CHARS));
        assert_eq!(tail("short"), "short");
    }
}
