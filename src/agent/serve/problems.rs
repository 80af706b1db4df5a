//! What is wrong with the agent itself: hooks that cannot be started, pools of threads that are stuck, deliveries that are
//! left without a run.

use std::sync::Arc;

use tokio::time::Instant;

use crate::agent::deliver::deliverer::Deliverer;
use crate::bounded::{POOLS, ThreadPool};
use crate::control::wire::{HealthProblem, HealthProblemKind};
use crate::store::{self, LeftRunning};

/// Hooks that one problem names; more are counted.
const MAX_NAMED: usize = 5;

pub(crate) async fn of(deliverer: &Deliverer) -> Result<Vec<HealthProblem>, store::Error> {
    let held = deliverer.holds.reasons(Instant::now());
    let held = held.into_iter().map(|(why, hooks)| held_hooks(&why, &hooks));
    let stuck = POOLS.into_iter().filter(|pool| pool.is_stuck()).map(stuck_pool);
    let strays = deliverer.strays().await?.into_iter().map(stray);
    Ok(held.chain(stuck).chain(strays).collect())
}

fn held_hooks(why: &str, hooks: &[Arc<str>]) -> HealthProblem {
    let named: Vec<&str> = hooks.iter().take(MAX_NAMED).map(|hook| &**hook).collect();
    let mut names = named.join(", ");
    if hooks.len() > MAX_NAMED {
        names += &format!(" and {} more", hooks.len() - MAX_NAMED);
    }
    let hook = if let [hook] = hooks { Some(hook.to_string()) } else { None };
    HealthProblem { hook, ..problem(HealthProblemKind::Held, format!("hooks are held: {names}: {why}")) }
}

fn stuck_pool(pool: &ThreadPool) -> HealthProblem {
    let (name, late, size) = (pool.name(), pool.late(), pool.size());
    let why = "others are turned away; is something on a file system or a name server that hangs?";
    problem(
        HealthProblemKind::Stuck,
        format!("{late} of {size} threads for {name} are held by calls that do not end: {why}"),
    )
}

fn stray(LeftRunning { id, hook, .. }: LeftRunning) -> HealthProblem {
    let message = format!("delivery {id} counts as running, but nothing runs for it; it is made due again");
    HealthProblem { hook: Some(hook), delivery: Some(id), ..problem(HealthProblemKind::Stray, message) }
}

fn problem(what: HealthProblemKind, message: String) -> HealthProblem {
    HealthProblem { what, watch: None, hook: None, delivery: None, message }
}
