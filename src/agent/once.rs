//! `taghook check` without an agent: check, give each due delivery of these watches one attempt, end.

use tokio::sync::{mpsc, oneshot};

use super::scheduler::{Done, Request, Waiter};
use super::{Error, Mode, PATIENCE, Parts};
use crate::config::Config;
use crate::control::wire::{CheckLine, CheckRequest};
use crate::store::Lock;

/// Checks once; each result is handed on as it comes. `stop` ends it early.
pub async fn check_once(
    config: Config,
    request: CheckRequest,
    mut line: impl FnMut(CheckLine),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mode = if request.dry_run { Mode::Dry } else { Mode::Once };
    let _lock = if request.dry_run { None } else { Some(Lock::acquire(&config.state, PATIENCE)?) };
    let parts = Parts::new(config, mode).await?;
    parts.deliverer.recover().await?;
    let (requests, inbox) = mpsc::channel(1);
    let (ended, end) = oneshot::channel::<()>();
    let store = parts.deliverer.store.clone();
    let scheduler = tokio::spawn(parts.scheduler.run(inbox, async {
        let _ = end.await;
    }));
    let (reply, mut done) = mpsc::channel(parts.watches.max(1));
    let (refused, refusal) = oneshot::channel();
    let waiter = Waiter { reply, dry_run: request.dry_run };
    let _ = requests.send(Request::Check { names: request.watches, waiter, refused }).await;
    let result = match refusal.await {
        Ok(Err(why)) => Err(Error::Refused(why)),
        _ => {
            let deliver = async {
                while let Some(one) = done.recv().await {
                    let dry_run = request.dry_run;
                    line(if dry_run { one.line } else { deliver(&parts.deliverer, one).await? });
                }
                Ok(())
            };
            tokio::select! {
                result = deliver => result,
                () = stop => {
                    parts.cut.send_replace(true);
                    Err(Error::Interrupted)
                }
            }
        }
    };
    drop(ended);
    let _ = scheduler.await;
    let _ = store.checkpoint().await;
    result
}

/// Gives each due delivery of a watch one attempt, and tells what became of it.
async fn deliver(deliverer: &super::deliverer::Deliverer, done: Done) -> Result<CheckLine, Error> {
    let open = deliverer.store.open_deliveries(done.id).await?;
    let ids: Vec<String> = open.into_iter().map(|row| row.id).collect();
    deliverer.attempt_once(ids.clone()).await?;
    let rows = deliverer.store.deliveries(ids).await?;
    Ok(CheckLine { deliveries: rows.into_iter().map(super::answers::delivery_line).collect(), ..done.line })
}
