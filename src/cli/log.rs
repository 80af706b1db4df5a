//! Where events go: the journal with fields when systemd started us, else standard error.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Sets it up once, for the agent.
pub(super) fn start() {
    start_at("info");
}

/// Sets it up once, for a command that prints its results itself: events are for the journal, under a timer.
pub(super) fn start_quietly() {
    start_at(if stderr_is_the_journal() { "info" } else { "off" });
}

/// Sets it up once, for a command that tells the story of a check itself.
pub(super) fn start_telling<L>(story: L)
where
    L: Layer<tracing_subscriber::Registry> + Send + Sync,
{
    tracing_subscriber::registry().with(story).init();
}

/// `level` is what is told where `RUST_LOG` says nothing.
fn start_at(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    match tracing_journald::layer() {
        Ok(journal) if stderr_is_the_journal() => registry.with(journal).init(),
        _ => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            let human = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
            registry.with(human.with_target(false)).init();
        }
    }
}

/// systemd.exec(5), `$JOURNAL_STREAM`: device and inode of the stream that leads to the journal.
fn stderr_is_the_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(meta) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", meta.dev(), meta.ino())
}
