//! Where the crash test ends the agent: between each pair of steps of a check, of a delivery, of a start and of a stop.
//!
//! With the cargo feature `failpoints`, `TAGHOOK_FAILPOINT=STEP:COUNT` kills the process, as kill -9 does, when it gets to
//! that step for the COUNT-th time. Without the feature, a step is nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// A step to die at.
struct Failpoint {
    step: String,
    /// So often it is got to, the last time included.
    left: AtomicU32,
}

static FAILPOINT: OnceLock<Option<Failpoint>> = OnceLock::new();

/// Gets to a step; `tests/crash` finds its name here, and fails if it never died there.
pub(super) fn step(name: &str) {
    if !cfg!(feature = "failpoints") {
        return;
    }
    let Some(failpoint) = FAILPOINT.get_or_init(asked_for) else { return };
    if failpoint.step == name && failpoint.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

fn asked_for() -> Option<Failpoint> {
    let text = std::env::var("TAGHOOK_FAILPOINT").ok()?;
    let (step, count) = text.rsplit_once(':')?;
    Some(Failpoint { step: step.to_owned(), left: AtomicU32::new(count.parse().ok()?) })
}
