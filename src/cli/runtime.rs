//! The runtime of a command, and the signals that stop it.

use std::io::IsTerminal;
use std::os::unix::net::UnixStream;

use rustix::process::Signal as Caught;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// As many file descriptors as a runtime opens, and a few.
const DESCRIPTORS: usize = 8;

/// A runtime with one thread: registries, hooks and the disk do whatever takes long.
///
/// What our parent has set for two signals does not matter: where SIGCHLD is ignored, the kernel keeps no exit status of hooks,
/// and SIGXFSZ would kill us where a file reaches `ulimit -f`. Once they are handled, neither happens.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    // Tokio ends the process where it finds no descriptor for its signals, and one that is missing has to be told.
    let spare: Vec<_> = (0..DESCRIPTORS.div_ceil(2)).map(|_| UnixStream::pair()).collect::<Result<_, _>>()?;
    drop(spare);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    for kind in [SignalKind::child(), SignalKind::from_raw(Caught::XFSZ.as_raw())] {
        drop(signal(kind)?);
    }
    drop(inside);
    Ok(runtime)
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
        self.next_signal().await;
    }

    /// Waits for one of them, and says which it was.
    pub(super) async fn next_signal(&mut self) -> Caught {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => Caught::TERM,
            _ = interrupt.recv() => Caught::INT,
            _ = hangup.recv() => Caught::HUP,
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
