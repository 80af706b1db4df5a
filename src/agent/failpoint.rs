//! Where tests break the agent.
//!
//! - The crash test ends it, between each pair of steps of a check, of a delivery, of a start and of a stop:
//!   `TAGHOOK_FAILPOINT=STEP:COUNT` kills the process, as kill -9 does, when it gets to that step for the COUNT-th time.
//! - The tests of the watchdog have one of its parts stand still: `TAGHOOK_STALL=PART:FILE`, while there is that file.
//! - A bug in the checks of one watch: `TAGHOOK_PANIC=WATCH`.
//!
//! Only with the cargo feature `failpoints`; without it, all of them are nothing.

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
    /// So often it is got to, the last time included.
    left: AtomicU32,
}

static FAILPOINT: OnceLock<Option<Failpoint>> = OnceLock::new();

/// Gets to a step; `tests/crash` finds its name here, and fails if it never died there.
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
