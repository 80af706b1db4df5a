//! A database of an earlier version: all that stands in it is read, and all that it owes is delivered.
//!
//! `data/version-1.sql` was written by the real agent. It holds every kind of change and delivery, and ends where the
//! agent was killed while a hook ran. What is said here is what a user sees, so it holds for every later version.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::collections::BTreeSet;

use rusqlite::Connection;
use serde_json::Value;
use support::fault;
use support::hook::{Call, Hook};
use support::process::{Agent, Output, Running};
use support::registry::{OCI_INDEX, Registry, Reply, sha256};
use support::sandbox::{Sandbox, Who};
use support::wall_clock::WallClock;

const VERSION_1: &str = include_str!("data/version-1.sql");
const WATCHES: [&str; 10] = ["api", "arm", "back", "broken", "flaky", "gone", "same", "shop", "slow", "web"];

/// The state as version 1 left it, three days later, with the registry as it is then.
struct Scene {
    sandbox: Sandbox,
    clock: WallClock,
    registry: Registry,
    hook: Hook,
}

impl Scene {
    fn new() -> Self {
        let (sandbox, registry) = (Sandbox::new(), Registry::start());
        std::fs::create_dir(sandbox.state()).unwrap();
        let clock = WallClock::new(sandbox.path());
        clock.shows("2026-11-05T17:00:00Z");
        registry.rule(|seen, reply| {
            let Some(rest) = seen.path.strip_prefix("/v2/acme/") else { return reply };
            let (repository, which) = rest.split_once("/manifests/").unwrap();
            let digest = if which == "stable" { standing(repository) } else { which.to_owned() };
            Reply::status(200).with("content-type", OCI_INDEX).with("docker-content-digest", &digest)
        });
        let hook = sandbox.hook();
        let scene = Self { sandbox, clock, registry, hook };
        scene.configure("['redeploy', 'announce', 'backup']");
        scene
    }

    fn with_version_1() -> Self {
        let scene = Self::new();
        scene.fill();
        scene
    }

    fn fill(&self) {
        let database = self.database();
        database.execute_batch("PRAGMA journal_mode=WAL").unwrap();
        database.execute_batch(VERSION_1).unwrap();
    }

    fn database(&self) -> Connection {
        Connection::open(self.sandbox.state().join("taghook.db")).unwrap()
    }

    fn configure(&self, hooks_of_web: &str) {
        let watch = |name: &str| {
            let lines = match name {
                "web" => format!("hooks = {hooks_of_web}"),
                "arm" => "hooks = ['redeploy']\nplatform = 'linux/arm64'".to_owned(),
                "slow" => "hooks = ['redeploy']\nsettle = '3d'".to_owned(),
                "api" => "hooks = ['redeploy', 'backup']".to_owned(),
                "shop" => "hooks = ['redeploy', 'announce', 'backup']".to_owned(),
                "back" => "hooks = ['redeploy', 'announce']".to_owned(),
                _ => "hooks = ['announce']".to_owned(),
            };
            format!("[watch.{name}]\nimage = 'registry.example.com/acme/{name}:stable'\nschedule = '30d'\n{lines}\n")
        };
        let every = "on = ['first', 'moved', 'removed', 'restored', 'failing', 'recovered']";
        let hook = |name: &str| {
            let on = if name == "announce" { every } else { "" };
            format!("[hook.{name}]\ncommand = {}\n{on}\n", self.hook.toml())
        };
        let watches: String = WATCHES.iter().map(|name| watch(name)).collect();
        let hooks: String = ["redeploy", "announce", "backup", "retired"].iter().map(|name| hook(name)).collect();
        let endpoint = format!("[registry.'registry.example.com']\nendpoint = 'http://{}'\n", self.registry.host());
        self.sandbox.write_whole_config(&(watches + &hooks + &endpoint));
    }

    fn run(&self, args: &[&str]) -> Output {
        Running::start(self.clock.under(self.sandbox.command(Who::Us, args))).finish()
    }

    fn json(&self, verb: &str) -> Vec<Value> {
        self.run(&[verb, "--json"]).expect(0).json_lines()
    }

    fn agent(&self) -> Agent {
        Agent::start(self.clock.under(self.sandbox.command(Who::Us, &["run"])))
    }

    /// Checks all, waits until what is owed was tried, and tells what was run since the last time.
    fn runs(&self) -> BTreeSet<String> {
        self.run(&["check", "--json"]);
        self.hook.more_calls().iter().map(told).collect()
    }
}

/// What the registry says a tag points at.
fn standing(repository: &str) -> String {
    match repository {
        // The very index whose child is known.
        "arm" => "sha256:28eb09ea94e96daa1a95de9d6d665acc65dd87c65791f22f790aed43f0e162f6".to_owned(),
        "web" => digest("web 4"),
        "api" => digest("api 3"),
        "flaky" | "same" | "broken" => digest(&format!("{repository} 1")),
        _ => digest(&format!("{repository} 2")),
    }
}

/// The digests of the stored database are made of these texts.
fn digest(text: &str) -> String {
    sha256(text.as_bytes())
}

fn told(call: &Call) -> String {
    let var = |name| call.var(name).to_owned();
    run(
        &format!("{} {} {}", var("TAGHOOK_WATCH"), var("TAGHOOK_HOOK"), var("TAGHOOK_CHANGE")),
        &var("TAGHOOK_ATTEMPT"),
        &var("TAGHOOK_PREVIOUS_DIGEST"),
        &var("TAGHOOK_DIGEST"),
    )
}

fn run(what: &str, attempt: &str, from: &str, to: &str) -> String {
    format!("{what}, attempt {attempt}: {from} -> {to}")
}

fn moved(watch: &str, hook: &str, attempt: &str, from: u32, to: u32) -> String {
    let digest = |number| digest(&format!("{watch} {number}"));
    run(&format!("{watch} {hook} moved"), attempt, &digest(from), &digest(to))
}

#[test]
fn all_that_an_old_database_holds_is_read() {
    let scene = Scene::with_version_1();

    let status = scene.json("status").remove(0);

    let states = status["watches"].as_array().unwrap().iter().map(|watch| {
        let owed = ["pending", "running", "failed"].map(|word| watch["owed"][word].as_u64().unwrap());
        (watch["watch"].as_str().unwrap(), watch["state"].as_str().unwrap(), watch["paused"] == true, owed)
    });
    let states: Vec<_> = states.collect();
    let expected = [
        ("api", "ok", true, [2, 0, 0]),
        ("arm", "ok", false, [0, 0, 0]),
        ("back", "ok", false, [0, 0, 0]),
        ("broken", "failing", false, [0, 0, 0]),
        ("flaky", "ok", false, [0, 0, 0]),
        ("gone", "absent", false, [0, 0, 0]),
        ("same", "ok", false, [0, 0, 0]),
        ("shop", "ok", false, [2, 0, 1]),
        ("slow", "failing", false, [0, 0, 0]),
        ("web", "ok", false, [3, 1, 0]),
    ];
    assert_eq!(states, expected);
    let (history, deliveries) = (scene.json("history"), scene.json("deliveries"));
    assert_eq!((history.len(), deliveries.len()), (24, 34));
    let kinds: BTreeSet<_> = history.iter().map(|change| change["change"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["failing", "first", "moved", "recovered", "removed", "restored"]));
    let states: BTreeSet<_> = deliveries.iter().map(|delivery| delivery["state"].as_str().unwrap()).collect();
    assert_eq!(states, BTreeSet::from(["failed", "pending", "running", "succeeded", "superseded"]));
    let failed = deliveries.iter().find(|delivery| delivery["state"] == "failed").unwrap();
    assert_eq!(
        (&failed["attempts"], &failed["exit_code"], &failed["error"]),
        (&1.into(), &3.into(), &"exit status 3".into())
    );
}

#[test]
fn an_agent_on_an_old_database_delivers_what_was_owed_and_nothing_else() {
    let scene = Scene::with_version_1();
    let (history, deliveries) = (scene.json("history"), scene.json("deliveries"));
    let mut agent = scene.agent();

    let owed = BTreeSet::from([
        // Cut by the kill: the same delivery once more.
        moved("web", "redeploy", "2", 3, 4),
        // Each from where its hook stood.
        moved("web", "announce", "1", 2, 4),
        moved("web", "backup", "1", 2, 4),
        moved("shop", "redeploy", "2", 1, 2),
        moved("shop", "announce", "2", 1, 2),
        // Its candidate has held for three days.
        moved("slow", "redeploy", "1", 1, 2),
        moved("gone", "announce", "1", 1, 2),
        run("broken announce first", "1", "", &digest("broken 1")),
    ]);
    assert_eq!(scene.runs(), owed);
    let running = deliveries.iter().find(|delivery| delivery["state"] == "running").unwrap();
    agent.wait_for("hook succeeded", &[("delivery", running["id"].as_str().unwrap()), ("attempt", "2")]);

    // Held by hand, until now.
    scene.run(&["resume", "api"]).expect(0);
    assert_eq!(scene.runs(), BTreeSet::from([moved("api", "redeploy", "1", 1, 3), moved("api", "backup", "1", 2, 3)]));
    scene.run(&["retry", "--failed"]).expect(0);
    assert_eq!(scene.runs(), BTreeSet::from([moved("shop", "backup", "1", 1, 2)]));
    agent.stop();

    // Held because the watch did not feed its hook.
    scene.configure("['redeploy', 'announce', 'backup', 'retired']");
    let agent = scene.agent();
    assert_eq!(scene.runs(), BTreeSet::from([moved("web", "retired", "1", 1, 4)]));
    agent.stop();

    let agent = scene.agent();
    assert_eq!(scene.runs(), BTreeSet::new(), "nothing is told twice");
    agent.stop();
    let now = scene.json("history");
    assert_eq!(now[now.len() - history.len()..], history, "nothing is forgotten");
    assert!(scene.json("deliveries").iter().all(|d| d["state"] == "succeeded" || d["state"] == "superseded"));
}

/// Tables with their columns, and indexes.
fn shape(database: &Connection) -> BTreeSet<String> {
    let sql = "SELECT t.name || '.' || c.name || ' ' || c.type || c.\"notnull\" || coalesce(c.dflt_value, '') || c.pk
         FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'
         UNION ALL SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL
         UNION ALL SELECT 'version ' || user_version || ' of ' || application_id
         FROM pragma_user_version, pragma_application_id";
    let mut query = database.prepare(sql).unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn an_upgraded_database_is_shaped_like_a_new_one_and_stays_so() {
    let fresh = Scene::new();
    fresh.run(&["check"]);
    let old = Scene::with_version_1();
    for _ in 0..2 {
        old.run(&["check"]);
        assert_eq!(shape(&old.database()), shape(&fresh.database()));
    }
}

/// Runs `pause web` with a fault at its first write, its second, and so on, each time on a new state; `then` looks at
/// what is left. Ends where the fault comes too late to be met.
fn at_every_write(fault: impl Fn(u32) -> String, state: impl Fn(), then: impl Fn(&Output), scene: &Scene) {
    for nth in 1.. {
        assert!(nth < 200, "the fault is met for ever");
        let _ = std::fs::remove_dir_all(scene.sandbox.state());
        state();
        // By the machine's own clock: libfaketime leaves files behind of what is killed.
        let command = scene.sandbox.command(Who::Us, &["pause", "web"]);
        let done = Running::start(fault::with(&fault(nth), &command)).finish();
        then(&done);
        if done.code == Some(0) {
            assert!(nth > 2, "nothing was written");
            return;
        }
    }
}

#[test]
fn an_upgrade_that_is_cut_short_leaves_the_old_database_whole() {
    let scene = Scene::with_version_1();
    // All but whether they are held, which is what is changed.
    let deliveries = || {
        let mut rows = scene.json("deliveries");
        rows.iter_mut().for_each(|row| drop(row["held"].take()));
        rows
    };
    let (history, owed) = (scene.json("history"), deliveries());
    let old = || {
        std::fs::create_dir(scene.sandbox.state()).unwrap();
        scene.fill();
    };
    let whole = |done: &Output| {
        assert_eq!(scene.json("history"), history, "{done:?}");
        assert_eq!(deliveries(), owed, "{done:?}");
    };
    at_every_write(|nth| format!("pwrite64:signal=KILL:when={nth}"), old, whole, &scene);
    let full = |done: &Output| {
        whole(done);
        assert!(done.code == Some(0) || done.stderr.contains("is full; make room"), "{done:?}");
    };
    at_every_write(|nth| format!("pwrite64:error=ENOSPC:when={nth}+"), old, full, &scene);
}

#[test]
fn a_database_that_was_cut_short_at_its_making_is_made_at_the_next_start() {
    let scene = Scene::new();
    let made = |done: &Output| {
        scene.run(&["pause", "web"]).expect(0);
        assert_eq!(scene.json("history"), Vec::<Value>::new(), "{done:?}");
    };
    at_every_write(|nth| format!("pwrite64:signal=KILL:when={nth}"), || (), made, &scene);
    at_every_write(|nth| format!("pwrite64:error=ENOSPC:when={nth}+"), || (), made, &scene);
}
