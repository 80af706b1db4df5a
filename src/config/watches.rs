//! `[defaults]` and `[watch.NAME]` → watches.
//!
//! *Invariant:* watches with the same schedule and zone share one [`Schedule`] (a cron pattern costs kilobytes), and
//! watches with the same hooks, platform or policy share those.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::domain::watch::Policy;
use crate::domain::{Platform, Question, Reference, Schedule, Watch, WatchKey, schedule};

use super::fault::Fault;
use super::find::Surroundings;
use super::suggest::nearest;
use super::values::{Text, Zero, about};
use super::walk::{Item, Table};
use super::{defaults, keys, names, zones};

/// So many names are compared in search of suggestions; then a fault goes without.
const COMPARISONS: usize = 1_000_000;

/// The watches, and which hooks they name.
pub(super) struct Read {
    pub(super) watches: BTreeMap<Arc<str>, Arc<Watch>>,
    pub(super) used: BTreeSet<Arc<str>>,
}

/// Reads the watches; `hooks` are the names of the hooks that are defined.
pub(super) fn read<'a>(
    watches: &BTreeMap<&'a str, Item<'a>>,
    mut defaults: Table<'a, '_>,
    hooks: BTreeSet<Arc<str>>,
    around: &Surroundings,
) -> Read {
    let report = defaults.report;
    let zone = Zone { name: String::new(), zone: around.zone.clone().unwrap_or(TimeZone::UTC) };
    let mut pool = Pool { hooks, ..Pool::default() };
    let common = Settings::take(&mut defaults, &mut pool);
    let base = Base { schedule: base_schedule(&common, &zone, &defaults, &mut pool), common, zone };
    defaults.finish();
    let mut found = BTreeMap::new();
    for item in watches.values().copied() {
        let is_named = names::check("watch", item, report);
        let Some(mut table) = Table::of(format!("watch {:?}", item.name()), &keys::WATCH, item, report) else {
            continue;
        };
        let watch = read_watch(item, &mut table, &base, &mut pool);
        table.finish();
        if let Some(watch) = watch.filter(|_| is_named) {
            found.insert(Arc::clone(&watch.key.name), Arc::new(watch));
        }
    }
    Read { watches: found, used: pool.used }
}

fn read_watch<'a>(item: Item<'a>, table: &mut Table<'a, '_>, base: &Base<'a>, pool: &mut Pool) -> Option<Watch> {
    let reference = read_image(item, table);
    let own = Settings::take(table, pool);
    let common = &base.common;
    let schedule = own_schedule(&own, base, table, pool);
    warn_of_what_only_cron_needs(&own, schedule.as_deref(), table);
    let policy = Policy::default();
    Some(Watch {
        key: WatchKey {
            name: Arc::from(item.name()),
            question: Question::of(reference?, own.platform.or_else(|| common.platform.clone())),
        },
        schedule: schedule?,
        jitter: own.jitter.or(common.jitter).unwrap_or(defaults::JITTER),
        policy: pool.policy(Policy {
            settle: own.settle.or(common.settle).unwrap_or(policy.settle),
            confirm_after: own.confirm_after.or(common.confirm_after).unwrap_or(policy.confirm_after),
            absent_after: own.absent_after.or(common.absent_after).unwrap_or(policy.absent_after),
        }),
        hooks: own.hooks.or_else(|| common.hooks.clone()).unwrap_or_else(|| pool.share(Vec::new())),
        enabled: own.enabled.or(common.enabled).unwrap_or(defaults::ENABLED),
    })
}

fn read_image<'a>(watch: Item<'a>, table: &mut Table<'a, '_>) -> Option<Reference> {
    let Some(image) = table.take("image") else {
        let fault = Fault::error(table.says("there is no image")).at(watch.key_place());
        table.report.add_missing(fault.help("add for example image = \"ghcr.io/acme/web:stable\""));
        return None;
    };
    let Some(text) = image.value.get_ref().as_str() else {
        table.fault_with(image.place(), "image must be a string", "write for example image = \"nginx:1.27\"");
        return None;
    };
    let fault = Reference::parse(text).map_err(|fault| {
        // Such a text may hold a password.
        let message = match text.split_once("://") {
            Some((_, rest)) if rest.contains('@') => "image: a reference has no scheme and no user".to_owned(),
            _ if text.is_empty() => format!("image: {fault}"),
            _ => format!("image {text:?}: {fault}"),
        };
        table.fault(image.character(fault.at), message);
    });
    fault.ok()
}

/// The keys that `[defaults]` and watches have in common.
struct Settings<'a> {
    schedule: Option<Text<'a>>,
    timezone: Option<Text<'a>>,
    zone: Option<Zone>,
    jitter: Option<Duration>,
    jitter_at: Option<Item<'a>>,
    platform: Option<Platform>,
    settle: Option<Duration>,
    confirm_after: Option<Duration>,
    absent_after: Option<Duration>,
    hooks: Option<Arc<[Arc<str>]>>,
    enabled: Option<bool>,
}

impl<'a> Settings<'a> {
    fn take(table: &mut Table<'a, '_>, pool: &mut Pool) -> Self {
        let schedule = table.text("schedule");
        let timezone = table.text("timezone");
        Self {
            schedule,
            timezone,
            zone: timezone.map(|text| pool.zone(text, table)),
            jitter_at: table.peek("jitter"),
            jitter: table.duration("jitter", Zero::Allowed),
            platform: read_platform(table).map(|platform| pool.platform(platform)),
            settle: table.duration("settle", Zero::Allowed),
            confirm_after: table.duration("confirm_after", Zero::Allowed),
            absent_after: table.duration("absent_after", Zero::Allowed),
            hooks: table.texts("hooks").map(|hooks| pool.hooks(&hooks, table)),
            enabled: table.flag("enabled"),
        }
    }
}

/// Architectures that images are built for.
const ARCHITECTURES: [&str; 14] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
];

fn read_platform(table: &mut Table<'_, '_>) -> Option<Platform> {
    let item = table.peek("platform");
    let platform = table.parsed("platform", Platform::parse)?;
    let text = platform.to_string();
    let architecture = text.split('/').nth(1).unwrap_or_default();
    if let Some(item) = item.filter(|_| !ARCHITECTURES.contains(&architecture)) {
        let message = table.says(format!("platform {text:?}: hardly any image is built for {architecture:?}"));
        let fault = Fault::warning(message).at(item.place());
        table.report.add(match nearest(architecture, ARCHITECTURES) {
            Some(near) => fault.help(format!("did you mean {near:?}?")),
            None => fault.help(format!("usual are {}", ARCHITECTURES.join(", "))),
        });
    }
    Some(platform)
}

/// What holds for a watch that does not say otherwise.
struct Base<'a> {
    common: Settings<'a>,
    schedule: Option<Arc<Schedule>>,
    zone: Zone,
}

fn base_schedule(common: &Settings<'_>, host: &Zone, table: &Table<'_, '_>, pool: &mut Pool) -> Option<Arc<Schedule>> {
    let text = common.schedule.map_or(defaults::SCHEDULE, |schedule| schedule.text);
    pool.schedule(text, common.zone.as_ref().unwrap_or(host), common.schedule, table)
}

fn own_schedule(own: &Settings<'_>, base: &Base<'_>, table: &Table<'_, '_>, pool: &mut Pool) -> Option<Arc<Schedule>> {
    // A schedule that was named and could not be read has been reported; the default in its place does no harm.
    let Some(blame) = own.schedule.or(own.timezone) else { return base.schedule.clone() };
    let text = own.schedule.or(base.common.schedule).map_or(defaults::SCHEDULE, |schedule| schedule.text);
    let zone = own.zone.as_ref().or(base.common.zone.as_ref()).unwrap_or(&base.zone);
    if own.schedule.is_none() && base.schedule.is_none() {
        return None;
    }
    pool.schedule(text, zone, Some(blame), table)
}

fn warn_of_what_only_cron_needs(own: &Settings<'_>, schedule: Option<&Schedule>, table: &Table<'_, '_>) {
    let Some(interval) = schedule.filter(|schedule| schedule.interval().is_some()) else { return };
    let items = [("jitter", own.jitter_at), ("timezone", own.timezone.map(|text| text.item))];
    for (key, item) in items.into_iter().filter_map(|(key, item)| Some((key, item?))) {
        let text = format!("{key} has no effect on the interval \"{interval}\"; it is for cron expressions");
        table.report.add(Fault::warning(table.says(text)).at(item.key_place()));
    }
}

/// A time zone and the name it is known by; the host's has none.
#[derive(Clone)]
struct Zone {
    name: String,
    zone: TimeZone,
}

/// What watches share.
#[derive(Default)]
struct Pool {
    hooks: BTreeSet<Arc<str>>,
    used: BTreeSet<Arc<str>>,
    lists: HashSet<Arc<[Arc<str>]>>,
    policies: HashSet<Arc<Policy>>,
    platforms: HashSet<Platform>,
    zones: HashMap<String, TimeZone>,
    schedules: HashMap<(String, String), Result<Arc<Schedule>, schedule::InvalidSchedule>>,
    compared: usize,
}

impl Pool {
    /// The zone of this name; one that does not exist is reported and read as UTC, so that the schedule is still read.
    fn zone(&mut self, text: Text<'_>, table: &Table<'_, '_>) -> Zone {
        let name = text.text.to_owned();
        if let Some(zone) = self.zones.get(&name) {
            return Zone { name, zone: zone.clone() };
        }
        match TimeZone::get(&name) {
            Ok(zone) => {
                self.zones.insert(name.clone(), zone.clone());
                Zone { name, zone }
            }
            Err(_) => {
                table.fault_with(text.item.place(), format!("timezone {name:?} is not known"), zones::help(&name));
                Zone { name, zone: TimeZone::UTC }
            }
        }
    }

    fn schedule(
        &mut self,
        text: &str,
        zone: &Zone,
        blame: Option<Text<'_>>,
        table: &Table<'_, '_>,
    ) -> Option<Arc<Schedule>> {
        let key = (text.trim().to_owned(), zone.name.clone());
        let read = self.schedules.entry(key).or_insert_with(|| Schedule::parse(text, &zone.zone).map(Arc::new));
        match (&*read, blame) {
            (Ok(schedule), _) => return Some(Arc::clone(schedule)),
            (Err(wrong), Some(blame)) if blame.text.trim() == text.trim() => {
                table.fault(blame.item.part(wrong.at.clone()), about("schedule", wrong));
            }
            (Err(wrong), Some(blame)) => table.fault(blame.item.place(), about("schedule", wrong)),
            (Err(wrong), None) => table.report.add(Fault::error(about("the default schedule", wrong))),
        }
        None
    }

    /// The list of these hooks; those that do not exist are reported.
    fn hooks(&mut self, texts: &[Text<'_>], table: &Table<'_, '_>) -> Arc<[Arc<str>]> {
        let mut list: Vec<Arc<str>> = Vec::with_capacity(texts.len());
        for Text { text, item } in texts {
            match self.hooks.get(*text) {
                Some(hook) if list.contains(hook) => {
                    table.fault(item.place(), format!("hook {text:?} is listed twice; remove one"));
                }
                Some(hook) => {
                    self.used.insert(Arc::clone(hook));
                    list.push(Arc::clone(hook));
                }
                None => self.report_unknown(text, *item, table),
            }
        }
        self.share(list)
    }

    fn report_unknown(&mut self, name: &str, item: Item<'_>, table: &Table<'_, '_>) {
        self.compared += self.hooks.len();
        let names = self.hooks.iter().map(|hook| &**hook).filter(|_| self.compared <= COMPARISONS);
        let near = nearest(name, names);
        let help = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("define it: [hook.{name}] with a command"),
        };
        let fault = Fault::error(table.says(format!("there is no hook {name:?}"))).at(item.place());
        table.report.add_missing(fault.help(help));
    }

    fn policy(&mut self, policy: Policy) -> Arc<Policy> {
        if let Some(shared) = self.policies.get(&policy) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(policy);
        self.policies.insert(Arc::clone(&shared));
        shared
    }

    fn platform(&mut self, platform: Platform) -> Platform {
        if let Some(shared) = self.platforms.get(&platform) {
            return shared.clone();
        }
        self.platforms.insert(platform.clone());
        platform
    }

    fn share(&mut self, list: Vec<Arc<str>>) -> Arc<[Arc<str>]> {
        if let Some(shared) = self.lists.get(list.as_slice()) {
            return Arc::clone(shared);
        }
        let shared: Arc<[Arc<str>]> = list.into();
        self.lists.insert(Arc::clone(&shared));
        shared
    }
}
