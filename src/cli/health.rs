//! `taghook health`: one word for monitoring, or what is wrong, the worst first.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;

use super::args::Health;
use super::{Failure, load, status, text};
use crate::agent::health::{self, Trouble};
use crate::control::wire::Status;

pub(super) fn run(explicit: Option<&Path>, health: &Health) -> Result<ExitCode, Failure> {
    let config = load(explicit, false)?;
    let status = status::gather(Some(&config), &config.state)?;
    let now = Timestamp::now();
    let troubles = health::troubles(&status, &config, now);
    let found = health::told(&status, &troubles, |trouble| message(trouble, &status, now));
    let text = match found.ok {
        _ if health.json => text::json_lines(std::slice::from_ref(&found)),
        true => format!("ok: {}\n", text::count(found.watches, "watch", "watches")),
        false => {
            let line = |problem: &crate::control::wire::Unwell| {
                format!("{}: {}\n", text::outcome(&problem.what), problem.message)
            };
            found.problems.iter().map(line).collect()
        }
    };
    text::print(&text)?;
    Ok(if found.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn message(trouble: &Trouble<'_>, status: &Status, now: Timestamp) -> String {
    match trouble {
        Trouble::NoAgent => {
            let since = match status.as_of {
                Some(at) => format!("the last sign of one is of {}", text::distance(Some(at), now)),
                None => "and nothing was recorded yet".to_owned(),
            };
            format!("no agent answers, so nothing is checked ({since}); start `taghook run`")
        }
        Trouble::Held(problem) => problem.message.clone(),
        Trouble::Failed(failed) => status::failed_delivery(failed, now),
        Trouble::Failing(watch) => status::trouble(watch, now),
        Trouble::Stale { watch, last, due } => {
            let (due, last) = (text::distance(Some(*due), now), text::distance(Some(*last), now));
            format!("{}: was due {due}, and was last checked {last}", watch.watch)
        }
    }
}
