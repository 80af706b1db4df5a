//! The status of all watches, from the agent or from the database.

use std::path::Path;

use super::connect::connect;
use super::exit::CliError;
use super::logging;
use super::runtime::runtime;
use super::sentences::unread_edit;
use crate::agent::status;
use crate::config::Config;
use crate::control::Error;
use crate::control::wire::Status;

/// What the agent knows or, without one, the database. Without a config: every watch that was ever checked.
pub(super) fn gather(config: Option<&Config>, state: &Path) -> Result<Status, CliError> {
    match (runtime()?.block_on(of_agent(state))?, config) {
        (Some(status), _) => Ok(status),
        (None, Some(config)) => Ok(status::of_database(config)?),
        (None, None) => Ok(status::of_state(state)?),
    }
}

async fn of_agent(state: &Path) -> Result<Option<Status>, Error> {
    match connect(state).await {
        Ok(Some(mut client)) => client.status().await.map(Some),
        // Without the right to ask the agent, the database tells what it can.
        Ok(None) | Err(Error::Forbidden { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes that the agent has not read the file as it is now; `which` names the config that the command goes by.
pub(super) fn note_edit(state: &Path, which: &str) -> std::io::Result<()> {
    // Only commands that need the agent report that it does not answer.
    let config = runtime()?.block_on(of_agent(state)).ok().flatten().and_then(|status| status.config);
    if let Some(edit) = config.and_then(|config| unread_edit(&config)) {
        logging::say(format_args!("note: {edit}; this goes by {which}"));
    }
    Ok(())
}

/// Whether the image, in its canonical form, is of this registry.
pub(super) fn is_of(image: &str, registry: &str) -> bool {
    image.strip_prefix(registry).is_some_and(|rest| rest.starts_with('/'))
}
