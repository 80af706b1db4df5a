//! `taghook run`: the agent, in the foreground.

use std::path::Path;
use std::process::ExitCode;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, load, log, runtime, text};
use crate::agent;

pub(super) fn run(explicit: Option<&Path>) -> Result<ExitCode, Failure> {
    let config = load(explicit, true)?;
    log::start();
    let watches = config.watches.len();
    let ready = move || {
        let status = format!("watching {}", text::count(watches, "tag", "tags"));
        // Without systemd there is nobody to tell.
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    };
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        agent::run(config, ready, async {
            stop.await;
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
        })
        .await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Ends with the first SIGTERM, SIGINT or SIGHUP: a terminal that goes away stops us in order, too.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
