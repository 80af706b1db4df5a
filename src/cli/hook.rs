//! `taghook hook test`: runs a hook now, and records nothing.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use serde_json::json;
use tokio::time::timeout;

use super::backlog::{Backlog, stream, write_all};
use super::colour::Coloured;
use super::exit::{CliError, Exit};
use super::results::Results;
use super::runtime::{Signals, runtime};
use super::{logging, reader, snapshot, text};
use crate::agent::{Sample, Trial};
use crate::config;
use crate::domain::delivery::{DeliveryState, Ending, Outcome};
use crate::domain::shown::shown;
use crate::domain::{ChangeKind, Choice};
use crate::hook::{Action, Printed};

#[derive(Debug, Subcommand)]
pub(super) enum HookCommand {
    Test(HookTestArgs),
}

/// Run a hook now with a sample change, and show what it prints and how it ends
///
/// It runs by this user and from this shell, but as the agent runs it: with its clean environment, its directory, its
/// time limit. The hook really runs. Nothing is recorded, and what is owed to it stays owed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook hook test redeploy         for the one watch that feeds it
  taghook hook test announce web --change failing")]
pub(super) struct HookTestArgs {
    /// The hook
    #[arg(value_name = "HOOK")]
    hook: String,
    /// The watch whose image and digests it is told [default: the one that feeds it; needed if several do]
    #[arg(value_name = "WATCH")]
    watch: Option<String>,
    /// What it is told to have happened [default: moved, or the first that it subscribes to]
    #[arg(long, value_name = "KIND", value_parser = reader::change_kind())]
    change: Option<ChangeKind>,
    /// One JSON object, at the end
    #[arg(long)]
    json: bool,
}

/// How long after a signal the reader of the output has for the rest.
const AFTER_SIGNAL: Duration = Duration::from_secs(2);
/// How often to see whether all is read.
const LOOK_AFTER_READER: Duration = Duration::from_millis(20);

pub(super) fn run(explicit: Option<&Path>, command: HookCommand) -> Result<Exit, CliError> {
    let HookCommand::Test(HookTestArgs { hook, watch, change, json }) = command;
    let config = config::read(&config::find(explicit)?)?;
    logging::start_quietly()?;
    snapshot::note_edit(&config.state, "the file")?;
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let trial = Trial::new(&config, &Sample { hook, watch, change }).await?;
        if !json {
            text::print(&heading(&trial))?;
        }
        let lines = to_stdout()?;
        let hear = |printed: Printed<'_>| {
            if let (false, Printed::Line(_, line)) = (json, printed) {
                let line = format!("  | {}\n", shown(line));
                let length = line.len();
                lines.put(line, length);
            }
        };
        let (outcome, elapsed) = trial.run(signals.next(), hear).await;
        if !are_read(&lines, &outcome, &mut signals).await {
            return Ok(Exit::Failed);
        }
        let text = if json { in_json(&trial, &outcome, elapsed) } else { ending(&outcome, elapsed) };
        let mut results = Results::new();
        results.add(outcome.error.is_none(), &text);
        results.exit()
    })
}

/// Lines for standard output, whose reader must not keep the hook from being ended in time.
fn to_stdout() -> std::io::Result<Backlog<String>> {
    let (mut lines, mut notices) = (stream(std::io::stdout())?, stream(std::io::stdout())?);
    // If the reader has seen enough, the hook goes on; the end of it all fails to print, too.
    let write = move |line: String| drop(write_all(&mut lines, line.as_bytes()));
    let lost = move |count| {
        let notice =
            format!("  [{} not shown: whoever reads them did not keep up]\n", text::count(count, "line", "lines"));
        let _ = write_all(&mut notices, notice.as_bytes());
    };
    Backlog::start("output", write, lost)
}

/// Waits until all is read, until a signal, or not for long where that has come before. Says whether all is read.
async fn are_read(lines: &Backlog<String>, outcome: &Outcome, signals: &mut Signals) -> bool {
    let began = tokio::time::Instant::now();
    while !lines.flush(Duration::ZERO) {
        let is_late = outcome.ending == Ending::Cut && began.elapsed() > AFTER_SIGNAL;
        if is_late || timeout(LOOK_AFTER_READER, signals.next()).await.is_ok() {
            return false;
        }
    }
    true
}

fn heading(trial: &Trial) -> String {
    let (told, Action::Command(command)) = (&trial.told, &trial.hook.action);
    let digest = |choice: &Option<Choice>| text::digest(choice.as_ref().map(|choice| &choice.digest));
    let digests = format!("{} → {}", digest(&told.from), digest(&told.to));
    let sort = if trial.is_real { "" } else { ", made up" };
    let what = format!("{} of {} ({digests}{sort})", told.kind, told.watch_name);
    let cwd = command.cwd.as_deref().unwrap_or("/".as_ref()).display();
    let line = format!(
        "hook {} is told {what}, as delivery {}; timeout {}, in {cwd}; nothing is recorded",
        trial.hook.name,
        told.id,
        config::human_duration(trial.hook.timeout)
    );
    text::wrapped(&line, 2)
}

fn ending(outcome: &Outcome, elapsed: Duration) -> String {
    let took = text::length(SignedDuration::try_from(elapsed).unwrap_or_default());
    let ending = match &outcome.error {
        None => format!("{}: exit status 0 after {took}", DeliveryState::Succeeded.coloured()),
        Some(error) => format!("{}: {} after {took}", DeliveryState::Failed.coloured(), shown(error)),
    };
    text::wrapped(&ending, 2)
}

fn in_json(trial: &Trial, outcome: &Outcome, elapsed: Duration) -> String {
    let told = &trial.told;
    text::json_line(&json!({
        "hook": told.hook,
        "watch": told.watch_name,
        "change": told.kind,
        "from": told.from.as_ref().map(|from| &from.digest),
        "to": told.to.as_ref().map(|to| &to.digest),
        "delivery": told.id,
        "exit_code": outcome.code,
        "error": outcome.error,
        "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        "output": outcome.output,
    }))
}
