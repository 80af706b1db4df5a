//! Once a minute: that the agent is alive, and records that changed without a transaction of their own.
//!
//! *Invariant:* one commit a minute at any number of watches, and no record is written over a newer one.

use std::ops::Range;
use std::time::Instant;

use tracing::error;

use super::scheduler::{HEARTBEAT, Scheduler};
use super::watched::Stage;
use crate::agent::clock;
use crate::domain::judge::{Persist, Record};
use crate::store::WatchId;

/// In so many heartbeats, all records are written once, changed or not: for their last good checks. A part of them with
/// each, so that no commit is large, and no hook waits for it.
const BULK: usize = 60;

impl Scheduler {
    /// Notes that we are alive, and writes records that changed without a transaction of their own.
    pub(crate) fn beat(&mut self) {
        self.next_beat = Some(Instant::now() + HEARTBEAT);
        let part = |beat: usize| self.roster.watches.len() * beat / BULK;
        let turn = part(self.beats)..part(self.beats + 1);
        self.beats = (self.beats + 1) % BULK;
        let (indices, records) = self.take_unsaved(turn);
        let store = self.context.store.clone();
        self.writes.spawn(async move {
            match store.save(Some(clock::now()), records).await {
                Ok(()) => Vec::new(),
                Err(error) => {
                    error!(kind = error.kind(), "cannot write the heartbeat: {error}");
                    indices
                }
            }
        });
    }

    /// The records that must be written soon, and, of those whose turn it is, all that are not on disk as they are.
    pub(crate) fn take_unsaved(&mut self, turn: Range<usize>) -> (Vec<usize>, Vec<(WatchId, Record)>) {
        let (mut indices, mut records) = (Vec::new(), Vec::new());
        for index in std::mem::take(&mut self.soon).into_iter().chain(turn) {
            let watched = &mut self.roster.watches[index];
            if watched.unsaved.is_none() {
                continue;
            }
            // A check under way may have committed a newer record than the one in memory.
            if matches!(watched.stage, Stage::Checking { .. }) {
                self.soon.push(index);
                continue;
            }
            watched.unsaved = None;
            indices.push(index);
            records.push((watched.id, watched.record.clone()));
        }
        (indices, records)
    }

    /// What could not be written is written with the next heartbeat.
    pub(crate) fn written(&mut self, lost: Result<Vec<usize>, tokio::task::JoinError>) {
        for index in lost.unwrap_or_default() {
            self.roster.watches[index].unsaved = Some(Persist::Soon);
            self.soon.push(index);
        }
    }
}
