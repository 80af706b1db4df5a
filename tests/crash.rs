//! The promise under kill -9: the real agent, tags that keep moving, hooks that succeed, fail, are slow and hang.
//!
//! `TAGHOOK_CRASHES=1000 cargo test --test crash -- --nocapture` for more of it, with the figures.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::Agent;
use support::registry::Registry;
use support::sandbox::{Sandbox, Who};

const REPOSITORIES: usize = 4;
const HOOKS: [(&str, &str); 4] = [
    ("ok", "exit 0"),
    // By chance, so that a retry has one, too.
    ("fails", "exit $((RANDOM % 2))"),
    ("slow", "sleep 0.1; exit 0"),
    // Only a cut or its timeout ends it, at the first attempt.
    ("hangs", "if [ $TAGHOOK_ATTEMPT = 1 ]; then exec sleep 60; fi; exit 0"),
];

/// Notes its start and end in one line each, and whether an earlier run of its watch and hook is still there.
fn script(log: &Path, behaviour: &str) -> String {
    let log = log.display();
    format!(
        r#"#!/bin/bash
mark=$TAGHOOK_WATCH.$TAGHOOK_HOOK
earlier=$(cat "{log}.$mark" 2>/dev/null)
if [ -n "$earlier" ] && grep -qz "^TAGHOOK_HOOK=$TAGHOOK_HOOK$" "/proc/$earlier/environ" 2>/dev/null; then
    echo "overlap $mark $earlier" >>"{log}"
fi
echo $$ >"{log}.$mark"
echo "start $TAGHOOK_DELIVERY $TAGHOOK_ATTEMPT $TAGHOOK_WATCH $TAGHOOK_HOOK $TAGHOOK_DIGEST" >>"{log}"
run() {{ {behaviour}
}}
(run)
code=$?
echo "end $TAGHOOK_DELIVERY $TAGHOOK_ATTEMPT $code" >>"{log}"
exit $code
"#
    )
}

struct Scene {
    registry: Registry,
    sandbox: Sandbox,
    /// What each tag points at.
    newest: BTreeMap<String, String>,
    moves: usize,
}

impl Scene {
    fn new() -> Self {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        let host = registry.host();
        let log = sandbox.path().join("runs");
        std::fs::write(&log, "").unwrap();
        let mut config = format!("[registry.'{host}']\nplain_http = true\nrate = '100000/s'\n");
        for (hook, behaviour) in HOOKS {
            let path = sandbox.path().join(hook);
            std::fs::write(&path, script(&log, behaviour)).unwrap();
            config += &format!(
                "[hook.{hook}]\ncommand = ['/bin/bash', {path:?}]\ntimeout = '2s'\nbackoff = '10ms'\nbackoff_max = '50ms'\n\
                 attempts = 1000\nconcurrency = 4\n"
            );
        }
        let hooks = HOOKS.map(|(hook, _)| hook);
        for number in 0..REPOSITORIES {
            let image = registry.image(&format!("app{number}"), "v1");
            // What returns is believed at once, so that A→B→A is exercised too.
            config += &format!(
                "[watch.app{number}]\nimage = '{image}'\nschedule = '1s'\nconfirm_after = '0s'\nhooks = {hooks:?}\n"
            );
        }
        sandbox.write_whole_config(&config);
        let mut scene = Self { registry, sandbox, newest: BTreeMap::new(), moves: 0 };
        for number in 0..REPOSITORIES {
            scene.moves_tag(number, 0);
        }
        scene
    }

    fn moves_tag(&mut self, repository: usize, salt: usize) {
        let name = format!("app{repository}");
        // Few different images, so that tags return to where they were.
        let digest = self.registry.push_image(&name, "v1", &format!("image {}", salt % 5));
        self.moves += usize::from(self.newest.insert(name, digest.clone()) != Some(digest));
    }

    fn runs(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.sandbox.path().join("runs")).unwrap();
        text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }

    fn json(&self, verb: &str) -> Vec<Value> {
        self.sandbox.run(&[verb, "--json"]).expect(0).json_lines()
    }

    /// Lets the agent work until every tag was seen where it is, and nothing is owed.
    fn settle(&self) {
        let agent = self.sandbox.agent();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            // Waits for the hooks of each watch, so this is no busy loop.
            self.sandbox.run(&["check", "--json"]);
            let status = self.sandbox.run(&["status", "--json"]).expect(0).json();
            let watches = status["watches"].as_array().unwrap();
            let at_rest = |watch: &Value| {
                let newest = &self.newest[watch["watch"].as_str().unwrap()];
                watch["digest"] == **newest && watch["owed"]["pending"] == 0 && watch["owed"]["running"] == 0
            };
            if watches.iter().all(at_rest) {
                break;
            }
            assert!(Instant::now() < deadline, "not at rest: {status:#}");
        }
        agent.stop();
    }
}

/// A small generator of its own: the sequence of a seed is the same on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn nothing_is_lost_and_nothing_runs_twice_at_once_under_kill_9() {
    let crashes: u64 = std::env::var("TAGHOOK_CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let seed = std::env::var("TAGHOOK_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0x7461_6768);
    let (mut scene, mut chance) = (Scene::new(), Chance(seed));

    for round in 0..crashes {
        for _ in 0..=chance.below(3) {
            let (repository, salt) = (chance.below(REPOSITORIES as u64), chance.below(100));
            scene.moves_tag(repository as usize, salt as usize);
        }
        // A kill at any instant: also while it starts, and of a one-shot check, too.
        let verb: &[&str] = if round % 4 == 3 { &["check"] } else { &["run"] };
        let mut victim = Agent::spawn(scene.sandbox.command(Who::Us, verb));
        victim.reads_for(Duration::from_millis(chance.below(700)));
        victim.kill();
    }
    scene.settle();

    let (runs, deliveries, history) = (scene.runs(), scene.json("deliveries"), scene.json("history"));
    assert!(!runs.iter().any(|run| run[0] == "overlap"), "two runs at once: {runs:#?}");
    let told = delivered(&scene, &deliveries);
    gapless(&history);
    let twice = duplicates(&runs, &deliveries);
    println!(
        "{crashes} kills, {} moves, {} changes, {} deliveries, {} starts, {told} delivered, {twice} repeated after a cut",
        scene.moves,
        history.len(),
        deliveries.len(),
        runs.iter().filter(|run| run[0] == "start").count(),
    );
}

/// Every hook has last succeeded for the newest digest; tells how many deliveries have succeeded.
fn delivered(scene: &Scene, deliveries: &[Value]) -> usize {
    for (watch, newest) in &scene.newest {
        for (hook, _) in HOOKS {
            let of_this = |delivery: &&Value| delivery["watch"] == **watch && delivery["hook"] == *hook;
            let last = deliveries.iter().filter(of_this).find(|delivery| delivery["state"] == "succeeded");
            // A tag that came back before anything was tried owes nothing.
            let reached = last.map(|delivery| delivery["to"].clone());
            let untouched = deliveries.iter().filter(of_this).all(|delivery| delivery["state"] == "superseded");
            assert!(
                untouched || reached == Some(Value::from(newest.clone())),
                "{watch} {hook}: {reached:?}, not {newest}"
            );
        }
    }
    deliveries.iter().filter(|delivery| delivery["state"] == "succeeded").count()
}

/// The history of each watch is a chain, in order.
fn gapless(history: &[Value]) {
    let mut standing = BTreeMap::new();
    for change in history.iter().rev() {
        let before = standing.insert(change["watch"].as_str().unwrap(), change["to"].clone());
        assert_eq!(before.unwrap_or(Value::Null), change["from"], "a gap before {change}");
    }
}

/// Deliveries that have ended well more than once: each must have been cut between its end and its record.
fn duplicates(runs: &[Vec<String>], deliveries: &[Value]) -> usize {
    let mut well = BTreeMap::<&str, BTreeSet<&str>>::new();
    for run in runs.iter().filter(|run| run[0] == "end" && run[3] == "0") {
        well.entry(&run[1]).or_default().insert(&run[2]);
    }
    let attempts = |id: &str| {
        let of_this = deliveries.iter().find(|delivery| delivery["id"] == *id);
        of_this.map_or(0, |delivery| delivery["attempts"].as_u64().unwrap_or(0))
    };
    for (id, ends) in &well {
        assert!(ends.len() as u64 <= attempts(id), "{id} ended more often than it was started");
    }
    well.values().filter(|ends| ends.len() > 1).count()
}
