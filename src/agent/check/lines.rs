//! The result line sent to whoever requested a check.

use super::question::CheckResult;
use super::watched::Watched;
use crate::control::wire::CheckLine;
use crate::domain::{Failure, FailureKind, Watch};

pub(crate) fn line(watch: &Watch, checked: &CheckResult) -> CheckLine {
    CheckLine {
        watch: Some(watch.name().to_owned()),
        image: watch.key.question.reference(),
        outcome: checked.verdict.outcome,
        digest: checked.digest.clone(),
        previous: checked.previous.clone(),
        error: checked.failure.clone(),
        elapsed_ms: u64::try_from(checked.elapsed.as_millis()).unwrap_or(u64::MAX),
        deliveries: Vec::new(),
    }
}

pub(crate) fn held_off_line(watched: &Watched, cause: FailureKind) -> CheckLine {
    line(&watched.watch, &CheckResult::unjudged(watched.record.clone(), held_off(watched, cause)))
}

/// Why a watch is not asked for: its registry is held off.
pub(crate) fn held_off(watched: &Watched, cause: FailureKind) -> Failure {
    let last = watched.record.failing.as_ref().map(|failing| format!("; {}", failing.latest)).unwrap_or_default();
    Failure { kind: cause, message: format!("registry held off: {cause}{last}") }
}
