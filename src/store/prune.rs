//! What is left over from an earlier config: pending or failed deliveries that are held.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::error::Error;
use super::queries::{self, DeliveryRow};
use super::rows::{next, put_state};
use super::sql::Time;
use super::subscriptions::HELD;
use super::writer::Store;
use crate::domain::delivery::{DeliveryState, Event};

impl Store {
    /// What is left over.
    pub async fn leftovers(&self) -> Result<Vec<DeliveryRow>, Error> {
        self.read(|connection| {
            let ids: Vec<String> = leftovers(connection)?.into_iter().map(|(_, id, _)| id).collect();
            queries::deliveries(connection, &ids)
        })
        .await
    }

    /// Gives up what is left over, of all deliveries or of these, and returns what that was.
    pub async fn discard(&self, ids: Option<HashSet<String>>, now: Timestamp) -> Result<Vec<DeliveryRow>, Error> {
        self.write(move |connection| {
            let mut note = connection.prepare(
                "UPDATE deliveries SET ended = ?2, error = coalesce(error || '; ', '') || 'discarded by hand'
                 WHERE number = ?1",
            )?;
            let mut discarded = Vec::new();
            for (number, id, state) in leftovers(connection)? {
                if ids.as_ref().is_none_or(|ids| ids.contains(&id)) {
                    put_state(connection, number, next(state, Event::Overtaken)?)?;
                    note.execute(params![number, Time(now)])?;
                    discarded.push(id);
                }
            }
            queries::deliveries(connection, &discarded)
        })
        .await
    }
}

fn leftovers(connection: &Connection) -> Result<Vec<(i64, String, DeliveryState)>, Error> {
    let mut found = Vec::new();
    for state in [DeliveryState::Pending, DeliveryState::Failed] {
        let mut query = connection.prepare(&in_state(state))?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, state)))?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

/// The state as a constant and the order as an expression, so that the index on the few in this state is used, and not
/// the order of all that ever were.
fn in_state(state: DeliveryState) -> String {
    format!("SELECT number, id FROM deliveries d WHERE state = '{state}' AND {HELD} ORDER BY +number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_found_without_looking_at_all_that_ever_was() {
        let connection = crate::store::schema::in_memory().unwrap();
        for state in [DeliveryState::Pending, DeliveryState::Failed] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", in_state(state))).unwrap();
            let first: String = plan.query_row([], |row| row.get("detail")).unwrap();
            assert!(first.contains("USING INDEX deliveries_"), "{first}");
        }
    }
}
