//! Each registry's client and gate, and the queue of watches that wait for it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::agent::tally::CheckTally;
use crate::config::Config;
use crate::domain::FailureKind;
use crate::domain::gate::{Admission, Gate, Limits, Permit};
use crate::registry::{self, Client};

/// One registry as the scheduler sees it.
pub(crate) struct Registry {
    pub(crate) host: String,
    options: registry::Options,
    client: Option<Arc<Client>>,
    pub(crate) gate: Gate,
    pub(crate) tally: CheckTally,
    /// The indices of watches that are due, in order.
    pub(crate) queue: VecDeque<usize>,
    /// When its gate opens, if that is in `openings`.
    opening: Option<Instant>,
}

impl Registry {
    /// The client, made at its first use. If it cannot be made (an unreadable CA file), this check fails, no other
    /// registry is affected, and the next check tries again.
    pub(crate) fn client(&mut self) -> Result<Arc<Client>, registry::Error> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = Arc::new(Client::new(&self.host, &self.options)?);
        self.client = Some(client.clone());
        Ok(client)
    }

    /// `RateLimit-Remaining`, as it was last told.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.client.as_ref()?.remaining()
    }

    /// Why it is held off, and for how long, if no check may start now.
    pub(crate) fn held_off(&self, now: Instant) -> Option<(FailureKind, Duration)> {
        let (cause, until) = self.gate.held_off().filter(|_| self.gate.is_closed(now))?;
        Some((cause, until.saturating_duration_since(now)))
    }
}

/// All registries by index, and the times at which gates open that have refused.
#[derive(Default)]
pub(crate) struct Registries {
    pub(crate) all: Vec<Registry>,
    by_host: HashMap<String, usize>,
    openings: BTreeSet<(Instant, usize)>,
}

impl Registries {
    /// Switches to this config: a registry that is reached in another way gets a new client and is no longer held off.
    /// Returns the registries whose settings changed, each with whether it is reached in another way.
    pub(crate) fn adopt(&mut self, config: &Config) -> BTreeMap<usize, bool> {
        let mut touched = BTreeMap::new();
        for (index, registry) in self.all.iter_mut().enumerate() {
            let (options, limits) = settings(&registry.host, config);
            if registry.gate.limits() != limits {
                registry.gate.limit(limits);
                touched.insert(index, false);
            }
            if registry.options != options {
                registry.options = options;
                registry.client = None;
                registry.gate.reopen();
                registry.tally.note_hold(false, Instant::now());
                touched.insert(index, true);
            }
        }
        touched
    }

    /// The index of a registry, which is made at its first use.
    pub(crate) fn of(&mut self, host: &str, config: &Config) -> usize {
        if let Some(index) = self.by_host.get(host) {
            return *index;
        }
        let (options, limits) = settings(host, config);
        let gate = Gate::new(limits, Instant::now());
        let (host, queue) = (host.to_owned(), VecDeque::new());
        self.by_host.insert(host.clone(), self.all.len());
        self.all.push(Registry { host, options, client: None, gate, tally: CheckTally::new(), queue, opening: None });
        self.all.len() - 1
    }

    /// The next watch of a registry that may be checked now, with its permit.
    pub(crate) fn admit(&mut self, index: usize, now: Instant) -> Option<(usize, Permit)> {
        let registry = &mut self.all[index];
        let watch = *registry.queue.front()?;
        match registry.gate.admit(now) {
            Admission::Granted(permit) => {
                registry.queue.pop_front();
                Some((watch, permit))
            }
            Admission::At(opens) => {
                // Keep one opening for each registry, the latest: it may have moved since it was first noted.
                if let Some(noted) = registry.opening.replace(opens) {
                    self.openings.remove(&(noted, index));
                }
                self.openings.insert((opens, index));
                None
            }
            Admission::WhenOneEnds => None,
        }
    }

    /// Drops everything that waits.
    pub(crate) fn clear_queues(&mut self) {
        self.all.iter_mut().for_each(|registry| registry.queue.clear());
    }

    /// When the first gate opens for which watches wait.
    pub(crate) fn next_opening(&self) -> Option<Instant> {
        self.openings.first().map(|(opens, _)| *opens)
    }

    /// A registry whose gate has opened by now.
    pub(crate) fn opened(&mut self, now: Instant) -> Option<usize> {
        let (opens, index) = self.openings.first().copied().filter(|(opens, _)| *opens <= now)?;
        self.openings.remove(&(opens, index));
        self.all[index].opening = None;
        Some(index)
    }
}

/// How a registry is reached, and how hard it may be asked.
fn settings(host: &str, config: &Config) -> (registry::Options, Limits) {
    match config.registries.get(host) {
        Some(configured) => (configured.client.clone(), configured.limits),
        None => (registry::Options::default(), Limits::default_for(host)),
    }
}
