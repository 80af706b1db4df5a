//! `taghook run`: the agent, in the foreground.

use std::path::Path;
use std::process::ExitCode;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
        // The same streams for both, so that a second signal that comes at once is not lost.
        let signals = tokio::sync::Mutex::new(Signals::new()?);
        let stop = async {
            signals.lock().await.next().await;
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
        };
        let hurry = async { signals.lock().await.next().await };
        agent::run(config, ready, stop, hurry).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// SIGTERM, SIGINT and SIGHUP: a terminal that goes away stops us in order, too.
pub(super) struct Signals([Signal; 3]);

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let [terminate, interrupt, hangup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        Ok(Self([signal(terminate)?, signal(interrupt)?, signal(hangup)?]))
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
