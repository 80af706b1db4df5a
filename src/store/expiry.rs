//! Retention: deletes changes, deliveries and outputs that are older or more than the config keeps.
//!
//! *Invariant:* a delivery that is pending, running or failed, the newest delivery of each lane, and the newest change of
//! each lane and kind are never deleted. So expiry never changes what happens next.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Error;
use super::record::WatchId;
use super::sql::{Time, time};
use super::writer::Store;

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Changes, per watch.
    pub changes: Keep,
    /// Finished deliveries, per watch and hook.
    pub deliveries: Keep,
    /// Outputs of attempts, per watch and hook.
    pub outputs: Keep,
}

/// A limit on the number and on the age of rows; a row is kept only within both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many.
    pub count: u32,
    /// `None` sets no limit on the age.
    pub age: Option<Duration>,
}

impl Keep {
    /// Rows from before this time, in milliseconds since 1970, are not kept.
    fn cutoff(&self, now: Timestamp) -> i64 {
        let age = self.age.and_then(|age| SignedDuration::try_from(age).ok());
        age.and_then(|age| now.checked_sub(age).ok()).map_or(i64::MIN, Timestamp::as_millisecond)
    }
}

/// The number of watches per transaction. Small, so that other writes do not wait long.
const WATCHES_PER_TRANSACTION: i64 = 16;

/// The number of changes, and of deliveries, to delete of one watch per transaction. It bounds a transaction after a
/// long outage or a lowered retention, when one watch may have far more.
const MAX_DELETED_ROWS: usize = 2000;

impl Store {
    /// Deletes what is not kept of the next few watches after `after`. Returns the watch to continue after, or `None`
    /// once all watches are done.
    pub async fn expire(
        &self,
        retention: Retention,
        now: Timestamp,
        after: Option<WatchId>,
    ) -> Result<Option<WatchId>, Error> {
        self.write(move |connection| {
            let mut query = connection.prepare_cached("SELECT id FROM watches WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let after = after.map_or(i64::MIN, |watch| watch.0);
            let watches = query
                .query_map([after, WATCHES_PER_TRANSACTION], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            let mut reached = after;
            for watch in &watches {
                if !expire_watch(connection, *watch, &retention, now)? {
                    return Ok(Some(WatchId(reached)));
                }
                reached = *watch;
            }
            if watches.is_empty() {
                connection
                    .prepare_cached("INSERT INTO expiry VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = excluded.at")?
                    .execute([Time(now)])?;
                return Ok(None);
            }
            Ok(Some(WatchId(reached)))
        })
        .await
    }

    /// When [`Store::expire`] last finished with all watches.
    pub async fn last_expiry(&self) -> Result<Option<Timestamp>, Error> {
        self.read(|connection| {
            let at = connection.query_row("SELECT at FROM expiry", [], |row| time(row, 0)).optional()?;
            Ok(at.flatten())
        })
        .await
    }
}

/// Returns whether the watch is done; otherwise it has more rows to delete.
fn expire_watch(connection: &Connection, watch: i64, retention: &Retention, now: Timestamp) -> Result<bool, Error> {
    let deliveries = expire_deliveries(connection, watch, retention, now)?;
    let changes = expire_changes(connection, watch, &retention.changes, now)?;
    expire_outputs(connection, watch, &retention.outputs, now)?;
    Ok(deliveries < MAX_DELETED_ROWS && changes < MAX_DELETED_ROWS)
}

/// Deletes finished deliveries that are too many or too old, or whose change is. The newest of each hook and lane
/// stays: it shows what the hook was last run for, and can be retried.
fn expire_deliveries(
    connection: &Connection,
    watch: i64,
    retention: &Retention,
    now: Timestamp,
) -> Result<usize, Error> {
    let mut query = connection.prepare_cached(
        "SELECT number FROM (
             SELECT d.number, d.state, coalesce(d.ended, c.at) AS ended, c.id AS change, c.at AS changed,
                    row_number() OVER (PARTITION BY d.hook ORDER BY d.number DESC) AS rank,
                    row_number() OVER (PARTITION BY d.hook, d.lane ORDER BY d.number DESC) AS rank_in_lane
             FROM deliveries d JOIN changes c ON c.id = d.change WHERE d.watch = ?1)
         WHERE state IN ('succeeded', 'superseded') AND rank_in_lane > 1
         AND (rank > ?2 OR ended < ?3 OR changed < ?5
              OR change <= (SELECT id FROM changes WHERE watch = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?4))
         LIMIT ?6",
    )?;
    let (deliveries, changes) = (&retention.deliveries, &retention.changes);
    let limits = params![
        watch,
        deliveries.count,
        deliveries.cutoff(now),
        changes.count,
        changes.cutoff(now),
        MAX_DELETED_ROWS as i64
    ];
    let expired = query.query_map(limits, |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    let mut attempts = connection.prepare_cached("DELETE FROM attempts WHERE delivery = ?1")?;
    let mut delivery = connection.prepare_cached("DELETE FROM deliveries WHERE number = ?1")?;
    for number in &expired {
        attempts.execute([number])?;
        delivery.execute([number])?;
    }
    Ok(expired.len())
}

/// Deletes changes that are too many or too old and that have no deliveries any more. The newest of each kind stays,
/// because a retry may be for it. There is but one `first`, which stays while it is the newest of its lane.
fn expire_changes(connection: &Connection, watch: i64, keep: &Keep, now: Timestamp) -> Result<usize, Error> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM changes WHERE id IN (
             SELECT id FROM changes c WHERE watch = ?1
             AND (at < ?3 OR id <= (SELECT id FROM changes WHERE watch = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2))
             AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.change = c.id)
             AND EXISTS (SELECT 1 FROM changes newer WHERE newer.watch = ?1 AND newer.id > c.id
                         AND newer.lane = c.lane AND (newer.kind = c.kind OR c.kind = 'first'))
             ORDER BY id LIMIT ?4)",
    )?;
    Ok(delete.execute(params![watch, keep.count, keep.cutoff(now), MAX_DELETED_ROWS as i64])?)
}

/// Deletes outputs that are too many or too old. The latest output of an unfinished or failed delivery stays, because
/// it explains why.
fn expire_outputs(connection: &Connection, watch: i64, keep: &Keep, now: Timestamp) -> Result<(), Error> {
    let mut update = connection.prepare_cached(
        "UPDATE attempts SET output = NULL WHERE output IS NOT NULL AND (delivery, attempt) IN (
             SELECT delivery, attempt FROM (
                 SELECT a.delivery, a.attempt, coalesce(a.ended, a.started) AS ended,
                        a.attempt = d.attempts AND d.state NOT IN ('succeeded', 'superseded') AS explains_failure,
                        row_number() OVER (PARTITION BY d.hook ORDER BY d.number DESC, a.attempt DESC) AS rank
                 FROM deliveries d JOIN attempts a ON a.delivery = d.number WHERE d.watch = ?1)
             WHERE NOT explains_failure AND (rank > ?2 OR ended < ?3))",
    )?;
    update.execute(params![watch, keep.count, keep.cutoff(now)])?;
    Ok(())
}

#[cfg(test)]
mod tests;
