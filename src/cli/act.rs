//! `taghook retry`, `pause` and `resume`: through the agent, or on the state without one.

use std::path::Path;
use std::process::ExitCode;

use super::check::connect;
use super::{Failure, Pause, Retry, log, runtime, state, text};
use crate::agent;
use crate::control::wire::{PauseRequest, RetryLine, RetryRequest};

pub(super) fn retry(explicit: Option<&Path>, retry: Retry) -> Result<ExitCode, Failure> {
    let (config, dir) = state(explicit)?;
    log::start_quietly();
    let request = RetryRequest { ids: retry.ids, failed: retry.failed };
    let lines: Vec<RetryLine> = runtime()?.block_on(async {
        match connect(&dir).await? {
            Some(mut client) => Ok::<_, Failure>(client.retry(&request).await?),
            None => Ok(agent::without_agent(config?, async |ledger| ledger.retry(request).await).await?),
        }
    })?;
    if retry.json {
        text::print(&text::json_lines(&lines))?;
    } else if lines.is_empty() {
        text::print("nothing has failed\n")?;
    } else {
        let line = |line: &RetryLine| format!("{}  {} is owed again: {}\n", line.watch, line.hook, line.id);
        text::print(&lines.iter().map(line).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pause(explicit: Option<&Path>, pause: Pause, paused: bool) -> Result<ExitCode, Failure> {
    let (config, dir) = state(explicit)?;
    log::start_quietly();
    let request = PauseRequest { watches: pause.watches, paused };
    let done = runtime()?.block_on(async {
        match connect(&dir).await? {
            Some(mut client) => Ok::<_, Failure>(client.pause(&request).await?),
            None => Ok(agent::without_agent(config?, async |ledger| ledger.pause(request.clone()).await).await?),
        }
    })?;
    let names = request.watches.join(", ");
    let text = match (paused, done.changed) {
        _ if pause.json => text::json_lines(&[done]),
        (true, 0) => format!("{names}: already paused\n"),
        (true, _) => format!("{names}: checks go on, hooks are held until `taghook resume`\n"),
        (false, 0) => format!("{names}: not paused\n"),
        (false, _) => format!("{names}: hooks run again, for the newest digest\n"),
    };
    text::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
