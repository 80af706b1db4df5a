//! Attempts: a delivery is claimed, its command runs elsewhere, its end is recorded.
//!
//! *Invariant:* a claim is committed before its command starts, so a start is never forgotten; nothing is held open
//! while it runs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::record::{self, WatchId};
use super::rows::{cursor, next, optional_word, put_cursor, put_state, state, waiting, word};
use super::{Error, Owed, Store};
use crate::domain::delivery::{Cursor, Ending, Event, Retry, State, Target, Tries, settle};
use crate::domain::{ChangeKind, Digest, Lane};

/// A delivery whose command shall start now.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Globally unique, the same for all attempts.
    pub id: String,
    /// The hook's name.
    pub hook: String,
    /// The watch's row, name, reference and platform.
    pub watch: (WatchId, String, String, Option<String>),
    /// What happened.
    pub kind: ChangeKind,
    /// From the hook's own cursor to the newest.
    pub from: Option<Digest>,
    /// The digest now; `None` when the tag is gone.
    pub to: Option<Digest>,
    /// With a platform: the index.
    pub index_digest: Option<Digest>,
    /// Media type of the manifest that `to` names.
    pub media_type: Option<String>,
    /// When the change was accepted.
    pub at: Timestamp,
    /// 1 for the first start.
    pub attempt: u32,
}

/// How many runs of a hook may start.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// So many.
    pub free: usize,
    /// No delivery of it is put off for longer than this.
    pub longest_pause: Duration,
}

/// What may start now, and when to look again.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// Marked as running.
    pub claimed: Vec<Claimed>,
    /// When the next delivery of a hook with room is due, if one waits.
    pub next_due: Option<Timestamp>,
}

/// How an attempt ended, for the record.
#[derive(Debug, Clone)]
pub struct Ended {
    /// What it means.
    pub ending: Ending,
    /// The exit status, where there is one.
    pub exit_code: Option<i32>,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// What the command printed, within bounds.
    pub output: String,
}

impl Store {
    /// Takes what is due for hooks that have room and marks it running; of all deliveries, or only this one.
    ///
    /// Only hooks for which something waits are looked at: there may be many, and few of them are owed anything.
    pub async fn claim(
        &self,
        now: Timestamp,
        room: impl Fn(&str) -> Option<Room> + Send + 'static,
        only: Option<String>,
    ) -> Result<Claims, Error> {
        self.write(move |connection| {
            let (mut claims, mut next_due, mut hook) = (Vec::new(), None, String::new());
            while let Some(next) = next_awaited(connection, &hook)? {
                hook = next;
                let Some(mut room) = room(&hook) else { continue };
                while room.free > 0 {
                    let Some(number) = next_due_of(connection, &hook, room, now, only.as_deref())? else { break };
                    match start(connection, number, now) {
                        Ok(one) => {
                            claims.push(one);
                            room.free -= 1;
                        }
                        Err(error) => give_up(connection, number, &error, now)?,
                    }
                }
                // A hook without room is looked at again when one of its runs has ended.
                let due = if room.free > 0 { due_after(connection, &hook, now)? } else { None };
                next_due = next_due.into_iter().chain(due).min();
            }
            Ok(Claims { claimed: claims, next_due: record::time(next_due)? })
        })
        .await
    }

    /// Records the end of an attempt and what follows from it; `chance` is uniform in 0..1.
    pub async fn finish(
        &self,
        id: String,
        ended: Ended,
        retry: Retry,
        now: Timestamp,
        chance: f64,
    ) -> Result<State, Error> {
        self.write(move |connection| finish(connection, &id, &ended, &retry, now, chance)).await
    }

    /// The deliveries, and their hooks, that were running when an earlier agent ended.
    pub async fn running(&self) -> Result<Vec<Owed>, Error> {
        self.read(|connection| {
            let mut query = connection.prepare("SELECT id, hook FROM deliveries WHERE state = 'running'")?;
            let rows =
                query.query_map([], |row| Ok(Owed { id: row.get(0)?, hook: row.get::<_, String>(1)?.into() }))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// The oldest delivery of a hook that may start: due, not held or paused, and no other run for its watch and hook.
///
/// No pause is longer than the hook's longest: what is due later than that was put off by a clock that has since been
/// set back.
fn next_due_of(
    connection: &Connection,
    hook: &str,
    room: Room,
    now: Timestamp,
    only: Option<&str>,
) -> Result<Option<i64>, Error> {
    let horizon = SignedDuration::try_from(room.longest_pause).ok().and_then(|pause| now.checked_add(pause).ok());
    let horizon = horizon.unwrap_or(Timestamp::MAX).as_millisecond();
    // One range at a time: with both in one condition, all that waits for its time would be gone through.
    for (after, until) in [(i64::MIN, now.as_millisecond()), (horizon, i64::MAX)] {
        let found = connection
            .prepare_cached(
                "SELECT number FROM deliveries d WHERE state = 'pending' AND hook = ?1 AND due > ?2 AND due <= ?3
                 AND NOT held AND (?4 IS NULL OR d.id = ?4)
                 AND NOT EXISTS (SELECT 1 FROM watches w WHERE w.id = d.watch AND w.paused)
                 AND NOT EXISTS (SELECT 1 FROM deliveries r
                                 WHERE r.watch = d.watch AND r.hook = d.hook AND r.state = 'running')
                 ORDER BY due, number LIMIT 1",
            )?
            .query_row(params![hook, after, until, only], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The first hook after this one, by name, for which something waits.
fn next_awaited(connection: &Connection, hook: &str) -> Result<Option<String>, Error> {
    let sql = "SELECT hook FROM deliveries INDEXED BY deliveries_due WHERE state = 'pending' AND hook > ?1
               ORDER BY hook LIMIT 1";
    Ok(connection.prepare_cached(sql)?.query_row([hook], |row| row.get(0)).optional()?)
}

/// When the next of a hook's deliveries is due after `now`.
fn due_after(connection: &Connection, hook: &str, now: Timestamp) -> Result<Option<i64>, Error> {
    let sql = "SELECT min(due) FROM deliveries WHERE state = 'pending' AND hook = ?1 AND due > ?2";
    Ok(connection.prepare_cached(sql)?.query_row(params![hook, now.as_millisecond()], |row| row.get(0))?)
}

/// A row that means nothing to us (a newer taghook's, an edit by hand) must not keep all others waiting.
fn give_up(connection: &Connection, number: i64, error: &Error, now: Timestamp) -> Result<(), Error> {
    tracing::error!(delivery = number, "a delivery cannot be read and is given up: {error}");
    connection
        .prepare_cached("UPDATE deliveries SET state = 'failed', due = NULL, error = ?2, ended = ?3 WHERE number = ?1")?
        .execute(params![number, format!("cannot be read: {error}"), now.as_millisecond()])?;
    Ok(())
}

/// Marks a delivery running: spends an attempt, and fixes where its run starts from.
fn start(connection: &Connection, number: i64, now: Timestamp) -> Result<Claimed, Error> {
    let mut query = connection.prepare_cached(
        "SELECT d.id, d.hook, d.watch, w.name, w.reference, w.platform, c.kind, c.from_digest, d.target, c.to_digest,
                c.index_digest, c.media_type, c.at, d.attempts, d.due
         FROM deliveries d JOIN watches w ON w.id = d.watch JOIN changes c ON c.id = d.change WHERE d.number = ?1",
    )?;
    let (mut claimed, target, due) = query.query_row([number], |row| {
        let claimed = Claimed {
            id: row.get(0)?,
            hook: row.get(1)?,
            watch: (
                WatchId(row.get(2)?),
                row.get(3)?,
                row.get(4)?,
                Some(row.get(5)?).filter(|p: &String| !p.is_empty()),
            ),
            kind: word(row, 6, ChangeKind::parse)?,
            from: optional_word(row, 7, |text| Digest::parse(text).ok())?,
            to: optional_word(row, 9, |text| Digest::parse(text).ok())?,
            index_digest: optional_word(row, 10, |text| Digest::parse(text).ok())?,
            media_type: row.get(11)?,
            at: Timestamp::from_millisecond(row.get(12)?).unwrap_or(now),
            attempt: row.get::<_, u32>(13)?.saturating_add(1),
        };
        Ok((claimed, word(row, 8, Target::parse)?, row.get(14)?))
    })?;
    let lane = claimed.kind.lane();
    let mut cursor = cursor(connection, claimed.watch.0, &claimed.hook, lane)?.unwrap_or_default();
    claimed.from = cursor.origin(&target, claimed.from.take());
    cursor.attempted = Some(target);
    put_cursor(connection, claimed.watch.0, &claimed.hook, lane, &cursor)?;
    put_state(connection, number, next(state("pending", due)?, Event::Claimed)?)?;
    connection
        .prepare_cached("UPDATE deliveries SET attempts = ?2, from_digest = ?3 WHERE number = ?1")?
        .execute(params![number, claimed.attempt, claimed.from.as_ref().map(Digest::as_str)])?;
    connection
        .prepare_cached("INSERT INTO attempts (delivery, attempt, started) VALUES (?1, ?2, ?3)")?
        .execute(params![number, claimed.attempt, now.as_millisecond()])?;
    Ok(claimed)
}

fn finish(
    connection: &Connection,
    id: &str,
    ended: &Ended,
    retry: &Retry,
    now: Timestamp,
    chance: f64,
) -> Result<State, Error> {
    let mut query = connection.prepare_cached(
        "SELECT number, watch, hook, lane, target, attempts, deferrals, deferred_since FROM deliveries
         WHERE id = ?1 AND state = 'running'",
    )?;
    let (number, watch, hook, lane, target, tries) = query.query_row([id], |row| {
        let tries = Tries {
            attempts: row.get(5)?,
            deferrals: row.get(6)?,
            deferred_since: row.get::<_, Option<i64>>(7)?.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        };
        let lane = word(row, 3, |text| [Lane::Content, Lane::Health].into_iter().find(|lane| lane.as_str() == text))?;
        let target: Target = word(row, 4, Target::parse)?;
        Ok((row.get::<_, i64>(0)?, WatchId(row.get(1)?), row.get::<_, String>(2)?, lane, target, tries))
    })?;
    let newer = waiting(connection, watch, &hook, lane)?;
    let event = settle(ended.ending, tries, newer.is_some(), retry, now, chance);
    let state = next(State::Running, event)?;
    put_state(connection, number, state)?;
    put_ending(connection, number, ended, tries, now)?;
    if state == State::Succeeded {
        put_cursor(connection, watch, &hook, lane, &Cursor { reached: Some(target.clone()), attempted: None })?;
        // What waits for where the hook now stands has nothing left to tell it.
        if let Some((newer, due, wanted)) = newer
            && wanted == target
        {
            put_state(connection, newer, next(State::Pending { due }, Event::Overtaken)?)?;
        }
    }
    Ok(state)
}

fn put_ending(connection: &Connection, number: i64, ended: &Ended, tries: Tries, now: Timestamp) -> Result<(), Error> {
    let deferred = ended.ending == Ending::Deferred;
    connection
        .prepare_cached(
            "UPDATE deliveries SET exit_code = ?2, error = ?3, ended = ?4, deferrals = deferrals + ?5,
             deferred_since = CASE WHEN ?5 THEN coalesce(deferred_since, ?4) ELSE deferred_since END WHERE number = ?1",
        )?
        .execute(params![number, ended.exit_code, ended.error, now.as_millisecond(), deferred])?;
    connection
        .prepare_cached(
            "UPDATE attempts SET ended = ?3, exit_code = ?4, error = ?5, output = ?6 WHERE delivery = ?1 AND attempt = ?2",
        )?
        .execute(params![number, tries.attempts, now.as_millisecond(), ended.exit_code, ended.error, ended.output])?;
    Ok(())
}
