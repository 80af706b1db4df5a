//! `taghook explain`: every step of one check.
//!
//! The parts of a check log their steps at `debug`; here these events are printed. So each step is described once, and the
//! code that logs it decides what may be shown.

use std::fmt::Debug;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::check_now::{check_here, check_now};
use super::exit::{CliError, Exit};
use super::image::{self, ImageArgs};
use super::located::{Located, find_watch};
use super::results::Results;
use super::{logging, sentences, snapshot, text};
use crate::config::{self, Config};
use crate::control::wire::{CheckLine, CheckRequest, Status, StatusSource, WatchStatus};
use crate::domain::FailureKind;
use crate::domain::shown::shown;

/// How long a recorded rate limit counts when nobody knows its end: the longest pause that an agent makes by itself.
const RATE_LIMIT_LASTS: SignedDuration = SignedDuration::from_mins(15);
/// The parts of the crate that take part in a check.
const TARGETS: [&str; 2] = ["taghook::registry", "taghook::agent::check"];

/// Perform one check aloud: every request and answer, every decision and its reason
///
/// Nothing is recorded and no hook is run. Credentials are masked, so that all of it can stand in a bug report. A
/// registry that a running agent has been told to leave alone is not asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook explain web
  taghook explain --image ghcr.io/acme/web:stable --platform linux/arm64")]
pub(super) struct ExplainArgs {
    /// The watch
    #[arg(value_name = "WATCH", required_unless_present = "image", conflicts_with = "image")]
    watch: Option<String>,
    /// Any image; needs no config
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    #[command(flatten)]
    of_image: ImageArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(explicit: Option<&Path>, args: ExplainArgs) -> Result<Exit, CliError> {
    let ExplainArgs { watch, image, of_image, json } = args;
    let story = Story { began: Instant::now(), json, is_over: AtomicBool::new(false) };
    let Some(name) = watch else {
        logging::start_with(story);
        return image::run(image.as_slice(), &of_image, json);
    };
    let request = CheckRequest { watches: vec![name.clone()], dry_run: true, delivery: None };
    let mut results = Results::new();
    let located = Located::find(explicit)?;
    let Ok(config) = &located.config else {
        // Only the agent has a valid config, and it logs the steps of its checks elsewhere.
        check_now(located, &request, |line| add(&mut results, line, json))?;
        return results.exit();
    };
    find_watch(&name, config.watches.keys().map(|name| &**name))?;
    let status = snapshot::gather(Some(config), &located.state)?;
    let known = status.watches.iter().find(|watch| watch.watch == name);
    snapshot::note_edit(&located.state, "the file")?;
    note_image(&status, known, &name, config);
    story.print("recorded", known.map(|known| recorded(known, config)).unwrap_or_default())?;
    let (gate, is_open) = gate(&status, &name, config);
    story.print("gate", gate)?;
    if !is_open {
        story.print("not asked: the registry wants to be left alone for now", Vec::new())?;
        return Ok(Exit::Failed);
    }
    logging::start_with(story);
    check_here(config.clone(), request, |line| add(&mut results, line, json))?;
    results.exit()
}

fn add(results: &mut Results, line: CheckLine, json: bool) {
    let end = "nothing was recorded, and no hook was run\n";
    let text = if json { text::json_line(&line) } else { sentences::check(&line) + end };
    results.add(line.error.is_none(), &text);
}

/// Notes that the agent's watch of this name has another image, because it has not read the file.
fn note_image(status: &Status, known: Option<&WatchStatus>, name: &str, config: &Config) {
    if status.source != StatusSource::Agent {
        return;
    }
    let whole = |known: &WatchStatus| match &known.platform {
        Some(platform) => format!("{} ({platform})", known.image),
        None => known.image.clone(),
    };
    let file = config.watches.get(name).map(|watch| watch.key.question.to_string()).unwrap_or_default();
    match known.map(whole) {
        None => logging::say(format_args!("note: the agent has no watch {name:?} yet; this is the file's")),
        Some(agents) if agents != file => {
            logging::say(format_args!(
                "note: the agent goes by {agents}; this is the file's, {file}, whose state is another"
            ));
        }
        Some(_) => {}
    }
}

/// What is recorded before the registry is asked.
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

/// The state of the running agent's gate, and whether to ask all the same: never where the registry has set a rate limit.
/// Any other failure is what the user wants to see explained, and one more request does no harm.
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

/// How long ago the registry last answered a check with a rate limit, if that is recent enough to count. Without an agent,
/// the record is all that is known.
fn limited(status: &Status, registry: &str, now: Timestamp) -> Option<String> {
    let is_limited = |watch: &&WatchStatus| {
        let error = watch.error.as_ref();
        snapshot::is_of(&watch.image, registry) && error.is_some_and(|error| error.kind == FailureKind::RateLimited)
    };
    let last = status.watches.iter().filter(is_limited).filter_map(|watch| watch.last_checked).max()?;
    (now.duration_since(last) < RATE_LIMIT_LASTS).then(|| text::distance(Some(last), now))
}

/// Prints the events of a check.
struct Story {
    began: Instant,
    json: bool,
    /// The reader of our output has gone away.
    is_over: AtomicBool,
}

impl Story {
    fn print(&self, message: &str, fields: Vec<(&'static str, Value)>) -> std::io::Result<()> {
        let milliseconds = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.json {
            let fields: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let line = json!({"ms": milliseconds, "event": message, "fields": fields});
            return text::print(&text::json_line(&line));
        }
        let told = |(name, value): &(&str, Value)| match value {
            Value::String(text) => format!("{name}={}", shown(text)),
            other => format!("{name}={other}"),
        };
        let fields: Vec<String> = fields.iter().map(told).collect();
        let line = format!("{milliseconds:>6} ms  {}  {}", shown(message), fields.join("  "));
        text::print(&text::wrapped(line.trim_end(), 11))
    }
}

impl<S: Subscriber> Layer<S> for Story {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::DEBUG && TARGETS.iter().any(|target| metadata.target().starts_with(target))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = EventFields::default();
        event.record(&mut seen);
        if !self.is_over.load(Relaxed) && self.print(&seen.message, seen.fields).is_err() {
            self.is_over.store(true, Relaxed);
        }
    }
}

#[derive(Default)]
struct EventFields {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl EventFields {
    fn record(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for EventFields {
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
