//! The ledger: changes, and the deliveries that they owe to hooks.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::record::{self, WatchId};
use super::rows::{Fresh, cursor, insert, next, put_cursor, put_state, waiting};
use super::{Error, Store};
use crate::domain::delivery::{Cursor, Event, State, Target, news};
use crate::domain::judge::Record;
use crate::domain::{Change, ChangeKind, ChangeSet, Digest, Lane};

/// A hook that a watch feeds, and what it wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The hook's name.
    pub hook: Arc<str>,
    /// The changes that it subscribes to.
    pub on: ChangeSet,
}

/// A delivery that a change has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Globally unique.
    pub id: String,
    /// The hook's name.
    pub hook: Arc<str>,
}

impl Store {
    /// Commits a verdict: the record, its changes, and the deliveries that these owe.
    pub async fn commit(
        &self,
        watch: WatchId,
        record: Record,
        changes: Vec<Change>,
        subscriptions: Arc<[Subscription]>,
    ) -> Result<Vec<Owed>, Error> {
        self.write(move |connection| {
            record::write(connection, watch, &record)?;
            let ids =
                changes.iter().map(|change| insert_change(connection, watch, change)).collect::<Result<Vec<_>, _>>()?;
            let mut owed = Vec::new();
            for lane in [Lane::Content, Lane::Health] {
                if changes.iter().any(|change| change.kind.lane() == lane) {
                    forget_unsubscribed(connection, watch, lane, &subscriptions)?;
                }
                for hearer in hearers(connection, watch, lane, &subscriptions)? {
                    owed.extend(owe(connection, watch, lane, &hearer, &changes, &ids)?);
                }
            }
            Ok(owed)
        })
        .await
    }
}

fn insert_change(connection: &Connection, watch: WatchId, change: &Change) -> Result<i64, Error> {
    connection
        .prepare_cached(
            "INSERT INTO changes (watch, kind, from_digest, to_digest, index_digest, media_type, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            watch.0,
            change.kind.as_str(),
            change.from.as_ref().map(Digest::as_str),
            change.to.as_ref().map(Digest::as_str),
            change.index_digest.as_ref().map(Digest::as_str),
            change.media_type.as_deref(),
            change.at.as_millisecond(),
        ])?;
    Ok(connection.last_insert_rowid())
}

/// A hook that did not hear of this change no longer stands where its cursor says, unless it is still owed something.
fn forget_unsubscribed(
    connection: &Connection,
    watch: WatchId,
    lane: Lane,
    subscriptions: &[Subscription],
) -> Result<(), Error> {
    let hears = |s: &&Subscription| s.on.iter().any(|kind| kind.lane() == lane);
    let hooks: Vec<&str> = subscriptions.iter().filter(hears).map(|s| &*s.hook).collect();
    let hooks = serde_json::to_string(&hooks).map_err(|error| Error::Value(error.to_string()))?;
    connection
        .prepare_cached(
            "DELETE FROM cursors WHERE watch = ?1 AND lane = ?2 AND hook NOT IN (SELECT value FROM json_each(?3))
             AND NOT EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_pending
                             WHERE d.watch = cursors.watch AND d.lane = cursors.lane AND d.hook = cursors.hook
                             AND d.state = 'pending')
             AND NOT EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_running
                             WHERE d.watch = cursors.watch AND d.hook = cursors.hook AND d.state = 'running')",
        )?
        .execute(params![watch.0, lane.as_str(), hooks])?;
    Ok(())
}

/// A hook that hears of a change.
struct Hearer {
    hook: Arc<str>,
    on: ChangeSet,
    /// Its watch does not feed it at the moment.
    held: bool,
}

/// Who hears of a change: the hooks that subscribe to it, and those that are still owed an earlier one of its kind.
///
/// A hook that was taken from the config, or subscribes otherwise now, was subscribed when that earlier change was
/// accepted. It is owed the newest instead, or it would be brought to a digest that is long gone.
fn hearers(
    connection: &Connection,
    watch: WatchId,
    lane: Lane,
    subscriptions: &[Subscription],
) -> Result<Vec<Hearer>, Error> {
    let fed = |s: &Subscription| Hearer { hook: s.hook.clone(), on: s.on, held: false };
    let mut hearers: Vec<Hearer> = subscriptions.iter().map(fed).collect();
    let mut query = connection.prepare_cached(
        "SELECT d.hook, c.kind FROM deliveries d JOIN changes c ON c.id = d.change
         WHERE d.watch = ?1 AND d.lane = ?2 AND d.state = 'pending'",
    )?;
    let rows = query.query_map(params![watch.0, lane.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for row in rows {
        let (hook, kind): (String, String) = row?;
        let kind: ChangeSet = ChangeKind::parse(&kind).into_iter().collect();
        match hearers.iter_mut().find(|hearer| *hearer.hook == *hook) {
            Some(hearer) => hearer.on = hearer.on.iter().chain(kind.iter()).collect(),
            None => hearers.push(Hearer { hook: hook.into(), on: kind, held: true }),
        }
    }
    Ok(hearers)
}

/// What the newest of these changes owes one hook in one lane.
fn owe(
    connection: &Connection,
    watch: WatchId,
    lane: Lane,
    hearer: &Hearer,
    changes: &[Change],
    ids: &[i64],
) -> Result<Option<Owed>, Error> {
    let Some(newest) = news(changes, hearer.on, lane) else { return Ok(None) };
    let change = &changes[newest];
    let target = Target::of(change);
    let hook = &hearer.hook;
    let cursor = match cursor(connection, watch, hook, lane)? {
        Some(cursor) => cursor,
        // Subscribing sets the cursor to what stood then: what stood before this change.
        None => Cursor {
            reached: changes.iter().find(|change| change.kind.lane() == lane).and_then(Target::before),
            attempted: None,
        },
    };
    let waiting = overtake(connection, watch, hook, lane)?;
    put_cursor(connection, watch, hook, lane, &cursor)?;
    if !cursor.owes(&target, waiting.as_ref()) {
        return Ok(None);
    }
    let from = cursor.origin(&target, change.from.clone());
    let (change, due) = (ids[newest], change.at);
    let id = insert(connection, &Fresh { watch, hook, change, lane, target: &target, from, due, held: hearer.held })?;
    Ok(Some(Owed { id, hook: hook.clone() }))
}

/// Supersedes what waits or has failed; tells where what waited would have led. A running attempt goes on.
fn overtake(connection: &Connection, watch: WatchId, hook: &str, lane: Lane) -> Result<Option<Target>, Error> {
    let waited = waiting(connection, watch, hook, lane)?;
    if let Some((number, due, _)) = &waited {
        put_state(connection, *number, next(State::Pending { due: *due }, Event::Overtaken)?)?;
    }
    let mut query = connection.prepare_cached(
        "SELECT number FROM deliveries WHERE watch = ?1 AND hook = ?2 AND lane = ?3 AND state = 'failed'",
    )?;
    let failed = query.query_map(params![watch.0, hook, lane.as_str()], |row| row.get(0))?;
    for number in failed.collect::<Result<Vec<i64>, _>>()? {
        put_state(connection, number, next(State::Failed, Event::Overtaken)?)?;
    }
    Ok(waited.map(|(_, _, target)| target))
}

#[cfg(test)]
mod tests;
