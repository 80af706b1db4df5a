//! `taghook explain`: one check aloud.
//!
//! The story is what the parts of a check log at `debug`; here it is told on standard output instead. So there is one
//! telling, and what it may say is decided where it is said.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::args::Explain;
use super::run::Signals;
use super::{Failure, check, find_watch, image, log, runtime, state, status, text};
use crate::agent;
use crate::config::{self, Config, Faults};
use crate::control::wire::{CheckLine, CheckRequest, Status, StatusSource, WatchStatus};
use crate::domain::FailureKind;

/// A limit of a registry whose end is not known counts for so long: the longest pause that an agent makes by itself.
const LIMITED: SignedDuration = SignedDuration::from_mins(15);
/// Who tells of a check.
const TELLERS: [&str; 2] = ["taghook::registry", "taghook::agent::check"];

pub(super) fn run(explicit: Option<&Path>, explain: Explain) -> Result<ExitCode, Failure> {
    let story = Story { began: Instant::now(), json: explain.json, is_over: AtomicBool::new(false) };
    let Some(name) = explain.watch else {
        log::start_telling(story);
        let Explain { image, platform, plain_http, json, .. } = explain;
        let images = image.into_iter().collect();
        return Ok(image::run(&image::ImageQuestion { images, platform, plain_http, json }));
    };
    let (config, dir) = state(explicit)?;
    let config = match config {
        Ok(config) => config,
        Err(faults) => return by_agent((Err(faults), dir), name, explain.json),
    };
    find_watch(&name, config.watches.keys().map(|name| &**name))?;
    let status = status::gather(Some(&config), &config.state)?;
    let known = status.watches.iter().find(|watch| watch.watch == name);
    status::note_edit(&config.state, "the file")?;
    note_image(&status, known, &name, &config);
    story.tell("recorded", known.map(|known| recorded(known, &config)).unwrap_or_default())?;
    let (gate, is_open) = gate(&status, &name, &config);
    story.tell("gate", gate)?;
    if !is_open {
        story.tell("not asked: the registry wants to be left alone for now", Vec::new())?;
        return Ok(ExitCode::FAILURE);
    }
    log::start_telling(story);
    ask(config, name, explain.json)
}

/// Notes that the agent watches something else by this name.
fn note_image(status: &Status, known: Option<&WatchStatus>, name: &str, config: &Config) {
    let Some(key) = config.watches.get(name).filter(|_| status.source == StatusSource::Agent).map(|watch| &watch.key)
    else {
        return;
    };
    let whole = |image: &str, platform: Option<&str>| match platform {
        Some(platform) => format!("{image} ({platform})"),
        None => image.to_owned(),
    };
    let file = key.question.to_string();
    match known.map(|known| whole(&known.image, known.platform.as_deref())) {
        None => anstream::eprintln!("note: the agent has no watch {name:?} yet; this is the file's"),
        Some(agents) if agents != file => {
            anstream::eprintln!("note: the agent goes by {agents}; this is the file's, {file}, whose state is another");
        }
        Some(_) => {}
    }
}

fn ask(config: Config, name: String, json: bool) -> Result<ExitCode, Failure> {
    let (mut well, mut printed) = (true, Ok(()));
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let line = |line| (well, printed) = tell(line, json);
        Ok::<_, Failure>(agent::check_once(config, dry(name), line, signals.next()).await?)
    })?;
    printed?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the agent makes of the watch, by the config that it goes by; where ours has faults, its story cannot be told.
fn by_agent(known: (Result<Config, Faults>, PathBuf), name: String, json: bool) -> Result<ExitCode, Failure> {
    let (mut well, mut printed) = (true, Ok(()));
    runtime()?.block_on(check::ask(known, dry(name), |line| (well, printed) = tell(line, json)))?;
    printed?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn dry(name: String) -> CheckRequest {
    CheckRequest { watches: vec![name], dry_run: true }
}

/// Prints what the check came to, and tells whether that is well.
fn tell(line: CheckLine, json: bool) -> (bool, std::io::Result<()>) {
    let well = line.error.is_none();
    let end = "nothing was recorded, and no hook was run\n";
    let text = if json { text::json_lines(&[line]) } else { check::human(&line) + end };
    (well, text::print(&text))
}

/// What is known before the registry is asked.
fn recorded(known: &WatchStatus, config: &Config) -> Vec<(&'static str, Value)> {
    let watch = config.watches.get(known.watch.as_str());
    let settle = watch.map(|watch| watch.policy.settle).filter(|settle| !settle.is_zero());
    let mut all = vec![("watch", json!(known.watch)), ("image", json!(known.image)), ("state", json!(known.state))];
    let mut more = |name, value: Option<String>| all.extend(value.map(|value| (name, json!(value))));
    more("platform", known.platform.clone());
    more("digest", known.digest.as_ref().map(ToString::to_string));
    more("since", known.last_changed.map(|at| at.to_string()));
    more("last_ok", known.last_ok.map(|at| at.to_string()));
    more("error", known.error.as_ref().map(|error| format!("{}: {}", error.kind, error.message)));
    more("schedule", watch.map(|watch| watch.schedule.to_string()));
    more("settle", settle.map(config::human_duration));
    more("hooks", watch.map(|watch| watch.hooks.join(",")).filter(|hooks| !hooks.is_empty()));
    more("paused", known.paused.then(|| "its hooks are held".into()));
    all
}

/// How the gate of a running agent stands, and whether we go through: never past a limit that the registry has set. Any
/// other trouble is what one wants to see explained, and a question by hand does it no harm.
fn gate(status: &Status, name: &str, config: &Config) -> (Vec<(&'static str, Value)>, bool) {
    let registry = config.watches.get(name).map_or("", |watch| watch.key.question.repository.registry());
    if status.source != StatusSource::Agent {
        return match limited(status, registry, Timestamp::now()) {
            None => (vec![("open", json!("no agent answers"))], true),
            Some(ago) => {
                let kind = json!(FailureKind::RateLimited.as_str());
                (vec![("registry", json!(registry)), ("recorded", kind), ("when", json!(ago))], false)
            }
        };
    }
    let found = status.registries.iter().find(|found| found.registry == registry);
    let Some(held) = found.and_then(|found| found.held_off.as_ref()) else {
        return (vec![("registry", json!(registry)), ("open", json!("the agent does not hold it off"))], true);
    };
    let left = text::distance(Some(held.until), Timestamp::now());
    let told = vec![
        ("registry", json!(registry)),
        ("held_off", json!(held.kind)),
        ("until", json!(held.until)),
        ("asked_again", json!(left)),
    ];
    (told, held.kind != FailureKind::RateLimited)
}

/// How long ago a registry limited one of its watches by the record, which is all that is known where no agent answers us,
/// if that is not long ago.
fn limited(status: &Status, registry: &str, now: Timestamp) -> Option<String> {
    let is_limited = |watch: &&WatchStatus| {
        let error = watch.error.as_ref();
        status::is_of(&watch.image, registry) && error.is_some_and(|error| error.kind == FailureKind::RateLimited)
    };
    let last = status.watches.iter().filter(is_limited).filter_map(|watch| watch.last_checked).max()?;
    (now.duration_since(last) < LIMITED).then(|| text::distance(Some(last), now))
}

/// Prints what the parts of a check tell.
struct Story {
    began: Instant,
    json: bool,
    /// Nobody listens any more.
    is_over: AtomicBool,
}

impl Story {
    fn tell(&self, message: &str, fields: Vec<(&'static str, Value)>) -> std::io::Result<()> {
        let milliseconds = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.json {
            let fields: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let line = json!({"ms": milliseconds, "event": message, "fields": fields});
            return text::print(&text::json_lines(&[line]));
        }
        let told = |(name, value): &(&str, Value)| match value {
            Value::String(text) => format!("{name}={}", text::printable(text)),
            other => format!("{name}={other}"),
        };
        let fields: Vec<String> = fields.iter().map(told).collect();
        let line = format!("{milliseconds:>6} ms  {}  {}", text::printable(message), fields.join("  "));
        text::print(&text::wrapped(line.trim_end(), 11))
    }
}

impl<S: Subscriber> Layer<S> for Story {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::DEBUG && TELLERS.iter().any(|teller| metadata.target().starts_with(teller))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut told = Told::default();
        event.record(&mut told);
        if !self.is_over.load(Relaxed) && self.tell(&told.message, told.fields).is_err() {
            self.is_over.store(true, Relaxed);
        }
    }
}

/// An event's message and fields.
#[derive(Default)]
struct Told {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Told {
    fn record(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record(field, json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, json!(value));
    }
}
