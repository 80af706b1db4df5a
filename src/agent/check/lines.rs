//! What a check that was asked for is told.

use super::question::Checked;
use super::watched::Watched;
use crate::control::wire::{CheckLine, Problem};
use crate::domain::judge::Outcome;
use crate::domain::{Failure, FailureKind, Watch};

pub(crate) fn line(watch: &Watch, checked: &Checked) -> CheckLine {
    let problem = |failure: &Failure| Problem { kind: failure.kind.as_str().into(), message: failure.message.clone() };
    CheckLine {
        watch: Some(watch.name().to_owned()),
        image: watch.key.reference.to_string(),
        outcome: checked.outcome.as_str().to_owned(),
        digest: checked.digest.as_ref().map(ToString::to_string),
        previous: checked.previous.as_ref().map(ToString::to_string),
        error: checked.failure.as_ref().map(problem),
        elapsed_ms: u64::try_from(checked.elapsed.as_millis()).unwrap_or(u64::MAX),
        deliveries: Vec::new(),
    }
}

pub(crate) fn held_off_line(watched: &Watched, cause: FailureKind) -> CheckLine {
    let key = &watched.watch.key;
    CheckLine {
        watch: Some(key.name.to_string()),
        image: key.reference.to_string(),
        outcome: Outcome::Failed.as_str().to_owned(),
        digest: watched.record.digest().map(ToString::to_string),
        previous: None,
        error: Some(held_off(watched, cause)),
        elapsed_ms: 0,
        deliveries: Vec::new(),
    }
}

/// Why a watch is not asked for: its registry is held off.
pub(crate) fn held_off(watched: &Watched, cause: FailureKind) -> Problem {
    let last = watched.record.trouble.as_ref().map(|trouble| format!("; {}", trouble.failure)).unwrap_or_default();
    Problem { kind: cause.as_str().into(), message: format!("registry held off: {cause}{last}") }
}

/// Names the nearest watch, where one is near.
pub fn unknown_watch<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    unknown("watch", name, known)
}

/// Names the nearest hook, where one is near.
pub(crate) fn unknown_hook<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    unknown("hook", name, known)
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = crate::config::nearest(name, known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    format!("there is no {what} {name:?}{near}")
}
