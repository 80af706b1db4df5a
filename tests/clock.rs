//! The wall clock is set, or the machine sleeps: one catch-up check for each watch, and nothing waits for a lost day.
//!
//! A watch that is due every second wakes the agent and tells the test that time goes on; all others are due rarely.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use support::hook::Hook;
use support::process::{Agent, Running};
use support::registry::{Manner, Registry, Seen};
use support::sandbox::{Sandbox, Who};
use support::wall_clock::WallClock;

/// In the middle between two due times of all but `tick`.
const START: &str = "2026-11-10T12:10:00Z";
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Watches and their schedules. A day has many due times of each of the first three.
const WATCHES: [(&str, &str); 5] = [
    ("hourly", "30 * * * *"),
    ("often", "20,40 * * * *"),
    ("interval", "2h"),
    ("nightly", "0 3 * * *"),
    ("tick", "1s"),
];

struct Scene {
    sandbox: Sandbox,
    clock: WallClock,
    registry: Registry,
    hook: Hook,
}

impl Scene {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let clock = WallClock::new(sandbox.path());
        Self::by(clock, sandbox)
    }

    /// By a clock that shows [`START`].
    fn by(clock: WallClock, sandbox: Sandbox) -> Self {
        let (registry, hook) = (Registry::start(), sandbox.hook());
        clock.shows(START);
        let mut config = format!(
            "[defaults]\ntimezone = 'UTC'\n[registry.'{}']\nplain_http = true\nrate = '1000/s'\n\
             [hook.redeploy]\ncommand = {}\nbackoff = '4s'\n",
            registry.host(),
            hook.toml()
        );
        for (name, schedule) in WATCHES {
            registry.push_image(name, "v1", "one");
            let image = registry.image(name, "v1");
            config += &format!("[watch.{name}]\nimage = '{image}'\nschedule = '{schedule}'\nhooks = ['redeploy']\n");
        }
        sandbox.write_whole_config(&config);
        Self { sandbox, clock, registry, hook }
    }

    fn agent(&self) -> Agent {
        Agent::start(self.clock.under(self.sandbox.command(Who::Us, &["run"])))
    }

    /// An agent that has seen all watches.
    fn agent_at_rest(&self) -> Agent {
        let mut agent = self.agent();
        for (name, _) in WATCHES {
            agent.wait_for("first seen", &[("watch", name)]);
        }
        self.registry.clear_log();
        agent
    }

    /// Sets the clock to so much after [`START`], or before it.
    fn is_off_by(&self, offset: SignedDuration) {
        self.clock.shows(&(START.parse::<Timestamp>().unwrap() + offset).to_string());
    }

    /// Lets time go on until `tick` was checked so often more; tells how often each watch was since the log was cleared.
    fn checks_after(&self, ticks: usize) -> BTreeMap<String, usize> {
        let so_far = counts(&self.registry.log())["tick"];
        let log = self.registry.await_log(|log| counts(log)["tick"] >= so_far + ticks);
        counts(&log)
    }

    fn json(&self, verb: &str) -> Vec<Value> {
        let command = self.clock.under(self.sandbox.command(Who::Us, &[verb, "--json"]));
        Running::start(command).finish().expect(0).json_lines()
    }

    /// How long after now, by the clock, a watch will be checked.
    fn next_check(&self, watch: &str) -> SignedDuration {
        let status = self.json("status").remove(0);
        let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
        let watches = status["watches"].as_array().unwrap();
        let found = watches.iter().find(|found| found["watch"] == *watch).unwrap();
        time(&found["next_check"]).duration_since(time(&status["as_of"]))
    }
}

/// How often each watch was asked for by its tag.
fn counts(log: &[Seen]) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<_, _> = WATCHES.iter().map(|(name, _)| ((*name).to_owned(), 0)).collect();
    for seen in log.iter().filter(|seen| seen.path.ends_with("/v1")) {
        *counts.get_mut(seen.path.split('/').nth(2).unwrap()).unwrap() += 1;
    }
    counts
}

#[track_caller]
fn expect_rare_checks(counts: &BTreeMap<String, usize>, expected: [usize; 4]) {
    let found = ["hourly", "often", "interval", "nightly"].map(|name| counts[name]);
    assert_eq!(found, expected, "hourly, often, interval, nightly of {counts:?}");
    // Nor does it make good for seconds that never were.
    assert!(counts["tick"] < 100, "{counts:?}");
}

#[test]
fn a_day_that_the_clock_skips_is_one_check_for_each_watch() {
    // The machine sleeps, or the clock is set: the monotonic clock does not count that. It does where the agent alone
    // was stopped.
    for of_all_time in [false, true] {
        let sandbox = Sandbox::new();
        let dir = sandbox.path();
        let clock = if of_all_time { WallClock::of_all_time(dir) } else { WallClock::new(dir) };
        let scene = Scene::by(clock, sandbox);
        let mut agent = scene.agent_at_rest();
        expect_rare_checks(&scene.checks_after(2), [0, 0, 0, 0]);
        scene.registry.clear_log();

        scene.is_off_by(DAY);

        if !of_all_time {
            agent.wait_for("the clock was set", &[]);
        }
        expect_rare_checks(&scene.checks_after(4), [1, 1, 1, 1]);
        for (watch, longest) in [("hourly", 60), ("often", 40), ("interval", 120), ("nightly", 24 * 60)] {
            let next = scene.next_check(watch);
            assert!(next.is_positive() && next <= SignedDuration::from_mins(longest), "{watch} in {next:#}");
        }
        agent.stop();
    }
}

#[test]
fn a_clock_that_is_set_back_keeps_nothing_waiting() {
    let scene = Scene::new();
    let mut agent = scene.agent_at_rest();
    // A check that is to be tried again soon, and a run that is.
    scene.registry.delete_tag("nightly", "v1");
    Running::start(scene.sandbox.command(Who::Us, &["check", "nightly"])).finish().expect(1);
    scene.hook.exits_with(1);
    let second = scene.registry.push_image("tick", "v1", "two");
    agent.wait_for("hook failed", &[("watch", "tick"), ("attempt", "1")]);
    scene.hook.only_call();
    scene.hook.exits_with(0);
    scene.registry.clear_log();

    scene.is_off_by(-DAY);

    agent.wait_for("the clock was set", &[]);
    agent.wait_for("hook succeeded", &[("watch", "tick"), ("attempt", "2")]);
    assert_eq!(scene.hook.only_call().var("TAGHOOK_DIGEST"), second);
    expect_rare_checks(&scene.checks_after(2), [0, 0, 0, 0]);
    for (watch, longest) in [("hourly", 3600), ("often", 2400), ("interval", 7200), ("nightly", 30), ("tick", 1)] {
        let next = scene.next_check(watch);
        assert!(next <= SignedDuration::from_secs(longest), "{watch} in {next:#}");
    }
    // What happens now is the newest, whatever the clock says.
    let third = scene.registry.push_image("tick", "v1", "three");
    agent.wait_for("hook succeeded", &[("watch", "tick"), ("attempt", "1")]);
    assert_eq!(scene.hook.only_call().var("TAGHOOK_PREVIOUS_DIGEST"), second);
    let history = scene.json("history");
    assert_eq!((&history[0]["to"], &history[1]["to"]), (&third.into(), &second.into()));
    assert!(history[0]["at"].as_str() < history[1]["at"].as_str(), "{history:#?}");
    agent.stop();
}

#[test]
fn a_start_after_the_clock_was_set_back_goes_on_as_if_nothing_had_been() {
    let scene = Scene::new();
    let mut agent = scene.agent_at_rest();
    scene.hook.exits_with(1);
    let second = scene.registry.push_image("tick", "v1", "two");
    agent.wait_for("hook failed", &[("watch", "tick"), ("attempt", "1")]);
    scene.hook.only_call();
    scene.hook.exits_with(0);
    agent.stop();
    scene.registry.clear_log();

    scene.is_off_by(-DAY);
    let mut agent = scene.agent();

    agent.wait_for("hook succeeded", &[("watch", "tick"), ("attempt", "2")]);
    assert_eq!(scene.hook.only_call().var("TAGHOOK_DIGEST"), second);
    expect_rare_checks(&scene.checks_after(2), [0, 0, 0, 0]);
    assert!(scene.next_check("hourly") <= SignedDuration::from_mins(60));
    agent.stop();
}

#[test]
fn a_restart_neither_forgets_nor_repeats_a_check() {
    let scene = Scene::new();
    scene.agent_at_rest().stop();
    // Down for ten minutes in which only `often` came due, for five in which nothing did, for an hour, and not at all.
    for (minutes, expected) in [(15, [0, 1, 0, 0]), (20, [1, 0, 0, 0]), (25, [0; 4]), (80, [1, 1, 0, 0]), (80, [0; 4])]
    {
        scene.is_off_by(SignedDuration::from_mins(minutes));
        scene.registry.clear_log();
        let agent = scene.agent();
        expect_rare_checks(&scene.checks_after(2), expected);
        agent.stop();
    }
}

#[test]
fn a_kill_neither_forgets_nor_repeats_a_check() {
    let sandbox = Sandbox::new();
    let scene = Scene::by(WallClock::of_all_time(sandbox.path()), sandbox);
    let agent = scene.agent_at_rest();
    scene.is_off_by(SignedDuration::from_mins(15));
    expect_rare_checks(&scene.checks_after(2), [0, 1, 0, 0]);
    // That check is in memory only; that the agent lived then is on disk.
    let heartbeat = || {
        let database = rusqlite::Connection::open(scene.sandbox.state().join("taghook.db")).unwrap();
        let at = database.query_row("SELECT at FROM heartbeat", [], |row| row.get::<_, i64>(0)).ok()?;
        Timestamp::from_millisecond(at).ok()
    };
    let since = START.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(15);
    while heartbeat().is_none_or(|at| at < since) {
        assert!(scene.checks_after(1)["tick"] < 20, "no heartbeat");
    }
    agent.kill();
    for (minutes, expected) in [(18, [0; 4]), (25, [1, 0, 0, 0])] {
        scene.is_off_by(SignedDuration::from_mins(minutes));
        scene.registry.clear_log();
        let agent = scene.agent();
        expect_rare_checks(&scene.checks_after(2), expected);
        agent.kill();
    }
}

#[test]
fn what_is_caught_up_waits_at_its_registrys_gate() {
    let scene = Scene::new();
    let slow = Registry::start();
    let mut config = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    let state = config.lines().next().unwrap().to_owned() + "\n";
    config = config.replace(&state, "");
    config += &format!("[registry.'{}']\nplain_http = true\nrate = '1000/s'\nconcurrency = 2\n", slow.host());
    for number in 0..10 {
        slow.push_image(&format!("app{number}"), "v1", "one");
        let image = slow.image(&format!("app{number}"), "v1");
        config += &format!("[watch.app{number}]\nimage = '{image}'\nschedule = '30 * * * *'\n");
    }
    scene.sandbox.write_whole_config(&config);
    let mut agent = scene.agent_at_rest();
    for number in 0..10 {
        agent.wait_for("first seen", &[("watch", &format!("app{number}"))]);
    }
    slow.clear_log();
    slow.rule(|_, reply| reply.manner(Manner::Hang));

    scene.is_off_by(DAY);

    agent.wait_for("the clock was set", &[]);
    slow.await_log(|log| log.len() >= 2);
    expect_rare_checks(&scene.checks_after(3), [1, 1, 1, 1]);
    assert_eq!(slow.requests().len(), 2, "as many as the gate lets through");
    agent.stop();
}
