//! Access to the rows of deliveries and cursors, as needed by commits, claims, ends of attempts and retries alike.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Error;
use super::record::WatchId;
use super::sql::{Time, choice_columns};
use crate::domain::delivery::{Cursor, DeliveryState, Event, Target};
use crate::domain::{ChangeSet, Choice, Lane};

/// The number and target of the pending delivery, if there is one. It may wait behind a running one.
pub(super) fn pending(
    connection: &Connection,
    watch: WatchId,
    hook: &str,
    lane: Lane,
) -> Result<Option<(i64, Target)>, Error> {
    Ok(connection
        .prepare_cached(
            "SELECT number, target FROM deliveries
             WHERE watch = ?1 AND hook = ?2 AND lane = ?3 AND state = 'pending' ORDER BY number DESC LIMIT 1",
        )?
        .query_row(params![watch.0, hook, lane], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

pub(super) fn cursor(connection: &Connection, watch: WatchId, hook: &str, lane: Lane) -> Result<Option<Cursor>, Error> {
    Ok(connection
        .prepare_cached("SELECT reached, attempted FROM cursors WHERE watch = ?1 AND hook = ?2 AND lane = ?3")?
        .query_row(params![watch.0, hook, lane], |row| Ok(Cursor { reached: row.get(0)?, attempted: row.get(1)? }))
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
        .execute(params![watch.0, hook, lane, cursor.reached, cursor.attempted])?;
    Ok(())
}

/// Applies an event to a delivery in this state, stores its new state, and returns that.
pub(super) fn apply(
    connection: &Connection,
    number: i64,
    state: DeliveryState,
    event: Event,
) -> Result<DeliveryState, Error> {
    let state = state.on(event).map_err(|illegal| Error::Value(illegal.to_string()))?;
    let due = if let Event::RetryAt(due) = event { Some(Time(due)) } else { None };
    connection
        .prepare_cached("UPDATE deliveries SET state = ?2, due = ?3 WHERE number = ?1")?
        .execute(params![number, state, due])?;
    Ok(state)
}

/// A pending delivery that is about to be inserted.
pub(super) struct NewDelivery<'a> {
    pub(super) watch: WatchId,
    pub(super) hook: &'a str,
    pub(super) change: i64,
    pub(super) lane: Lane,
    pub(super) target: &'a Target,
    /// For a hook that has left the watch: what it subscribed to until then.
    pub(super) last_kinds: Option<ChangeSet>,
    /// Where the hook stands now, so where a run would start from.
    pub(super) from: Option<Choice>,
    pub(super) due: Timestamp,
}

/// Inserts a pending delivery and returns its id, which is the idempotency key of all its attempts.
pub(super) fn insert(connection: &Connection, new: &NewDelivery<'_>) -> Result<String, Error> {
    let id = uuid::Uuid::now_v7().to_string();
    let NewDelivery { watch, hook, change, lane, target, last_kinds, from, due } = new;
    let (tag, digest) = choice_columns(from.as_ref());
    connection
        .prepare_cached(
            "INSERT INTO deliveries (id, watch, hook, change, lane, target, last_kinds, from_tag, from_digest, due, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'pending')",
        )?
        .execute(params![id, watch.0, hook, change, lane, target, last_kinds, tag, digest, Time(*due)])?;
    Ok(id)
}
