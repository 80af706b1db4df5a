//! Where log events go: to the journal with fields when systemd started us, else to standard error.
//!
//! *Invariant:* who logs never waits for whoever reads the log. Values of others are shown as [`Shown`] shows them.

mod journal;
mod text;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env::VarError;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use self::journal::{Journal, JournalLayer};
use self::text::TextWriter;
use super::backlog::{Backlog, stream, write_all};
use crate::config::nearest;
use crate::domain::shown::shown_in_colour;

/// How long the end of a process waits for whoever reads the log.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// What is written, once logging has started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    lines: Backlog<LogLine>,
    is_agents: bool,
}

enum LogLine {
    Stderr(Vec<u8>),
    Journal(Vec<u8>),
}

/// How events are written to standard error, whoever started us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// For the agent. Without a format: the journal where systemd started us, else text.
pub(super) fn start(format: Option<LogFormat>) -> io::Result<()> {
    start_at("info", format, true)?;
    // The usual hook writes to standard error by itself.
    std::panic::set_hook(Box::new(|panic| {
        let (thread, backtrace) = (std::thread::current(), Backtrace::capture());
        say(format_args!("thread {:?} {panic}", thread.name().unwrap_or("unnamed")));
        if backtrace.status() == BacktraceStatus::Captured {
            say(backtrace);
        }
    }));
    Ok(())
}

/// For a command that prints its results itself: it logs only to the journal, when a timer runs it.
pub(super) fn start_quietly() -> io::Result<()> {
    start_at(if stderr_is_the_journal() { "info" } else { "off" }, None, false)
}

/// For a command that prints events in its own way.
pub(super) fn start_with<L>(layer: L)
where
    L: Layer<tracing_subscriber::Registry> + Send + Sync,
{
    tracing_subscriber::registry().with(layer).init();
}

/// Prints a text and a line break to standard error, after what was logged. The agent does not wait for its reader.
pub(super) fn say(text: impl Display) {
    let text = format!("{text}\n");
    let text = shown_in_colour(&text);
    match LOG.get() {
        Some(log) if log.is_agents => {
            let plain = || anstream::adapter::strip_str(&text).to_string();
            put(LogLine::Stderr(if has_colours() { text.into_owned() } else { plain() }.into_bytes()));
        }
        log => {
            log.map(|log| log.lines.flush(FLUSH_TIMEOUT));
            // Nobody could be told of an error.
            let _ = anstream::stderr().lock().write_all(text.as_bytes());
        }
    }
}

/// Writes what was logged before the process ends, also where it panics.
pub(super) struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        if let Some(log) = LOG.get() {
            log.lines.flush(FLUSH_TIMEOUT);
        }
    }
}

/// `level` applies where `RUST_LOG` is unset, empty or invalid.
fn start_at(level: &str, format: Option<LogFormat>, is_agents: bool) -> io::Result<()> {
    let journal = Journal::open().ok().filter(|_| format.is_none() && stderr_is_the_journal());
    let has_journal = journal.is_some();
    let mut stderr = stream(io::stderr())?;
    let write = move |line| {
        // Nobody could be told of an error.
        let _ = match (line, &journal) {
            (LogLine::Journal(entry), Some(journal)) => journal.send(&entry),
            (LogLine::Stderr(bytes) | LogLine::Journal(bytes), _) => write_all(&mut stderr, &bytes),
        };
    };
    let lost = |lines| warn!(lines, "lines of the log are missing here: whoever reads it did not keep up");
    let _ = LOG.set(Log { lines: Backlog::start("log", write, lost)?, is_agents });
    let (filter, warning) = filter(level);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        None if has_journal => registry.with(JournalLayer { put: |entry| put(LogLine::Journal(entry)) }).init(),
        Some(LogFormat::Json) => {
            let layer = tracing_subscriber::fmt::layer().with_writer(|| TextWriter { put: put_text, is_json: true });
            registry.with(layer.json().flatten_event(true)).init();
        }
        _ => {
            let layer = tracing_subscriber::fmt::layer().with_writer(|| TextWriter { put: put_text, is_json: false });
            registry.with(layer.with_ansi(has_colours()).with_target(false).fmt_fields(text::fields())).init();
        }
    }
    let Some(warning) = warning else { return Ok(()) };
    if tracing::enabled!(tracing::Level::WARN) {
        warn!("{warning}");
    } else {
        say(format_args!("warning: {warning}"));
    }
    Ok(())
}

fn put_text(bytes: Vec<u8>) {
    put(LogLine::Stderr(bytes));
}

fn put(line: LogLine) {
    if let Some(log) = LOG.get() {
        let (LogLine::Stderr(bytes) | LogLine::Journal(bytes)) = &line;
        let length = bytes.len();
        log.lines.put(line, length);
    }
}

/// Whether standard error shows colours.
fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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
