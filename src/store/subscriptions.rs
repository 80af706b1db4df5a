//! Subscriptions: which hooks hear of which changes of a watch. They mirror the config and are replaced when it is
//! loaded.
//!
//! *Invariant:* a transaction that decides which hooks are owed a delivery reads this table itself. So a check and a
//! reload that run at the same time agree on who was subscribed.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::error::Error;
use super::record::WatchId;
use super::writer::Store;
use crate::domain::ChangeSet;

/// The SQL condition for a delivery `d` whose hook does not subscribe to its watch. A pending or failed one is then held.
pub(super) const UNSUBSCRIBED: &str =
    "NOT EXISTS (SELECT 1 FROM subscriptions s WHERE s.watch = d.watch AND s.hook = d.hook)";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub watch: WatchId,
    pub hook: Arc<str>,
    /// The kinds of change that the hook hears of.
    pub kinds: ChangeSet,
}

impl Store {
    /// Replaces all subscriptions. Returns the ids of the pending, running and failed deliveries whose hooks
    /// no longer subscribe to their watches.
    pub async fn replace_subscriptions(&self, wanted: Vec<Subscription>) -> Result<Vec<String>, Error> {
        self.write(move |connection| replace(connection, wanted)).await
    }

    /// The subscriptions of a watch, in the order of its config.
    pub async fn subscriptions(&self, watch: WatchId) -> Result<Vec<Subscription>, Error> {
        self.read(move |connection| of_watch(connection, watch)).await
    }
}

pub(super) fn of_watch(connection: &Connection, watch: WatchId) -> Result<Vec<Subscription>, Error> {
    let mut query =
        connection.prepare_cached("SELECT hook, kinds FROM subscriptions WHERE watch = ?1 ORDER BY position")?;
    let rows = query.query_map([watch.0], |row| {
        Ok(Subscription { watch, hook: row.get::<_, String>(0)?.into(), kinds: row.get(1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes only the differences, because nearly all rows stay the same from one start to the next.
fn replace(connection: &Connection, wanted: Vec<Subscription>) -> Result<Vec<String>, Error> {
    let mut positions: HashMap<WatchId, i64> = HashMap::new();
    let in_order = wanted.into_iter().map(|Subscription { watch, hook, kinds }| {
        let position = positions.entry(watch).and_modify(|position| *position += 1).or_default();
        ((watch, hook), (kinds, *position))
    });
    let mut wanted: HashMap<(WatchId, Arc<str>), (ChangeSet, i64)> = in_order.collect();
    let mut gone = HashMap::new();
    let mut query = connection.prepare("SELECT watch, hook, kinds, position FROM subscriptions")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let key = (WatchId(row.get(0)?), Arc::<str>::from(row.get::<_, String>(1)?));
        // Kinds that cannot be read were written by a newer taghook, and are overwritten.
        match wanted.get(&key) {
            Some((kinds, position))
                if row.get(2).is_ok_and(|known: ChangeSet| known == *kinds) && row.get(3) == Ok(*position) =>
            {
                wanted.remove(&key);
            }
            Some(_) => {}
            None => drop(gone.insert(key, row.get(2).ok())),
        }
    }
    let mut put = connection.prepare(
        "INSERT INTO subscriptions (watch, hook, kinds, position) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET kinds = excluded.kinds, position = excluded.position",
    )?;
    for ((watch, hook), (kinds, position)) in &wanted {
        put.execute(params![watch.0, hook, kinds, position])?;
    }
    let mut delete = connection.prepare("DELETE FROM subscriptions WHERE watch = ?1 AND hook = ?2")?;
    for (watch, hook) in gone.keys() {
        delete.execute(params![watch.0, hook])?;
    }
    if gone.is_empty() { Ok(Vec::new()) } else { leave(connection, &gone) }
}

/// Notes with the pending, running and failed deliveries of these watches and hooks what the hooks subscribed to until
/// now: they hear of it for as long as they are owed something. Returns the ids of the deliveries.
fn leave(
    connection: &Connection,
    gone: &HashMap<(WatchId, Arc<str>), Option<ChangeSet>>,
) -> Result<Vec<String>, Error> {
    let mut note = connection.prepare("UPDATE deliveries SET last_kinds = ?2 WHERE number = ?1")?;
    let mut ids = Vec::new();
    for state in ["pending", "running", "failed"] {
        // The state is a literal, so that SQLite uses the partial index of that state.
        let mut query = connection.prepare(&format!(
            "SELECT number, id, watch, hook FROM deliveries WHERE state = '{state}' ORDER BY +number"
        ))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let key = (WatchId(row.get(2)?), Arc::<str>::from(row.get::<_, String>(3)?));
            if let Some(last_kinds) = gone.get(&key) {
                note.execute(params![row.get::<_, i64>(0)?, last_kinds])?;
                ids.push(row.get(1)?);
            }
        }
    }
    Ok(ids)
}
