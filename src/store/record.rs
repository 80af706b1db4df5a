//! The records of watches as rows.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::{Error, Store};
use crate::domain::answer::media_type;
use crate::domain::judge::{Candidate, Past, Record, Standing, Streak, Trouble};
use crate::domain::{Digest, Sighting, WatchKey};

/// The row of a watch's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub(super) i64);

/// What is remembered beside the digest, as JSON: read whole, written whole, never searched.
#[derive(Serialize, Deserialize, Default)]
struct Memory {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<Past>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    candidate: Option<Box<Candidate>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<Box<Streak>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trouble: Option<Box<Trouble>>,
}

/// The columns that [`read`] wants, in its order.
pub(super) const COLUMNS: &str = "digest, index_digest, media_type, since, absent_since, last_checked, last_ok, memory";

impl Store {
    /// Makes a row for each key that has none, and reads the records of all, in the order of the keys.
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

    /// Writes records that need no transaction of their own; `alive`: notes that the agent was alive then.
    pub async fn save(&self, alive: Option<Timestamp>, records: Vec<(WatchId, Record)>) -> Result<(), Error> {
        self.write(move |connection| {
            if let Some(now) = alive {
                connection
                    .prepare_cached("INSERT INTO heartbeat VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = excluded.at")?
                    .execute([now.as_millisecond()])?;
            }
            records.iter().try_for_each(|(id, record)| write(connection, *id, record))
        })
        .await
    }

    /// When an agent was last known to be alive on this state.
    pub async fn last_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        self.read(last_heartbeat).await
    }
}

pub(super) fn last_heartbeat(connection: &Connection) -> Result<Option<Timestamp>, Error> {
    let at = connection.query_row("SELECT max(at) FROM heartbeat", [], |row| row.get(0))?;
    time(at)
}

fn open_watch(connection: &Connection, key: &WatchKey) -> Result<(WatchId, Record), Error> {
    let platform = key.platform.as_ref().map(ToString::to_string).unwrap_or_default();
    let identity = params![&*key.name, key.reference.as_str(), platform];
    let select = format!("SELECT {COLUMNS}, id FROM watches WHERE name = ?1 AND reference = ?2 AND platform = ?3");
    let mut rows = connection.prepare_cached(&select)?;
    let mut found = rows.query(identity)?;
    if let Some(row) = found.next()? {
        return Ok((WatchId(row.get(8)?), read(row)?));
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
        trouble: record.trouble.clone(),
    };
    let memory = serde_json::to_string(&memory).map_err(|error| Error::Value(error.to_string()))?;
    let sighting = record.standing.as_ref().map(|standing| &standing.sighting);
    connection
        .prepare_cached(
            "UPDATE watches SET digest = ?2, index_digest = ?3, media_type = ?4, since = ?5, absent_since = ?6,
             last_checked = ?7, last_ok = ?8, memory = ?9 WHERE id = ?1",
        )?
        .execute(params![
            id.0,
            sighting.map(|sighting| sighting.digest.as_str()),
            sighting.and_then(|sighting| sighting.index_digest.as_ref()).map(Digest::as_str),
            sighting.map(|sighting| &*sighting.media_type),
            record.standing.as_ref().map(|standing| standing.since.as_millisecond()),
            record.absent_since.map(Timestamp::as_millisecond),
            record.last_checked.map(Timestamp::as_millisecond),
            record.last_ok.map(Timestamp::as_millisecond),
            memory,
        ])?;
    Ok(())
}

pub(super) fn read(row: &Row<'_>) -> Result<Record, Error> {
    let memory: String = row.get(7)?;
    let memory: Memory = serde_json::from_str(&memory).unwrap_or_else(|error| {
        // A newer taghook's, perhaps. All of it can be found out again; the digest stands in columns of its own.
        tracing::warn!("what is remembered of a watch beside its digest cannot be read and is forgotten: {error}");
        Memory::default()
    });
    let standing = match (digest(row.get(0)?)?, time(row.get(3)?)?) {
        (Some(digest_seen), Some(since)) => Some(Standing {
            sighting: Sighting {
                digest: digest_seen,
                index_digest: digest(row.get(1)?)?,
                media_type: media_type(&row.get::<_, Option<String>>(2)?.unwrap_or_default()),
            },
            since,
        }),
        _ => None,
    };
    Ok(Record {
        standing,
        absent_since: time(row.get(4)?)?,
        recent: if memory.recent.is_empty() { Arc::default() } else { memory.recent.into() },
        candidate: memory.candidate,
        missing: memory.missing,
        trouble: memory.trouble,
        last_checked: time(row.get(5)?)?,
        last_ok: time(row.get(6)?)?,
    })
}

pub(super) fn digest(text: Option<String>) -> Result<Option<Digest>, Error> {
    text.map(|text| Digest::parse(&text).map_err(|why| Error::Value(format!("digest {text:?}: {why}")))).transpose()
}

pub(super) fn time(milliseconds: Option<i64>) -> Result<Option<Timestamp>, Error> {
    milliseconds
        .map(|ms| Timestamp::from_millisecond(ms).map_err(|why| Error::Value(format!("time {ms}: {why}"))))
        .transpose()
}
