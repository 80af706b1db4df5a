//! `taghook health`: one word for monitoring, or what is wrong, the worst first.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;

use super::args::Health;
use super::{Failure, state, status, text};
use crate::agent::health::{self, Finding};
use crate::control::wire::{Status, StatusSource};

pub(super) fn run(explicit: Option<&Path>, health: &Health) -> Result<ExitCode, Failure> {
    let (config, dir) = state(explicit)?;
    // Without an agent and without a state, the faults are what is wrong.
    let status = match (status::gather(config.as_ref().ok(), &dir), &config) {
        (Err(_), Err(faults)) => return Err(faults.clone().into()),
        (status, _) => status?,
    };
    if status.source != StatusSource::Agent {
        config?;
    }
    let now = Timestamp::now();
    let findings = health::findings(&status, now);
    let found = health::report(&status, &findings, |finding| message(finding, &status, now));
    let text = match found.ok {
        _ if health.json => text::json_lines(std::slice::from_ref(&found)),
        true => format!("ok: {}\n", text::count(found.watches, "watch", "watches")),
        false => {
            let line = |problem: &crate::control::wire::HealthProblem| {
                format!("{}: {}\n", text::outcome(problem.what.as_str()), problem.message)
            };
            found.problems.iter().map(line).collect()
        }
    };
    text::print(&text)?;
    Ok(if found.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
        Finding::Held(problem) => problem.message.clone(),
        Finding::Failed(failed) => status::failed_delivery(failed, now),
        Finding::Failing(watch) => status::trouble(watch, now),
        Finding::Stale { watch, due } => {
            let last = match watch.last_checked {
                Some(_) => format!("last checked {}", text::distance(watch.last_checked, now)),
                None => "never checked".to_owned(),
            };
            format!("{}: was due {}, and was {last}", watch.watch, text::distance(Some(*due), now))
        }
        Finding::Refused(config, _) => status::about_config(config, now).unwrap_or_default(),
    }
}
