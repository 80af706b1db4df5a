//! Checks on demand: by the agent that works on the state or, without one, by this process.

use super::connect::connect;
use super::exit::CliError;
use super::located::Located;
use super::runtime::{Signals, runtime};
use crate::agent;
use crate::config::Config;
use crate::control::Client;
use crate::control::wire::{CheckLine, CheckRequest};
use crate::store::LockError;

/// Hands on each result as it comes. A signal ends the checks early.
pub(super) fn check_now(located: Located, request: &CheckRequest, line: impl FnMut(CheckLine)) -> Result<(), CliError> {
    runtime()?.block_on(by_anyone(located, request, line))
}

/// By this process, whether an agent runs or not.
pub(super) fn check_here(config: Config, request: CheckRequest, line: impl FnMut(CheckLine)) -> Result<(), CliError> {
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        Ok(agent::check_once(config, request, line, signals.next()).await?)
    })
}

async fn by_anyone(
    Located { config, state }: Located,
    request: &CheckRequest,
    mut line: impl FnMut(CheckLine),
) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let stop = signals.next();
    tokio::pin!(stop);
    if let Some(mut client) = connect(&state).await? {
        return by_agent(&mut client, request, line, stop).await;
    }
    match agent::check_once(config?, request.clone(), &mut line, &mut stop).await {
        // An agent has started since we looked.
        Err(error @ agent::Error::Lock(LockError::Held { .. })) => match connect(&state).await? {
            Some(mut client) => by_agent(&mut client, request, line, stop).await,
            None => Err(error.into()),
        },
        done => Ok(done?),
    }
}

async fn by_agent(
    client: &mut Client,
    request: &CheckRequest,
    line: impl FnMut(CheckLine),
    stop: impl Future<Output = ()>,
) -> Result<(), CliError> {
    tokio::select! {
        done = client.check(request, line) => Ok(done?),
        () = stop => Err(agent::Error::Interrupted.into()),
    }
}
