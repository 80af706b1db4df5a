//! taghook at work, without a registry of your own: `cargo run --release --example demo`
//!
//! A small registry on the loopback interface, a config file, a shell hook, and the real agent with its real SQLite
//! state in a temporary directory. The tag moves five times.
//!
//! *Invariant:* nothing here waits for time to pass; every wait is for an event and has an end. The exit status is 0 only
//! if the hook ran exactly for what was pushed, and 1 otherwise.

#[path = "../tests/support/registry.rs"]
mod registry;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use registry::Registry;
use taghook::domain::Digest;
use taghook::store::{Filter, Reader};
use taghook::{agent, config};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tracing_subscriber::layer::{Context as Scope, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Far longer than any single thing takes here.
const PATIENCE: Duration = Duration::from_secs(8);
/// The demo ends by then, whatever happens.
const DEADLINE: Duration = Duration::from_secs(25);

const REPOSITORY: &str = "acme/web";
const TAG: &str = "stable";

/// The hook. It hands what it was told to the demo through a named pipe; a hook of yours would pull and restart.
const HOOK: &str = r#"#!/bin/sh
set -eu
printf '%s %s %s %s\n' "$TAGHOOK_ATTEMPT" "$TAGHOOK_PREVIOUS_DIGEST" "$TAGHOOK_DIGEST" "$(cat)" > report
printf 'deploying %.19s, TAGHOOK_ATTEMPT=%s\n' "$TAGHOOK_DIGEST" "$TAGHOOK_ATTEMPT"
if rm broken 2>/dev/null; then
    echo "cannot deploy just now" >&2
    exit 1
fi
if rm slow 2>/dev/null; then
    echo "this takes a while ..."
    read -r answer < finish
fi
echo "deployed"
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match tokio::time::timeout(DEADLINE, demo()).await {
        Ok(done) => done,
        Err(_) => Err(anyhow::anyhow!("not done after {} s", DEADLINE.as_secs())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("\n\x1b[31mdemo failed:\x1b[0m {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let registry = Registry::start();
    let first = registry.push_image(REPOSITORY, TAG, "version 1");
    let text = write_files(dir.path(), &registry)?;
    heading("The config");
    text.lines().for_each(|line| anstream::println!("{}", format!("  {line}").trim_end()));
    let path = dir.path().join("config.toml");
    let config = config::load_again(&path).await.map_err(|faults| anyhow::anyhow!("{faults}"))?.config;

    let (told, log) = mpsc::unbounded_channel();
    tracing_subscriber::registry().with(Log { began: Instant::now(), told }).init();
    let finish = pipe::OpenOptions::new().read_write(true).open_sender(dir.path().join("finish"))?;
    let reports = pipe::OpenOptions::new().read_write(true).open_receiver(dir.path().join("report"))?;
    let mut stage = Stage { dir: dir.path(), registry, log, finish, reports: BufReader::new(reports).lines() };

    let (end, stopped) = oneshot::channel::<()>();
    let stop = async { drop(stopped.await) };
    let world = agent::World { tell: |_| {}, alive: None, reload: Arc::default(), stop, hurry: std::future::pending() };
    let agent = agent::run(path, config, world);
    let story = async {
        let pushed = stage.play(first).await;
        // The agent stops in order before its state is looked at.
        drop(end);
        pushed
    };
    let (pushed, ended) = tokio::join!(story, async { agent.await.context("the agent has ended") });
    ended?;
    let pushed = pushed?;
    ensure!(stage.log_is_calm(), "the hook ran once more than it should");
    stage.show_and_compare(&pushed)
}

/// Writes config, hook and pipes; returns the config's text.
fn write_files(dir: &Path, registry: &Registry) -> Result<String> {
    let text = format!(
        r#"state = "state"

[watch.web]
image    = "{}"
schedule = "1s"
hooks    = ["deploy"]

[hook.deploy]
command  = ["/bin/sh", "hook.sh"]
cwd      = "."
timeout  = "10s"
attempts = 3
backoff  = "1s"

[registry."{}"]
plain_http = true
"#,
        registry.image(REPOSITORY, TAG),
        registry.host()
    );
    std::fs::write(dir.join("config.toml"), &text)?;
    std::fs::write(dir.join("hook.sh"), HOOK)?;
    for pipe in ["report", "finish"] {
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.join(pipe), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    }
    Ok(text)
}

/// Where the demo plays: the registry that it pushes to, the agent's log, the hook's reports.
struct Stage<'a> {
    dir: &'a Path,
    registry: Registry,
    log: mpsc::UnboundedReceiver<Told>,
    finish: pipe::Sender,
    reports: Lines<BufReader<pipe::Receiver>>,
}

impl Stage<'_> {
    /// Moves the tag and watches what comes of it; returns all digests that were pushed.
    async fn play(&mut self, first: String) -> Result<Vec<String>> {
        heading("First sight: a baseline, which runs no hook");
        self.logged("first seen", &[("digest", &first)]).await?;
        self.logged("checked", &[("outcome", "unchanged")]).await?;

        heading("The tag moves: the hook runs");
        let second = self.push("version 2");
        self.ran(1, &first, &second).await?;
        self.logged("hook succeeded", &[]).await?;

        heading("The tag moves, and the hook fails at first: it is tried again");
        std::fs::write(self.dir.join("broken"), "")?;
        let third = self.push("version 3");
        self.ran(1, &second, &third).await?;
        self.ran(2, &second, &third).await?;
        self.logged("hook succeeded", &[("attempt", "2")]).await?;

        heading("Two more moves while the hook is busy: the newest wins");
        std::fs::write(self.dir.join("slow"), "")?;
        let fourth = self.push("version 4");
        self.ran(1, &third, &fourth).await?;
        let fifth = self.push("version 5");
        self.logged("tag moved", &[("to", &fifth)]).await?;
        let sixth = self.push("version 6");
        self.logged("tag moved", &[("to", &sixth)]).await?;
        self.finish.write_all(b"go on\n").await?;
        self.ran(1, &fourth, &sixth).await?;
        self.logged("hook succeeded", &[]).await?;
        self.logged("hook succeeded", &[]).await?;
        self.logged("checked", &[("outcome", "unchanged")]).await?;
        Ok(vec![first, second, third, fourth, fifth, sixth])
    }

    /// Pushes an image to the tag.
    fn push(&self, salt: &str) -> String {
        let digest = self.registry.push_image(REPOSITORY, TAG, salt);
        anstream::println!("  \x1b[1mpush    {salt}: {}\x1b[0m", short(&digest));
        digest
    }

    /// Waits for a line of the agent's log.
    async fn logged(&mut self, message: &str, fields: &[(&str, &str)]) -> Result<()> {
        let wanted =
            |told: &Told| told.says(message) && fields.iter().all(|(name, value)| told.field(name) == Some(value));
        let wait = async {
            while let Some(told) = self.log.recv().await {
                if wanted(&told) {
                    return Ok(());
                }
            }
            bail!("the agent's log has ended")
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(done) => done,
            Err(_) => bail!("no {message:?} {fields:?} in the agent's log within {} s", PATIENCE.as_secs()),
        }
    }

    /// Waits for the hook's report and compares it with what was pushed.
    async fn ran(&mut self, attempt: u32, from: &str, to: &str) -> Result<()> {
        let line = match tokio::time::timeout(PATIENCE, self.reports.next_line()).await {
            Ok(line) => line?.context("the hook's pipe has ended")?,
            Err(_) => bail!("the hook did not run for {} within {} s", short(to), PATIENCE.as_secs()),
        };
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let told = (word(), word(), word());
        let attempt = attempt.to_string();
        ensure!(
            told == (attempt.as_str(), from, to),
            "the hook was told (attempt, previous digest, digest) {told:?} instead of {:?}",
            (attempt, from, to)
        );
        let stdin: serde_json::Value = serde_json::from_str(word()).context("standard input is not JSON")?;
        let of = |name: &str| stdin[name].as_str().unwrap_or_default();
        ensure!(
            (of("change"), of("previous_digest"), of("digest")) == ("moved", from, to),
            "standard input says something else than the environment: {stdin}"
        );
        Ok(())
    }

    /// Whether nothing more was started than was waited for.
    fn log_is_calm(&mut self) -> bool {
        std::iter::from_fn(|| self.log.try_recv().ok()).all(|told| told.message != "hook started")
    }

    /// Shows what is on disk, and compares it with what was pushed.
    fn show_and_compare(&self, pushed: &[String]) -> Result<()> {
        let reader = Reader::open(&self.dir.join("state"))?;
        let version = |digest: Option<&str>| match pushed.iter().position(|known| Some(known.as_str()) == digest) {
            Some(index) => format!("version {}", index + 1),
            None => "-".to_owned(),
        };

        heading("The history, oldest first");
        let mut changes = reader.changes(&Filter::default())?;
        changes.reverse();
        for change in &changes {
            let (from, to) =
                (version(change.from.as_ref().map(Digest::as_str)), version(change.to.as_ref().map(Digest::as_str)));
            anstream::println!(
                "  {:<6}  {from:>9} → {to}  {}",
                change.change,
                short(change.to.as_ref().map(Digest::as_str).unwrap_or(""))
            );
        }
        heading("The deliveries, oldest first");
        let mut deliveries = reader.deliveries(&Filter::default())?;
        deliveries.reverse();
        for row in &deliveries {
            let (from, to) =
                (version(row.from.as_ref().map(Digest::as_str)), version(row.to.as_ref().map(Digest::as_str)));
            anstream::println!("  {}  {from} → {to}  {:<10}  attempts: {}", row.hook, row.state, row.attempts);
        }

        let history: Vec<_> =
            changes.iter().map(|c| (c.change.as_str(), c.to.as_ref().map(Digest::as_str).unwrap_or(""))).collect();
        let expected: Vec<_> =
            pushed.iter().enumerate().map(|(i, to)| (if i == 0 { "first" } else { "moved" }, to.as_str())).collect();
        ensure!(history == expected, "the history is not what was pushed:\n{history:?}\n{expected:?}");
        let version = |digest: Option<&str>| pushed.iter().position(|known| Some(known.as_str()) == digest);
        let done: Vec<_> = deliveries
            .iter()
            .map(|row| {
                (
                    version(row.from.as_ref().map(Digest::as_str)),
                    version(row.to.as_ref().map(Digest::as_str)),
                    row.state.as_str(),
                    row.attempts,
                )
            })
            .collect();
        // Version 5 was overtaken while the hook was busy; the last run goes from version 4 to version 6.
        let expected = [
            (Some(0), Some(1), "succeeded", 1),
            (Some(1), Some(2), "succeeded", 2),
            (Some(2), Some(3), "succeeded", 1),
            (Some(2), Some(4), "superseded", 0),
            (Some(3), Some(5), "succeeded", 1),
        ];
        ensure!(done == expected, "the deliveries are not what was expected:\n{done:?}\n{expected:?}");

        let requests = self.registry.requests();
        let heads = requests.iter().filter(|request| request.starts_with("HEAD ")).count();
        ensure!(heads == requests.len(), "the registry was asked by more than HEAD: {requests:?}");
        heading("All as expected");
        anstream::println!("  5 moves, 4 deliveries done in 5 runs, 1 overtaken; {heads} HEAD requests, no GET");
        Ok(())
    }
}

/// The agent's log: shown, and handed to the demo, which waits for lines of it.
struct Log {
    began: Instant,
    told: mpsc::UnboundedSender<Told>,
}

/// One line of the agent's log.
#[derive(Default)]
struct Told {
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl Told {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// Whether this is its message, perhaps with a reason behind it.
    fn says(&self, message: &str) -> bool {
        self.message.strip_prefix(message).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
    }

    /// As people read it; `None` for what would be noise here.
    fn line(&self, metadata: &tracing::Metadata<'_>) -> Option<String> {
        let field = |name| self.field(name).unwrap_or_default();
        let message = self.message.as_str();
        Some(match message {
            _ if metadata.target() == "taghook::hook" => format!("        | {message}"),
            _ if message.starts_with("checked: ") => format!("check   {} ({})", field("outcome"), field("elapsed")),
            "first seen" => format!("change  first seen: {}", short(field("digest"))),
            "tag moved" => format!("change  moved: {} → {}", short(field("from")), short(field("to"))),
            "hook started" => format!("hook    started, attempt {}", field("attempt")),
            "hook succeeded" => format!("hook    succeeded ({})", field("elapsed")),
            _ if message.starts_with("hook failed") => format!("hook    {}", message.trim_start_matches("hook ")),
            _ if *metadata.level() <= tracing::Level::INFO => format!("agent   {message}"),
            _ => return None,
        })
    }
}

impl tracing::field::Visit for Told {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "elapsed" => drop(self.fields.insert("elapsed", format!("{value:.1?}"))),
            name => drop(self.fields.insert(name, format!("{value:?}"))),
        }
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Scope<'_, S>) -> bool {
        metadata.target().starts_with("taghook") && *metadata.level() <= tracing::Level::DEBUG
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Scope<'_, S>) {
        let mut told = Told::default();
        event.record(&mut told);
        if let Some(line) = told.line(event.metadata()) {
            let colour = match *event.metadata().level() {
                tracing::Level::ERROR | tracing::Level::WARN => "\x1b[33m",
                tracing::Level::INFO => "",
                _ => "\x1b[2m",
            };
            anstream::println!("  {colour}{:4.1} s  {line}\x1b[0m", self.began.elapsed().as_secs_f64());
        }
        // Nobody listens any more once the story has been told.
        let _ = self.told.send(told);
    }
}

fn heading(text: &str) {
    anstream::println!("\n\x1b[1;36m{text}\x1b[0m");
}

fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}
