//! Waiting for what has a bound, on behalf of commands, which have no runtime yet.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::bounded::CONFIG;

/// How long looking for a file, or reading one, may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Waits on this thread. Within a runtime this would panic.
pub(super) fn wait<T>(work: impl Future<Output = T>) -> io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(work))
}

/// Whether there is a file. One that does not answer, or that we may not look at, may well be there.
pub fn is_there(path: &Path) -> bool {
    let (key, path) = (path.display().to_string(), path.to_owned());
    let look = CONFIG.run_alone(key, TIMEOUT, move || path.try_exists().unwrap_or(true));
    wait(look).ok().and_then(Result::ok).unwrap_or(true)
}
