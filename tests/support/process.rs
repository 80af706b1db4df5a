//! The real binary: one-shot verbs, and the agent with its log.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::DEADLINE;
use super::wall_clock::clean_up_after;

/// What a one-shot verb left behind.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A verb that has been started and not waited for yet.
pub struct Running {
    pid: Pid,
    what: String,
    output: Receiver<std::io::Result<std::process::Output>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        Self::start_with_stderr(command)
    }

    /// With the standard error that the command has already.
    pub fn start_with_stderr(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        Self::start_with_streams(command)
    }

    /// With the standard output and error that the command has already.
    pub fn start_with_streams(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        // It may hold ends of pipes that are to close with the child.
        drop(command);
        let pid = pid_of(&child);
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        Self { pid, what, output }
    }

    pub fn sigterm(&self) {
        kill_process(self.pid, Signal::TERM).unwrap();
    }

    /// What it left behind, once it has ended by itself.
    pub fn finish(self) -> Output {
        // Longer than any wait that the verbs themselves may do.
        let (output, late) = match self.output.recv_timeout(DEADLINE * 2) {
            Ok(output) => (output, false),
            Err(_) => {
                kill_process(self.pid, Signal::KILL).ok();
                (self.output.recv_timeout(DEADLINE).expect("a killed process ends"), true)
            }
        };
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        let output = Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(!late, "did not end by itself: {}\n{output:#?}", self.what);
        output
    }
}

impl Output {
    /// The same, if this was the exit status.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit status; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as one JSON object a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?} of {self:#?}"));
        self.stdout.lines().map(read).collect()
    }

    /// Standard output as the one JSON object that it is.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

/// `taghook run`, killed when it is dropped.
pub struct Agent {
    pid: Pid,
    lines: Receiver<String>,
    exit: Receiver<ExitStatus>,
    exited: Option<ExitStatus>,
    /// All that was read, and whether somebody waited for it.
    log: Vec<(String, bool)>,
}

impl Agent {
    /// Starts it and waits until it is up.
    pub fn start(command: Command) -> Self {
        let mut agent = Self::spawn(command);
        agent.wait_for("ready", &[]);
        agent
    }

    /// Starts it and returns at once.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = pid_of(&child);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (line_sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                line_sender.send(line).ok();
            }
        });
        let (exit_sender, exit) = mpsc::channel();
        std::thread::spawn(move || exit_sender.send(child.wait().unwrap()));
        Self { pid, lines, exit, exited: None, log: Vec::new() }
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for a line with this message and these fields, and returns it. A line answers one wait only.
    #[track_caller]
    pub fn wait_for(&mut self, message: &str, fields: &[(&str, &str)]) -> String {
        let wanted =
            |line: &str| says(line, message) && fields.iter().all(|(name, value)| field(line, name) == Some(value));
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some((line, waited_for)) = self.log.iter_mut().find(|(line, taken)| !taken && wanted(line)) {
                *waited_for = true;
                return line.clone();
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push((line, false)),
                Err(RecvTimeoutError::Timeout) => panic!("no {message:?} {fields:?} in time:\n{}", self.text()),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the agent has ended without {message:?} {fields:?}:\n{}", self.text())
                }
            }
        }
    }

    /// Reads what it says for this long, or until it has ended by itself; how, if it has.
    pub fn ends_within(&mut self, length: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + length;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push((line, false)),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(self.wait_exit()),
            }
        }
    }

    /// All lines so far.
    pub fn log(&mut self) -> Vec<String> {
        self.log.extend(self.lines.try_iter().map(|line| (line, false)));
        self.log.iter().map(|(line, _)| line.clone()).collect()
    }

    /// Asks it to stop.
    pub fn sigterm(&self) {
        kill_process(self.pid, Signal::TERM).unwrap();
    }

    /// Asks it to read its config again.
    pub fn sighup(&self) {
        kill_process(self.pid, Signal::HUP).unwrap();
    }

    /// Ends it where it stands, and waits until it is gone.
    pub fn kill(mut self) {
        // It may have ended by itself.
        kill_process(self.pid, Signal::KILL).ok();
        self.wait_exit();
        clean_up_after(self.pid());
    }

    /// Asks it to stop and waits until it has, with exit status 0.
    #[track_caller]
    pub fn stop(self) {
        self.sigterm();
        self.finish();
    }

    /// Waits until it has stopped, having been asked to, with exit status 0.
    #[track_caller]
    pub fn finish(mut self) {
        self.wait_for("stopped", &[]);
        let status = self.wait_exit();
        assert!(status.success(), "{status}:\n{}", self.text());
    }

    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let status = self.exit.recv_timeout(DEADLINE + Duration::from_secs(20));
        let status = status.unwrap_or_else(|_| panic!("the agent does not end:\n{}", self.text()));
        self.exited = Some(status);
        status
    }

    pub fn has_exited(&mut self) -> bool {
        self.exited = self.exited.or_else(|| self.exit.try_recv().ok());
        self.exited.is_some()
    }

    fn text(&mut self) -> String {
        self.log().join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.has_exited() {
            kill_process(self.pid, Signal::KILL).ok();
            self.exit.recv_timeout(DEADLINE).ok();
            clean_up_after(self.pid());
        }
    }
}

/// Whether the words stand in the line, as words: "ready" is not in "already".
fn says(line: &str, words: &str) -> bool {
    let inside = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = line.as_bytes();
    line.match_indices(words).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !inside(before) && !inside(bytes.get(at + words.len()))
    })
}

/// The value of `name=value` in a log line, quoted or not.
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (start, _) = line.match_indices(&format!("{name}=")).find(|(at, _)| line[..*at].ends_with([' ', '{', ',']))?;
    let value = &line[start + name.len() + 1..];
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split([' ', ',', '}']).next(),
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap()).unwrap()
}
