//! `taghook log`: what an attempt has printed, and how it ended.

use std::path::Path;
use std::process::ExitCode;

use super::args::Log;
use super::status::{result, took};
use super::{Failure, readable, text};
use crate::store::{AttemptRow, Reader};

pub(super) fn run(explicit: Option<&Path>, log: &Log) -> Result<ExitCode, Failure> {
    let (_, dir) = readable(explicit, log.state.as_ref())?;
    let attempts = Reader::open(&dir)?.attempts_of(&log.id)?.map_err(|refused| Failure::Usage(refused.to_string()))?;
    let mut chosen = choose(attempts, log)?;
    // As they happened.
    chosen.reverse();
    let text = if log.json { text::json_lines(&chosen) } else { chosen.iter().map(|one| human(one, log)).collect() };
    text::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The attempts that are meant, of those that there are, newest first.
fn choose(mut attempts: Vec<AttemptRow>, log: &Log) -> Result<Vec<AttemptRow>, Failure> {
    if let Some(number) = log.attempt {
        let count = text::count(attempts.len(), "attempt", "attempts");
        attempts.retain(|attempt| attempt.attempt == number);
        if attempts.is_empty() {
            return Err(Failure::Usage(format!("delivery {:?} has {count}, and no attempt {number}", log.id)));
        }
    } else if !log.all {
        attempts.truncate(1);
    }
    if attempts.is_empty() {
        let id = &log.id;
        return Err(Failure::Usage(format!(
            "delivery {id:?} was not tried yet; `taghook deliveries` says when it is due"
        )));
    }
    Ok(attempts)
}

fn human(attempt: &AttemptRow, log: &Log) -> String {
    let AttemptRow { watch, hook, change, delivery, .. } = attempt;
    let took = took(attempt).map(|took| format!(" after {}", text::length(took))).unwrap_or_default();
    let (started, number) = (text::local(attempt.started), attempt.attempt);
    let mut all = text::wrapped(&format!("{watch}: hook {hook} for `{change}`, delivery {delivery}"), 2);
    all += &text::wrapped(&format!("attempt {number}, started {started}: {}{took}", result(attempt)), 2);
    let output = attempt.output.as_deref().unwrap_or_default();
    let lines: Vec<String> = output.lines().map(text::printable).collect();
    match attempt.ended {
        None => all += "  what it prints is in the log; it is kept here once the attempt has ended\n",
        Some(_) if attempt.output.is_none() => all += "  what it printed is not kept any more; see [retention]\n",
        Some(_) if lines.is_empty() => all += "  it printed nothing\n",
        Some(_) => all.extend(shortened(&lines, log.head, log.tail).iter().map(|line| format!("  | {line}\n"))),
    }
    all
}

/// The first and the last lines, as many as are wanted, and between them how many were left out.
fn shortened(lines: &[String], head: Option<usize>, tail: Option<usize>) -> Vec<String> {
    if head.is_none() && tail.is_none() {
        return lines.to_vec();
    }
    let (head, tail) = (head.unwrap_or(0).min(lines.len()), tail.unwrap_or(0));
    let (first, rest) = lines.split_at(head);
    let (left_out, last) = rest.split_at(rest.len().saturating_sub(tail));
    let note = (!left_out.is_empty()).then(|| format!("[{} not shown]", text::count(left_out.len(), "line", "lines")));
    first.iter().cloned().chain(note).chain(last.iter().cloned()).collect()
}
