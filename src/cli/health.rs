//! `taghook health`: one word for monitoring, or what is wrong, the worst first.

use std::path::Path;
use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::args::Health;
use super::{Failure, load, status, text};
use crate::config::Config;
use crate::control::wire::{FailedDelivery, Status, WatchStatus};

/// A check may come so much later than it was due: it may wait for its registry's gate, behind others.
const LATE: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn run(explicit: Option<&Path>, health: &Health) -> Result<ExitCode, Failure> {
    let config = load(explicit, false)?;
    let status = status::gather(Some(&config), &config.state)?;
    let problems = problems(&status, &config, Timestamp::now());
    let watches = status.watches.iter().filter(|watch| watch.enabled).count();
    let is_ok = problems.is_empty();
    let text = match is_ok {
        _ if health.json => text::json_lines(&[Answer { ok: is_ok, watches, problems }]),
        true => format!("ok: {}\n", text::count(watches, "watch", "watches")),
        false => {
            problems.iter().map(|problem| format!("{}: {}\n", text::outcome(problem.what), problem.message)).collect()
        }
    };
    text::print(&text)?;
    Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `--json` says.
#[derive(Serialize)]
struct Answer {
    ok: bool,
    watches: usize,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Serialize)]
struct Problem {
    /// `stale`, `held`, `failed` or `failing`.
    what: &'static str,
    /// The watch; `None`: all of them.
    watch: Option<String>,
    hook: Option<String>,
    delivery: Option<String>,
    message: String,
}

/// The worst first: nothing is checked, nothing can be recorded, hooks were given up, checks fail, a check is late.
fn problems(status: &Status, config: &Config, now: Timestamp) -> Vec<Problem> {
    let no_agent = (status.source != "agent").then(|| no_agent(status, now));
    let held = status.store.iter().map(|problem| held(&problem.message));
    let failed = status.failed.iter().map(|failed| failed_delivery(failed, now));
    let enabled = || status.watches.iter().filter(|watch| watch.enabled);
    let failing = enabled().filter(|watch| watch.state == "failing").map(|watch| failing(watch, now));
    let stale =
        enabled().filter(|_| no_agent.is_none()).filter_map(|watch| stale(watch, config, now)).collect::<Vec<_>>();
    no_agent.into_iter().chain(held).chain(failed).chain(failing).chain(stale).collect()
}

fn no_agent(status: &Status, now: Timestamp) -> Problem {
    let since = match status.as_of {
        Some(at) => format!("the last sign of one is of {}", text::distance(Some(at), now)),
        None => "and nothing was recorded yet".to_owned(),
    };
    let message = format!("no agent answers, so nothing is checked ({since}); start `taghook run`");
    Problem { what: "stale", watch: None, hook: None, delivery: None, message }
}

/// Nothing can be recorded, so no hook is run.
fn held(why: &str) -> Problem {
    Problem { what: "held", watch: None, hook: None, delivery: None, message: why.to_owned() }
}

fn failed_delivery(failed: &FailedDelivery, now: Timestamp) -> Problem {
    Problem {
        what: "failed",
        watch: Some(failed.watch.clone()),
        hook: Some(failed.hook.clone()),
        delivery: Some(failed.id.clone()),
        message: status::failed_delivery(failed, now),
    }
}

fn failing(watch: &WatchStatus, now: Timestamp) -> Problem {
    let message = status::trouble(watch, now);
    Problem { what: "failing", watch: Some(watch.watch.clone()), hook: None, delivery: None, message }
}

/// A check that was due long ago, and has not been made.
fn stale(watch: &WatchStatus, config: &Config, now: Timestamp) -> Option<Problem> {
    let last = watch.last_checked?;
    let due = config.watches.get(watch.watch.as_str())?.next_due(last);
    let message = format!(
        "{}: was due {}, and was last checked {}",
        watch.watch,
        text::distance(Some(due), now),
        text::distance(Some(last), now)
    );
    let is_late = now.duration_since(due) > LATE;
    is_late.then(|| Problem { what: "stale", watch: Some(watch.watch.clone()), hook: None, delivery: None, message })
}
