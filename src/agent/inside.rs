//! Commands that a hook runs. They are part of the run, so they cannot wait for what only ends after it.

use std::path::Path;
use std::time::Duration;

use super::error::Error;
use super::parts::LOCK_TIMEOUT;
use crate::domain::delivery::DeliveryState;
use crate::store::{Filter, Lock, LockError, Owner, Reader};

/// The id of the delivery whose hook this command is a part of, if it is.
pub fn calling_delivery() -> Option<String> {
    // As ours are, so that it fits into a header.
    let is_id = |id: &String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    std::env::var("TAGHOOK_DELIVERY").ok().filter(is_id)
}

/// Takes the lock of a state. A one-shot command that has it is waited for, unless it waits for us: if a hook that it runs
/// has called this command.
pub(crate) async fn lock(state: &Path) -> Result<Lock, Error> {
    let is_inside = calling_delivery().is_some_and(|id| is_running(state, &id));
    match Lock::acquire(state, if is_inside { Duration::ZERO } else { LOCK_TIMEOUT }).await {
        Err(LockError::Held { dir, owner: Some(Owner { pid, socket: None, .. }), .. }) if is_inside => {
            Err(Error::Inside { dir, pid })
        }
        taken => Ok(taken?),
    }
}

fn is_running(state: &Path, id: &str) -> bool {
    let running = Filter { state: Some(DeliveryState::Running), ..Filter::default() };
    let found = Reader::open(state).and_then(|reader| reader.deliveries(&running));
    found.is_ok_and(|rows| rows.iter().any(|row| row.id == id))
}
