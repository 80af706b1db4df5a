//! Runs a command once, from start to end.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use super::background;
use super::capture::Capture;
use super::listener::{Listener, Printed, Stream};
use super::options::{Command, masked};
use super::output::Output;
use super::session;
use super::survivors::{self, Left, Traces};
use crate::bounded::{PoolError, STARTS, explained, remedy};
use crate::domain::delivery::{Ending, NotStarted, Outcome};

/// The exit status that means "try later": `EX_TEMPFAIL` of sysexits(3).
const TEMPORARY_FAILURE: i32 = 75;

/// A program that takes longer to start is on a file system that hangs. If it starts later after all, it is killed.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the pipes are read after the command has exited, in case a background child holds them open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    /// `stop` completed first, so it was ended.
    Cut,
    /// It could not be started, or its end is unknown, for this reason.
    NotStarted(String),
}

#[derive(Debug)]
pub(crate) struct CommandRun {
    pub(super) end: End,
    pub(super) output: Output,
    /// What could not be ended.
    pub(super) left: Option<Left>,
}

impl CommandRun {
    pub(crate) fn into_outcome(self) -> (Outcome, Option<Left>) {
        let ending = match self.end {
            End::Exited(0) => Ending::Succeeded,
            End::Exited(TEMPORARY_FAILURE) => Ending::Deferred,
            End::Cut => Ending::Cut,
            _ => Ending::Failed,
        };
        let code = match self.end {
            End::Exited(code) => Some(code),
            _ => None,
        };
        let outcome = Outcome { ending, code, error: self.end.error(), output: self.output.text() };
        (outcome, self.left)
    }
}

impl End {
    /// For people: what went wrong. `None` for exit status 0.
    pub(super) fn error(&self) -> Option<String> {
        match self {
            Self::Exited(0) => None,
            Self::Exited(TEMPORARY_FAILURE) => Some("exit status 75 (try later)".into()),
            Self::Exited(code) => Some(format!("exit status {code}")),
            Self::Signalled(signal) => Some(format!("ended by signal {signal}")),
            Self::TimedOut => Some("timed out and was ended; see `timeout`".into()),
            Self::Cut => Some("was cut: taghook stopped while it ran".into()),
            Self::NotStarted(why) => Some(why.clone()),
        }
    }
}

/// Runs a command to its end.
///
/// `vars` are added to the command's environment, `stdin` is written to its standard input, `started` is called once it
/// runs, and `listener` hears what it prints. When `stop` completes, the command is ended early. It need not read its input.
pub(crate) async fn run(
    command: &Command,
    vars: &[(String, String)],
    stdin: &[u8],
    timeout: Duration,
    started: impl FnOnce(),
    stop: impl Future<Output = ()>,
    listener: Listener<impl Fn(Printed<'_>)>,
) -> Result<CommandRun, NotStarted> {
    let printed = Mutex::new(Capture::new(listener));
    tokio::pin!(stop);
    let start = tokio::select! {
        start = start(command, vars) => start?,
        () = &mut stop => return Ok(CommandRun { end: End::Cut, left: None, output: Output::default() }),
    };
    let (end, left) = match start {
        Ok(mut child) => {
            started();
            let pipes = Pipes { stdin, printed: &printed };
            let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            supervise(&mut child, Traces::of_run(vars, group), pipes, timeout, stop).await
        }
        Err(why) => (End::NotStarted(why), None),
    };
    let printed = printed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(CommandRun { end, left, output: printed.end() })
}

/// Starts the command on a thread of its own, because its program or directory may be on a file system that hangs. Few of
/// one program are started at a time in a directory, so that one that hangs holds few threads, for however many hooks.
///
/// The outer error is no fault of the command, the inner one is.
async fn start(command: &Command, vars: &[(String, String)]) -> Result<Result<Child, String>, NotStarted> {
    let program = command.argv.first().map_or("", String::as_str);
    let place = format!("{program} in {}", command.cwd.as_deref().unwrap_or("/".as_ref()).display());
    let (command, vars) = (command.clone(), vars.to_vec());
    let not_started = |why: String| Err(NotStarted { why: format!("cannot start it now: {why}") });
    let start = move || match spawn(&command, &vars) {
        Ok(child) => Ok(Ok(child)),
        Err(error) if remedy(&error).is_some() => not_started(explained(&error)),
        Err(error) => Ok(Err(cannot_start(&command, &error))),
    };
    match STARTS.run_few(STARTS_AT_ONCE, place, START_TIMEOUT, start).await {
        Ok(started) => started,
        Err(PoolError::TimedOut(_)) => {
            Ok(Err("cannot start it: its program or cwd does not answer; is it on a file system that hangs?".into()))
        }
        Err(PoolError::Occupied { .. }) => {
            not_started("an earlier start of its program has not ended; is it on a file system that hangs?".into())
        }
        Err(why @ PoolError::Panicked) => Ok(Err(format!("cannot start it: {why}"))),
        Err(why @ (PoolError::Full { .. } | PoolError::NoThread(_))) => not_started(why.to_string()),
    }
}

fn spawn(command: &Command, vars: &[(String, String)]) -> std::io::Result<Child> {
    let (program, arguments) = command
        .argv
        .split_first()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "the command is empty"))?;
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into());
    let cwd = command.cwd.as_deref().unwrap_or("/".as_ref());
    let mut process = match session::launcher(program, cwd, &path) {
        Some((launcher, first)) => {
            let mut process = tokio::process::Command::new(launcher);
            process.args(first);
            process
        }
        None => {
            let mut process = tokio::process::Command::new(program);
            process.process_group(0);
            process
        }
    };
    process.args(arguments).env_clear().env("PATH", path);
    for name in ["HOME", "LANG"].into_iter().chain(command.pass_env.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            process.env(name, value);
        }
    }
    process.envs(&command.env).envs(vars.iter().map(|(name, value)| (name, value)));
    process.current_dir(cwd);
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.kill_on_drop(true).spawn()
}

/// Starts of one program at a time. With one, moves that come together would begin, and be committed, one after another.
const STARTS_AT_ONCE: usize = 4;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    // Somebody may have written a whole command line in place of the program, and this message is stored: mask it.
    let program = command.argv.first().map(|program| masked(program)).unwrap_or_default();
    let place = command.cwd.as_deref().unwrap_or("/".as_ref());
    if let Some(cwd) = command.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
        return format!("cannot start {program:?}: cwd {:?} is not a directory", cwd.display().to_string());
    }
    let is_folder = || command.argv.first().is_some_and(|program| place.join(program).is_dir());
    let remedy = match error.kind() {
        std::io::ErrorKind::PermissionDenied if is_folder() => "; it is a directory, not a program",
        std::io::ErrorKind::NotFound => "; give the full path, and check the script's first line (#!)",
        std::io::ErrorKind::PermissionDenied => "; make it executable (chmod +x)",
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            "; begin a script with #!/bin/sh, or give the command as a string"
        }
        _ => "",
    };
    format!("cannot start {program:?}: {error}{remedy}")
}

struct Pipes<'a, F> {
    stdin: &'a [u8],
    printed: &'a Mutex<Capture<F>>,
}

async fn supervise<F: Fn(Printed<'_>)>(
    child: &mut Child,
    traces: Traces,
    pipes: Pipes<'_, F>,
    timeout: Duration,
    stop: impl Future<Output = ()>,
) -> (End, Option<Left>) {
    let (input, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = feed(input, pipes.stdin);
    let out = read(&mut stdout, Stream::Stdout, pipes.printed);
    let err = read(&mut stderr, Stream::Stderr, pipes.printed);
    // Boxed, so that it can be dropped before what it borrows is used again.
    let mut read_both = Box::pin(async { tokio::join!(out, err) });
    tokio::pin!(feed, stop);

    let deadline = sleep(timeout);
    tokio::pin!(deadline);
    let (mut is_fed, mut is_drained, mut ended_early) = (false, false, None);
    let (status, left) = loop {
        tokio::select! {
            status = child.wait() => break (Some(status), None),
            () = &mut feed, if !is_fed => is_fed = true,
            _ = &mut read_both, if !is_drained => is_drained = true,
            () = &mut deadline => ended_early = Some(End::TimedOut),
            () = &mut stop => ended_early = Some(End::Cut),
        }
        if ended_early.is_some() {
            let ending = survivors::end(traces, || !matches!(child.try_wait(), Ok(None)));
            tokio::pin!(ending);
            // Keep reading meanwhile: a process that blocks on a full pipe may never handle its SIGTERM.
            let (_, left) = loop {
                tokio::select! {
                    ended = &mut ending => break ended,
                    _ = &mut read_both, if !is_drained => is_drained = true,
                }
            };
            break (None, left);
        }
    };
    if !is_drained {
        let _ = timeout_at(Instant::now() + DRAIN_TIMEOUT, &mut read_both).await;
    }
    drop(read_both);
    if ended_early.is_none()
        && !background::keep_reading(stdout, stderr)
        && let Ok(printed) = pipes.printed.lock()
    {
        printed.say(Printed::BackgroundUnread);
    }
    (ended_early.or(status.map(end_of)).unwrap_or(End::Cut), left)
}

fn end_of(status: std::io::Result<ExitStatus>) -> End {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => End::Exited(code),
            (None, Some(signal)) => End::Signalled(signal),
            (None, None) => End::NotStarted("its exit status is unknown".into()),
        },
        Err(error) => End::NotStarted(format!("cannot wait for it: {error}")),
    }
}

async fn feed(input: Option<ChildStdin>, bytes: &[u8]) {
    if let Some(mut input) = input {
        // A command need not read its input: if it ends without, the pipe breaks and the error is ignored.
        let _ = input.write_all(bytes).await;
    }
}

/// Reads a pipe to its end, and closes it then.
async fn read<R: AsyncRead + Unpin>(
    pipe: &mut Option<R>,
    stream: Stream,
    printed: &Mutex<Capture<impl Fn(Printed<'_>)>>,
) {
    let Some(reader) = pipe else { return };
    // On the heap, because the future is moved several times before the command has started.
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
        if let Ok(mut printed) = printed.lock() {
            printed.push(stream, &buffer[..length]);
        }
        // A command that prints without end fills the pipe faster than it is read. All others have a turn in between.
        yield_now().await;
    }
    *pipe = None;
}

#[cfg(test)]
mod tests;
