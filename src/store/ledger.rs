//! The ledger: recording changes together with the deliveries that they owe to hooks.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::error::Error;
use super::record::{self, WatchId};
use super::rows::{NewDelivery, apply, cursor, insert, pending, put_cursor};
use super::sql::{Time, choice_columns};
use super::subscriptions;
use super::writer::Store;
use crate::domain::delivery::{Cursor, DeliveryState, Event, Target, news};
use crate::domain::judge::Record;
use crate::domain::{Change, ChangeKind, ChangeSet, Lane};

/// A new delivery that a change owes to a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    pub id: String,
    pub hook: Arc<str>,
}

impl Store {
    /// Commits the verdict of a check in one transaction: the watch's record, its changes, and the deliveries that
    /// these owe to the hooks that subscribe to them. Returns the new deliveries.
    pub async fn commit(&self, watch: WatchId, record: Record, changes: Vec<Change>) -> Result<Vec<Owed>, Error> {
        self.write(move |connection| {
            record::write(connection, watch, &record)?;
            let ids =
                changes.iter().map(|change| insert_change(connection, watch, change)).collect::<Result<Vec<_>, _>>()?;
            let mut owed = Vec::new();
            for lane in Lane::ALL {
                if changes.iter().any(|change| change.kind.lane() == lane) {
                    let hearers = hearers(connection, watch, lane)?;
                    delete_unsubscribed_cursors(connection, watch, lane, &hearers)?;
                    for hearer in hearers {
                        owed.extend(owe(connection, watch, lane, &hearer, &changes, &ids)?);
                    }
                }
            }
            Ok(owed)
        })
        .await
    }
}

fn insert_change(connection: &Connection, watch: WatchId, change: &Change) -> Result<i64, Error> {
    let Change { kind, cause, from, to, index_digest, media_type, at } = change;
    let ((from_tag, from_digest), (to_tag, to_digest)) = (choice_columns(from.as_ref()), choice_columns(to.as_ref()));
    connection
        .prepare_cached(
            "INSERT INTO changes (watch, kind, lane, cause, from_tag, from_digest, to_tag, to_digest, index_digest,
                                  media_type, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            watch.0,
            kind,
            kind.lane(),
            cause,
            from_tag,
            from_digest,
            to_tag,
            to_digest,
            index_digest,
            media_type,
            Time(*at),
        ])?;
    Ok(connection.last_insert_rowid())
}

/// A hook that hears of changes in a lane.
struct Hearer {
    hook: Arc<str>,
    kinds: ChangeSet,
    /// Whether it subscribes to any kind in this lane now. If not, it only hears because an earlier change is pending.
    subscribes: bool,
}

/// The hooks that hear of a change: those that subscribe to it, and those with a pending delivery for an earlier change
/// of its kind.
///
/// A hook that was removed from the config, or that now subscribes to other kinds, was subscribed when that earlier
/// change was accepted. It is owed the newest change instead, because otherwise it would deploy a digest that is long
/// gone.
fn hearers(connection: &Connection, watch: WatchId, lane: Lane) -> Result<Vec<Hearer>, Error> {
    let hearer = |subscription: subscriptions::Subscription| Hearer {
        hook: subscription.hook,
        kinds: subscription.kinds,
        subscribes: subscription.kinds.iter().any(|kind| kind.lane() == lane),
    };
    let mut hearers: Vec<Hearer> = subscriptions::of_watch(connection, watch)?.into_iter().map(hearer).collect();
    let mut query = connection.prepare_cached(
        "SELECT d.hook, c.kind FROM deliveries d JOIN changes c ON c.id = d.change
         WHERE d.watch = ?1 AND d.lane = ?2 AND d.state = 'pending'",
    )?;
    // A newer taghook, or somebody by hand, may have written a kind that we cannot read. It must not block the others.
    let rows = query.query_map(params![watch.0, lane], |row| Ok((row.get::<_, String>(0)?, row.get(1).ok())))?;
    for row in rows {
        let (hook, kind): (_, Option<ChangeKind>) = row?;
        match hearers.iter_mut().find(|hearer| *hearer.hook == *hook) {
            Some(hearer) => hearer.kinds = hearer.kinds.iter().chain(kind).collect(),
            None => hearers.push(Hearer { hook: hook.into(), kinds: kind.into_iter().collect(), subscribes: false }),
        }
    }
    Ok(hearers)
}

/// Deletes the cursors of hooks that do not subscribe to this lane: they miss this change, so they no longer stand
/// where their cursors say. A hook with a pending or running delivery keeps its cursor.
fn delete_unsubscribed_cursors(
    connection: &Connection,
    watch: WatchId,
    lane: Lane,
    hearers: &[Hearer],
) -> Result<(), Error> {
    let hooks: Vec<&str> = hearers.iter().filter(|hearer| hearer.subscribes).map(|hearer| &*hearer.hook).collect();
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
        .execute(params![watch.0, lane, hooks])?;
    Ok(())
}

/// Inserts the delivery that the newest of these changes owes to one hook in one lane, if it owes one.
fn owe(
    connection: &Connection,
    watch: WatchId,
    lane: Lane,
    hearer: &Hearer,
    changes: &[Change],
    ids: &[i64],
) -> Result<Option<Owed>, Error> {
    let Some(newest) = news(changes, hearer.kinds, lane) else { return Ok(None) };
    let change = &changes[newest];
    let target = Target::of(change);
    let hook = &hearer.hook;
    let cursor = match cursor(connection, watch, hook, lane)? {
        Some(cursor) => cursor,
        // The hook has just subscribed, so it starts from where the tag stood before this change.
        None => Cursor {
            reached: changes.iter().find(|change| change.kind.lane() == lane).and_then(Target::before),
            attempted: None,
        },
    };
    let superseded = supersede_earlier(connection, watch, hook, lane)?;
    put_cursor(connection, watch, hook, lane, &cursor)?;
    if !cursor.owes(&target, superseded.as_ref()) {
        return Ok(None);
    }
    let from = cursor.origin(&target, change.from.clone());
    let (change, due) = (ids[newest], change.at);
    let id = insert(connection, &NewDelivery { watch, hook, change, lane, target: &target, from, due })?;
    Ok(Some(Owed { id, hook: hook.clone() }))
}

/// Supersedes pending and failed deliveries, and returns the target of the pending one. A running attempt goes on.
fn supersede_earlier(connection: &Connection, watch: WatchId, hook: &str, lane: Lane) -> Result<Option<Target>, Error> {
    let pending = pending(connection, watch, hook, lane)?;
    if let Some((number, _)) = &pending {
        apply(connection, *number, DeliveryState::Pending, Event::Overtaken)?;
    }
    let mut query = connection.prepare_cached(
        "SELECT number FROM deliveries WHERE watch = ?1 AND hook = ?2 AND lane = ?3 AND state = 'failed'",
    )?;
    let failed = query.query_map(params![watch.0, hook, lane], |row| row.get(0))?;
    for number in failed.collect::<Result<Vec<i64>, _>>()? {
        apply(connection, number, DeliveryState::Failed, Event::Overtaken)?;
    }
    Ok(pending.map(|(_, target)| target))
}

#[cfg(test)]
mod tests;
