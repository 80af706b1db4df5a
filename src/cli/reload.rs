//! `taghook reload`: has the running agent read its config again.

use std::path::Path;

use clap::Args;

use super::connect::connect;
use super::exit::{CliError, Exit, print_faults};
use super::runtime::runtime;
use super::{logging, results, text};
use crate::config::{self, Faults};
use crate::control::Error;
use crate::control::wire::Reloaded;

/// Have the running agent read its config again
///
/// All of it takes effect, or nothing: with a fault in it, the agent goes on by the config that it had, and this fails
/// with the faults. SIGHUP does the same.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// What has changed, as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(explicit: Option<&Path>, args: &ReloadArgs) -> Result<Exit, CliError> {
    let path = config::find(explicit)?;
    // The agent is asked even where the config has faults, so that its log and status report them, too.
    let (state, faults) = match config::read(&path) {
        Ok(config) => (Some(config.state), None),
        Err(faults) => (config::state_directory(&path), Some(faults)),
    };
    logging::start_quietly()?;
    match runtime()?.block_on(reload(state.as_deref()))? {
        Some(Ok(done)) => print(&done, args.json),
        Some(Err(Error::Refused(text))) => {
            print_refusal(faults, &text);
            Ok(Exit::Usage)
        }
        Some(Err(error)) => Err(error.into()),
        None => {
            faults.map_or(Ok(()), Err)?;
            let text = "error: no agent runs on this state; `taghook run` reads the config when it starts";
            logging::say(text);
            Ok(Exit::Failed)
        }
    }
}

/// The agent's answer, if one runs.
async fn reload(state: Option<&Path>) -> Result<Option<Result<Reloaded, Error>>, CliError> {
    let Some(state) = state else { return Ok(None) };
    match connect(state).await? {
        Some(mut client) => Ok(Some(client.reload().await)),
        None => Ok(None),
    }
}

/// The faults as `config check` shows them; or what only the agent could say.
fn print_refusal(faults: Option<Faults>, text: &str) {
    match faults {
        Some(faults) => print_faults(&faults[..]),
        None if text.starts_with("error") => logging::say(text.trim_end()),
        None => logging::say(format_args!("error: {text}")),
    }
    logging::say(format_args!("\nthe agent goes on by the config that it had"));
}

fn print(done: &Reloaded, json: bool) -> Result<Exit, CliError> {
    let Reloaded { watches, added, changed, removed, hooks, warnings } = done;
    if !json {
        warnings.iter().for_each(|warning| logging::say(format_args!("warning: {warning}")));
    }
    let watches = text::count(*watches, "watch", "watches");
    let hooks = text::count(*hooks, "hook", "hooks");
    results::print(json, std::slice::from_ref(done), |_| {
        format!("reloaded: {watches}; {added} added, {changed} changed, {removed} removed; {hooks} changed\n")
    })
}
