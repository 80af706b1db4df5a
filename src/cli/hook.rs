//! `taghook hook test`: runs a hook now, and records nothing.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use serde_json::json;

use super::colour::Coloured;
use super::exit::{CliError, Exit};
use super::results::Results;
use super::runtime::{Signals, runtime};
use super::{logging, reader, snapshot, text};
use crate::agent::{Sample, Trial};
use crate::config;
use crate::domain::delivery::{DeliveryState, Outcome};
use crate::domain::{ChangeKind, Choice};
use crate::hook::{Action, Stream};

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

pub(super) fn run(explicit: Option<&Path>, command: HookCommand) -> Result<Exit, CliError> {
    let HookCommand::Test(HookTestArgs { hook, watch, change, json }) = command;
    let config = config::load(&config::find(explicit)?)?.config;
    logging::start_quietly();
    snapshot::note_edit(&config.state, "the file")?;
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let trial = Trial::new(&config, &Sample { hook, watch, change }).await?;
        if !json {
            text::print(&heading(&trial))?;
        }
        let results = Mutex::new(Results::new());
        let line = |_: Stream, line: &str| {
            if let (false, Ok(mut results)) = (json, results.lock()) {
                results.add(true, &format!("  | {line}\n"));
            }
        };
        let (outcome, elapsed) = trial.run(signals.next(), line).await;
        let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let text = if json { in_json(&trial, &outcome, elapsed) } else { ending(&outcome, elapsed) };
        results.add(outcome.error.is_none(), &text);
        results.exit()
    })
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
        Some(error) => format!("{}: {} after {took}", DeliveryState::Failed.coloured(), text::printable(error)),
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
