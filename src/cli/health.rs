//! `taghook health`: says to monitoring that all is well, or what is wrong, the worst first.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::colour::Coloured;
use super::exit::{CliError, Exit};
use super::located::Located;
use super::sentences::{failed_delivery, failing_watch, unread_edit};
use super::{results, snapshot, text};
use crate::agent::health::{self, Finding};
use crate::control::wire::{HealthProblem, Status, StatusSource};
use crate::domain::shown::shown;

/// Say whether all is well, for monitoring
///
/// Exit status 1 if a watch is failing or stale, a delivery has failed, an edit of the config was refused, metrics cannot
/// be read where `listen` says, or no agent runs. One line for each problem, the worst first. Without a running agent everything is stale. A watch whose tag was
/// removed is no problem: that is known, and told to hooks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook health || mail -s 'taghook needs you' root < /dev/null
  taghook health --json | jq -r '.problems[].message'")]
pub(super) struct HealthArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(explicit: Option<&Path>, args: &HealthArgs) -> Result<Exit, CliError> {
    let Located { config, state } = Located::find(explicit)?;
    // Without an agent and without a state, the faults are what is wrong.
    let status = match (snapshot::gather(config.as_ref().ok(), &state), &config) {
        (Err(_), Err(faults)) => return Err(faults.clone().into()),
        (status, _) => status?,
    };
    if status.source != StatusSource::Agent {
        config?;
    }
    let now = Timestamp::now();
    let findings = health::findings(&status, now);
    let found = health::report(&status, &findings, |finding| message(finding, &status, now));
    let line = |problem: &HealthProblem| format!("{}: {}\n", problem.what.coloured(), problem.message);
    results::print(args.json, std::slice::from_ref(&found), |_| match found.ok {
        true => format!("ok: {}\n", text::count(found.watches, "watch", "watches")),
        false => found.problems.iter().map(line).collect(),
    })?;
    Ok(Exit::of(found.ok))
}

fn message(finding: &Finding<'_>, status: &Status, now: Timestamp) -> String {
    match finding {
        Finding::NoAgent => {
            let since = match status.as_of {
                Some(at) => format!("the last sign of one is of {}", text::distance(Some(at), now)),
                None => "and nothing was recorded yet".to_owned(),
            };
            format!("no agent answers, so nothing is checked ({since}); start `taghook run`")
        }
        Finding::CannotRecord(problem) => problem.message.clone(),
        Finding::Agent(problem) => shown(&problem.message).into_owned(),
        Finding::NotListening(problem) => problem.message.clone(),
        Finding::Failed(failed) => failed_delivery(failed, now),
        Finding::Failing(watch) => failing_watch(watch, now),
        Finding::Stale { watch, due } => {
            let last = match watch.last_checked {
                Some(_) => format!("last checked {}", text::distance(watch.last_checked, now)),
                None => "never checked".to_owned(),
            };
            format!("{}: was due {}, and was {last}", watch.watch, text::distance(Some(*due), now))
        }
        Finding::Refused(config, _) => unread_edit(config).unwrap_or_default(),
    }
}
