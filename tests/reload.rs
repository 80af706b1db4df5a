//! A running agent and another config: all of it or nothing, and what did not change is not disturbed.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::Value;
use support::hook::Hook;
use support::process::{Agent, Running};
use support::registry::{Registry, Reply};
use support::sandbox::{Sandbox, Who};
use support::wall_clock::WallClock;

struct Scene {
    registry: Registry,
    sandbox: Sandbox,
    hook: Hook,
}

impl Scene {
    /// Watches of these names that are due in weeks, each of an image of its own, and one hook.
    fn new(watches: &[&str]) -> Self {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        for name in ["a", "b", "c"] {
            registry.push_image(name, "v1", "one");
        }
        let hook = sandbox.hook();
        let scene = Self { registry, sandbox, hook };
        scene.configure(watches, "");
        scene
    }

    fn configure(&self, watches: &[&str], more: &str) {
        let (host, command) = (self.registry.host(), self.hook.toml());
        let mut text = format!("[registry.'{host}']\nplain_http = true\n[hook.tell]\ncommand = {command}\n");
        for name in watches {
            let image = self.registry.image(name, "v1");
            text += &format!("[watch.{name}]\nimage = '{image}'\nschedule = '30d'\nhooks = ['tell']\n");
        }
        self.sandbox.write_whole_config(&(text + more));
    }

    /// The agent, once it has seen all of its watches.
    fn agent(&self, watches: usize) -> Agent {
        let mut agent = self.sandbox.agent();
        for _ in 0..watches {
            agent.wait_for("first seen", &[]);
        }
        agent
    }

    #[track_caller]
    fn reload(&self) -> Value {
        self.sandbox.run(&["reload", "--json"]).expect(0).json()
    }

    fn status(&self) -> Value {
        self.sandbox.run(&["status", "--json"]).expect(0).json()
    }

    /// What a person sees.
    fn shown(&self) -> String {
        self.sandbox.run(&["status"]).expect(0).stdout
    }

    /// Each watch's status, by name.
    fn watches(&self) -> BTreeMap<String, Value> {
        let status = self.status();
        let watches = status["watches"].as_array().unwrap().iter();
        watches.map(|watch| (watch["watch"].as_str().unwrap().to_owned(), watch.clone())).collect()
    }

    /// How often each repository was asked for its tag.
    fn asked(&self, repository: &str) -> usize {
        let path = format!("/v2/{repository}/manifests/v1");
        self.registry.log().iter().filter(|seen| seen.path == path).count()
    }
}

fn changes(done: &Value) -> [u64; 4] {
    ["watches", "added", "changed", "removed"].map(|count| done[count].as_u64().unwrap())
}

#[test]
fn what_is_added_is_checked_at_once_and_what_did_not_change_is_left_alone() {
    let scene = Scene::new(&["a", "b"]);
    let mut agent = scene.agent(2);
    let before = scene.watches();

    scene.configure(&["a", "c"], "");
    assert!(scene.shown().contains("has not read it since: `taghook reload`"), "{}", scene.shown());
    assert_eq!(changes(&scene.reload()), [2, 1, 0, 1]);

    assert!(!scene.shown().contains("has not read it since"), "{}", scene.shown());
    agent.wait_for("first seen", &[("watch", "c")]);
    let after = scene.watches();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(after["a"], before["a"], "its due time, too");
    assert_eq!(["a", "b", "c"].map(|name| scene.asked(name)), [1, 1, 1]);
    let connections = scene.registry.log().iter().map(|seen| seen.connection).max();
    assert!(connections <= Some(1), "the connections that there were are used again");
    assert!(scene.sandbox.run(&["check", "b"]).expect(2).stderr.contains("there is no watch \"b\""));
    agent.stop();
}

#[test]
fn a_config_with_faults_changes_nothing_and_is_told_everywhere() {
    let scene = Scene::new(&["a"]);
    let mut agent = scene.agent(1);
    let before = scene.watches();
    scene.configure(&["a", "b"], "[watch.c]\nimage = 'NOT VALID'\nhooks = ['tel']\n");

    let refused = scene.sandbox.run(&["reload"]).expect(2).stderr;
    let checked = scene.sandbox.run(&["config", "check"]).expect(2).stderr;

    let (faults, _count) = checked.trim_end().rsplit_once('\n').unwrap();
    assert!(refused.starts_with(faults.trim_end()), "the same text:\n{refused}\n{checked}");
    assert!(refused.contains("the agent goes on by the config that it had"), "{refused}");
    agent.wait_for("config not reloaded", &[("faults", "2")]);
    assert_eq!(scene.watches(), before);
    let error = scene.status()["config"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("NOT VALID") && error.contains("(and 1 more)"), "{error}");
    let shown = scene.shown();
    assert!(shown.contains("the config was changed, and refused") && shown.contains("NOT VALID"), "{shown}");

    scene.configure(&["a", "b"], "");
    assert_eq!(changes(&scene.reload()), [2, 1, 0, 0]);
    assert_eq!(scene.status()["config"]["error"], Value::Null);
    agent.stop();
}

#[test]
fn with_faults_in_the_config_an_agent_is_operated_all_the_same() {
    let scene = Scene::new(&["a"]);
    let agent = scene.agent(1);
    scene.hook.exits_with(1);
    scene.registry.push_image("a", "v1", "two");
    scene.configure(&["a"], "[hook.other]\ncommand = 'true'\nattempts = 'many'\n");
    let run = |verb: &[&str], code| scene.sandbox.run(verb).expect(code);
    run(&["check"], 1);
    let id = run(&["deliveries", "--json"], 0).json()["id"].as_str().unwrap().to_owned();

    let verbs: [(&[&str], i32); 11] = [
        (&["pause", "a"], 0),
        (&["check", "a"], 1),
        (&["resume", "a"], 0),
        (&["prune"], 0),
        (&["explain", "a"], 0),
        (&["retry", &id], 2),
        (&["health"], 0),
        (&["log", &id], 0),
        (&["history"], 0),
        (&["deliveries", "a"], 0),
        (&["status", "a"], 0),
    ];
    for (verb, code) in verbs {
        let said = run(verb, code);
        let note = "note: the config has faults, the agent goes on by the one that it had; `taghook config check`\n";
        assert!(said.stderr.starts_with(note), "{verb:?}: {said:#?}");
        assert_eq!(said.stderr.matches("note").count(), 1, "{verb:?}: {said:#?}");
        assert!(!said.stderr.contains("many"), "{verb:?}: {said:#?}");
    }
    agent.stop();

    assert!(run(&["pause", "a"], 2).stderr.contains("many"));
    let said = run(&["history"], 0);
    assert!(said.stdout.contains("moved") && said.stderr.contains("this was recorded in "), "{said:#?}");
    std::fs::remove_file(scene.sandbox.config_path()).unwrap();
    assert!(run(&["history"], 2).stderr.contains("there is no file"));
}

#[test]
fn health_goes_by_what_the_agent_runs_and_tells_of_a_config_that_was_refused() {
    let scene = Scene::new(&["a"]);
    let agent = scene.agent(1);
    let clock = WallClock::new(scene.sandbox.path());
    clock.is_off_by(SignedDuration::from_mins(20));
    let text = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    std::fs::write(scene.sandbox.config_path(), text.replace("'30d'", "'1s'")).unwrap();
    let health = || Running::start(clock.under(scene.sandbox.command(Who::Us, &["health"]))).finish();
    assert_eq!(health().expect(0).stdout, "ok: 1 watch\n", "by its own schedule it is not due for weeks");

    scene.configure(&["a"], "[watch.c]\nimage = 'NOT VALID'\n");
    scene.sandbox.run(&["reload"]).expect(2);
    let said = health().expect(1).stdout;
    assert!(said.starts_with("refused: the config was changed, and refused") && said.contains("NOT VALID"), "{said}");
    agent.stop();
}

#[test]
fn what_goes_by_another_config_than_the_agent_says_so() {
    let scene = Scene::new(&["a"]);
    let agent = scene.agent(1);
    let note = |verb: &[&str]| scene.sandbox.run(verb).expect(0).stderr;
    let verbs: [&[&str]; 3] = [&["prune"], &["explain", "a"], &["hook", "test", "tell"]];
    for verb in verbs {
        assert_eq!(note(verb), "", "{verb:?}");
    }

    let text = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    std::fs::write(scene.sandbox.config_path(), text.replace("/a:v1", "/b:v1")).unwrap();

    for (verb, which) in verbs.iter().zip(["the config that the agent has read", "the file", "the file"]) {
        let said = note(verb);
        assert!(said.contains("has not read it since: `taghook reload`"), "{verb:?}: {said}");
        assert!(said.contains(&format!("; this goes by {which}\n")), "{verb:?}: {said}");
    }
    let said = note(&["explain", "a"]);
    assert!(said.contains("note: the agent goes by ") && said.contains("/a:v1; this is the file's, "), "{said}");
    agent.stop();
}

#[test]
fn a_hangup_reloads() {
    let scene = Scene::new(&["a"]);
    let mut agent = scene.agent(1);
    scene.configure(&["b"], "");

    agent.sighup();

    agent.wait_for("config reloaded", &[("added", "1"), ("removed", "1")]);
    agent.wait_for("first seen", &[("watch", "b")]);
    agent.stop();
}

#[test]
fn a_running_hook_goes_on_and_the_next_one_is_the_new_command() {
    let scene = Scene::new(&["a"]);
    let mut agent = scene.agent(1);
    scene.hook.holds();
    scene.registry.push_image("a", "v1", "two");
    let check = scene.sandbox.start(&["check", "--json"]);
    let call = scene.hook.call();

    let other = scene.sandbox.hook();
    let old = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    std::fs::write(scene.sandbox.config_path(), old.replace(&scene.hook.toml(), &other.toml())).unwrap();
    let done = scene.reload();
    assert_eq!((changes(&done), &done["hooks"]), ([1, 0, 1, 0], &1.into()));

    call.exit(0);
    check.finish().expect(0);
    agent.wait_for("hook succeeded", &[("attempt", "1")]);
    scene.registry.push_image("a", "v1", "three");
    scene.sandbox.run(&["check"]).expect(0);
    other.only_call();
    scene.hook.expect_no_call();
    agent.stop();
}

#[test]
fn another_image_is_a_new_baseline_and_the_old_one_resumes_when_it_returns() {
    let scene = Scene::new(&["a"]);
    let mut agent = scene.agent(1);
    let first = scene.watches()["a"]["digest"].clone();
    let text = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    std::fs::write(scene.sandbox.config_path(), text.replace("/a:v1", "/b:v1")).unwrap();
    scene.registry.push_image("b", "v1", "of b");
    assert_eq!(changes(&scene.reload()), [1, 0, 1, 0]);
    agent.wait_for("first seen", &[("watch", "a")]);
    let moved = scene.registry.push_image("a", "v1", "two");

    std::fs::write(scene.sandbox.config_path(), text).unwrap();
    scene.reload();

    assert_eq!(scene.watches()["a"]["digest"], first);
    scene.sandbox.run(&["check"]).expect(0);
    let call = scene.hook.only_call();
    assert_eq!((call.var("TAGHOOK_PREVIOUS_DIGEST"), call.var("TAGHOOK_DIGEST")), (first.as_str().unwrap(), &*moved));
    agent.stop();
}

#[test]
fn a_registry_that_is_reached_otherwise_is_not_held_off_any_more() {
    let scene = Scene::new(&["a"]);
    let text = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    // A port that nobody listens on.
    std::fs::write(scene.sandbox.config_path(), text.replace("plain_http = true", "endpoint = 'http://127.0.0.1:1'"))
        .unwrap();
    let mut agent = scene.sandbox.agent();
    agent.wait_for("registry held off", &[]);

    std::fs::write(scene.sandbox.config_path(), text).unwrap();
    scene.reload();

    agent.wait_for("first seen", &[("watch", "a")]);
    agent.stop();
}

#[test]
fn a_registry_that_did_not_change_stays_held_off() {
    let scene = Scene::new(&["a"]);
    scene.registry.rule(|_, _| Reply::status(429).with("retry-after", "3600"));
    let mut agent = scene.sandbox.agent();
    agent.wait_for("registry held off", &[]);
    let asked = scene.registry.log().len();

    scene.configure(&["a", "b", "c"], "");
    scene.reload();

    assert_eq!(scene.watches()["c"]["error"]["kind"], "rate_limited");
    assert_eq!(scene.registry.log().len(), asked);
    agent.stop();
}

#[test]
fn what_needs_a_restart_is_refused() {
    let scene = Scene::new(&["a"]);
    let agent = scene.agent(1);
    let text = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    let socket = scene.sandbox.path().join("other.sock");
    std::fs::write(scene.sandbox.config_path(), format!("socket = {socket:?}\n{text}")).unwrap();

    let output = scene.sandbox.run(&["reload"]).expect(2);

    assert!(output.stderr.contains("`socket` cannot change while the agent runs; restart it"), "{output:#?}");
    agent.stop();
    let output = scene.sandbox.run(&["reload"]).expect(1);
    assert!(output.stderr.contains("no agent runs"), "{output:#?}");
}

#[test]
fn what_is_disabled_rests_and_what_is_enabled_again_has_missed_nothing() {
    let scene = Scene::new(&["a"]);
    let mut agent = scene.agent(1);
    scene.configure(&["a"], "enabled = false\n");
    assert_eq!(changes(&scene.reload()), [1, 0, 1, 0]);
    assert_eq!(scene.watches()["a"]["next_check"], Value::Null);
    scene.registry.push_image("a", "v1", "two");
    scene.configure(&["a"], "schedule = '1s'\n");
    let text = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    std::fs::write(scene.sandbox.config_path(), text.replace("schedule = '30d'\n", "")).unwrap();
    scene.reload();
    agent.wait_for("tag moved", &[]);
    agent.stop();
}

/// What counts is which file it is, not how old it is.
#[test]
fn a_file_of_any_age_that_was_put_in_place_of_the_one_that_was_read_is_noticed() {
    let scene = Scene::new(&["a"]);
    let (config, path) = (scene.sandbox.config_path(), scene.sandbox.path().to_owned());
    let date = |name: &str, second: u64| {
        let file = std::fs::File::options().append(true).open(path.join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(second)).unwrap();
    };
    for (name, second) in [("old.toml", 1_000_000_000), ("new.toml", 4_000_000_000)] {
        std::fs::copy(&config, path.join(name)).unwrap();
        date(name, second);
    }
    let point_at = |name: &str| {
        std::fs::remove_file(&config).unwrap();
        std::os::unix::fs::symlink(path.join(name), &config).unwrap();
    };
    let is_noticed = || {
        let noticed = scene.shown().contains("was changed, and the agent has not read it since: `taghook reload`");
        assert_eq!(scene.status()["config"]["identity"].as_str().map(str::len), Some(32));
        noticed
    };
    let agent = scene.agent(1);
    assert!(!is_noticed());
    for name in ["old.toml", "new.toml"] {
        point_at(name);
        assert!(is_noticed(), "{name}");
        scene.reload();
        assert!(!is_noticed(), "{name} was read");
    }
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("30d", "31d")).unwrap();
    date("new.toml", 4_000_000_000);
    assert!(is_noticed(), "as long as it was, and with the date that it had");
    scene.reload();
    std::fs::create_dir(path.join("conf.d")).unwrap();
    assert!(!is_noticed(), "there is nothing in it");
    std::fs::write(path.join("conf.d/a.toml"), "").unwrap();
    assert!(is_noticed());
    scene.reload();
    std::fs::remove_file(path.join("conf.d/a.toml")).unwrap();
    assert!(is_noticed());
    agent.stop();
}
