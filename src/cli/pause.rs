//! `taghook pause` and `resume`: through the agent, or on the state without one.

use std::path::Path;

use clap::Args;

use super::exit::{CliError, Exit};
use super::located::Located;
use super::{logging, results};
use crate::control::wire::PauseRequest;

/// Keep checking watches, and hold their hooks
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook pause web api              while the host is worked on
  taghook resume web api             then: one run for the newest digest")]
pub(super) struct PauseArgs {
    #[command(flatten)]
    which: WatchesArgs,
}

/// Let the hooks of paused watches go: what is owed by now is the newest digest only
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    which: WatchesArgs,
}

#[derive(Debug, Args)]
struct WatchesArgs {
    /// Watches, by name
    #[arg(value_name = "WATCH", required = true)]
    watches: Vec<String>,
    /// One JSON object: how many watches have changed
    #[arg(long)]
    json: bool,
}

pub(super) fn pause(explicit: Option<&Path>, args: PauseArgs) -> Result<Exit, CliError> {
    set(explicit, args.which, true)
}

pub(super) fn resume(explicit: Option<&Path>, args: ResumeArgs) -> Result<Exit, CliError> {
    set(explicit, args.which, false)
}

fn set(explicit: Option<&Path>, args: WatchesArgs, paused: bool) -> Result<Exit, CliError> {
    let located = Located::find(explicit)?;
    logging::start_quietly()?;
    let request = PauseRequest { watches: args.watches, paused };
    let done =
        located.act(async |client| client.pause(&request).await, async |ledger| ledger.pause(request.clone()).await)?;
    let names = request.watches.join(", ");
    results::print(args.json, &[done], |_| match (paused, done.changed) {
        (true, 0) => format!("{names}: already paused\n"),
        (true, _) => format!("{names}: checks go on, hooks are held until `taghook resume`\n"),
        (false, 0) => format!("{names}: not paused\n"),
        (false, _) => format!("{names}: hooks run again, for the newest digest\n"),
    })
}
