//! What watches share: time zones, schedules, lists of hooks, policies, platforms.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::domain::watch::Policy;
use crate::domain::{Platform, Schedule, schedule};

use super::quote::{quoted, shortened};
use super::suggest::{MOST_COMPARISONS, nearest};
use super::values::about;
use super::walk::TomlField;
use super::zones;

/// About as many time zones have a name.
const ZONES: usize = 600;

/// A time zone and its name; the host's has none.
#[derive(Clone)]
pub(super) struct NamedZone {
    pub(super) name: String,
    pub(super) zone: TimeZone,
}

pub(super) struct Pool {
    /// The hooks that are defined.
    defined: BTreeSet<Arc<str>>,
    /// Those that were named so far.
    pub(super) used: BTreeSet<Arc<str>>,
    lists: HashSet<Arc<[Arc<str>]>>,
    policies: HashSet<Arc<Policy>>,
    platforms: HashSet<Platform>,
    zones: HashMap<String, TimeZone>,
    /// By text and name of the zone.
    schedules: HashMap<(String, String), Result<Arc<Schedule>, schedule::InvalidSchedule>>,
    compared: usize,
}

impl Pool {
    pub(super) fn new(defined: BTreeSet<Arc<str>>) -> Self {
        Self {
            defined,
            used: BTreeSet::new(),
            lists: HashSet::new(),
            policies: HashSet::new(),
            platforms: HashSet::new(),
            zones: HashMap::new(),
            schedules: HashMap::new(),
            compared: 0,
        }
    }

    /// The zone that a field names; one that does not exist is reported.
    pub(super) fn zone(&mut self, field: &TomlField<'_, '_>) -> Option<NamedZone> {
        let name = field.text()?;
        let zone = match self.zones.get(name) {
            Some(zone) => zone.clone(),
            None => {
                let Ok(zone) = TimeZone::get(name) else {
                    self.report_unknown_zone(name, field);
                    return None;
                };
                self.zones.insert(name.to_owned(), zone.clone());
                zone
            }
        };
        Some(NamedZone { name: name.to_owned(), zone })
    }

    fn report_unknown_zone(&mut self, name: &str, field: &TomlField<'_, '_>) {
        self.compared += ZONES;
        let fault = field.error(format!("timezone {} is not known", quoted(name)));
        field.report(if self.compared <= MOST_COMPARISONS { fault.help(zones::help(name)) } else { fault });
    }

    pub(super) fn parse(&mut self, text: &str, zone: &NamedZone) -> Result<Arc<Schedule>, schedule::InvalidSchedule> {
        let key = (text.trim().to_owned(), zone.name.clone());
        self.schedules.entry(key).or_insert_with(|| Schedule::parse(text, &zone.zone).map(Arc::new)).clone()
    }

    /// The schedule of this text; a fault is reported at `field`, which has the text or names the zone.
    pub(super) fn schedule(
        &mut self,
        text: &str,
        zone: &NamedZone,
        field: &TomlField<'_, '_>,
    ) -> Option<Arc<Schedule>> {
        let wrong = match self.parse(text, zone) {
            Ok(schedule) => return Some(schedule),
            Err(wrong) => wrong,
        };
        let fault = field.error(about("schedule", &wrong));
        let has_text = field.value.get_ref().as_str().is_some_and(|own| own.trim() == text.trim());
        field.report(if has_text { fault.at(field.part(wrong.at.clone())) } else { fault });
        None
    }

    /// The list of hooks that a field names; those that do not exist are reported.
    pub(super) fn hooks(&mut self, field: &TomlField<'_, '_>) -> Option<Arc<[Arc<str>]>> {
        let names = field.texts()?;
        let mut list: Vec<Arc<str>> = Vec::with_capacity(names.len());
        let mut listed = HashSet::with_capacity(names.len());
        for (name, field) in names {
            match self.defined.get(name) {
                Some(hook) if !listed.insert(name) => {
                    field.refuse(format!("hook {} is listed twice; remove one", quoted(hook)));
                }
                Some(hook) => {
                    self.used.insert(Arc::clone(hook));
                    list.push(Arc::clone(hook));
                }
                None => self.report_unknown(name, &field),
            }
        }
        if let Some(shared) = self.lists.get(list.as_slice()) {
            return Some(Arc::clone(shared));
        }
        let shared: Arc<[Arc<str>]> = list.into();
        self.lists.insert(Arc::clone(&shared));
        Some(shared)
    }

    fn report_unknown(&mut self, name: &str, field: &TomlField<'_, '_>) {
        self.compared += self.defined.len();
        let known = self.defined.iter().map(|hook| &**hook).filter(|_| self.compared <= MOST_COMPARISONS);
        let help = match nearest(name, known) {
            Some(near) => format!("did you mean {}?", quoted(near)),
            None => format!("define it: [hook.{}] with a command", shortened(name)),
        };
        field.report_missing(field.error(format!("there is no hook {}", quoted(name))).help(help));
    }

    pub(super) fn policy(&mut self, policy: Policy) -> Arc<Policy> {
        if let Some(shared) = self.policies.get(&policy) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(policy);
        self.policies.insert(Arc::clone(&shared));
        shared
    }

    pub(super) fn platform(&mut self, platform: Platform) -> Platform {
        if let Some(shared) = self.platforms.get(&platform) {
            return shared.clone();
        }
        self.platforms.insert(platform.clone());
        platform
    }
}
