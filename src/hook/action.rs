//! The action that a hook carries out on a change. Each variant is implemented in a folder beside this file.

use std::time::Duration;

use super::command::listener::{Listener, Printed};
use super::command::options::Command;
use super::command::run;
use super::command::survivors::Left;
use super::message::Message;
use crate::domain::delivery::{NotStarted, Outcome};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Command(Command),
}

/// A run that is over, or of which something is left that cannot be ended.
#[derive(Debug)]
pub struct Ran {
    pub outcome: Outcome,
    /// While it runs, the delivery must not start again.
    pub left: Option<Left>,
}

/// Carries out an action within `timeout`. `started` is called once it has begun. When `stop` completes, it is ended early.
/// `listener` hears what it prints.
///
/// An error says that it was not begun, for a reason that says nothing about the action.
pub async fn run(
    action: &Action,
    message: &Message,
    timeout: Duration,
    started: impl FnOnce(),
    stop: impl Future<Output = ()>,
    listener: Listener<impl Fn(Printed<'_>)>,
) -> Result<Ran, NotStarted> {
    match action {
        Action::Command(command) => {
            let ran = run::run(command, &message.vars(), &message.json(), timeout, started, stop, listener).await?;
            let (outcome, left) = ran.into_outcome();
            Ok(Ran { outcome, left })
        }
    }
}
