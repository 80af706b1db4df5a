//! Deliveries and cursors as rows: what claims, ends and changes share.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::Error;
use super::record::{self, WatchId};
use crate::domain::delivery::{Cursor, Event, State, Target};
use crate::domain::{Digest, Lane};

/// The delivery that waits behind a running one, if there is one: its number, due time and target.
pub(super) fn waiting(
    connection: &Connection,
    watch: WatchId,
    hook: &str,
    lane: Lane,
) -> Result<Option<(i64, Timestamp, Target)>, Error> {
    Ok(connection
        .prepare_cached(
            "SELECT number, due, target FROM deliveries
             WHERE watch = ?1 AND hook = ?2 AND lane = ?3 AND state = 'pending' ORDER BY number DESC LIMIT 1",
        )?
        .query_row(params![watch.0, hook, lane.as_str()], |row| {
            let due = Timestamp::from_millisecond(row.get(1)?).unwrap_or(Timestamp::UNIX_EPOCH);
            Ok((row.get(0)?, due, word(row, 2, Target::parse)?))
        })
        .optional()?)
}

pub(super) fn cursor(connection: &Connection, watch: WatchId, hook: &str, lane: Lane) -> Result<Option<Cursor>, Error> {
    Ok(connection
        .prepare_cached("SELECT reached, attempted FROM cursors WHERE watch = ?1 AND hook = ?2 AND lane = ?3")?
        .query_row(params![watch.0, hook, lane.as_str()], |row| {
            Ok(Cursor {
                reached: optional_word(row, 0, Target::parse)?,
                attempted: optional_word(row, 1, Target::parse)?,
            })
        })
        .optional()?)
}

pub(super) fn put_cursor(
    connection: &Connection,
    watch: WatchId,
    hook: &str,
    lane: Lane,
    cursor: &Cursor,
) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO cursors (watch, hook, lane, reached, attempted) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET reached = excluded.reached, attempted = excluded.attempted",
        )?
        .execute(params![
            watch.0,
            hook,
            lane.as_str(),
            cursor.reached.as_ref().map(Target::as_str),
            cursor.attempted.as_ref().map(Target::as_str),
        ])?;
    Ok(())
}

pub(super) fn put_state(connection: &Connection, number: i64, state: State) -> Result<(), Error> {
    let due = match state {
        State::Pending { due } => Some(due.as_millisecond()),
        _ => None,
    };
    connection.prepare_cached("UPDATE deliveries SET state = ?2, due = ?3 WHERE number = ?1")?.execute(params![
        number,
        state.as_str(),
        due
    ])?;
    Ok(())
}

pub(super) fn state(word: &str, due: Option<i64>) -> Result<State, Error> {
    Ok(match word {
        "pending" => State::Pending { due: record::time(due)?.unwrap_or(Timestamp::UNIX_EPOCH) },
        "running" => State::Running,
        "succeeded" => State::Succeeded,
        "failed" => State::Failed,
        "superseded" => State::Superseded,
        other => return Err(Error::Value(format!("delivery state {other:?}"))),
    })
}

pub(super) fn next(state: State, event: Event) -> Result<State, Error> {
    state.on(event).map_err(|illegal| Error::Value(illegal.to_string()))
}

pub(super) fn word<T>(row: &rusqlite::Row<'_>, index: usize, parse: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    optional_word(row, index, parse)?
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(index, "a word".into(), rusqlite::types::Type::Null))
}

pub(super) fn optional_word<T>(
    row: &rusqlite::Row<'_>,
    index: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(index)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => parse(text)
            .map(Some)
            .ok_or_else(|| rusqlite::Error::InvalidColumnType(index, format!("{text:?}"), rusqlite::types::Type::Text)),
    }
}

/// A delivery that is about to be owed.
pub(super) struct Fresh<'a> {
    pub(super) watch: WatchId,
    pub(super) hook: &'a str,
    pub(super) change: i64,
    pub(super) lane: Lane,
    pub(super) target: &'a Target,
    /// Where a run would start from as things stand.
    pub(super) from: Option<Digest>,
    pub(super) due: Timestamp,
    pub(super) held: bool,
}

/// Owes it, and gives its id.
pub(super) fn insert(connection: &Connection, fresh: &Fresh<'_>) -> Result<String, Error> {
    let id = uuid::Uuid::now_v7().to_string();
    connection
        .prepare_cached(
            "INSERT INTO deliveries (id, watch, hook, change, lane, target, from_digest, state, due, held)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8, ?9)",
        )?
        .execute(params![
            id,
            fresh.watch.0,
            fresh.hook,
            fresh.change,
            fresh.lane.as_str(),
            fresh.target.as_str(),
            fresh.from.as_ref().map(Digest::as_str),
            fresh.due.as_millisecond(),
            fresh.held,
        ])?;
    Ok(id)
}
