//! Attempts: claiming a delivery, and recording the end of its run. The run itself happens outside the store.
//!
//! *Invariant:* a claim is committed before the hook starts, so no start is ever lost. No transaction is open while
//! the hook runs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Error;
use super::record::{WatchId, question};
use super::rows::{apply, cursor, pending, put_cursor};
use super::sql::{Time, choice, choice_columns, time};
use super::subscriptions::UNSUBSCRIBED;
use super::writer::Store;
use crate::domain::delivery::{
    Cursor, DeliveryState, Ending, Event, NotStarted, Outcome, RetryPolicy, Target, Tries, after_attempt,
    after_no_start,
};
use crate::domain::{ChangeKind, Choice, Digest, Lane, Question};

/// A delivery that was marked as running: its hook must start now.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The idempotency key: globally unique, and the same for all attempts.
    pub id: String,
    pub hook: String,
    pub watch: WatchId,
    pub watch_name: String,
    pub question: Question,
    pub kind: ChangeKind,
    /// Where the hook stands by its own cursor, which may be older than the change's origin.
    pub from: Option<Choice>,
    /// `None` when the tag is gone.
    pub to: Option<Choice>,
    /// The digest of the image index; only set if the watch selects a platform.
    pub index_digest: Option<Digest>,
    /// The media type of the manifest that `to` names.
    pub media_type: Option<String>,
    /// When the change was accepted.
    pub at: Timestamp,
    /// Counts from 1.
    pub attempt: u32,
    /// What the hook had attempted since it last succeeded, before this claim.
    pub attempted_before: Option<Target>,
}

/// The state of a delivery after an attempt ended.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    pub state: DeliveryState,
    /// When it is tried again; `None` if it is not.
    pub due: Option<Timestamp>,
}

/// A delivery in state running that has no run any more, as a rule because an earlier agent ended meanwhile.
#[derive(Debug, Clone)]
pub struct LeftRunning {
    pub id: String,
    pub hook: String,
    pub watch: WatchId,
}

/// How many more runs of a hook may start.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub free: usize,
    /// The longest pause between two attempts of this hook, by its retry policy.
    pub longest_pause: Duration,
}

/// The deliveries to run now, and when to claim again.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// Already marked as running.
    pub claimed: Vec<Claimed>,
    /// When the next pending delivery of a hook with room is due; `None` if there is none.
    pub next_due: Option<Timestamp>,
}

impl Store {
    /// Marks the deliveries as running that are due and whose hooks have room. With `only`, considers no other delivery
    /// than the one with that id.
    ///
    /// Visits only hooks with pending deliveries: there may be many hooks, and few of them have any.
    pub async fn claim(
        &self,
        now: Timestamp,
        room: impl Fn(&str) -> Option<Room> + Send + 'static,
        only: Option<String>,
    ) -> Result<Claims, Error> {
        self.write(move |connection| {
            let (mut claims, mut next_due, mut hook) = (Vec::new(), None, String::new());
            while let Some(next) = next_hook_with_pending(connection, &hook)? {
                hook = next;
                let Some(mut room) = room(&hook) else { continue };
                while room.free > 0 {
                    let Some(number) = next_startable(connection, &hook, room, now, only.as_deref())? else { break };
                    match start(connection, number, now) {
                        Ok(claimed) => {
                            claims.push(claimed);
                            room.free -= 1;
                        }
                        Err(error) => give_up(connection, number, &error, now)?,
                    }
                }
                // A hook without room is visited again when one of its runs ends.
                let due = if room.free > 0 { due_after(connection, &hook, now)? } else { None };
                next_due = next_due.into_iter().chain(due).min();
            }
            Ok(Claims { claimed: claims, next_due })
        })
        .await
    }

    /// Records the end of an attempt and updates the delivery and its cursor. `chance` is a random number, uniform in
    /// 0..1, for the jitter of the back-off.
    pub async fn finish(
        &self,
        id: String,
        outcome: Outcome,
        retry: RetryPolicy,
        now: Timestamp,
        chance: f64,
    ) -> Result<Finished, Error> {
        self.write(move |connection| finish(connection, &id, &outcome, &retry, now, chance)).await
    }

    /// Undoes a claim whose hook was not started: no attempt was made. It is due again at `due`.
    pub async fn give_back(
        &self,
        claimed: Claimed,
        not_started: NotStarted,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<Finished, Error> {
        self.write(move |connection| give_back(connection, claimed, &not_started, due, now)).await
    }

    /// The deliveries in state running. Those without a run here were left behind, as a rule by an earlier agent.
    pub async fn running(&self) -> Result<Vec<LeftRunning>, Error> {
        self.read(|connection| {
            let sql = "SELECT id, hook, watch FROM deliveries WHERE state = 'running'";
            let mut query = connection.prepare_cached(sql)?;
            let left = |row: &rusqlite::Row<'_>| {
                Ok(LeftRunning { id: row.get(0)?, hook: row.get(1)?, watch: WatchId(row.get(2)?) })
            };
            Ok(query.query_map([], left)?.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// The number of the oldest delivery of a hook that may start: it is due and not held, and no other run for its watch
/// and hook is under way. The watch is the same by its name: an edit of its image does not end a run.
///
/// A delivery that is due later than the hook's longest pause from now also counts as due: its due time came from a
/// clock that has since been set back.
fn next_startable(
    connection: &Connection,
    hook: &str,
    room: Room,
    now: Timestamp,
    only: Option<&str>,
) -> Result<Option<i64>, Error> {
    let horizon = SignedDuration::try_from(room.longest_pause).ok().and_then(|pause| now.checked_add(pause).ok());
    let horizon = horizon.unwrap_or(Timestamp::MAX).as_millisecond();
    // One query per range: with both ranges in one condition, SQLite would scan all pending deliveries of the hook.
    for (after, until) in [(i64::MIN, now.as_millisecond()), (horizon, i64::MAX)] {
        let found = connection
            .prepare_cached(&format!(
                "SELECT number FROM deliveries d WHERE state = 'pending' AND hook = ?1 AND due > ?2 AND due <= ?3
                 AND NOT ({UNSUBSCRIBED}) AND (?4 IS NULL OR d.id = ?4)
                 AND NOT EXISTS (SELECT 1 FROM watches w WHERE w.id = d.watch AND w.paused)
                 AND NOT EXISTS (SELECT 1 FROM watches w JOIN watches same ON same.name = w.name
                                 JOIN deliveries r INDEXED BY deliveries_running ON r.watch = same.id
                                 WHERE w.id = d.watch AND r.hook = d.hook AND r.state = 'running')
                 ORDER BY due, number LIMIT 1",
            ))?
            .query_row(params![hook, after, until, only], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The first hook with a pending delivery whose name sorts after this one.
fn next_hook_with_pending(connection: &Connection, hook: &str) -> Result<Option<String>, Error> {
    let sql = "SELECT hook FROM deliveries INDEXED BY deliveries_due WHERE state = 'pending' AND hook > ?1
               ORDER BY hook LIMIT 1";
    Ok(connection.prepare_cached(sql)?.query_row([hook], |row| row.get(0)).optional()?)
}

/// When the hook's next pending delivery is due, among those that are due after `now`.
fn due_after(connection: &Connection, hook: &str, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT min(due) FROM deliveries WHERE state = 'pending' AND hook = ?1 AND due > ?2";
    Ok(connection.prepare_cached(sql)?.query_row(params![hook, Time(now)], |row| time(row, 0))?)
}

/// Marks a delivery as failed whose row cannot be read, because a newer taghook wrote it or somebody edited it by hand.
/// It must not block all other deliveries.
fn give_up(connection: &Connection, number: i64, error: &Error, now: Timestamp) -> Result<(), Error> {
    tracing::error!(delivery = number, "a delivery cannot be read and is given up: {error}");
    connection
        .prepare_cached("UPDATE deliveries SET state = 'failed', due = NULL, error = ?2, ended = ?3 WHERE number = ?1")?
        .execute(params![number, format!("cannot be read: {error}"), Time(now)])?;
    Ok(())
}

/// Marks a delivery as running: counts the attempt, and fixes where its run starts from.
fn start(connection: &Connection, number: i64, now: Timestamp) -> Result<Claimed, Error> {
    let mut query = connection.prepare_cached(
        "SELECT d.id, d.hook, d.watch, w.name, w.reference, w.platform, c.kind, c.from_tag, c.from_digest, c.to_tag,
                c.to_digest, c.index_digest, c.media_type, c.at, d.attempts, d.target
         FROM deliveries d JOIN watches w ON w.id = d.watch JOIN changes c ON c.id = d.change WHERE d.number = ?1",
    )?;
    let mut found = query.query([number])?;
    let row = found.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let kind: ChangeKind = row.get(6)?;
    let (watch, hook, target) = (WatchId(row.get(2)?), row.get::<_, String>(1)?, row.get::<_, Target>(15)?);
    let mut cursor = cursor(connection, watch, &hook, kind.lane())?.unwrap_or_default();
    let claimed = Claimed {
        id: row.get(0)?,
        hook,
        watch,
        watch_name: row.get(3)?,
        question: question(row, 4)?,
        kind,
        from: cursor.origin(&target, choice(row, 7)?),
        to: choice(row, 9)?,
        index_digest: row.get(11)?,
        media_type: row.get(12)?,
        at: time(row, 13)?.unwrap_or(now),
        attempt: row.get::<_, u32>(14)?.saturating_add(1),
        attempted_before: cursor.attempted.replace(target),
    };
    put_cursor(connection, watch, &claimed.hook, kind.lane(), &cursor)?;
    apply(connection, number, DeliveryState::Pending, Event::Claimed)?;
    let (tag, digest) = choice_columns(claimed.from.as_ref());
    connection
        .prepare_cached("UPDATE deliveries SET attempts = ?2, from_tag = ?3, from_digest = ?4 WHERE number = ?1")?
        .execute(params![number, claimed.attempt, tag, digest])?;
    connection
        .prepare_cached("INSERT INTO attempts (delivery, attempt, started) VALUES (?1, ?2, ?3)")?
        .execute(params![number, claimed.attempt, Time(now)])?;
    Ok(claimed)
}

fn finish(
    connection: &Connection,
    id: &str,
    outcome: &Outcome,
    retry: &RetryPolicy,
    now: Timestamp,
    chance: f64,
) -> Result<Finished, Error> {
    let mut query = connection.prepare_cached(
        "SELECT number, watch, hook, lane, target, attempts, deferrals, deferred_since FROM deliveries
         WHERE id = ?1 AND state = 'running'",
    )?;
    let row = query.query_row([id], |row| {
        // A time that means nothing must not keep the end from being recorded.
        let deferred_since = time(row, 7).unwrap_or_default();
        let tries = Tries { attempts: row.get(5)?, deferrals: row.get(6)?, deferred_since };
        let (hook, lane, target) = (row.get::<_, String>(2)?, row.get::<_, Lane>(3)?, row.get::<_, Target>(4)?);
        Ok((row.get::<_, i64>(0)?, WatchId(row.get(1)?), hook, lane, target, tries))
    });
    let row = row.optional()?.ok_or_else(|| Error::NotRunning(id.to_owned()))?;
    let (number, watch, hook, lane, target, tries) = row;
    let newer = pending(connection, watch, &hook, lane)?;
    let overtaken = is_overtaken(connection, number, watch, &hook, lane)?;
    let event = after_attempt(outcome.ending, tries, overtaken, retry, now, chance);
    let state = apply(connection, number, DeliveryState::Running, event)?;
    put_outcome(connection, number, outcome, tries, now)?;
    if state == DeliveryState::Succeeded {
        put_cursor(connection, watch, &hook, lane, &Cursor { reached: Some(target.clone()), attempted: None })?;
        // A pending delivery to where the hook stands now has nothing left to deliver.
        if let Some((newer, newer_target)) = newer
            && newer_target == target
        {
            apply(connection, newer, DeliveryState::Pending, Event::Overtaken)?;
        }
    }
    Ok(Finished { state, due: if let Event::RetryAt(due) = event { Some(due) } else { None } })
}

fn give_back(
    connection: &Connection,
    claimed: Claimed,
    not_started: &NotStarted,
    due: Timestamp,
    now: Timestamp,
) -> Result<Finished, Error> {
    let Claimed { id, hook, watch, kind, attempt, attempted_before, .. } = claimed;
    let (number, target) = connection
        .prepare_cached("SELECT number, target FROM deliveries WHERE id = ?1 AND state = 'running'")?
        .query_row([&id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Target>(1)?)))
        .optional()?
        .ok_or(Error::NotRunning(id))?;
    let lane = kind.lane();
    let event = after_no_start(is_overtaken(connection, number, watch, &hook, lane)?, due);
    let state = apply(connection, number, DeliveryState::Running, event)?;
    if let Some(cursor) = cursor(connection, watch, &hook, lane)?.filter(|it| it.attempted.as_ref() == Some(&target)) {
        put_cursor(connection, watch, &hook, lane, &Cursor { attempted: attempted_before, ..cursor })?;
    }
    connection
        .prepare_cached("UPDATE deliveries SET attempts = attempts - 1, error = ?2, ended = ?3 WHERE number = ?1")?
        .execute(params![number, not_started.why, Time(now)])?;
    connection
        .prepare_cached("DELETE FROM attempts WHERE delivery = ?1 AND attempt = ?2")?
        .execute(params![number, attempt])?;
    Ok(Finished { state, due: if let Event::RetryAt(due) = event { Some(due) } else { None } })
}

/// Whether there is a newer delivery of the lane. It need not be pending any more: a person may have discarded it, and
/// its digest is the newest nevertheless.
fn is_overtaken(connection: &Connection, number: i64, watch: WatchId, hook: &str, lane: Lane) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_of_watch
                              WHERE watch = ?1 AND number > ?2 AND hook = ?3 AND lane = ?4)";
    Ok(connection.prepare_cached(sql)?.query_row(params![watch.0, number, hook, lane], |row| row.get(0))?)
}

fn put_outcome(
    connection: &Connection,
    number: i64,
    outcome: &Outcome,
    tries: Tries,
    now: Timestamp,
) -> Result<(), Error> {
    let Outcome { ending, code, error, output } = outcome;
    let deferred = *ending == Ending::Deferred;
    connection
        .prepare_cached(
            "UPDATE deliveries SET code = ?2, error = ?3, ended = ?4, deferrals = deferrals + ?5,
             deferred_since = CASE WHEN ?5 THEN coalesce(deferred_since, ?4) ELSE deferred_since END WHERE number = ?1",
        )?
        .execute(params![number, code, error, Time(now), deferred])?;
    connection
        .prepare_cached(
            "UPDATE attempts SET ended = ?3, code = ?4, error = ?5, output = ?6 WHERE delivery = ?1 AND attempt = ?2",
        )?
        .execute(params![number, tries.attempts, Time(now), code, error, output])?;
    Ok(())
}
