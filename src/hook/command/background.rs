//! Reads what the background children of a command print after its run has ended, and throws it away: a pipe without a
//! reader would end them at their next word.
//!
//! *Invariant:* however many they are and however much they print, this costs little memory and little time.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Runs whose pipes are read at a time: two files and some 20 KiB each.
const MAX_RUNS: usize = 64;
static PLACES: Semaphore = Semaphore::const_new(MAX_RUNS);

const BUFFER: usize = 8 * 1024;
/// Between two reads. Who prints much is slowed down to what costs little, some 800 kB/s.
const PAUSE: Duration = Duration::from_millis(10);

/// Reads the pipes that are open still, until their ends, for as long as the process lasts. Whether there was a place for
/// them; without one they are closed.
pub(super) fn keep_reading(stdout: Option<ChildStdout>, stderr: Option<ChildStderr>) -> bool {
    if stdout.is_none() && stderr.is_none() {
        return true;
    }
    let Ok(place) = PLACES.try_acquire() else { return false };
    tokio::spawn(async move {
        tokio::join!(discard(stdout), discard(stderr));
        drop(place);
    });
    true
}

async fn discard(pipe: Option<impl AsyncRead + Unpin>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; BUFFER];
    while let Ok(1..) = pipe.read(&mut buffer).await {
        sleep(PAUSE).await;
    }
}
