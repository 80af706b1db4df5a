//! What is left over from an earlier config: owed to hooks, or failed, where the watch does not feed the hook any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::reader::{self, DeliveryRow};
use super::record::WatchId;
use super::rows::{next, put_state, state};
use super::{Error, Store};
use crate::domain::delivery::Event;

/// The hooks of each configured watch.
pub type Fed = HashMap<WatchId, Arc<[Arc<str>]>>;

impl Store {
    /// Holds what is owed to a hook that its watch does not feed at the moment, and lets go what was held and is fed
    /// again; returns the ids of what was not held before. What runs, and what has failed, is held once it is owed again.
    pub async fn hold(&self, fed: Fed) -> Result<Vec<String>, Error> {
        self.write(move |connection| {
            let mut hold = connection.prepare("UPDATE deliveries SET held = ?2 WHERE number = ?1 AND held <> ?2")?;
            let mut held = Vec::new();
            for (number, id, is_fed) in open(connection, &["pending", "running", "failed"], &fed)? {
                let is_news = hold.execute(params![number, !is_fed])? > 0;
                held.extend((is_news && !is_fed).then_some(id));
            }
            Ok(held)
        })
        .await
    }

    /// What is left over.
    pub async fn leftovers(&self, fed: Fed) -> Result<Vec<DeliveryRow>, Error> {
        self.read(move |connection| {
            let ids = leftover(connection, &fed)?.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
            reader::deliveries(connection, &ids)
        })
        .await
    }

    /// Gives up what is left over, of all deliveries or of these; returns what that was.
    pub async fn discard(
        &self,
        ids: Option<HashSet<String>>,
        fed: Fed,
        now: Timestamp,
    ) -> Result<Vec<DeliveryRow>, Error> {
        self.write(move |connection| {
            let mut note = connection.prepare(
                "UPDATE deliveries SET ended = ?2, error = coalesce(error || '; ', '') || 'discarded by hand'
                 WHERE number = ?1",
            )?;
            let is_meant = |id: &String| ids.as_ref().is_none_or(|ids| ids.contains(id));
            let mut discarded = Vec::new();
            for (number, id) in leftover(connection, &fed)?.into_iter().filter(|(_, id)| is_meant(id)) {
                let query = "SELECT state, due FROM deliveries WHERE number = ?1";
                let (word, due): (String, Option<i64>) =
                    connection.query_row(query, [number], |row| Ok((row.get(0)?, row.get(1)?)))?;
                put_state(connection, number, next(state(&word, due)?, Event::Overtaken)?)?;
                note.execute(params![number, now.as_millisecond()])?;
                discarded.push(id);
            }
            reader::deliveries(connection, &discarded)
        })
        .await
    }
}

/// Whether a watch feeds a hook.
pub(super) fn feeds(fed: &Fed, watch: WatchId, hook: &str) -> bool {
    fed.get(&watch).is_some_and(|hooks| hooks.iter().any(|fed| **fed == *hook))
}

fn leftover(connection: &Connection, fed: &Fed) -> Result<Vec<(i64, String)>, Error> {
    let rows = open(connection, &["pending", "failed"], fed)?.into_iter();
    Ok(rows.filter(|(_, _, is_fed)| !is_fed).map(|(number, id, _)| (number, id)).collect())
}

/// The deliveries in these states, and whether their watches feed their hooks.
pub(super) fn open(connection: &Connection, states: &[&str], fed: &Fed) -> Result<Vec<(i64, String, bool)>, Error> {
    let mut found = Vec::new();
    for state in states {
        let mut query = connection.prepare(&in_state(state))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (watch, hook): (_, String) = (WatchId(row.get(2)?), row.get(3)?);
            found.push((row.get(0)?, row.get(1)?, feeds(fed, watch, &hook)));
        }
    }
    Ok(found)
}

/// The state as a constant and the order as an expression, so that the index on the few in this state is used, and not
/// the order of all that ever were.
fn in_state(state: &str) -> String {
    format!("SELECT number, id, watch, hook FROM deliveries WHERE state = '{state}' ORDER BY +number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_found_without_looking_at_all_that_ever_was() {
        let connection = crate::store::schema::in_memory().unwrap();
        for state in ["pending", "failed"] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", in_state(state))).unwrap();
            let first: String = plan.query_row([], |row| row.get("detail")).unwrap();
            assert!(first.contains("USING INDEX deliveries_"), "{first}");
        }
    }
}
