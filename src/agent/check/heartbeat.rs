//! The heartbeat, once a minute: it notes that the agent is alive, and saves records that changed without a transaction of
//! their own.
//!
//! *Invariant:* one commit a minute at any number of watches, and no record overwrites a newer one.

use std::ops::Range;
use std::time::Instant;

use tracing::error;

use super::scheduler::{HEARTBEAT, Scheduler};
use super::watched::Stage;
use crate::agent::clock;
use crate::domain::judge::{Persist, Record};
use crate::store::WatchId;

/// Heartbeats in which every record is saved once, changed or not, for its time of the last good check. Each heartbeat
/// saves its share, so that no commit is large and no hook waits for one.
const HEARTBEATS_PER_SAVE: usize = 60;

impl Scheduler {
    /// Notes that the agent is alive, and saves the records that are listed or whose turn it is.
    pub(crate) fn beat(&mut self) {
        self.next_beat = Some(Instant::now() + HEARTBEAT);
        let part = |beat: usize| self.roster.watches.len() * beat / HEARTBEATS_PER_SAVE;
        let turn = part(self.beats)..part(self.beats + 1);
        self.beats = (self.beats + 1) % HEARTBEATS_PER_SAVE;
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

    /// Records that must be written soon and, of the watches in `turn`, all that differ from what is on disk.
    pub(crate) fn take_unsaved(&mut self, turn: Range<usize>) -> (Vec<usize>, Vec<(WatchId, Record)>) {
        let (mut indices, mut records) = (Vec::new(), Vec::new());
        for index in std::mem::take(&mut self.soon).into_iter().chain(turn) {
            let watched = &mut self.roster.watches[index];
            if watched.unsaved.is_none() {
                continue;
            }
            // A check that is under way may have committed a newer record than this one.
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

    /// Lists records again that could not be written.
    pub(crate) fn written(&mut self, lost: Result<Vec<usize>, tokio::task::JoinError>) {
        for index in lost.unwrap_or_default() {
            self.roster.watches[index].unsaved = Some(Persist::Soon);
            self.soon.push(index);
        }
    }
}
