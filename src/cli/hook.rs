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
use crate::domain::{ChangeKind, Digest};
use crate::hook::{Run, Stream};

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
        let (run, elapsed) = trial.run(signals.next(), line).await;
        printed.into_inner().unwrap_or(Ok(()))?;
        text::print(&if test.json { json(&trial, &run, elapsed) } else { ending(&run, elapsed) })?;
        Ok(if run.end.error().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn heading(trial: &Trial) -> String {
    let (told, command) = (&trial.told, &trial.hook.command);
    let digest = |digest: &Option<Digest>| text::digest(digest.as_ref().map(Digest::as_str));
    let digests = format!("{} → {}", digest(&told.from), digest(&told.to));
    let sort = if trial.is_real { "" } else { ", made up" };
    let what = format!("{} of {} ({digests}{sort})", told.kind, told.watch.1);
    let cwd = command.cwd.as_deref().unwrap_or("/".as_ref()).display();
    let line = format!(
        "hook {} is told {what}, as delivery {}; timeout {}, in {cwd}; nothing is recorded",
        trial.hook.name,
        told.id,
        config::written(command.timeout)
    );
    text::wrapped(&line, 2)
}

fn ending(run: &Run, elapsed: Duration) -> String {
    let took = text::length(SignedDuration::try_from(elapsed).unwrap_or_default());
    let ending = match run.end.error() {
        None => format!("{}: exit status 0 after {took}", text::outcome("succeeded")),
        Some(error) => format!("{}: {} after {took}", text::outcome("failed"), text::printable(&error)),
    };
    text::wrapped(&ending, 2)
}

fn json(trial: &Trial, run: &Run, elapsed: Duration) -> String {
    let told = &trial.told;
    let line = json!({
        "hook": told.hook,
        "watch": told.watch.1,
        "change": told.kind.as_str(),
        "from": told.from.as_ref().map(Digest::as_str),
        "to": told.to.as_ref().map(Digest::as_str),
        "delivery": told.id,
        "exit_code": run.end.exit_code(),
        "error": run.end.error(),
        "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        "output": run.output.text(),
    });
    text::json_lines(&[line])
}
