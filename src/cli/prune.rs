//! `taghook prune`: shows what is left over from an earlier config, and discards it.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use clap::Args;

use super::colour::Coloured;
use super::exit::{CliError, Exit};
use super::located::Located;
use super::{logging, results, snapshot, text};
use crate::control::wire::{Leftover, PruneRequest};

/// Give up what is owed to hooks that the config does not feed any more
///
/// What was owed to a hook when it left the config is held until it returns. This tells what is held or has failed,
/// asks, and discards it. Nothing else is touched.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Discard without asking
    #[arg(long, short)]
    yes: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(explicit: Option<&Path>, args: &PruneArgs) -> Result<Exit, CliError> {
    let located = Located::find(explicit)?;
    logging::start_quietly()?;
    let found = ask(&located, &PruneRequest::default())?;
    if located.config.is_ok() {
        snapshot::note_edit(&located.state, "the config that the agent has read")?;
    }
    if !args.json {
        text::print(&human(&found))?;
    }
    // With `--yes` even what cannot be read, and so cannot be shown, is discarded.
    if found.is_empty() && !args.yes {
        return Ok(Exit::Ok);
    }
    if !args.yes && (args.json || !confirmed(found.len())?) {
        let text = "nothing was discarded; --yes does it without asking\n";
        return results::print(args.json, &found, |_| text.into());
    }
    // The answer covers only what was shown: a delivery that is left over since then stays.
    let discard = found.iter().filter(|_| !args.yes).map(|one| one.id.clone()).collect();
    let discarded = ask(&located, &PruneRequest { discard, all: args.yes })?;
    if found.is_empty() && discarded.is_empty() {
        return Ok(Exit::Ok);
    }
    let count = text::count(discarded.len(), "delivery", "deliveries");
    results::print(args.json, &discarded, |_| format!("{count} discarded\n"))
}

fn ask(located: &Located, request: &PruneRequest) -> Result<Vec<Leftover>, CliError> {
    located.act(async |client| client.prune(request).await, async |ledger| ledger.prune(request.clone()).await)
}

fn human(found: &[Leftover]) -> String {
    if found.is_empty() {
        return "there is nothing to prune: the config feeds every hook that is owed something\n".into();
    }
    let row = |one: &Leftover| {
        vec![
            one.watch.clone(),
            one.hook.clone(),
            one.change.to_string(),
            text::digest(one.to.as_ref()),
            one.state.coloured(),
            one.error.clone().unwrap_or_default(),
        ]
    };
    text::table(&["WATCH", "HOOK", "CHANGE", "TO", "STATE", "REMARK"], found.iter().map(row).collect())
}

/// Asks the person at the terminal; without one, the answer is no.
fn confirmed(count: usize) -> std::io::Result<bool> {
    if !text::is_terminal() || !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let deliveries = text::count(count, "delivery", "deliveries");
    let mut out = anstream::stdout().lock();
    write!(out, "Discard {deliveries}? Their hooks will never hear of it. [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
