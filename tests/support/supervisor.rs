//! What systemd hears of an agent: the socket that `$NOTIFY_SOCKET` names.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::DEADLINE;
use super::sandbox::Sandbox;

pub struct Supervisor {
    /// A message each. A thread reads them off the socket as they come, as systemd does: the kernel keeps only a few
    /// (`net.unix.max_dgram_qlen`), and then a sender has to wait.
    messages: Receiver<String>,
    /// What was heard since somebody last waited.
    heard: Vec<String>,
}

impl Supervisor {
    pub fn new(sandbox: &Sandbox) -> Self {
        Self::of(UnixDatagram::bind(sandbox.path().join("notify")).unwrap())
    }

    /// Reads from now on.
    pub fn of(socket: UnixDatagram) -> Self {
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                if sender.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                    return;
                }
            }
        });
        Self { messages, heard: Vec::new() }
    }

    /// `taghook run` as systemd starts it; `watchdog` is how long it may be silent.
    pub fn command(&self, sandbox: &Sandbox, watchdog: Option<Duration>) -> Command {
        supervised(sandbox, watchdog)
    }

    /// Waits for a message with a line that begins so; returns the rest of the line.
    #[track_caller]
    pub fn wait_for(&mut self, begin: &str) -> String {
        loop {
            let Ok(message) = self.messages.recv_timeout(DEADLINE) else {
                panic!("no {begin:?} in time: {:#?}", self.heard)
            };
            self.heard.extend(message.lines().map(str::to_owned));
            if let Some(rest) = message.lines().find_map(|line| line.strip_prefix(begin)) {
                return rest.to_owned();
            }
        }
    }

    /// Forgets what was heard so far and returns it.
    pub fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.heard)
    }

    /// Fails if anything is said.
    #[track_caller]
    pub fn hears_nothing_within(&mut self, length: Duration) {
        if let Ok(message) = self.messages.recv_timeout(length) {
            panic!("{message:?} was not to be heard");
        }
    }

    /// Throws away what was said until now.
    pub fn forget(&mut self) {
        while self.messages.try_recv().is_ok() {}
        self.heard.clear();
    }
}

/// `taghook run` as systemd starts it; `watchdog` is how long it may be silent.
pub fn supervised(sandbox: &Sandbox, watchdog: Option<Duration>) -> Command {
    let mut command = sandbox.command(super::sandbox::Who::Us, &["run"]);
    command.env("NOTIFY_SOCKET", sandbox.path().join("notify"));
    if let Some(limit) = watchdog {
        command.env("WATCHDOG_USEC", limit.as_micros().to_string());
    }
    command
}
