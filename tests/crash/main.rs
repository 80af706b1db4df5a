//! The promise under kill -9: the real agent, tags that keep moving, hooks that succeed, fail, are slow and hang.
//!
//! It is killed at random instants, and, where it was built with the cargo feature `failpoints`, between each pair of
//! steps. `TAGHOOK_CRASHES=3000 cargo test --features failpoints --test crash` for more of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod scene;
#[path = "../support/mod.rs"]
mod support;
mod verdict;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use scene::{Chance, Scene};
use support::process::Agent;
use support::sandbox::Who;

/// How long an agent may take to a step; then it is killed wherever it is.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest life of an agent that is killed at a random instant, in milliseconds.
const LIFE: u64 = 400;
/// Here the agent dies while a hook runs.
const HOOK_RUNS: &str = "delivery: started";

/// One life of the agent, or of a one-shot check.
struct Life {
    verb: &'static str,
    /// Where it dies, and at which passing; otherwise at a random instant.
    step: Option<(String, u32)>,
}

/// How lives ended.
#[derive(Default)]
struct Deaths {
    at_steps: BTreeMap<String, usize>,
    at_random: usize,
    /// One-shot checks that had done their work before.
    natural: usize,
}

#[test]
fn nothing_is_lost_and_nothing_runs_twice_at_once_under_kill_9() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (crashes, seed) = (number("TAGHOOK_CRASHES").unwrap_or(300), number("TAGHOOK_SEED").unwrap_or(0x7461_6768));
    // Told if the test fails.
    println!("TAGHOOK_SEED={seed}");
    let mut chance = Chance(seed);
    let steps = steps();
    let (mut scene, mut deaths) = (Scene::new(&mut chance), Deaths::default());

    for life in lives(&steps, crashes as usize, &mut chance) {
        for _ in 0..=chance.below(3) {
            scene.moves_a_tag();
        }
        if life.step.as_ref().is_some_and(|(step, _)| step.starts_with("recover")) {
            // There must be something to recover.
            live(&scene, &Life { verb: "run", step: Some((HOOK_RUNS.to_owned(), 1)) }, &mut chance, &mut deaths);
        }
        live(&scene, &life, &mut chance, &mut deaths);
    }
    let never: Vec<&String> = steps.iter().filter(|step| !deaths.at_steps.contains_key(*step)).collect();
    assert!(never.is_empty(), "the agent never died at {never:?}; elsewhere: {:?}", deaths.at_steps);

    let pushed = scene.settle();
    let found = verdict::verdict(&scene, &pushed);
    // Past the test runner, which keeps what is printed to itself.
    writeln!(std::io::stderr(), "\ncrash: {deaths}; {found}").unwrap();
}

/// The names of all steps, from the source, so that none is forgotten.
fn steps() -> Vec<String> {
    if !cfg!(feature = "failpoints") {
        return Vec::new();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agent");
    let below = ["", "check", "deliver", "serve"].map(|name| std::fs::read_dir(folder.join(name)).unwrap());
    let paths = below.into_iter().flatten().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let files = paths.map(|path| std::fs::read_to_string(path).unwrap());
    let names = |source: String| {
        let names = source.split("failpoint::step(\"").skip(1).filter_map(|rest| rest.split('"').next());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut steps: Vec<String> = files.flat_map(names).collect();
    steps.sort();
    assert!(steps.iter().any(|step| step == HOOK_RUNS), "{steps:?}");
    steps
}

/// Every step, at several passings and in a one-shot check, too, among so many lives in all, in random order.
fn lives(steps: &[String], crashes: usize, chance: &mut Chance) -> Vec<Life> {
    let mut lives = Vec::new();
    for step in steps {
        let at = |verb, count| Life { verb, step: Some((step.clone(), count)) };
        let agent_only = step.starts_with("start") || step.starts_with("stop");
        let once = agent_only || ["recover: found", "recover: survivors ended"].contains(&&**step);
        lives.extend([1, 2, 3, 5].map(|count| at("run", if once { 1 } else { count })));
        lives.extend((!agent_only).then(|| at("check", 1)));
    }
    while lives.len() < crashes {
        let verb = if chance.below(4) == 0 { "check" } else { "run" };
        lives.push(Life { verb, step: None });
    }
    for last in (1..lives.len()).rev() {
        lives.swap(last, chance.below(last as u64 + 1) as usize);
    }
    lives
}

fn live(scene: &Scene, life: &Life, chance: &mut Chance, deaths: &mut Deaths) {
    let mut command = scene.sandbox.command(Who::Us, &[life.verb]);
    if let Some((step, count)) = &life.step {
        command.env("TAGHOOK_FAILPOINT", format!("{step}:{count}"));
    }
    let mut victim = Agent::spawn(command);
    let step = life.step.as_ref().map(|(step, _)| step);
    if step.is_some_and(|step| step.starts_with("stop")) {
        victim.wait_for("ready", &[]);
        victim.sigterm();
    }
    let patience = step.map_or_else(|| Duration::from_millis(chance.below(LIFE)), |_| PATIENCE);
    match (victim.ends_within(patience), step) {
        (Some(status), Some(step)) if status.signal() == Some(9) => {
            *deaths.at_steps.entry(step.clone()).or_default() += 1;
        }
        (Some(_), _) if life.verb == "check" => deaths.natural += 1,
        (Some(status), _) => panic!("the agent has ended by itself, {status}:\n{}", victim.log().join("\n")),
        (None, _) => {
            victim.kill();
            deaths.at_random += 1;
        }
    }
}

impl std::fmt::Display for Deaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at_steps: usize = self.at_steps.values().sum();
        let (all, steps) = (at_steps + self.at_random, self.at_steps.len());
        write!(f, "{all} kills, {at_steps} of them at {steps} steps; {} one-shot checks were faster", self.natural)
    }
}
