//! Once a day, the past is cut down to what `[retention]` keeps.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tracing::{debug, error};

use super::clock;
use crate::config::Config;
use crate::store::{Error, Retention, Store};

const INTERVAL: SignedDuration = SignedDuration::from_hours(24);

/// How long to wait after an error of the store; also the longest sleep, so that a clock that was set does not matter long.
const TRY_AGAIN: Duration = Duration::from_secs(3600);

/// Deletes old history daily. Never returns.
pub(crate) async fn serve(store: Store, config: watch::Receiver<Arc<Config>>) {
    loop {
        let retention = config.borrow().retention;
        let pause = match forget(&store, retention).await {
            Ok(next) => Duration::try_from(next.duration_since(clock::now())).unwrap_or_default(),
            Err(why) => {
                error!(kind = why.kind(), "old history cannot be deleted: {why}");
                TRY_AGAIN
            }
        };
        tokio::time::sleep(pause.clamp(Duration::from_secs(1), TRY_AGAIN)).await;
    }
}

/// Forgets if a day has passed since the last time. Returns when it is due again.
pub(crate) async fn forget(store: &Store, retention: Retention) -> Result<Timestamp, Error> {
    let now = clock::now();
    // A time in the future was written before the clock was set back.
    if let Some(last) = store.last_expiry().await?.filter(|last| *last <= now && now.duration_since(*last) < INTERVAL) {
        return Ok(last + INTERVAL);
    }
    let mut after = None;
    loop {
        after = store.expire(retention, now, after).await?;
        if after.is_none() {
            debug!("the past was cut down to what the config keeps");
            return Ok(now + INTERVAL);
        }
    }
}
