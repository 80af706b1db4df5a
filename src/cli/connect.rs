//! Connecting to the agent that works on a state directory.

use std::path::Path;

use super::runtime::runtime;
use crate::control::{Client, Error};
use crate::store::{self, Owner};

/// How often to look again for the agent, where another one starts at the same time.
const TRIES: usize = 3;

/// The agent on this state, if one listens.
pub(super) async fn connect(state: &Path) -> Result<Option<Client>, Error> {
    for _ in 0..TRIES {
        let owner = store::owner(state);
        let Some(Owner { socket: Some(socket), agent, .. }) = owner.clone() else { return Ok(None) };
        match Client::connect_to(&socket, agent).await {
            Ok(client) => return Ok(Some(client)),
            Err(Error::Unreachable { .. } | Error::OtherAgent { .. }) if store::owner(state) != owner => {}
            // The agent was killed: the lock is free, and the socket file is left, or another agent has the socket now.
            Err(Error::Unreachable { .. } | Error::OtherAgent { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether an agent runs on this state, even one that we may not talk to.
pub(super) fn has_agent(state: &Path) -> std::io::Result<bool> {
    Ok(!matches!(runtime()?.block_on(connect(state)), Ok(None)))
}
