//! Connecting to the agent that works on a state directory.

use std::path::Path;

use super::runtime::runtime;
use crate::agent;
use crate::control::{Client, Error};

/// The agent on this state, if one listens.
pub(super) async fn connect(state: &Path) -> Result<Option<Client>, Error> {
    let Some(socket) = agent::socket_of(state) else { return Ok(None) };
    match Client::connect(&socket).await {
        Ok(client) => Ok(Some(client)),
        // The agent was killed: the socket file is left, and the lock is free.
        Err(Error::Unreachable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an agent runs on this state, even one that we may not talk to.
pub(super) fn has_agent(state: &Path) -> std::io::Result<bool> {
    Ok(!matches!(runtime()?.block_on(connect(state)), Ok(None)))
}
