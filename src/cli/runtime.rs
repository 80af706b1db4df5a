//! The runtime of a command, and the signals that stop it.

use std::io::IsTerminal;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// A runtime with one thread: registries, hooks and the disk do whatever takes long.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
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

    /// Waits for a signal that ends the agent. SIGHUP notifies `reload` instead. On a terminal, though, SIGHUP means that
    /// the terminal has gone, and an agent that nobody sees must not keep the state locked.
    pub(super) async fn next_end(&mut self, reload: &Notify) {
        let on_terminal = std::io::stderr().is_terminal();
        let [terminate, interrupt, hangup] = &mut self.0;
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => if on_terminal { return } else { reload.notify_one() },
            }
        }
    }
}
