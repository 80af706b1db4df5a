//! The action that a hook carries out on a change. Each variant is implemented in a folder beside this file.

use std::time::Duration;

use super::command::options::Command;
use super::command::output::Stream;
use super::command::run;
use super::message::Message;
use crate::domain::delivery::Outcome;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Command(Command),
}

/// Carries out an action within `timeout`. When `stop` completes, it is ended early. `line` is called for each line
/// that it prints.
pub async fn run(
    action: &Action,
    message: &Message,
    timeout: Duration,
    stop: impl Future<Output = ()>,
    line: impl Fn(Stream, &str) + Sync,
) -> Outcome {
    match action {
        Action::Command(command) => {
            run::run(command, &message.vars(), &message.json(), timeout, stop, line).await.into_outcome()
        }
    }
}
