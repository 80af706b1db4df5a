//! `taghook check`: now, through the agent or without one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::progress::Progress;
use super::run::Signals;
use super::{Check, Failure, log, runtime, state, text};
use crate::agent;
use crate::config::{Config, Faults};
use crate::control::wire::{CheckLine, CheckRequest};
use crate::control::{Client, Error};
use crate::domain::Digest;
use crate::domain::judge::CheckOutcome;
use crate::store::LockError;

pub(super) fn run(explicit: Option<&Path>, check: Check) -> Result<ExitCode, Failure> {
    let known = state(explicit)?;
    log::start_quietly();
    let request = CheckRequest { watches: check.watches, dry_run: check.dry_run };
    let (mut well, mut printed) = (true, Ok(()));
    // How many there are is known only with a config that can be read.
    let enabled = known.0.as_ref().map_or(0, |config| config.watches.values().filter(|watch| watch.enabled).count());
    let mut progress = Progress::of(if request.watches.is_empty() { enabled } else { request.watches.len() });
    let line = |line: CheckLine| {
        well &= line.is_well() || request.dry_run && line.outcome != CheckOutcome::Failed;
        let text = if check.json { serde_json::to_string(&line).unwrap_or_default() + "\n" } else { human(&line) };
        progress.step(line.outcome == CheckOutcome::Failed, || {
            if printed.is_ok() {
                printed = text::print(&text);
            }
        });
    };
    let done = runtime()?.block_on(ask(known, request.clone(), line));
    drop(progress);
    done?;
    printed?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks the agent or, without one, checks by the config.
pub(super) async fn ask(
    (config, state): (Result<Config, Faults>, PathBuf),
    request: CheckRequest,
    mut line: impl FnMut(CheckLine),
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let stop = signals.next();
    tokio::pin!(stop);
    if let Some(mut client) = connect(&state).await? {
        return through(&mut client, &request, &mut line, &mut stop).await;
    }
    match agent::check_once(config?, request.clone(), &mut line, &mut stop).await {
        // An agent has come up since we looked.
        Err(error @ agent::Error::Lock(LockError::Held { .. })) => match connect(&state).await? {
            Some(mut client) => through(&mut client, &request, &mut line, &mut stop).await,
            None => Err(error.into()),
        },
        done => Ok(done?),
    }
}

/// The agent that works on this state, if one listens.
pub(super) async fn connect(state: &Path) -> Result<Option<Client>, Failure> {
    let Some(socket) = agent::socket_of(state) else { return Ok(None) };
    match Client::connect(&socket).await {
        Ok(client) => Ok(Some(client)),
        // Nobody listens any more: the agent was killed, and its lock is free.
        Err(Error::Unreachable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn through(
    client: &mut Client,
    request: &CheckRequest,
    line: impl FnMut(CheckLine),
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::select! {
        done = client.check(request, line) => Ok(done?),
        () = stop => Err(agent::Error::Interrupted.into()),
    }
}

/// One line for the check, one for each delivery, one for an error.
pub(super) fn human(line: &CheckLine) -> String {
    let short = |digest: &Option<Digest>| digest.as_ref().map_or("-", Digest::short).to_owned();
    let digests = match &line.previous {
        Some(_) => format!("{} → {}", short(&line.previous), short(&line.digest)),
        None => short(&line.digest),
    };
    let name = line.watch.as_deref().unwrap_or(&line.image);
    let outcome = text::outcome(line.outcome.as_str());
    let mut all = format!("{name}  {outcome}  {digests}  {} ms\n", line.elapsed_ms);
    if let Some(error) = &line.error {
        all += &format!("  {}: {}: {}\n", line.image, error.kind, error.message);
    }
    for delivery in &line.deliveries {
        let error = delivery.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        all += &format!("  {}  {}{error}\n", delivery.hook, text::outcome(delivery.state.as_str()));
        all.extend(delivery.output.iter().map(|line| format!("    | {}\n", text::printable(line))));
    }
    all
}
