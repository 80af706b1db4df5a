//! Failpoints: where tests break the agent.
//!
//! - `TAGHOOK_FAILPOINT=STEP:COUNT` kills the process, as kill -9 does, when it reaches that step for the COUNT-th time. The
//!   crash test does so between each pair of steps of a check, a delivery, a start and a stop.
//! - `TAGHOOK_STALL=PART:FILE` makes a part stand still while that file exists, for the watchdog's tests.
//! - `TAGHOOK_PANIC=WATCH` puts a bug into the checks of one watch.
//!
//! They exist only with the cargo feature `failpoints`. Without it they are empty.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::time::sleep;
use tracing::info;

/// A step to die at.
struct Failpoint {
    step: String,
    /// How many times the step is still to be reached, the last one included.
    left: AtomicU32,
}

static FAILPOINT: OnceLock<Option<Failpoint>> = OnceLock::new();

/// Marks a step. `tests/crash` finds its name in the source, and fails if the agent never died there.
pub(crate) fn step(name: &str) {
    if !cfg!(feature = "failpoints") {
        return;
    }
    let Some(failpoint) = FAILPOINT.get_or_init(asked_for) else { return };
    if failpoint.step == name && failpoint.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// Stands still if this is the part that shall.
pub(crate) async fn stall(part: &str) {
    if !cfg!(feature = "failpoints") {
        return;
    }
    let Ok(asked) = std::env::var("TAGHOOK_STALL") else { return };
    let Some(file) = asked.strip_prefix(part).and_then(|rest| rest.strip_prefix(':')) else { return };
    if Path::new(file).exists() {
        info!(part, "stands still");
    }
    while Path::new(file).exists() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Panics if this watch shall have a bug.
pub(crate) fn bug(watch: &str) {
    if cfg!(feature = "failpoints") && std::env::var("TAGHOOK_PANIC").is_ok_and(|asked| asked == watch) {
        panic!("the bug that {watch} shall have");
    }
}

fn asked_for() -> Option<Failpoint> {
    let text = std::env::var("TAGHOOK_FAILPOINT").ok()?;
    let (step, count) = text.rsplit_once(':')?;
    Some(Failpoint { step: step.to_owned(), left: AtomicU32::new(count.parse().ok()?) })
}
