//! `taghook hook test`: one run of a hook, now, of which nothing is recorded.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use super::args::HookTest;
use super::run::Signals;
use super::{Failure, load, log, runtime, status, text};
use crate::agent::{Sample, Trial};
use crate::config;
use crate::domain::delivery::Outcome;
use crate::domain::{ChangeKind, Choice};
use crate::hook::{Action, Stream};

pub(super) fn test(explicit: Option<&Path>, test: HookTest) -> Result<ExitCode, Failure> {
    let config = load(explicit)?;
    log::start_quietly();
    status::note_edit(&config.state, "the file")?;
    let change = test.change.as_deref().and_then(ChangeKind::parse);
    let sample = Sample { hook: test.hook, watch: test.watch, change };
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let trial = Trial::new(&config, &sample).await?;
        if !test.json {
            text::print(&heading(&trial))?;
        }
        // Told as it comes; a reader that has gone away does not end the hook.
        let printed = Mutex::new(Ok(()));
        let line = |_: Stream, line: &str| {
            if let Ok(mut printed) = printed.lock()
                && printed.is_ok()
                && !test.json
            {
                *printed = text::print(&format!("  | {line}\n"));
            }
        };
        let (outcome, elapsed) = trial.run(signals.next(), line).await;
        printed.into_inner().unwrap_or(Ok(()))?;
        text::print(&if test.json { json(&trial, &outcome, elapsed) } else { ending(&outcome, elapsed) })?;
        Ok(if outcome.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
        None => format!("{}: exit status 0 after {took}", text::outcome("succeeded")),
        Some(error) => format!("{}: {} after {took}", text::outcome("failed"), text::printable(error)),
    };
    text::wrapped(&ending, 2)
}

fn json(trial: &Trial, outcome: &Outcome, elapsed: Duration) -> String {
    let told = &trial.told;
    let line = json!({
        "hook": told.hook,
        "watch": told.watch_name,
        "change": told.kind.as_str(),
        "from": told.from.as_ref().map(|from| &from.digest),
        "to": told.to.as_ref().map(|to| &to.digest),
        "delivery": told.id,
        "exit_code": outcome.code,
        "error": outcome.error,
        "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        "output": outcome.output,
    });
    text::json_lines(&[line])
}
