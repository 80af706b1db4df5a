//! Credential helpers: `docker-credential-NAME get`.
//!
//! *Invariant:* a helper that hangs is ended after its time, and nothing that it prints reaches a message: some print
//! secrets and errors on the same stream.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::credentials::Login;

/// How long a helper may take; some ask a cloud.
const PATIENCE: Duration = Duration::from_secs(20);

/// A helper, and the name under which it knows the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Helper {
    pub(super) name: String,
    pub(super) server: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Helper {
    /// Asks the helper; `None` when it has nothing for this registry.
    pub(super) async fn login(&self) -> Result<Option<Login>, String> {
        let name = &self.name;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(format!("{name:?} is no name of a credential helper"));
        }
        let program = format!("docker-credential-{name}");
        let output = tokio::time::timeout(PATIENCE, self.run(&program)).await;
        let output = output.map_err(|_| format!("{program} did not answer within {} s", PATIENCE.as_secs()))?;
        let (succeeded, stdout) = output.map_err(|error| format!("{program}: {error}"))?;
        if !succeeded {
            // The protocol's own words for "I have none"; docker compares them as well.
            return match String::from_utf8_lossy(&stdout).contains("credentials not found") {
                true => Ok(None),
                false => Err(format!("{program} failed; run `echo {} | {program} get`", self.server)),
            };
        }
        let answer: Answer =
            serde_json::from_slice(&stdout).map_err(|_| format!("what {program} answered is not its protocol"))?;
        if answer.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(Login::new(answer.username, answer.secret)))
    }

    async fn run(&self, program: &str) -> std::io::Result<(bool, Vec<u8>)> {
        let mut child = Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its question may still have an answer.
            let _ = stdin.write_all(self.server.as_bytes()).await;
        }
        let output = child.wait_with_output().await?;
        Ok((output.status.success(), output.stdout))
    }
}
