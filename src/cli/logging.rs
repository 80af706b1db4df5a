//! Where log events go: to the journal with fields when systemd started us, else to standard error.

use std::env::VarError;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use tracing::warn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::nearest;

/// How events are written to standard error, whoever started us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// For the agent. Without a format: the journal where systemd started us, else text.
pub(super) fn start(format: Option<LogFormat>) {
    start_at("info", format);
}

/// For a command that prints its results itself: it logs only to the journal, when a timer runs it.
pub(super) fn start_quietly() {
    start_at(if stderr_is_the_journal() { "info" } else { "off" }, None);
}

/// For a command that prints events in its own way.
pub(super) fn start_with<L>(layer: L)
where
    L: Layer<tracing_subscriber::Registry> + Send + Sync,
{
    tracing_subscriber::registry().with(layer).init();
}

/// `level` applies where `RUST_LOG` is unset, empty or invalid.
fn start_at(level: &str, format: Option<LogFormat>) {
    let (filter, warning) = filter(level);
    let registry = tracing_subscriber::registry().with(filter);
    let human = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match (format, tracing_journald::layer()) {
        (None, Ok(journal)) if stderr_is_the_journal() => registry.with(journal).init(),
        (Some(LogFormat::Json), _) => registry.with(human.json().flatten_event(true)).init(),
        _ => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            registry.with(human.with_ansi(colour).with_target(false)).init();
        }
    }
    let Some(warning) = warning else { return };
    if tracing::enabled!(tracing::Level::WARN) {
        warn!("{warning}");
    } else {
        anstream::eprintln!("warning: {warning}");
    }
}

/// What `RUST_LOG` lets through, and a warning about it.
fn filter(level: &str) -> (EnvFilter, Option<String>) {
    let usual = || EnvFilter::new(level);
    let remedy = "write for example RUST_LOG=info or RUST_LOG=taghook=debug";
    match std::env::var("RUST_LOG") {
        Ok(text) if text.trim().is_empty() => (usual(), None),
        Ok(text) => match EnvFilter::builder().parse(&text) {
            Ok(filter) => (filter, misspelt(&text)),
            Err(why) => (usual(), Some(format!("RUST_LOG={text:?} is ignored: {why}; {remedy}"))),
        },
        Err(VarError::NotPresent) => (usual(), None),
        Err(VarError::NotUnicode(_)) => (usual(), Some(format!("RUST_LOG is ignored: it is not UTF-8; {remedy}"))),
    }
}

/// `RUST_LOG` takes a misspelt level for a module, and so silences all others.
fn misspelt(text: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let mut words = text.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ':']));
    words.find_map(|word| {
        let lower = word.to_ascii_lowercase();
        let near = nearest(&lower, LEVELS).filter(|_| !LEVELS.contains(&&*lower))?;
        Some(format!("RUST_LOG: {word:?} is taken for the name of a module; did you mean {near:?}?"))
    })
}

/// systemd.exec(5), `$JOURNAL_STREAM`: device and inode of the stream that leads to the journal.
fn stderr_is_the_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(meta) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", meta.dev(), meta.ino())
}
