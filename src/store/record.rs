//! The records of watches, stored as rows.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::sql::{Time, time};
use super::writer::Store;
use crate::domain::answer::media_type;
use crate::domain::judge::{Candidate, FailureStreak, Past, Record, Standing, Streak};
use crate::domain::{Platform, Question, Sighting, WatchKey};

/// The row of a watch. Each combination of name, reference and platform has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub(super) i64);

/// The part of a record that is stored as JSON, because no query searches in it.
#[derive(Serialize, Deserialize, Default)]
struct Memory {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<Past>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    candidate: Option<Box<Candidate>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<Box<Streak>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing: Option<Box<FailureStreak>>,
}

/// The columns that [`read`] expects, in its order.
pub(super) const COLUMNS: &str =
    "tag, digest, index_digest, media_type, since, absent_since, last_checked, last_ok, memory";

impl Store {
    /// Reads the records of these watches, in the order of the keys. Inserts a row for each key that has none.
    pub async fn open_watches(&self, keys: Vec<WatchKey>) -> Result<Vec<(WatchId, Record)>, Error> {
        self.write(move |connection| {
            let mut opened = Vec::with_capacity(keys.len());
            for key in &keys {
                opened.push(open_watch(connection, key)?);
            }
            Ok(opened)
        })
        .await
    }

    /// Writes records without changes, many in one go. With `alive`, also records a heartbeat of the agent at that
    /// time.
    pub async fn save(&self, alive: Option<Timestamp>, records: Vec<(WatchId, Record)>) -> Result<(), Error> {
        self.write(move |connection| {
            if let Some(now) = alive {
                connection
                    .prepare_cached("INSERT INTO heartbeat VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = excluded.at")?
                    .execute([Time(now)])?;
            }
            records.iter().try_for_each(|(id, record)| write(connection, *id, record))
        })
        .await
    }

    /// Pauses or resumes the hooks of these watches. Returns how many watches this has changed.
    pub async fn pause(&self, names: Vec<String>, paused: bool) -> Result<usize, Error> {
        self.write(move |connection| {
            // A pause applies to the watch by name, so it survives an edit of the watch's image.
            let mut update =
                connection.prepare_cached("UPDATE watches SET paused = ?2 WHERE paused <> ?2 AND name = ?1")?;
            names
                .iter()
                .try_fold(0, |changed, name| Ok(changed + usize::from(update.execute(params![name, paused])? > 0)))
        })
        .await
    }

    /// The watches that are paused.
    pub async fn paused(&self) -> Result<Vec<WatchId>, Error> {
        self.read(|connection| {
            let mut query = connection.prepare_cached("SELECT id FROM watches WHERE paused")?;
            let ids = query.query_map([], |row| row.get(0).map(WatchId))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// When an agent was last known to be alive on this state.
    pub async fn last_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        self.read(last_heartbeat).await
    }
}

pub(super) fn last_heartbeat(connection: &Connection) -> Result<Option<Timestamp>, Error> {
    Ok(connection.query_row("SELECT max(at) FROM heartbeat", [], |row| time(row, 0))?)
}

fn open_watch(connection: &Connection, key: &WatchKey) -> Result<(WatchId, Record), Error> {
    let platform = key.question.platform.as_ref().map(ToString::to_string).unwrap_or_default();
    let identity = params![&*key.name, key.question.reference(), platform];
    let select = format!("SELECT {COLUMNS}, id FROM watches WHERE name = ?1 AND reference = ?2 AND platform = ?3");
    let mut rows = connection.prepare_cached(&select)?;
    let mut found = rows.query(identity)?;
    if let Some(row) = found.next()? {
        return Ok((WatchId(row.get(9)?), read(row)?));
    }
    connection
        .prepare_cached(
            "INSERT INTO watches (name, reference, platform, paused)
             VALUES (?1, ?2, ?3, EXISTS (SELECT 1 FROM watches WHERE name = ?1 AND paused))",
        )?
        .execute(identity)?;
    Ok((WatchId(connection.last_insert_rowid()), Record::default()))
}

pub(super) fn write(connection: &Connection, id: WatchId, record: &Record) -> Result<(), Error> {
    let memory = Memory {
        recent: record.recent.to_vec(),
        candidate: record.candidate.clone(),
        missing: record.missing.clone(),
        failing: record.failing.clone(),
    };
    let memory = serde_json::to_string(&memory).map_err(|error| Error::Value(error.to_string()))?;
    let sighting = record.standing.as_ref().map(|standing| &standing.sighting);
    connection
        .prepare_cached(
            "UPDATE watches SET tag = ?2, digest = ?3, index_digest = ?4, media_type = ?5, since = ?6,
             absent_since = ?7, last_checked = ?8, last_ok = ?9, memory = ?10 WHERE id = ?1",
        )?
        .execute(params![
            id.0,
            sighting.map(|sighting| &sighting.tag),
            sighting.map(|sighting| &sighting.digest),
            sighting.and_then(|sighting| sighting.index_digest.as_ref()),
            sighting.map(|sighting| &*sighting.media_type),
            record.standing.as_ref().map(|standing| Time(standing.since)),
            record.absent_since.map(Time),
            record.last_checked.map(Time),
            record.last_ok.map(Time),
            memory,
        ])?;
    Ok(())
}

/// Reads the [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> Result<Record, Error> {
    let memory: String = row.get(8)?;
    let memory: Memory = serde_json::from_str(&memory).unwrap_or_else(|error| {
        // A newer taghook may have written it. All of it can be learnt again, and the digest has columns of its own.
        tracing::warn!("what is remembered of a watch beside its digest cannot be read and is forgotten: {error}");
        Memory::default()
    });
    let standing = match (row.get(0)?, row.get(1)?, time(row, 4)?) {
        (Some(tag), Some(digest), Some(since)) => {
            let media_type = media_type(&row.get::<_, Option<String>>(3)?.unwrap_or_default());
            Some(Standing { sighting: Sighting { tag, digest, index_digest: row.get(2)?, media_type }, since })
        }
        _ => None,
    };
    Ok(Record {
        standing,
        absent_since: time(row, 5)?,
        recent: if memory.recent.is_empty() { Arc::default() } else { memory.recent.into() },
        candidate: memory.candidate,
        missing: memory.missing,
        failing: memory.failing,
        last_checked: time(row, 6)?,
        last_ok: time(row, 7)?,
    })
}

/// Reads the question of a watch from two adjacent columns: its reference and its platform.
pub(super) fn question(row: &Row<'_>, index: usize) -> Result<Question, Error> {
    let (reference, platform): (String, String) = (row.get(index)?, row.get(index + 1)?);
    let is_chosen = Some(&platform).filter(|platform| !platform.is_empty());
    let platform = is_chosen.map(|text| Platform::parse(text)).transpose();
    let platform = platform.map_err(|why| Error::Value(why.to_string()))?;
    Question::parse(&reference, platform).map_err(|why| Error::Value(format!("reference {reference:?}: {why}")))
}
