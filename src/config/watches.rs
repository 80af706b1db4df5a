//! `[defaults]` and `[watch.NAME]` → watches.
//!
//! *Invariant:* watches with the same schedule and zone share one [`Schedule`] (a cron pattern takes kilobytes), and
//! watches with the same hooks, platform or policy share those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::domain::watch::Policy;
use crate::domain::{Platform, Question, Reference, Schedule, Watch, WatchKey};

use super::fault::Fault;
use super::find::Environment;
use super::key::ValueKind;
use super::log::FaultLog;
use super::names;
use super::pool::{NamedZone, Pool};
use super::quote::quoted;
use super::row::{Row, keys_of, put, read_rows};
use super::show;
use super::suggest::nearest;
use super::values::Zero;
use super::walk::{TomlEntry, TomlField, TomlTable};

/// What reading fills in: the settings of one watch, and what all watches share.
pub(super) struct WatchReader {
    draft: WatchDraft,
    pool: Pool,
}

/// The settings of a watch, which start as a copy of those of `[defaults]`.
#[derive(Clone)]
struct WatchDraft {
    image: Option<Reference>,
    schedule: String,
    zone: NamedZone,
    /// The schedule of `[defaults]`, for watches that change neither schedule nor zone; `None` if it is faulty.
    parsed: Option<Arc<Schedule>>,
    jitter: Duration,
    platform: Option<Platform>,
    policy: Policy,
    hooks: Arc<[Arc<str>]>,
    enabled: bool,
}

fn default_watch(zone: TimeZone) -> WatchDraft {
    WatchDraft {
        image: None,
        schedule: "15m".to_owned(),
        zone: NamedZone { name: String::new(), zone },
        parsed: None,
        // A cron expression means what it says.
        jitter: Duration::ZERO,
        platform: None,
        policy: Policy::default(),
        hooks: Arc::new([]),
        enabled: true,
    }
}

/// The keys of a watch. `[defaults]` has all of them but the first.
pub(super) static WATCH: [Row<WatchReader, Watch>; 10] = [
    Row {
        name: "image",
        kind: ValueKind::Form("ghcr.io/acme/web:stable", 1024),
        about: "The tag, as people write it: nginx, nginx:1.27, ghcr.io/acme/web:stable, localhost:5000/team/app:v1.",
        read: |reader, field| put(&mut reader.draft.image, read_image(field)),
        show: |watch| show::text(&watch.key.question.reference()),
    },
    Row {
        name: "schedule",
        kind: ValueKind::Form("15m", 256),
        about: "When to check: an interval, or a cron expression of five fields as in crontab(5), such as \"*/5 * * * *\" \
                or \"@daily\".",
        // What it means depends on the time zone, too: see `read_schedule`.
        read: |reader, field| put(&mut reader.draft.schedule, field.text()),
        show: |watch| show::text(&watch.schedule.to_string()),
    },
    Row {
        name: "timezone",
        kind: ValueKind::Form("Europe/Berlin", 64),
        about: "The time zone of cron expressions.",
        read: |reader, field| put(&mut reader.draft.zone, reader.pool.zone(field)),
        show: |watch| show::text(watch.schedule.zone()?.iana_name()?),
    },
    Row {
        name: "jitter",
        kind: ValueKind::Duration,
        about: "How far the due times of cron expressions are spread; intervals are spread by the watch's name anyway.",
        read: |reader, field| put(&mut reader.draft.jitter, field.duration(Zero::Allowed)),
        show: |watch| show::duration(watch.jitter),
    },
    Row {
        name: "platform",
        kind: ValueKind::Form("linux/arm64", 128),
        about: "Only a move of this platform's manifest counts.",
        read: |reader, field| {
            let platform = read_platform(field).map(|platform| reader.pool.platform(platform));
            put(&mut reader.draft.platform, platform);
        },
        show: |watch| show::text(&watch.key.question.platform.as_ref()?.to_string()),
    },
    Row {
        name: "settle",
        kind: ValueKind::Duration,
        about: "How long a new digest must hold before it counts; \"3d\" gives a minimum age.",
        read: |reader, field| put(&mut reader.draft.policy.settle, field.duration(Zero::Allowed)),
        show: |watch| show::duration(watch.policy.settle),
    },
    Row {
        name: "confirm_after",
        kind: ValueKind::Duration,
        about: "A digest that was replaced only recently is believed again if it is still there after this: mirrors may \
                be stale.",
        read: |reader, field| put(&mut reader.draft.policy.confirm_after, field.duration(Zero::Allowed)),
        show: |watch| show::duration(watch.policy.confirm_after),
    },
    Row {
        name: "absent_after",
        kind: ValueKind::Duration,
        about: "A tag counts as removed once it has been missing for this long.",
        read: |reader, field| put(&mut reader.draft.policy.absent_after, field.duration(Zero::Allowed)),
        show: |watch| show::duration(watch.policy.absent_after),
    },
    Row {
        name: "hooks",
        kind: ValueKind::Texts,
        about: "The hooks that are run, by name.",
        read: |reader, field| put(&mut reader.draft.hooks, reader.pool.hooks(field)),
        show: |watch| show::texts(watch.hooks.iter()),
    },
    Row {
        name: "enabled",
        kind: ValueKind::Flag,
        about: "Whether to check it by itself; false keeps a watch and its state.",
        read: |reader, field| put(&mut reader.draft.enabled, field.flag()),
        show: |watch| Some(watch.enabled.into()),
    },
];

pub(super) struct FoundWatches {
    pub(super) watches: BTreeMap<Arc<str>, Arc<Watch>>,
    /// The hooks that they or `[defaults]` name.
    pub(super) used_hooks: BTreeSet<Arc<str>>,
}

/// Reads the watches; `hooks` are the names of the hooks that are defined.
pub(super) fn read(
    watches: &BTreeMap<&str, TomlEntry<'_>>,
    defaults: &BTreeMap<&str, TomlEntry<'_>>,
    hooks: BTreeSet<Arc<str>>,
    environment: &Environment,
    log: &FaultLog,
) -> FoundWatches {
    let keys = keys_of(&WATCH);
    let draft = default_watch(environment.zone.clone().unwrap_or(TimeZone::UTC));
    let mut reader = WatchReader { draft, pool: Pool::new(hooks) };
    reader.draft.parsed = reader.pool.parse(&reader.draft.schedule, &reader.draft.zone).ok();
    let table = TomlTable::new("defaults".to_owned(), &keys[1..], defaults.clone(), log);
    read_rows(&WATCH[1..], &mut reader, &table);
    reader.draft.parsed = read_schedule(&mut reader, &table);
    let base = reader.draft.clone();
    let mut found = BTreeMap::new();
    for entry in watches.values().copied() {
        names::check("watch", entry, log);
        let Some(table) = TomlTable::of(names::title("watch", entry.name()), &keys, entry, log) else { continue };
        reader.draft = base.clone();
        read_rows(&WATCH, &mut reader, &table);
        if let Some(watch) = finish(entry, &table, &mut reader) {
            found.insert(Arc::clone(&watch.key.name), Arc::new(watch));
        }
    }
    FoundWatches { watches: found, used_hooks: reader.pool.used }
}

fn finish(entry: TomlEntry<'_>, table: &TomlTable<'_, '_>, reader: &mut WatchReader) -> Option<Watch> {
    if table.field("image").is_none() {
        let fault = Fault::error(table.says("there is no image")).at(entry.key_location());
        table.log.add_missing(fault.help("add for example image = \"ghcr.io/acme/web:stable\""));
    }
    let schedule = read_schedule(reader, table);
    warn_of_what_only_cron_needs(schedule.as_deref(), table);
    let draft = &reader.draft;
    Some(Watch {
        key: WatchKey {
            name: Arc::from(entry.name()),
            question: Question::of(draft.image.clone()?, draft.platform.clone()),
        },
        schedule: schedule?,
        jitter: draft.jitter,
        policy: reader.pool.policy(draft.policy),
        hooks: Arc::clone(&draft.hooks),
        enabled: draft.enabled,
    })
}

/// The schedule of a table, whose meaning depends on two keys, each of which may stand in `[defaults]` instead.
fn read_schedule(reader: &mut WatchReader, table: &TomlTable<'_, '_>) -> Option<Arc<Schedule>> {
    let WatchReader { draft, pool } = reader;
    // A field that is no string has been reported, and what stands in its place does no harm.
    let own = |key: &str| table.field(key).filter(|field| field.value.get_ref().is_str());
    match (own("schedule"), own("timezone")) {
        (None, None) => draft.parsed.clone(),
        // The schedule of [defaults] is faulty, and has been reported there.
        (None, Some(_)) if draft.parsed.is_none() => None,
        (Some(field), _) | (None, Some(field)) => pool.schedule(&draft.schedule, &draft.zone, &field),
    }
}

fn warn_of_what_only_cron_needs(schedule: Option<&Schedule>, table: &TomlTable<'_, '_>) {
    let Some(interval) = schedule.filter(|schedule| schedule.interval().is_some()) else { return };
    for field in ["jitter", "timezone"].into_iter().filter_map(|key| table.field(key)) {
        let key = field.key.name;
        let text = format!("{key} has no effect on the interval \"{interval}\"; it is for cron expressions");
        field.report(field.warning(text).at(field.key_location()));
    }
}

fn read_image(field: &TomlField<'_, '_>) -> Option<Reference> {
    if !field.value.get_ref().is_str() {
        field.report(field.error("image must be a string").help("write for example image = \"nginx:1.27\""));
        return None;
    }
    let text = field.text()?;
    if text.split_once('@').is_some_and(|(_, digest)| !digest.contains(':') || digest.contains(['/', '@'])) {
        // What stands before it may be a password.
        field.refuse("image: a reference has no user");
        return None;
    }
    let fault = Reference::parse(text).map_err(|wrong| {
        let message =
            if text.is_empty() { format!("image: {wrong}") } else { format!("image {}: {wrong}", quoted(text)) };
        field.report(field.error(message).at(field.character(wrong.at)));
    });
    fault.ok()
}

/// Architectures that images are built for.
const ARCHITECTURES: [&str; 14] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
];

fn read_platform(field: &TomlField<'_, '_>) -> Option<Platform> {
    let platform = field.parsed(Platform::parse)?;
    let text = platform.to_string();
    let architecture = platform.architecture();
    if !ARCHITECTURES.contains(&architecture) {
        let fault = field.warning(format!(
            "platform {}: hardly any image is built for {}",
            quoted(&text),
            quoted(architecture)
        ));
        field.report(match nearest(architecture, ARCHITECTURES) {
            Some(near) => fault.help(format!("did you mean {}?", quoted(near))),
            None => fault.help(format!("usual are {}", ARCHITECTURES.join(", "))),
        });
    }
    Some(platform)
}
