//! Subscriptions: which hooks hear of which changes of a watch. They are the config's, and replaced whenever it is read.
//!
//! *Invariant:* whatever decides who is owed something reads this table in its own transaction. So a check and a reload
//! that run at the same time agree on who was subscribed.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::error::Error;
use super::record::WatchId;
use super::writer::Store;
use crate::domain::ChangeSet;

/// Says whether a delivery `d` is held: it waits, or would wait, and its watch does not subscribe its hook at the moment.
pub(super) const HELD: &str = "NOT EXISTS (SELECT 1 FROM subscriptions s WHERE s.watch = d.watch AND s.hook = d.hook)";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub watch: WatchId,
    pub hook: Arc<str>,
    /// The changes that the hook hears of.
    pub kinds: ChangeSet,
}

impl Store {
    /// Replaces all subscriptions. Returns the ids of open deliveries that are held from now on and were not before.
    pub async fn replace_subscriptions(&self, wanted: Vec<Subscription>) -> Result<Vec<String>, Error> {
        self.write(move |connection| replace(connection, wanted)).await
    }

    /// The subscriptions of a watch, by hook.
    pub async fn subscriptions(&self, watch: WatchId) -> Result<Vec<Subscription>, Error> {
        self.read(move |connection| of_watch(connection, watch)).await
    }
}

pub(super) fn of_watch(connection: &Connection, watch: WatchId) -> Result<Vec<Subscription>, Error> {
    let mut query =
        connection.prepare_cached("SELECT hook, kinds FROM subscriptions WHERE watch = ?1 ORDER BY hook")?;
    let rows = query.query_map([watch.0], |row| {
        Ok(Subscription { watch, hook: row.get::<_, String>(0)?.into(), kinds: row.get(1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes only what is different: with many watches, nearly all rows stay as they are at each start.
fn replace(connection: &Connection, wanted: Vec<Subscription>) -> Result<Vec<String>, Error> {
    let mut wanted: HashMap<(WatchId, Arc<str>), ChangeSet> =
        wanted.into_iter().map(|one| ((one.watch, one.hook), one.kinds)).collect();
    let mut gone = Vec::new();
    let mut query = connection.prepare("SELECT watch, hook, kinds FROM subscriptions")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let key = (WatchId(row.get(0)?), Arc::<str>::from(row.get::<_, String>(1)?));
        // Kinds that cannot be read are a newer taghook's; ours take their place.
        match wanted.get(&key) {
            Some(kinds) if row.get::<_, ChangeSet>(2).is_ok_and(|known| known == *kinds) => drop(wanted.remove(&key)),
            Some(_) => {}
            None => gone.push(key),
        }
    }
    let mut put = connection.prepare(
        "INSERT INTO subscriptions (watch, hook, kinds) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET kinds = excluded.kinds",
    )?;
    for ((watch, hook), kinds) in &wanted {
        put.execute(params![watch.0, hook, kinds])?;
    }
    let mut delete = connection.prepare("DELETE FROM subscriptions WHERE watch = ?1 AND hook = ?2")?;
    for (watch, hook) in &gone {
        delete.execute(params![watch.0, hook])?;
    }
    if gone.is_empty() { Ok(Vec::new()) } else { open_deliveries(connection, &gone) }
}

/// The open deliveries of these watches and hooks.
fn open_deliveries(connection: &Connection, of: &[(WatchId, Arc<str>)]) -> Result<Vec<String>, Error> {
    let of: std::collections::HashSet<&(WatchId, Arc<str>)> = of.iter().collect();
    let mut found = Vec::new();
    for state in ["pending", "running", "failed"] {
        // The state as a constant, so that the index on the few in this state is used.
        let mut query = connection
            .prepare(&format!("SELECT id, watch, hook FROM deliveries WHERE state = '{state}' ORDER BY +number"))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let key = (WatchId(row.get(1)?), Arc::<str>::from(row.get::<_, String>(2)?));
            if of.contains(&key) {
                found.push(row.get(0)?);
            }
        }
    }
    Ok(found)
}
