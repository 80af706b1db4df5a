//! `taghook check` without an agent: check, give each due delivery of these watches one attempt, exit.

use tracing::error;

use super::check::handle::{Checks, SchedulerHandle};
use super::check::watched::CheckDone;
use super::deliver::deliverer::Deliverer;
use super::error::Error;
use super::parts::{Mode, Parts};
use super::serve::checks::delivery_line;
use super::{expiry, inside};
use crate::config::Config;
use crate::control::wire::{CheckLine, CheckRequest};
use crate::domain::delivery::DeliveryState;
use crate::store::Lock;

/// Checks once; `line` hears each result as it comes. `stop` ends it early: running hooks are ended, and stay owed.
pub async fn check_once(
    config: Config,
    request: CheckRequest,
    mut line: impl FnMut(CheckLine),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    tokio::pin!(stop);
    let mode = if request.dry_run { Mode::Dry } else { Mode::Once };
    let _lock = tokio::select! {
        lock = lock(&config, mode) => lock?,
        () = &mut stop => return Err(Error::Interrupted),
    };
    let retention = config.retention;
    let Parts { scheduler, deliverer, .. } = Parts::new(config, mode).await?;
    deliverer.recover().await?;
    let (handle, inbox) = SchedulerHandle::new();
    let scheduler = tokio::spawn(scheduler.run(inbox, deliverer.stopped()));

    let result = {
        let checks = check_all(&deliverer, handle, request, &mut line);
        tokio::pin!(checks);
        tokio::select! {
            result = &mut checks => result,
            () = &mut stop => {
                // Ends the scheduler and the running hook. Both are recorded.
                deliverer.cut.send_replace(true);
                deliverer.stopping.send_replace(true);
                checks.await.and(Err(Error::Interrupted))
            }
        }
    };
    deliverer.stopping.send_replace(true);
    let _ = scheduler.await;
    if let (Ok(()), Mode::Once) = (&result, mode) {
        tokio::select! {
            forgotten = expiry::forget(&deliverer.store, retention) => if let Err(why) = forgotten {
                error!(kind = why.kind(), "old history cannot be deleted: {why}");
            },
            () = &mut stop => {}
        }
    }
    let _ = deliverer.store.checkpoint().await;
    result
}

async fn lock(config: &Config, mode: Mode) -> Result<Option<Lock>, Error> {
    match mode {
        Mode::Dry => Ok(None),
        _ => Ok(Some(inside::lock(&config.state).await?)),
    }
}

async fn check_all(
    deliverer: &Deliverer,
    scheduler: SchedulerHandle,
    request: CheckRequest,
    mut line: impl FnMut(CheckLine),
) -> Result<(), Error> {
    let dry_run = request.dry_run;
    let Checks { expected, mut results } = scheduler.check(request).await?;
    for _ in 0..expected {
        // The results end early only at `stop`.
        let Some(one) = results.recv().await else { break };
        line(if dry_run { one.line } else { deliver(deliverer, one).await? });
    }
    Ok(())
}

/// Gives each due delivery of a watch one attempt. Returns the line with what became of them.
async fn deliver(deliverer: &Deliverer, done: CheckDone) -> Result<CheckLine, Error> {
    let open = deliverer.store.open_deliveries(done.id).await?;
    let ids: Vec<String> = open.into_iter().map(|row| row.id).collect();
    deliverer.attempt_once(&ids).await?;
    let rows = deliverer.store.deliveries(ids).await?;
    let mut deliveries: Vec<_> = rows.into_iter().map(delivery_line).collect();
    for unfinished in deliveries.iter_mut().filter(|line| line.state == DeliveryState::Running) {
        unfinished.error = Some(match deliverer.store.write_failure() {
            Some(failure) => format!("its end could not be recorded, so it runs again: {}", failure.message),
            None => "it is not over: something of it cannot be ended (the log says what), and until then it does not run again".into(),
        });
    }
    Ok(CheckLine { deliveries, ..done.line })
}
