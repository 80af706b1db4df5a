//! The ledger: recording changes together with the deliveries that they owe to hooks.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::error::Error;
use super::record::{self, WatchId};
use super::rows::{NewDelivery, apply, cursor, insert, pending, put_cursor};
use super::sql::{Time, choice_columns};
use super::subscriptions::{self, Subscription};
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
                    delete_unconcerned_cursors(connection, watch, lane, &hearers)?;
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
    /// If it has left the watch, and only hears because it is still owed something: what it subscribed to until then.
    last_kinds: Option<ChangeSet>,
    /// Whether it subscribes to any kind in this lane now, or is owed something there. If not, it misses the changes.
    is_concerned: bool,
}

/// The hooks that hear of a change: those that subscribe to it, and those that are still owed an earlier change of its
/// kind, whether that is pending, runs or has failed.
///
/// A hook that has left the watch, or that now subscribes to other kinds, was subscribed when that earlier change was
/// accepted. It is owed the newest change instead, because otherwise it would deploy a digest that is long gone. One
/// that has left hears of all that it subscribed to until then.
fn hearers(connection: &Connection, watch: WatchId, lane: Lane) -> Result<Vec<Hearer>, Error> {
    let hearer = |Subscription { hook, kinds, .. }: Subscription| {
        let is_concerned = kinds.iter().any(|kind| kind.lane() == lane);
        Hearer { hook, kinds, last_kinds: None, is_concerned }
    };
    let mut hearers: Vec<Hearer> = subscriptions::of_watch(connection, watch)?.into_iter().map(hearer).collect();
    let mut query = connection.prepare_cached(SELECT_OPEN)?;
    // A newer taghook, or somebody by hand, may have written kinds that we cannot read. They must not block the others.
    let rows = query.query_map(params![watch.0, lane], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1).ok(), row.get(2).unwrap_or_default()))
    })?;
    for row in rows {
        let (hook, kind, last_kinds): (_, Option<ChangeKind>, Option<ChangeSet>) = row?;
        let known = hearers.iter().position(|hearer| *hearer.hook == *hook);
        let index = known.unwrap_or_else(|| {
            let kinds = last_kinds.unwrap_or_default();
            hearers.push(Hearer { hook: hook.into(), kinds, last_kinds: Some(kinds), is_concerned: true });
            hearers.len() - 1
        });
        let hearer = &mut hearers[index];
        hearer.kinds = hearer.kinds.iter().chain(kind).collect();
        hearer.is_concerned = true;
    }
    Ok(hearers)
}

/// The hook, the kind of change and the last kinds of each delivery of a watch and lane that is pending, runs or has
/// failed. Each state has an index of its own, so that the finished deliveries are not looked at.
const SELECT_OPEN: &str = "SELECT d.hook, c.kind, d.last_kinds FROM (
         SELECT hook, change, last_kinds FROM deliveries INDEXED BY deliveries_pending
         WHERE watch = ?1 AND lane = ?2 AND state = 'pending'
         UNION ALL SELECT hook, change, last_kinds FROM deliveries INDEXED BY deliveries_running
         WHERE watch = ?1 AND lane = ?2 AND state = 'running'
         UNION ALL SELECT hook, change, last_kinds FROM deliveries INDEXED BY deliveries_failed
         WHERE watch = ?1 AND lane = ?2 AND state = 'failed'
     ) d JOIN changes c ON c.id = d.change";

/// Deletes the cursors of hooks that neither subscribe to this lane nor are owed anything in it: they miss this change,
/// so they no longer stand where their cursors say.
fn delete_unconcerned_cursors(
    connection: &Connection,
    watch: WatchId,
    lane: Lane,
    hearers: &[Hearer],
) -> Result<(), Error> {
    let hooks: Vec<&str> = hearers.iter().filter(|hearer| hearer.is_concerned).map(|hearer| &*hearer.hook).collect();
    let hooks = serde_json::to_string(&hooks).map_err(|error| Error::Value(error.to_string()))?;
    connection
        .prepare_cached(
            "DELETE FROM cursors WHERE watch = ?1 AND lane = ?2 AND hook NOT IN (SELECT value FROM json_each(?3))",
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
    let (change, due, last_kinds) = (ids[newest], change.at, hearer.last_kinds);
    let id = insert(connection, &NewDelivery { watch, hook, change, lane, target: &target, last_kinds, from, due })?;
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
