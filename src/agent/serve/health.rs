//! Whether all is well, and if not, what is wrong, the worst first: for `taghook health`, the socket and probes.

use jiff::{SignedDuration, Timestamp};

use crate::agent::check::roster::WatchView;
use crate::control::wire::{
    ConfigStatus, FailedDelivery, Health, HealthProblem, HealthProblemKind, ListenProblem, Status, StatusSource,
    StoreProblem, WatchStatus,
};
use crate::domain::judge::WatchState;
use crate::domain::{Failure, Watch};
use crate::store::WriteFailure;

/// A check counts as late only after this long: it may have to wait for its registry's gate.
const OVERDUE_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// Reasons that a probe lists; more are counted.
const REASONS: usize = 10;

/// One thing that is wrong.
#[derive(Debug)]
pub enum Finding<'a> {
    /// No agent runs, so nothing is checked.
    NoAgent,
    /// Nothing can be recorded, so no hook runs.
    CannotRecord(&'a StoreProblem),
    /// Something is wrong with the agent itself, such as hooks that cannot be started.
    Agent(&'a HealthProblem),
    /// A delivery was given up.
    Failed(&'a FailedDelivery),
    /// The checks of a watch fail.
    Failing(&'a WatchStatus),
    /// A check that was due long ago has not been made.
    Stale { watch: &'a WatchStatus, due: Timestamp },
    /// An edit of the config was refused, and why.
    Refused(&'a ConfigStatus, &'a str),
    /// The address of `listen` is not served.
    NotListening(&'a ListenProblem),
}

/// Everything that is wrong, the worst first: nothing is checked, nothing can be recorded, hooks cannot be started, deliveries
/// were given up, checks fail, a check is late, an edit of the config was refused, metrics cannot be read.
pub fn findings(status: &Status, now: Timestamp) -> Vec<Finding<'_>> {
    let no_agent = status.source != StatusSource::Agent;
    let enabled = || status.watches.iter().filter(|watch| watch.enabled);
    let due = |watch: &WatchStatus| watch.due.filter(|due| !no_agent && is_late(*due, now));
    let mut all = Vec::new();
    all.extend(no_agent.then_some(Finding::NoAgent));
    all.extend(status.store.iter().map(Finding::CannotRecord));
    all.extend(status.problems.iter().map(Finding::Agent));
    all.extend(status.failed.iter().map(Finding::Failed));
    all.extend(enabled().filter(|watch| watch.state == WatchState::Failing).map(Finding::Failing));
    all.extend(enabled().filter_map(|watch| Some(Finding::Stale { watch, due: due(watch)? })));
    all.extend(status.config.iter().filter_map(|config| Some(Finding::Refused(config, config.error.as_deref()?))));
    all.extend(status.listen.iter().map(Finding::NotListening));
    all
}

/// Whether the checks are as fresh as the schedules demand, and can be recorded; if not, why not.
pub(crate) fn up_to_date(
    watches: &[WatchView],
    write_failure: Option<WriteFailure>,
    loaded: Timestamp,
    now: Timestamp,
) -> Result<(), String> {
    let held = write_failure.map(|failure| format!("hooks are held: {}", failure.message));
    let mut reasons: Vec<String> = held.into_iter().collect();
    for WatchView { watch, last_checked, .. } in watches {
        let due = match last_checked {
            Some(last) => overdue(watch, *last, now),
            // It has been due since the config was loaded.
            None => is_late(loaded, now).then_some(loaded),
        };
        reasons.extend(due.map(|due| format!("{}: its check was due at {due}", watch.name())));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let more = reasons.len().saturating_sub(REASONS);
    reasons.truncate(REASONS);
    reasons.extend((more > 0).then(|| format!("and {more} more")));
    Err(reasons.join("\n"))
}

/// When the check after the one at `last` was due, if that is long ago.
fn overdue(watch: &Watch, last: Timestamp, now: Timestamp) -> Option<Timestamp> {
    // Evaluating a cron expression is expensive; this comparison shows cheaply that it cannot matter.
    is_late(last, now).then(|| watch.next_due(last)).filter(|due| is_late(*due, now))
}

/// Whether what was due then should have happened by now.
fn is_late(due: Timestamp, now: Timestamp) -> bool {
    now.duration_since(due) > OVERDUE_AFTER
}

/// The findings as JSON, each with its `message`.
pub fn report<'a>(status: &Status, findings: &[Finding<'a>], message: impl Fn(&Finding<'a>) -> String) -> Health {
    let problems = findings.iter().map(|finding| finding.problem(message(finding))).collect();
    let watches = status.watches.iter().filter(|watch| watch.enabled).count();
    Health { ok: findings.is_empty(), watches, problems }
}

impl Finding<'_> {
    pub fn kind(&self) -> HealthProblemKind {
        match self {
            Self::NoAgent | Self::Stale { .. } => HealthProblemKind::Stale,
            Self::CannotRecord(_) => HealthProblemKind::Held,
            Self::Agent(problem) => problem.what,
            Self::Failed(_) => HealthProblemKind::Failed,
            Self::Failing(_) => HealthProblemKind::Failing,
            Self::Refused(..) => HealthProblemKind::Refused,
            Self::NotListening(_) => HealthProblemKind::Unreachable,
        }
    }

    /// The finding in words, for programs that pass it on.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::NoAgent => "no agent answers, so nothing is checked".to_owned(),
            Self::CannotRecord(problem) => format!("hooks are held: {}", problem.message),
            Self::Agent(problem) => problem.message.clone(),
            Self::Failed(FailedDelivery { watch, hook, change, attempts, error, .. }) => {
                let error = error.as_deref().unwrap_or("unknown");
                format!("{watch}: hook {hook} failed for `{change}`, after attempt {attempts}: {error}")
            }
            Self::Failing(WatchStatus { watch, image, error, .. }) => match error {
                Some(Failure { kind, message }) => format!("{watch}: {image}: {kind}: {message}"),
                None => format!("{watch}: {image}"),
            },
            Self::Stale { watch: WatchStatus { watch, last_checked: Some(last), .. }, due } => {
                format!("{watch}: was due at {due}, and was last checked at {last}")
            }
            Self::Stale { watch, due } => format!("{}: was due at {due}, and was never checked", watch.watch),
            Self::Refused(_, error) => format!("the config was changed, and refused: {error}"),
            Self::NotListening(problem) => problem.message.clone(),
        }
    }

    fn problem(&self, message: String) -> HealthProblem {
        let (watch, hook, delivery) = match self {
            Self::Agent(problem) => return (*problem).clone(),
            Self::NoAgent | Self::CannotRecord(_) | Self::Refused(..) | Self::NotListening(_) => (None, None, None),
            Self::Failed(FailedDelivery { watch, hook, id, .. }) => (Some(watch), Some(hook), Some(id)),
            Self::Failing(watch) | Self::Stale { watch, .. } => (Some(&watch.watch), None, None),
        };
        HealthProblem {
            what: self.kind(),
            watch: watch.cloned(),
            hook: hook.cloned(),
            delivery: delivery.cloned(),
            message,
        }
    }
}
