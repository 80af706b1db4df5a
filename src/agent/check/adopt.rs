//! Switching to another config while the scheduler runs.
//!
//! *Invariant:* what is the same in both configs is not touched: due times, places in queues, checks under way, and a
//! registry's connections and back-off go on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::due::first_due;
use super::scheduler::Scheduler;
use super::watched::{Stage, Watched};
use crate::agent::clock;
use crate::config::Config;
use crate::domain::judge::Record;
use crate::domain::{Watch, WatchKey};
use crate::store::WatchId;

/// How many watches and hooks another config has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ConfigChanges {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
    /// Hooks that are new, gone, or different.
    pub(crate) hooks: usize,
}

impl Scheduler {
    /// Switches to this config. `opened`: the rows and records of watches that are not in the roster yet.
    pub(crate) fn adopt(
        &mut self,
        config: Arc<Config>,
        mut opened: HashMap<WatchKey, (WatchId, Record)>,
    ) -> ConfigChanges {
        let earlier = std::mem::replace(&mut self.adopted, config.clone());
        let altered = altered(&earlier, &config);
        let mut changes = ConfigChanges { hooks: altered.len(), ..ConfigChanges::default() };
        let touched = self.roster.registries.adopt(&config);
        let places: HashMap<WatchKey, usize> =
            self.roster.watches.iter().enumerate().map(|(index, watched)| (watched.watch.key.clone(), index)).collect();
        let before = std::mem::take(&mut self.roster.by_name);
        // Known watches first, so that new ones may take the places of those that are gone for good.
        for (watch, index) in config.watches.values().filter_map(|watch| Some((watch, *places.get(&watch.key)?))) {
            let has_changed = self.change(index, watch) || watch.hooks.iter().any(|hook| altered.contains(hook));
            let is_new = !before.contains_key(&watch.key.name);
            changes.added += usize::from(is_new);
            changes.changed += usize::from(has_changed && !is_new);
            self.roster.by_name.insert(watch.key.name.clone(), index);
        }
        let mut free = self.free_places();
        for watch in config.watches.values() {
            // The caller has opened a row for each; without one nothing could be recorded.
            let Some((id, record)) = opened.remove(&watch.key) else { continue };
            // To us, another image under the same name is another watch; to people, it is an edit.
            let is_new = !before.contains_key(&watch.key.name);
            changes.added += usize::from(is_new);
            changes.changed += usize::from(!is_new);
            self.add(watch, id, record, None, free.pop());
        }
        self.roster.retired.append(&mut free);
        for (name, index) in before {
            if self.roster.by_name.get(&name) != Some(&index) {
                self.retire(index);
                changes.removed += usize::from(!config.watches.contains_key(&name));
            }
        }
        self.roster.link_twins();
        self.try_again_at(&touched);
        for registry in touched.into_keys() {
            self.start_queued(registry, Instant::now());
        }
        changes
    }

    /// Makes failing watches due at once whose registries are reached in another way now: the edit was probably made to
    /// fix them.
    fn try_again_at(&mut self, registries: &BTreeMap<usize, bool>) {
        let now = clock::now();
        let live: Vec<usize> = self.roster.by_name.values().copied().collect();
        for index in live {
            let watched = &mut self.roster.watches[index];
            let is_otherwise = registries.get(&watched.registry).is_some_and(|otherwise| *otherwise);
            if is_otherwise && watched.stage == (Stage::Checking { dry: false }) {
                // A check is under way with the earlier settings, and its result may say nothing about the new ones.
                watched.wanted = true;
            } else if is_otherwise && watched.record.failing.is_some() && watched.due.is_some() {
                self.set_due(index, Some(now));
            }
        }
    }

    /// Takes free places out of `retired`, and drops those that are in use again.
    fn free_places(&mut self) -> Vec<usize> {
        let watches = &self.roster.watches;
        self.roster.retired.retain(|index| watches[*index].retired);
        // A write of records that fails puts them back by index, so no place may change hands meanwhile.
        let can_be = self.writes.is_empty();
        let is_free = |watched: &Watched| {
            can_be && watched.stage == Stage::Idle && watched.waiting.is_empty() && watched.unsaved.is_none()
        };
        self.roster.retired.extract_if(.., |index| is_free(&watches[*index])).collect()
    }

    /// Adds a watch, in the `free` place if there is one. It is due at once if it was never checked or came due since
    /// `alive`, else by its schedule.
    pub(crate) fn add(
        &mut self,
        watch: &Arc<Watch>,
        id: WatchId,
        record: Record,
        alive: Option<Timestamp>,
        free: Option<usize>,
    ) {
        let registry = self.roster.registries.of(watch.key.question.repository.registry(), &self.adopted);
        let watched = Watched {
            id,
            watch: watch.clone(),
            record,
            registry,
            due: None,
            stage: Stage::Idle,
            wanted: false,
            waiting: Vec::new(),
            twins: None,
            unsaved: None,
            retired: false,
        };
        let index = free.unwrap_or(self.roster.watches.len());
        match self.roster.watches.get_mut(index) {
            Some(place) => *place = watched,
            None => self.roster.watches.push(watched),
        }
        self.roster.by_name.insert(watch.key.name.clone(), index);
        self.schedule_again(index, alive);
    }

    /// Takes over the new settings of a watch. Returns whether they differ.
    fn change(&mut self, index: usize, watch: &Arc<Watch>) -> bool {
        let watched = &mut self.roster.watches[index];
        let was = std::mem::replace(&mut watched.watch, watch.clone());
        let returns = std::mem::take(&mut watched.retired);
        let schedule_changed =
            (was.enabled, &was.schedule, was.jitter) != (watch.enabled, &watch.schedule, watch.jitter);
        let policy_changed = was.policy != watch.policy;
        if returns || schedule_changed || policy_changed && self.roster.watches[index].record.candidate.is_some() {
            // A watch that was scheduled until now has missed nothing. Its new schedule begins now, without a burst.
            let was_idle = returns || !was.enabled;
            self.schedule_again(index, (!was_idle).then(clock::now));
        }
        returns || schedule_changed || policy_changed || was.hooks != watch.hooks
    }

    /// Computes anew when a watch is due, unless it is queued or being checked.
    fn schedule_again(&mut self, index: usize, alive: Option<Timestamp>) {
        self.set_due(index, None);
        let is_scheduled = self.is_scheduled();
        let watched = &mut self.roster.watches[index];
        if !watched.watch.enabled {
            unqueue(watched);
        } else if is_scheduled && watched.stage == Stage::Idle {
            let due = first_due(&watched.watch, &watched.record, alive, clock::now());
            self.set_due(index, Some(due));
        }
    }

    /// Takes a watch out. A check under way finishes: what it finds happened while the watch was configured.
    fn retire(&mut self, index: usize) {
        self.set_due(index, None);
        let watched = &mut self.roster.watches[index];
        watched.retired = true;
        unqueue(watched);
        self.roster.retired.push(index);
    }
}

/// Hooks that are new, gone, or different.
fn altered(earlier: &Config, config: &Config) -> HashSet<Arc<str>> {
    let names = earlier.hooks.keys().chain(config.hooks.keys());
    names.filter(|name| earlier.hooks.get(*name) != config.hooks.get(*name)).cloned().collect()
}

/// Takes a watch out of its queue, unless somebody waits for it.
fn unqueue(watched: &mut Watched) {
    watched.wanted = watched.waiting.iter().any(|waiter| !waiter.dry_run);
    if watched.stage == Stage::Queued && watched.waiting.is_empty() {
        watched.stage = Stage::Idle;
    }
}
