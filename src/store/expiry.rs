//! Forgetting: the past is cut down to what the config keeps.
//!
//! *Invariant:* what is owed, has failed, or is the newest of its kind is never forgotten, so forgetting changes nothing
//! about what happens next.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Error;
use super::record::WatchId;
use super::sql::{Time, time};
use super::writer::Store;

/// What is kept of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Changes, of each watch.
    pub changes: Keep,
    /// Finished deliveries, of each watch and hook.
    pub deliveries: Keep,
    /// What attempts have printed, of each watch and hook.
    pub outputs: Keep,
}

/// How much of one kind is kept: as many as this, and none that is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many.
    pub count: u32,
    /// No longer than this; `None`: for ever.
    pub age: Option<Duration>,
}

impl Keep {
    /// What is older than this is not kept.
    fn cutoff(&self, now: Timestamp) -> i64 {
        let age = self.age.and_then(|age| SignedDuration::try_from(age).ok());
        age.and_then(|age| now.checked_sub(age).ok()).map_or(i64::MIN, Timestamp::as_millisecond)
    }
}

/// Watches that are gone through in one transaction: others want to write, too.
const WATCHES: i64 = 16;

/// Rows of a kind that go in one transaction.
const ROWS: usize = 2000;

impl Store {
    /// Forgets what is not kept, of some of the watches after `after`; tells where to go on, until all were gone through.
    pub async fn expire(
        &self,
        retention: Retention,
        now: Timestamp,
        after: Option<WatchId>,
    ) -> Result<Option<WatchId>, Error> {
        self.write(move |connection| {
            let mut query = connection.prepare_cached("SELECT id FROM watches WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let after = after.map_or(i64::MIN, |watch| watch.0);
            let watches = query.query_map([after, WATCHES], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
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

    /// When [`Store::expire`] last came to its end.
    pub async fn last_expiry(&self) -> Result<Option<Timestamp>, Error> {
        self.read(|connection| {
            let at = connection.query_row("SELECT at FROM expiry", [], |row| time(row, 0)).optional()?;
            Ok(at.flatten())
        })
        .await
    }
}

/// Whether this was all there is to forget of a watch.
fn expire_watch(connection: &Connection, watch: i64, retention: &Retention, now: Timestamp) -> Result<bool, Error> {
    let deliveries = expire_deliveries(connection, watch, retention, now)?;
    let changes = expire_changes(connection, watch, &retention.changes, now)?;
    expire_outputs(connection, watch, &retention.outputs, now)?;
    Ok(deliveries < ROWS && changes < ROWS)
}

/// Finished deliveries that are too many, too old, or of a change that is. The newest of each hook and lane stays: it
/// tells what the hook was last told, and can be retried.
fn expire_deliveries(
    connection: &Connection,
    watch: i64,
    retention: &Retention,
    now: Timestamp,
) -> Result<usize, Error> {
    let mut query = connection.prepare_cached(
        "SELECT number FROM (
             SELECT d.number, d.state, coalesce(d.ended, c.at) AS ended, c.id AS change, c.at AS changed,
                    row_number() OVER (PARTITION BY d.hook ORDER BY d.number DESC) AS nth,
                    row_number() OVER (PARTITION BY d.hook, d.lane ORDER BY d.number DESC) AS nth_of_lane
             FROM deliveries d JOIN changes c ON c.id = d.change WHERE d.watch = ?1)
         WHERE state IN ('succeeded', 'superseded') AND nth_of_lane > 1
         AND (nth > ?2 OR ended < ?3 OR changed < ?5
              OR change <= (SELECT id FROM changes WHERE watch = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?4))
         LIMIT ?6",
    )?;
    let (deliveries, changes) = (&retention.deliveries, &retention.changes);
    let limits =
        params![watch, deliveries.count, deliveries.cutoff(now), changes.count, changes.cutoff(now), ROWS as i64];
    let doomed = query.query_map(limits, |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    let mut attempts = connection.prepare_cached("DELETE FROM attempts WHERE delivery = ?1")?;
    let mut delivery = connection.prepare_cached("DELETE FROM deliveries WHERE number = ?1")?;
    for number in &doomed {
        attempts.execute([number])?;
        delivery.execute([number])?;
    }
    Ok(doomed.len())
}

/// Changes that are too many or too old, and that no delivery is about any more. The newest of each lane stays.
fn expire_changes(connection: &Connection, watch: i64, keep: &Keep, now: Timestamp) -> Result<usize, Error> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM changes WHERE id IN (
             SELECT id FROM changes c WHERE watch = ?1
             AND (at < ?3 OR id <= (SELECT id FROM changes WHERE watch = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2))
             AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.change = c.id)
             AND EXISTS (SELECT 1 FROM changes newer
                         WHERE newer.watch = ?1 AND newer.id > c.id AND newer.lane = c.lane)
             ORDER BY id LIMIT ?4)",
    )?;
    Ok(delete.execute(params![watch, keep.count, keep.cutoff(now), ROWS as i64])?)
}

/// Outputs that are too many or too old. The latest of what is owed or has failed stays: it tells why.
fn expire_outputs(connection: &Connection, watch: i64, keep: &Keep, now: Timestamp) -> Result<(), Error> {
    let mut update = connection.prepare_cached(
        "UPDATE attempts SET output = NULL WHERE output IS NOT NULL AND (delivery, attempt) IN (
             SELECT delivery, attempt FROM (
                 SELECT a.delivery, a.attempt, coalesce(a.ended, a.started) AS ended,
                        a.attempt = d.attempts AND d.state NOT IN ('succeeded', 'superseded') AS is_why,
                        row_number() OVER (PARTITION BY d.hook ORDER BY d.number DESC, a.attempt DESC) AS nth
                 FROM deliveries d JOIN attempts a ON a.delivery = d.number WHERE d.watch = ?1)
             WHERE NOT is_why AND (nth > ?2 OR ended < ?3))",
    )?;
    update.execute(params![watch, keep.count, keep.cutoff(now)])?;
    Ok(())
}

#[cfg(test)]
mod tests;
