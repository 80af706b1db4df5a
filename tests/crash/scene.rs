//! What the agent lives in: a registry whose tags keep moving, and hooks of every kind that note what they do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::registry::Registry;
use crate::support::sandbox::Sandbox;

const REPOSITORIES: u64 = 6;
pub(crate) const HOOKS: [(&str, &str); 4] = [
    ("ok", "exit 0"),
    // By chance, so that a retry has one, too.
    ("fails", "exit $((RANDOM % 2))"),
    ("slow", "sleep 0.$((RANDOM % 8)); exit 0"),
    // Only a cut or its timeout ends it, at the first attempt.
    ("hangs", "if [ $TAGHOOK_ATTEMPT = 1 ]; then exec sleep 60; fi; exit 0"),
];

/// The digests that each tag has pointed at, by its watch, in order; the last one is where it stands.
pub(crate) type Pushed = BTreeMap<String, Vec<String>>;

pub(crate) struct Scene {
    pub(crate) sandbox: Sandbox,
    registry: Arc<Registry>,
    /// Who moves tags: how to ask for a move, and what it was when nobody can ask any more.
    mover: Option<(Sender<()>, JoinHandle<Pushed>)>,
}

/// A small generator of its own: the sequence of a seed is the same on every machine.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Another sequence.
    fn branch(&mut self) -> Self {
        Self(self.below(u64::MAX) | 1)
    }
}

impl Scene {
    /// Tags move whenever the agent asks for one, and whenever the test wants it.
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let (registry, sandbox) = (Arc::new(Registry::start()), Sandbox::new());
        sandbox.write_whole_config(&config(&registry, sandbox.path()));
        let mut tags = Tags { registry: registry.clone(), pushed: Pushed::new(), chance: chance.branch() };
        (0..REPOSITORIES).for_each(|number| tags.point(number, "image 0"));
        let (mover, wishes) = mpsc::channel();
        let moving = std::thread::spawn(move || {
            wishes.iter().for_each(|()| tags.move_one());
            tags.pushed
        });
        let (asked, mut chance) = (mover.clone(), chance.branch());
        registry.rule(move |_, reply| {
            if chance.below(2) == 0 {
                asked.send(()).ok();
            }
            reply
        });
        Self { sandbox, registry, mover: Some((mover, moving)) }
    }

    pub(crate) fn moves_a_tag(&self) {
        let (mover, _) = self.mover.as_ref().unwrap();
        mover.send(()).unwrap();
    }

    /// What the hooks noted: each line by its words.
    pub(crate) fn runs(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.sandbox.path().join("runs")).unwrap();
        text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }

    pub(crate) fn json(&self, verb: &str) -> Vec<Value> {
        self.sandbox.run(&[verb, "--json"]).expect(0).json_lines()
    }

    /// Ends the moves, and lets the agent work until every tag was seen where it is and nothing is owed.
    pub(crate) fn settle(&mut self) -> Pushed {
        // With the last of those who ask goes the mover.
        self.registry.no_rules();
        let (mover, moving) = self.mover.take().unwrap();
        drop(mover);
        let pushed = moving.join().unwrap();
        let agent = self.sandbox.agent();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            // Waits for the hooks of each watch, so this is no busy loop.
            self.sandbox.run(&["check", "--json"]);
            let status = self.sandbox.run(&["status", "--json"]).expect(0).json();
            let watches = status["watches"].as_array().unwrap();
            let at_rest = |watch: &Value| {
                let newest = pushed[watch["watch"].as_str().unwrap()].last().unwrap();
                watch["digest"] == **newest && watch["owed"]["pending"] == 0 && watch["owed"]["running"] == 0
            };
            if watches.iter().all(at_rest) {
                break;
            }
            assert!(Instant::now() < deadline, "not at rest: {status:#}");
        }
        agent.stop();
        pushed
    }
}

/// The tags, in the hands of the only one who moves them.
struct Tags {
    registry: Arc<Registry>,
    pushed: Pushed,
    chance: Chance,
}

impl Tags {
    fn move_one(&mut self) {
        let repository = self.chance.below(REPOSITORIES);
        // Often one of few images, so that tags return to where they were.
        let image = self.chance.below(if self.chance.0.is_multiple_of(2) { 5 } else { u64::MAX });
        self.point(repository, &format!("image {image}"));
    }

    fn point(&mut self, repository: u64, image: &str) {
        let name = format!("app{repository}");
        let digest = self.registry.push_image(&name, "v1", image);
        let pushed = self.pushed.entry(name).or_default();
        if pushed.last() != Some(&digest) {
            pushed.push(digest);
        }
    }
}

fn config(registry: &Registry, dir: &Path) -> String {
    let host = registry.host();
    let log = dir.join("runs");
    std::fs::write(&log, "").unwrap();
    let mut config = format!("shutdown_grace = '50ms'\n[registry.'{host}']\nplain_http = true\nrate = '100000/s'\n");
    for (hook, behaviour) in HOOKS {
        let path = dir.join(hook);
        std::fs::write(&path, script(&log, behaviour)).unwrap();
        config += &format!(
            "[hook.{hook}]\ncommand = ['/bin/bash', {path:?}]\ntimeout = '4s'\nbackoff = '10ms'\nbackoff_max = '50ms'\n\
             attempts = 100000\nconcurrency = 6\n"
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
    config
}

/// Notes its start and end in one line each, and whether anything of an earlier run of its watch and hook is still there.
fn script(log: &Path, behaviour: &str) -> String {
    let log = log.display();
    format!(
        r#"#!/bin/bash
run="$TAGHOOK_DELIVERY $TAGHOOK_ATTEMPT"
hook="$TAGHOOK_WATCH $TAGHOOK_HOOK"
# Locked for as long as any process of this run lives; one that was just killed may take a moment to let go.
exec 9>>"{log}.$TAGHOOK_WATCH.$TAGHOOK_HOOK"
flock -w 1 9 || echo "overlap $run $hook" >>"{log}"
echo "start $run $hook $TAGHOOK_DIGEST" >>"{log}"
run() {{ {behaviour}
}}
(run)
code=$?
echo "end $run $code" >>"{log}"
exit $code
"#
    )
}
