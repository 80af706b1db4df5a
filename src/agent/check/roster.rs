//! The roster: every watch and registry that the scheduler owns. Others look at it through the scheduler's handle.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::registries::Registries;
use super::watched::Watched;
use crate::agent::unknown::unknown;
use crate::domain::judge::WatchState;
use crate::domain::{ChangeKind, Watch, WatchKey};
use crate::store::WatchId;

/// Watches that one look may copy out: at 100,000 watches, a look at all of them would hold up the loop.
const PAGE_SIZE: usize = 1000;

/// The watches, by an index that stays the same while a watch is configured, and their registries.
#[derive(Default)]
pub(crate) struct Roster {
    pub(super) watches: Vec<Watched>,
    /// The places of watches that the config does not name any more.
    pub(super) retired: Vec<usize>,
    pub(super) by_name: HashMap<Arc<str>, usize>,
    pub(crate) registries: Registries,
    /// How many changes were accepted, by their kind.
    pub(crate) changes: BTreeMap<ChangeKind, u64>,
}

/// One watch as metrics and probes see it.
pub(crate) struct WatchView {
    pub(crate) watch: Arc<Watch>,
    pub(crate) state: WatchState,
    pub(crate) last_checked: Option<Timestamp>,
    pub(crate) last_ok: Option<Timestamp>,
}

impl Roster {
    /// The watches that the config names, in no order.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Watched> {
        self.by_name.values().map(|index| &self.watches[*index])
    }

    /// The rows of all watches whose records are in memory: also those that an earlier config named.
    pub(crate) fn rows(&self) -> HashMap<WatchKey, WatchId> {
        self.watches.iter().map(|watched| (watched.watch.key.clone(), watched.id)).collect()
    }

    /// One page of the watches that are checked on schedule, from this index on, and where the next page begins, if
    /// there is one.
    pub(crate) fn page(&self, from: usize) -> (Vec<WatchView>, Option<usize>) {
        let now = Instant::now();
        let page = self.watches.iter().skip(from).take(PAGE_SIZE);
        let scheduled = page.filter(|watched| watched.watch.enabled && !watched.retired);
        let view = |watched: &Watched| WatchView {
            watch: watched.watch.clone(),
            state: match self.registries.all[watched.registry].held_off(now) {
                Some(_) if watched.due.is_none() => WatchState::Failing,
                _ => watched.record.state(),
            },
            last_checked: watched.record.last_checked,
            last_ok: watched.record.last_ok,
        };
        let next = from + PAGE_SIZE;
        (scheduled.map(view).collect(), (next < self.watches.len()).then_some(next))
    }

    /// The watches of these names; of no names: all that are enabled.
    pub(super) fn find(&self, names: &[String]) -> Result<Vec<usize>, String> {
        if names.is_empty() {
            let enabled = self.by_name.values().copied().filter(|index| self.watches[*index].watch.enabled);
            let mut all: Vec<usize> = enabled.collect();
            // In the order of the config, so that the same check asks in the same order each time.
            all.sort_unstable_by(|a, b| self.watches[*a].watch.name().cmp(self.watches[*b].watch.name()));
            return Ok(all);
        }
        let find = |name: &String| {
            let index = self.by_name.get(name.as_str()).copied();
            index.ok_or_else(|| unknown("watch", name, self.by_name.keys()))
        };
        let found: BTreeSet<usize> = names.iter().map(find).collect::<Result<_, _>>()?;
        Ok(found.into_iter().collect())
    }

    /// Links the watches that ask the same question, so that they share one request when they are due together.
    pub(super) fn link_twins(&mut self) {
        self.watches.iter_mut().for_each(|watched| watched.twins = None);
        // Sorted, since a map of all questions would be the largest thing that a start makes.
        let watches = &self.watches;
        let question = |index: &usize| &watches[*index].watch.key.question;
        let mut places: Vec<usize> = (0..watches.len()).filter(|index| !watches[*index].retired).collect();
        places.sort_unstable_by(|a, b| question(a).cmp(question(b)));
        let same = places.chunk_by(|a, b| question(a) == question(b)).filter(|same| same.len() > 1);
        for twins in same.map(Arc::<[usize]>::from).collect::<Vec<_>>() {
            for index in &*twins {
                self.watches[*index].twins = Some(Arc::clone(&twins));
            }
        }
    }
}
