//! `taghook reload`: the running agent goes by the config as it is now, or says why not.

use std::path::Path;
use std::process::ExitCode;

use super::check::connect;
use super::{Failure, Reload, log, runtime, text};
use crate::config::{self, Faults};
use crate::control::Error;
use crate::control::wire::Reloaded;

pub(super) fn run(explicit: Option<&Path>, reload: &Reload) -> Result<ExitCode, Failure> {
    let path = config::find(explicit)?;
    // The agent is asked all the same where the config has faults, so that its log and status say so, too.
    let (state, faults) = match config::load(&path) {
        Ok(loaded) => (Some(loaded.config.state), None),
        Err(faults) => (config::state_directory(&path), Some(faults)),
    };
    log::start_quietly();
    let done = runtime()?.block_on(async {
        let agent = match &state {
            Some(state) => connect(state).await?,
            None => None,
        };
        match agent {
            Some(mut client) => Ok(Some(client.reload().await)),
            None => Ok::<_, Failure>(None),
        }
    })?;
    match done {
        Some(Ok(done)) => tell(&done, reload.json),
        Some(Err(Error::Refused(text))) => {
            refused(faults, &text);
            Ok(ExitCode::from(2))
        }
        Some(Err(error)) => Err(error.into()),
        None if faults.is_some() => faults.map_or(Ok(ExitCode::FAILURE), |faults| Err(faults.into())),
        None => {
            anstream::eprintln!("error: no agent runs on this state; `taghook run` reads the config when it starts");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The faults as `config check` shows them; or what only the agent could say.
fn refused(faults: Option<Faults>, text: &str) {
    match faults {
        Some(faults) => drop(Failure::Config(faults).tell()),
        None if text.starts_with("error") => anstream::eprintln!("{}", text.trim_end()),
        None => anstream::eprintln!("error: {text}"),
    }
    anstream::eprintln!("\nthe agent goes on by the config that it had");
}

fn tell(done: &Reloaded, json: bool) -> Result<ExitCode, Failure> {
    if json {
        text::print(&text::json_lines(std::slice::from_ref(done)))?;
        return Ok(ExitCode::SUCCESS);
    }
    for warning in &done.warnings {
        anstream::eprintln!("warning: {warning}");
    }
    let Reloaded { watches, added, changed, removed, hooks, .. } = done;
    let watches = text::count(*watches, "watch", "watches");
    let hooks = text::count(*hooks, "hook", "hooks");
    text::print(&format!(
        "reloaded: {watches}; {added} added, {changed} changed, {removed} removed; {hooks} changed\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}
