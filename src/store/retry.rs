//! Retrying by hand: a new delivery owes the newest change to its hook once more.
//!
//! *Invariant:* a retry never leads to anything but the newest change, also for a hook that has missed it.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::Error;
use super::record::WatchId;
use super::rows::{NewDelivery, apply, cursor, insert};
use super::sql::choice;
use super::subscriptions::{self, UNSUBSCRIBED};
use super::writer::Store;
use crate::domain::delivery::{DeliveryState, Event, Target};
use crate::domain::{ChangeKind, ChangeSet, Choice, Lane};

/// The new delivery that retries an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The id of the new delivery.
    pub id: String,
    pub watch: String,
    pub hook: String,
}

/// Why a delivery cannot be retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryRefused {
    /// No delivery has this id.
    #[error("there is no delivery {0:?}; `taghook deliveries` lists them")]
    Unknown(String),
    /// The ids of several deliveries end in this text.
    #[error("more than one delivery ends in {0:?}; give more of its id")]
    Ambiguous(String),
    /// It is pending or running already.
    #[error("delivery {id} is {state} already")]
    Owed { id: String, state: DeliveryState },
    /// There is a newer delivery for the same watch, hook and lane.
    #[error("delivery {id} is no longer the newest of its watch and hook; that is {newest}, which is {state}")]
    Outdated {
        id: String,
        newest: String,
        /// The state of the newest one.
        state: DeliveryState,
    },
    /// Its hook does not subscribe to its watch any more.
    #[error(
        "delivery {id} is of hook {hook:?} and watch {watch:?} as an earlier config had them; put them back into the \
         config, or give up what they are owed with `taghook prune`"
    )]
    Leftover { id: String, watch: String, hook: String },
    /// It was superseded because the tag returned to where the hook stands before an attempt was made.
    #[error(
        "delivery {0} was taken back: the tag had returned to where the hook stands, so there is nothing to tell it"
    )]
    TakenBack(String),
}

impl Store {
    /// Retries these deliveries, which are named by their whole ids or by the ends of them. If one is refused, none is
    /// retried.
    pub async fn retry(&self, ids: Vec<String>, now: Timestamp) -> Result<Result<Vec<Retried>, RetryRefused>, Error> {
        self.write(move |connection| {
            let mut found = Vec::new();
            for id in &ids {
                match find_retryable(connection, id)? {
                    Ok(delivery) => found.push(delivery),
                    Err(refused) => return Ok(Err(refused)),
                }
            }
            found.sort_by_key(|delivery| delivery.number);
            found.dedup_by_key(|delivery| delivery.number);
            let retried = found.into_iter().map(|delivery| retry(connection, delivery, now));
            retried.collect::<Result<_, _>>().map(Ok)
        })
        .await
    }

    /// The ids of all failed deliveries that are not held, the oldest first.
    pub async fn failed(&self) -> Result<Vec<String>, Error> {
        self.read(|connection| {
            let sql =
                format!("SELECT id FROM deliveries d WHERE state = 'failed' AND NOT ({UNSUBSCRIBED}) ORDER BY +number");
            let mut query = connection.prepare_cached(&sql)?;
            Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// A delivery that somebody asks to retry.
struct RetryCandidate {
    number: i64,
    id: String,
    watch: WatchId,
    watch_name: String,
    hook: String,
    lane: Lane,
    state: DeliveryState,
    held: bool,
    news: News,
}

/// What a hook is told of: a change, where it leads, and where it came from.
struct News {
    change: i64,
    /// `None` if it cannot be read, because a newer taghook wrote it.
    kind: Option<ChangeKind>,
    target: Target,
    from: Option<Choice>,
}

/// The query whose rows [`candidate`] reads.
fn select_candidate(condition: &str) -> String {
    format!(
        "SELECT d.number, d.id, d.watch, w.name, d.hook, d.lane, d.state, {UNSUBSCRIBED}, d.change, c.kind, d.target,
         c.from_tag, c.from_digest
         FROM deliveries d JOIN watches w ON w.id = d.watch JOIN changes c ON c.id = d.change WHERE {condition}"
    )
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<RetryCandidate> {
    Ok(RetryCandidate {
        number: row.get(0)?,
        id: row.get(1)?,
        watch: WatchId(row.get(2)?),
        watch_name: row.get(3)?,
        hook: row.get(4)?,
        lane: row.get(5)?,
        state: row.get(6)?,
        held: row.get(7)?,
        news: News { change: row.get(8)?, kind: row.get(9).ok(), target: row.get(10)?, from: choice(row, 11)? },
    })
}

/// The length of an id, a UUID.
const WHOLE_ID: usize = 36;

/// The number of the delivery whose id is, or ends in, this text.
pub(super) fn find(connection: &Connection, id: &str) -> Result<Result<i64, RetryRefused>, Error> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    // A whole id is found by its index; the end of one is looked for among all.
    let condition = if id.len() == WHOLE_ID { "id = ?1" } else { "id LIKE '%' || ?1" };
    let mut query = connection.prepare(&format!("SELECT number FROM deliveries WHERE {condition} LIMIT 2"))?;
    let rows = if is_id {
        query.query_map([id.to_ascii_lowercase()], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?
    } else {
        Vec::new()
    };
    Ok(match *rows {
        [number] => Ok(number),
        [] => Err(RetryRefused::Unknown(id.to_owned())),
        _ => Err(RetryRefused::Ambiguous(id.to_owned())),
    })
}

/// The delivery with this id, if it may be retried: only the newest of a watch, hook and lane may. It then leads to the
/// newest change, which may be a newer one than it was made for.
fn find_retryable(connection: &Connection, id: &str) -> Result<Result<RetryCandidate, RetryRefused>, Error> {
    let mut asked = match find(connection, id)? {
        Ok(number) => connection.query_row(&select_candidate("d.number = ?1"), [number], candidate)?,
        Err(refused) => return Ok(Err(refused)),
    };
    let sql = select_candidate("d.watch = ?1 AND d.hook = ?2 AND d.lane = ?3 ORDER BY d.number DESC LIMIT 1");
    let newest = connection.query_row(&sql, params![asked.watch.0, asked.hook, asked.lane], candidate).optional()?;
    if let Some(newest) = newest.filter(|newest| newest.number != asked.number) {
        return Ok(Err(RetryRefused::Outdated { id: asked.id, newest: newest.id, state: newest.state }));
    }
    let cursor = cursor(connection, asked.watch, &asked.hook, asked.lane)?.unwrap_or_default();
    if let Some(newest) = newest_news(connection, &asked)? {
        asked.news = newest;
    }
    Ok(match asked.state {
        state @ DeliveryState::Running => Err(RetryRefused::Owed { id: asked.id, state }),
        _ if asked.held => Err(RetryRefused::Leftover { id: asked.id, watch: asked.watch_name, hook: asked.hook }),
        state @ DeliveryState::Pending => Err(RetryRefused::Owed { id: asked.id, state }),
        DeliveryState::Superseded if cursor.reached.as_ref() == Some(&asked.news.target) => {
            Err(RetryRefused::TakenBack(asked.id))
        }
        DeliveryState::Superseded | DeliveryState::Failed | DeliveryState::Succeeded => Ok(asked),
    })
}

/// The newest change that a retry of this delivery can be for: of the same kind, or of one that the hook subscribes to.
///
/// The hook may have missed it: it had left the watch, or did not subscribe to that kind then. A retry must not take it
/// back to a digest that is long gone.
fn newest_news(connection: &Connection, asked: &RetryCandidate) -> Result<Option<News>, Error> {
    let subscribed = subscriptions::of_watch(connection, asked.watch)?.into_iter();
    let kinds = subscribed.filter(|one| *one.hook == *asked.hook).flat_map(|one| one.kinds.iter());
    let kinds: ChangeSet = kinds.chain(asked.news.kind).collect();
    let mut query = connection.prepare_cached(
        "SELECT id, kind, to_tag, to_digest, from_tag, from_digest FROM changes
         WHERE watch = ?1 AND lane = ?2 AND id > ?3 ORDER BY id DESC",
    )?;
    let mut rows = query.query(params![asked.watch.0, asked.lane, asked.news.change])?;
    while let Some(row) = rows.next()? {
        if let Some(kind) = row.get(1).ok().filter(|kind| kinds.contains(*kind)) {
            let target = Target::after(kind, choice(row, 2)?);
            return Ok(Some(News { change: row.get(0)?, kind: Some(kind), target, from: choice(row, 4)? }));
        }
    }
    Ok(None)
}

fn retry(connection: &Connection, earlier: RetryCandidate, now: Timestamp) -> Result<Retried, Error> {
    let RetryCandidate { number, watch, hook, lane, state, news, .. } = earlier;
    if state == DeliveryState::Failed {
        apply(connection, number, state, Event::Overtaken)?;
    }
    let cursor = cursor(connection, watch, &hook, lane)?.unwrap_or_default();
    let News { change, target, from, .. } = news;
    let from = cursor.origin(&target, from);
    let new = NewDelivery { watch, hook: &hook, change, lane, target: &target, last_kinds: None, from, due: now };
    let id = insert(connection, &new)?;
    Ok(Retried { id, watch: earlier.watch_name, hook })
}
