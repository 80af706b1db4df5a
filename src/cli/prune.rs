//! `taghook prune`: what is left over from an earlier config, and its end.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::check::connect;
use super::{Failure, Prune, log, runtime, state, status, text};
use crate::agent;
use crate::config::{Config, Faults};
use crate::control::wire::{Leftover, PruneRequest};

pub(super) fn run(explicit: Option<&Path>, prune: &Prune) -> Result<ExitCode, Failure> {
    let known = state(explicit)?;
    log::start_quietly();
    let runtime = runtime()?;
    let found = runtime.block_on(ask(&known, PruneRequest::default()))?;
    if known.0.is_ok() {
        status::note_edit(&known.1, "the config that the agent has read")?;
    }
    if !prune.json {
        text::print(&human(&found))?;
    }
    let shall = !found.is_empty() && (prune.yes || !prune.json && confirmed(found.len())?);
    let done = if shall {
        // What came up since the question is not taken along with its answer.
        let discard = found.iter().filter(|_| !prune.yes).map(|one| one.id.clone()).collect();
        runtime.block_on(ask(&known, PruneRequest { discard, all: prune.yes }))?
    } else {
        Vec::new()
    };
    let discarded = text::count(done.len(), "delivery", "deliveries");
    match (prune.json, shall) {
        (true, shall) => text::print(&text::json_lines(if shall { &done } else { &found }))?,
        (false, true) => text::print(&format!("{discarded} discarded\n"))?,
        (false, false) if found.is_empty() => {}
        (false, false) => text::print("nothing was discarded; --yes does it without asking\n")?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(
    (config, dir): &(Result<Config, Faults>, PathBuf),
    request: PruneRequest,
) -> Result<Vec<Leftover>, Failure> {
    match connect(dir).await? {
        Some(mut client) => Ok(client.prune(&request).await?),
        None => Ok(agent::without_agent(config.clone()?, async |ledger| ledger.prune(request).await).await?),
    }
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
            text::outcome(one.state.as_str()),
            one.error.clone().unwrap_or_default(),
        ]
    };
    text::table(&["WATCH", "HOOK", "CHANGE", "TO", "STATE", "REMARK"], found.iter().map(row).collect())
}

/// Asks, where there is somebody to ask.
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
