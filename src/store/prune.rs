//! Leftovers of an earlier config: pending or failed deliveries whose hook does not subscribe to their watch any more.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::error::Error;
use super::queries::{self, DeliveryRow};
use super::rows::apply;
use super::sql::Time;
use super::subscriptions::UNSUBSCRIBED;
use super::writer::Store;
use crate::domain::delivery::{DeliveryState, Event};

impl Store {
    /// All leftovers.
    pub async fn leftovers(&self) -> Result<Vec<DeliveryRow>, Error> {
        self.read(|connection| {
            let ids: Vec<String> = leftovers(connection)?.into_iter().map(|(_, id, _)| id).collect();
            queries::deliveries(connection, &ids)
        })
        .await
    }

    /// Supersedes all leftovers, or those with these ids, and returns them.
    pub async fn discard(&self, ids: Option<HashSet<String>>, now: Timestamp) -> Result<Vec<DeliveryRow>, Error> {
        self.write(move |connection| {
            let mut mark = connection.prepare(
                "UPDATE deliveries SET ended = ?2, error = coalesce(error || '; ', '') || 'discarded by hand'
                 WHERE number = ?1",
            )?;
            let mut discarded = Vec::new();
            for (number, id, state) in leftovers(connection)? {
                if ids.as_ref().is_none_or(|ids| ids.contains(&id)) {
                    apply(connection, number, state, Event::Overtaken)?;
                    mark.execute(params![number, Time(now)])?;
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
        let mut query = connection.prepare(&select_leftovers(state))?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, state)))?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

/// Selects the leftovers in one state. The state is a literal and the order an expression, so that SQLite uses the
/// partial index of that state instead of scanning all deliveries in the order of their numbers.
fn select_leftovers(state: DeliveryState) -> String {
    format!("SELECT number, id FROM deliveries d WHERE state = '{state}' AND {UNSUBSCRIBED} ORDER BY +number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_found_without_looking_at_all_that_ever_was() {
        let connection = crate::store::schema::in_memory().unwrap();
        for state in [DeliveryState::Pending, DeliveryState::Failed] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", select_leftovers(state))).unwrap();
            let first: String = plan.query_row([], |row| row.get("detail")).unwrap();
            assert!(first.contains("USING INDEX deliveries_"), "{first}");
        }
    }
}
