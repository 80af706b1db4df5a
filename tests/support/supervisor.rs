//! What systemd hears of an agent: the socket that `$NOTIFY_SOCKET` names.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use super::DEADLINE;
use super::sandbox::Sandbox;

pub struct Supervisor {
    socket: UnixDatagram,
    /// What was heard since somebody last waited.
    heard: Vec<String>,
}

impl Supervisor {
    pub fn new(sandbox: &Sandbox) -> Self {
        let socket = UnixDatagram::bind(sandbox.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, heard: Vec::new() }
    }

    /// `taghook run` as systemd starts it; `watchdog` is how long it may be silent.
    pub fn command(&self, sandbox: &Sandbox, watchdog: Option<Duration>) -> Command {
        let mut command = sandbox.command(super::sandbox::Who::Us, &["run"]);
        command.env("NOTIFY_SOCKET", sandbox.path().join("notify"));
        if let Some(limit) = watchdog {
            command.env("WATCHDOG_USEC", limit.as_micros().to_string());
        }
        command
    }

    /// Waits for a message with a line that begins so; returns the rest of the line.
    #[track_caller]
    pub fn wait_for(&mut self, begin: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let Ok(length) = self.socket.recv(&mut buffer) else { panic!("no {begin:?} in time: {:#?}", self.heard) };
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
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
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(length)).unwrap();
        if let Ok(length) = self.socket.recv(&mut buffer) {
            panic!("{:?} was not to be heard", String::from_utf8_lossy(&buffer[..length]));
        }
        self.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    }

    /// Throws away what lies unread.
    pub fn forget(&mut self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
        self.heard.clear();
    }
}
