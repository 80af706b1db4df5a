//! `taghook run`: the agent, in the foreground.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::args::Run;
use super::{Failure, aloud, log, runtime, systemd};
use crate::{agent, config};

pub(super) fn run(explicit: Option<&Path>, run: &Run) -> Result<ExitCode, Failure> {
    // Absolute, so that a reload reads the same file wherever we stand.
    let path = std::path::absolute(config::find(explicit)?)?;
    let loaded = config::load(&path)?;
    log::start(run.log_format);
    let config = aloud(loaded);
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let hangup = Arc::new(Notify::new());
        // The same streams for both, so that a second signal that comes at once is not lost.
        let signals = tokio::sync::Mutex::new(Signals::new()?);
        let stop = async { signals.lock().await.next_end(&hangup).await };
        let hurry = async { signals.lock().await.next_end(&hangup).await };
        // Twice in the time after which systemd takes us for stuck.
        let alive = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        let world = agent::World { tell: systemd::tell, alive, reload: hangup.clone(), stop, hurry };
        agent::run(path, config, world).await?;
        Ok(ExitCode::SUCCESS)
    });
    // What hangs in a file system must not keep us: all that matters is on disk by now.
    runtime.shutdown_background();
    done
}

/// SIGTERM, SIGINT and SIGHUP.
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

    /// Waits for one that ends the agent. SIGHUP rings `reload` instead; but where a person looks at our log it means
    /// that their terminal has gone, and an agent that nobody sees must not hold the state.
    async fn next_end(&mut self, reload: &Notify) {
        let is_watched = std::io::stderr().is_terminal();
        let [terminate, interrupt, hangup] = &mut self.0;
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => if is_watched { return } else { reload.notify_one() },
            }
        }
    }
}
