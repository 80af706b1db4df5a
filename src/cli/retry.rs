//! `taghook retry`: through the agent, or on the state without one.

use std::path::Path;

use clap::Args;

use super::exit::{CliError, Exit};
use super::located::Located;
use super::{logging, results};
use crate::control::wire::{RetryLine, RetryRequest};

/// Owe deliveries again that have failed or succeeded
///
/// The watch and hook of each is owed the newest digest, in a new delivery with new attempts. A delivery that is no
/// longer the newest of its watch and hook is refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook retry 7f3a09c2d411         by its id, or the end of it
  taghook retry --failed             all that have failed")]
pub(super) struct RetryArgs {
    /// Deliveries, by their ids or the ends of these
    #[arg(value_name = "ID", required_unless_present = "failed", conflicts_with = "failed")]
    ids: Vec<String>,
    /// All deliveries that have failed
    #[arg(long)]
    failed: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(explicit: Option<&Path>, args: RetryArgs) -> Result<Exit, CliError> {
    let RetryArgs { ids, failed, json } = args;
    let located = Located::find(explicit)?;
    logging::start_quietly()?;
    let request = RetryRequest { ids, failed };
    let retried =
        located.act(async |client| client.retry(&request).await, async |ledger| ledger.retry(request.clone()).await)?;
    let line = |line: &RetryLine| format!("{}  {} is owed again: {}\n", line.watch, line.hook, line.id);
    results::print(json, &retried, |lines| match lines {
        [] => "nothing has failed\n".into(),
        lines => lines.iter().map(line).collect(),
    })
}
