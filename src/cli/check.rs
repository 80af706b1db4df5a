//! `taghook check`: now, through the agent or without one.

use std::path::Path;
use std::process::ExitCode;

use super::run::stop_signal;
use super::{Check, Failure, load, log, runtime, text};
use crate::agent;
use crate::config::Config;
use crate::control::wire::{CheckLine, CheckRequest};
use crate::control::{Client, Error};

pub(super) fn run(explicit: Option<&Path>, check: Check) -> Result<ExitCode, Failure> {
    let config = load(explicit, false)?;
    log::start("off");
    let request = CheckRequest { watches: check.watches, dry_run: check.dry_run };
    let (mut well, mut printed) = (true, Ok(()));
    let line = |line: CheckLine| {
        well &= line.is_well() || request.dry_run && line.outcome != "failed";
        let text = if check.json { serde_json::to_string(&line).unwrap_or_default() + "\n" } else { human(&line) };
        if printed.is_ok() {
            printed = text::print(&text);
        }
    };
    runtime()?.block_on(ask(config, request.clone(), line))?;
    printed?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(config: Config, request: CheckRequest, mut line: impl FnMut(CheckLine)) -> Result<(), Failure> {
    let stop = stop_signal()?;
    if let Some(socket) = agent::socket_of(&config.state) {
        match Client::connect(&socket).await {
            Ok(mut client) => {
                return tokio::select! {
                    done = client.check(&request, line) => Ok(done?),
                    () = stop => Err(agent::Error::Interrupted.into()),
                };
            }
            // Nobody listens any more: the agent was killed, and its lock is free.
            Err(Error::Unreachable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(agent::check_once(config, request, &mut line, stop).await?)
}

/// One line for the check, one for each delivery, one for an error.
fn human(line: &CheckLine) -> String {
    let short = |digest: &Option<String>| digest.as_deref().map(text::short_digest).unwrap_or("-").to_owned();
    let digests = match &line.previous {
        Some(_) => format!("{} → {}", short(&line.previous), short(&line.digest)),
        None => short(&line.digest),
    };
    let name = line.watch.as_deref().unwrap_or(&line.image);
    let outcome = text::outcome(&line.outcome);
    let mut all = format!("{name}  {outcome}  {digests}  {} ms\n", line.elapsed_ms);
    if let Some(error) = &line.error {
        all += &format!("  {}: {}\n", error.kind, error.message);
    }
    for delivery in &line.deliveries {
        let error = delivery.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        all += &format!("  {}  {}{error}\n", delivery.hook, text::outcome(&delivery.state));
    }
    all
}
