//! What operators do by hand: retry a delivery, pause a watch.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::leftover::{Fed, feeds, open};
use super::record::WatchId;
use super::rows::{Fresh, cursor, insert, next, optional_word, put_state, word};
use super::{Error, Store};
use crate::domain::delivery::{Event, State, Target};
use crate::domain::{Digest, Lane};

/// A delivery that was made to try an earlier one again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The new delivery.
    pub id: String,
    /// The watch's name.
    pub watch: String,
    /// The hook's name.
    pub hook: String,
}

/// Why a delivery cannot be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none of this id.
    #[error("there is no delivery {0:?}; `taghook deliveries` lists them")]
    Unknown(String),
    /// The end of an id that several have.
    #[error("more than one delivery ends in {0:?}; give more of its id")]
    Ambiguous(String),
    /// It is owed already.
    #[error("delivery {id} is {state} already")]
    Owed {
        /// Its id.
        id: String,
        /// `pending` or `running`.
        state: String,
    },
    /// A newer one has taken its place.
    #[error("delivery {id} is no longer the newest of its watch and hook; that is {newest}, which is {state}")]
    Outdated {
        /// Its id.
        id: String,
        /// The newest one's.
        newest: String,
        /// The newest one's state.
        state: String,
    },
    /// Its watch does not feed its hook any more.
    #[error(
        "delivery {id} is of hook {hook:?} and watch {watch:?} as an earlier config had them; put them back into the \
         config, or give up what they are owed with `taghook prune`"
    )]
    Leftover {
        /// Its id.
        id: String,
        /// The watch's name.
        watch: String,
        /// The hook's name.
        hook: String,
    },
    /// It was taken back, because the tag returned before anything was tried.
    #[error(
        "delivery {0} was taken back: the tag had returned to where the hook stands, so there is nothing to tell it"
    )]
    TakenBack(String),
}

impl Store {
    /// Owes the newest digest again to the watch and hook of each of these deliveries (whole ids, or their ends): all of
    /// them, or none and the reason.
    pub async fn retry(
        &self,
        ids: Vec<String>,
        fed: Fed,
        now: Timestamp,
    ) -> Result<Result<Vec<Retried>, Refused>, Error> {
        self.write(move |connection| {
            let mut found = Vec::new();
            for id in &ids {
                match find_newest(connection, id)? {
                    Ok(delivery) if !feeds(&fed, delivery.watch.0, &delivery.hook) => {
                        let (watch, hook) = (delivery.watch.1, delivery.hook);
                        return Ok(Err(Refused::Leftover { id: delivery.id, watch, hook }));
                    }
                    Ok(delivery) => found.push(delivery),
                    Err(refused) => return Ok(Err(refused)),
                }
            }
            found.sort_by_key(|delivery| delivery.number);
            found.dedup_by_key(|delivery| delivery.number);
            let again = found.into_iter().map(|delivery| owe_again(connection, delivery, now));
            again.collect::<Result<_, _>>().map(Ok)
        })
        .await
    }

    /// The ids of all deliveries that were given up, and whose watches feed their hooks.
    pub async fn failed(&self, fed: Fed) -> Result<Vec<String>, Error> {
        self.read(move |connection| {
            let rows = open(connection, &["failed"], &fed)?.into_iter();
            Ok(rows.filter(|(.., is_fed)| *is_fed).map(|(_, id, _)| id).collect())
        })
        .await
    }

    /// Holds the hooks of these watches, or lets them go; tells how many watches this has changed.
    pub async fn pause(&self, watches: Vec<WatchId>, paused: bool) -> Result<usize, Error> {
        self.write(move |connection| {
            // With its earlier images: a pause is meant for the watch, and stays when its image is edited.
            let mut update = connection.prepare_cached(
                "UPDATE watches SET paused = ?2 WHERE paused <> ?2 AND name = (SELECT name FROM watches WHERE id = ?1)",
            )?;
            watches
                .iter()
                .try_fold(0, |changed, watch| Ok(changed + usize::from(update.execute(params![watch.0, paused])? > 0)))
        })
        .await
    }

    /// The watches whose hooks are held by hand.
    pub async fn paused(&self) -> Result<Vec<WatchId>, Error> {
        self.read(|connection| {
            let mut query = connection.prepare_cached("SELECT id FROM watches WHERE paused")?;
            let ids = query.query_map([], |row| row.get(0).map(WatchId))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
        .await
    }
}

struct Delivery {
    number: i64,
    id: String,
    watch: (WatchId, String),
    hook: String,
    lane: Lane,
    change: i64,
    target: Target,
    change_from: Option<Digest>,
    state: String,
}

const DELIVERY: &str =
    "SELECT d.number, d.id, d.watch, w.name, d.hook, d.lane, d.change, d.target, c.from_digest, d.state
    FROM deliveries d JOIN watches w ON w.id = d.watch JOIN changes c ON c.id = d.change";

fn delivery(row: &rusqlite::Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        number: row.get(0)?,
        id: row.get(1)?,
        watch: (WatchId(row.get(2)?), row.get(3)?),
        hook: row.get(4)?,
        lane: word(row, 5, Lane::parse)?,
        change: row.get(6)?,
        target: word(row, 7, Target::parse)?,
        change_from: optional_word(row, 8, |text| Digest::parse(text).ok())?,
        state: row.get(9)?,
    })
}

/// The number of the delivery with this id, or with an id that ends so.
pub(super) fn find(connection: &Connection, id: &str) -> Result<Result<i64, Refused>, Error> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let mut query = connection.prepare("SELECT number FROM deliveries WHERE id = ?1 OR id LIKE '%' || ?1 LIMIT 2")?;
    let rows =
        if is_id { query.query_map([id], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()? } else { Vec::new() };
    Ok(match *rows {
        [number] => Ok(number),
        [] => Err(Refused::Unknown(id.to_owned())),
        _ => Err(Refused::Ambiguous(id.to_owned())),
    })
}

/// The delivery of this id, if it is the newest of its kind and may be tried again.
fn find_newest(connection: &Connection, id: &str) -> Result<Result<Delivery, Refused>, Error> {
    let asked = match find(connection, id)? {
        Ok(number) => connection.query_row(&format!("{DELIVERY} WHERE d.number = ?1"), [number], delivery)?,
        Err(refused) => return Ok(Err(refused)),
    };
    let newest = connection
        .query_row(
            &format!("{DELIVERY} WHERE d.watch = ?1 AND d.hook = ?2 AND d.lane = ?3 ORDER BY d.number DESC LIMIT 1"),
            params![asked.watch.0.0, asked.hook, asked.lane.as_str()],
            delivery,
        )
        .optional()?;
    Ok(match newest {
        Some(newest) if newest.number != asked.number => {
            Err(Refused::Outdated { id: asked.id, newest: newest.id, state: newest.state })
        }
        _ => match asked.state.as_str() {
            "pending" | "running" => Err(Refused::Owed { id: asked.id, state: asked.state }),
            "superseded" => Err(Refused::TakenBack(asked.id)),
            _ => Ok(asked),
        },
    })
}

fn owe_again(connection: &Connection, earlier: Delivery, now: Timestamp) -> Result<Retried, Error> {
    if earlier.state == "failed" {
        put_state(connection, earlier.number, next(State::Failed, Event::Overtaken)?)?;
    }
    let cursor = cursor(connection, earlier.watch.0, &earlier.hook, earlier.lane)?.unwrap_or_default();
    let fresh = Fresh {
        watch: earlier.watch.0,
        hook: &earlier.hook,
        change: earlier.change,
        lane: earlier.lane,
        target: &earlier.target,
        from: cursor.origin(&earlier.target, earlier.change_from),
        due: now,
        held: false,
    };
    let id = insert(connection, &fresh)?;
    Ok(Retried { id, watch: earlier.watch.1, hook: earlier.hook })
}
