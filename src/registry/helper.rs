//! Credential helpers: `docker-credential-NAME get`.
//!
//! *Invariant:* a helper that exceeds its time limit is killed together with its child processes, one that prints too much
//! is cut off, and none of its output reaches a message, because some print secrets and errors to the same stream.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::login::Login;
use crate::bounded::{PoolError, STARTS, explained};

/// The time limit of a helper. Some call a cloud API.
pub(super) const HELPER_TIMEOUT: Duration = Duration::from_secs(20);

/// The output limit in bytes. Tokens of cloud providers have a few thousand bytes.
const MAX_HELPER_OUTPUT: u64 = 256 << 10;

/// A helper, and the name under which it knows the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Helper {
    pub(super) name: String,
    pub(super) server: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperOutput {
    username: String,
    secret: String,
}

impl Helper {
    /// Runs the helper. `None` if it has no login for this registry.
    pub(super) async fn login(&self, limit: Duration) -> Result<Option<Login>, String> {
        let name = &self.name;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(format!("{name:?} is no name of a credential helper"));
        }
        self.ask(&format!("docker-credential-{name}"), limit).await
    }

    async fn ask(&self, program: &str, limit: Duration) -> Result<Option<Login>, String> {
        let output = tokio::time::timeout(limit, self.run(program)).await;
        let output = output.map_err(|_| format!("{program} did not answer within {} s", limit.as_secs_f32()))?;
        let (succeeded, stdout) = output.map_err(|error| format!("{program}: {error}"))?;
        if !succeeded {
            // This is how the protocol says "none"; Docker compares the text, too.
            return match String::from_utf8_lossy(&stdout).contains("credentials not found") {
                true => Ok(None),
                false => Err(format!("{program} failed; run `echo {} | {program} get`", self.server)),
            };
        }
        let answer: HelperOutput =
            serde_json::from_slice(&stdout).map_err(|_| format!("what {program} answered is not its protocol"))?;
        if answer.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(Login::new(answer.username, answer.secret)))
    }

    async fn run(&self, program: &str) -> std::io::Result<(bool, Vec<u8>)> {
        let mut helper = Command::new(program);
        helper.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        helper.process_group(0).kill_on_drop(true);
        // On a thread of its own, because its program may be on a file system that hangs.
        let start = move || helper.spawn().map_err(|error| std::io::Error::new(error.kind(), explained(&error)));
        let mut child = STARTS.run_alone(program.to_owned(), HELPER_TIMEOUT, start).await.map_err(not_started)??;
        let mut group = Group(child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)));
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input may still answer.
            let _ = stdin.write_all(self.server.as_bytes()).await;
        }
        let mut printed = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_HELPER_OUTPUT + 1).read_to_end(&mut printed).await?;
        }
        if printed.len() as u64 > MAX_HELPER_OUTPUT {
            return Err(std::io::Error::other("it prints without end"));
        }
        let status = child.wait().await?;
        group.0 = None;
        Ok((status.success(), printed))
    }
}

fn not_started(why: PoolError) -> std::io::Error {
    std::io::Error::other(match why {
        PoolError::Occupied { .. } => {
            "an earlier start of it has not ended; is it on a file system that hangs?".to_owned()
        }
        why => format!("cannot start it: {why}"),
    })
}

/// The process group of a helper, killed on drop unless the helper has exited by itself. Processes that it leaves running
/// then, such as a key agent, are meant to stay.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use super::*;

    /// Runs a shell line in place of a helper's program. It has the directory of its script as `$0` has it.
    async fn run(line: &str, limit: Duration) -> (Result<Option<Login>, String>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("docker-credential-test");
        std::fs::write(&program, format!("#!/bin/sh\n{line}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let helper = Helper { name: "test".into(), server: "registry.example".into() };
        (helper.ask(program.to_str().unwrap(), limit).await, dir)
    }

    #[tokio::test]
    async fn a_helper_that_hangs_is_ended_with_what_it_has_started() {
        // It says which process it leaves behind and waits for that, as a shell script does for a cloud's tool.
        let line = "sleep 1000 & echo $! > \"$0.child\"; wait";
        let started = Instant::now();
        let (told, dir) = run(line, Duration::from_secs(3)).await;
        let message = told.unwrap_err();
        assert!(message.contains("did not answer within 3 s"), "{message}");
        assert!(started.elapsed() < Duration::from_secs(20));
        let child = std::fs::read_to_string(dir.path().join("docker-credential-test.child")).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        // SIGKILL was sent before this was told; the kernel and whoever reaps it may take a moment.
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            assert!(Instant::now() < deadline, "it is still there");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_helper_that_prints_without_end_is_not_listened_to() {
        let (told, _dir) = run("exec yes hunter2", HELPER_TIMEOUT).await;
        let message = told.unwrap_err();
        assert!(message.contains("without end") && !message.contains("hunter2"), "{message}");
    }

    #[tokio::test]
    async fn a_helper_that_does_not_read_its_question_is_understood() {
        let answer = r#"exec 0<&-; echo '{"Username":"robot","Secret":"hunter2"}'"#;
        let login = run(answer, HELPER_TIMEOUT).await.0.unwrap().unwrap();
        assert_eq!(login.username, "robot");
    }
}
