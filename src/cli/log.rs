//! `taghook log`: what an attempt has printed, and how it ended.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{CliError, Exit};
use super::located::readable;
use super::sentences::{result, took};
use super::{results, text};
use crate::domain::shown::shown;
use crate::store::{AttemptRow, Reader};

/// Show what an attempt of a delivery has printed, and how it ended
///
/// The newest attempt, unless told otherwise. A hook's first and last 32 KiB are kept, with the count of what was not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook log 7f3a09c2d411           the newest attempt
  taghook log 7f3a09c2d411 --all --tail 20")]
pub(super) struct LogArgs {
    /// The delivery, by its id or the end of it
    #[arg(value_name = "ID")]
    id: String,
    /// The attempt of this number
    #[arg(long, value_name = "N", conflicts_with = "all")]
    attempt: Option<u32>,
    /// All attempts, oldest first
    #[arg(long)]
    all: bool,
    /// Only so many lines of the beginning (and of the end, with --tail)
    #[arg(long, value_name = "LINES")]
    head: Option<usize>,
    /// Only so many lines of the end
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// Read the state in this directory, whatever the config says
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(explicit: Option<&Path>, args: &LogArgs) -> Result<Exit, CliError> {
    let (_, dir) = readable(explicit, args.state.as_ref())?;
    let attempts =
        Reader::open(&dir)?.attempts_of(&args.id)?.map_err(|refused| CliError::Usage(refused.to_string()))?;
    let mut chosen = choose(attempts, args)?;
    chosen.reverse();
    results::print(args.json, &chosen, |chosen| chosen.iter().map(|one| human(one, args)).collect())
}

/// The attempts that the arguments ask for, of all attempts, newest first.
fn choose(mut attempts: Vec<AttemptRow>, args: &LogArgs) -> Result<Vec<AttemptRow>, CliError> {
    if let Some(number) = args.attempt {
        let count = text::count(attempts.len(), "attempt", "attempts");
        attempts.retain(|attempt| attempt.attempt == number);
        if attempts.is_empty() {
            return Err(CliError::Usage(format!("delivery {:?} has {count}, and no attempt {number}", args.id)));
        }
    } else if !args.all {
        attempts.truncate(1);
    }
    if attempts.is_empty() {
        let text = format!("delivery {:?} was not tried yet; `taghook deliveries` says when it is due", args.id);
        return Err(CliError::Usage(text));
    }
    Ok(attempts)
}

fn human(attempt: &AttemptRow, args: &LogArgs) -> String {
    let AttemptRow { watch, hook, change, delivery, .. } = attempt;
    let took = took(attempt).map(|took| format!(" after {}", text::length(took))).unwrap_or_default();
    let (started, number) = (text::local(attempt.started), attempt.attempt);
    let mut all = text::wrapped(&format!("{watch}: hook {hook} for `{change}`, delivery {delivery}"), 2);
    all += &text::wrapped(&format!("attempt {number}, started {started}: {}{took}", result(attempt)), 2);
    let output = attempt.output.as_deref().unwrap_or_default();
    let lines: Vec<String> = output.lines().map(|line| shown(line).into_owned()).collect();
    match attempt.ended {
        None => all += "  what it prints is in the log; it is kept here once the attempt has ended\n",
        Some(_) if attempt.output.is_none() => all += "  what it printed is not kept any more; see [retention]\n",
        Some(_) if lines.is_empty() => all += "  it printed nothing\n",
        Some(_) => all.extend(shortened(&lines, args.head, args.tail).iter().map(|line| format!("  | {line}\n"))),
    }
    all
}

/// The first `head` and the last `tail` lines, and between them how many are not shown.
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
