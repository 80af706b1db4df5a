//! Each change reaches the hooks that subscribe to it, and no other.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use jiff::SignedDuration;
use serde_json::Value;
use support::bed::Bed;
use support::hook::Hook;
use support::process::Running;
use support::registry::{Registry, Reply};
use support::sandbox::{Sandbox, Who};
use support::wall_clock::WallClock;

const CHANGES: [&str; 6] = ["first", "moved", "removed", "restored", "failing", "recovered"];

/// One watch, with a hook for each change and one for all of them; checks are an hour apart.
struct Scene {
    registry: Registry,
    sandbox: Sandbox,
    clock: WallClock,
    hooks: Vec<(&'static str, Hook)>,
    of_all: Hook,
    hours: i64,
}

impl Scene {
    fn new() -> Self {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        let clock = WallClock::new(sandbox.path());
        let hooks: Vec<(&str, Hook)> = CHANGES.map(|change| (change, sandbox.hook())).into();
        let of_all = sandbox.hook();
        let mut text = format!("[registry.'{}']\nplain_http = true\n", registry.host());
        for (change, hook) in &hooks {
            text += &format!("[hook.{change}]\ncommand = {}\non = ['{change}']\n", hook.toml());
        }
        text += &format!("[hook.all]\ncommand = {}\non = {CHANGES:?}\n", of_all.toml());
        let fed = CHANGES.iter().chain(&["all"]).collect::<Vec<_>>();
        text += &format!("[watch.web]\nimage = '{}'\nhooks = {fed:?}\n", registry.image("web", "v1"));
        sandbox.write_whole_config(&text);
        Self { registry, sandbox, clock, hooks, of_all, hours: 0 }
    }

    /// One check, an hour later.
    fn check(&mut self) -> Value {
        self.hours += 1;
        self.clock.is_off_by(SignedDuration::from_hours(self.hours));
        Running::start(self.clock.under(self.sandbox.command(Who::Us, &["check", "--json"]))).finish().json()
    }

    /// Just these hooks were run, each for its change; returns what the last of them was told.
    #[track_caller]
    fn told(&self, expected: &[&str], of_all: &str) -> (String, String) {
        let mut told = (String::new(), String::new());
        for (change, hook) in &self.hooks {
            if expected.contains(change) {
                let call = hook.only_call();
                assert_eq!(call.var("TAGHOOK_CHANGE"), *change);
                told = (call.var("TAGHOOK_PREVIOUS_DIGEST").to_owned(), call.var("TAGHOOK_DIGEST").to_owned());
            } else {
                hook.expect_no_call();
            }
        }
        assert_eq!(self.of_all.only_call().var("TAGHOOK_CHANGE"), of_all);
        told
    }

    #[track_caller]
    fn told_nothing(&self) {
        self.hooks.iter().for_each(|(_, hook)| hook.expect_no_call());
        self.of_all.expect_no_call();
    }
}

#[test]
fn each_change_reaches_the_hooks_that_subscribe_to_it() {
    let mut scene = Scene::new();
    let one = scene.registry.push_image("web", "v1", "one");
    assert_eq!(scene.check()["outcome"], "first");
    assert_eq!(scene.told(&["first"], "first"), (String::new(), one.clone()));

    let two = scene.registry.push_image("web", "v1", "two");
    assert_eq!(scene.check()["outcome"], "moved");
    assert_eq!(scene.told(&["moved"], "moved"), (one, two.clone()));

    // Absence is no failure of the registry's: it is told as `removed` once it has lasted.
    scene.registry.delete_tag("web", "v1");
    scene.check();
    scene.check();
    scene.told_nothing();
    assert_eq!(scene.check()["outcome"], "absent");
    assert_eq!(scene.told(&["removed"], "removed"), (two.clone(), String::new()));

    scene.registry.push_image("web", "v1", "two");
    assert_eq!(scene.check()["outcome"], "restored");
    assert_eq!(scene.told(&["restored"], "restored").1, two);

    // Back with another digest it has moved, too; who hears of both is told that.
    scene.registry.delete_tag("web", "v1");
    (0..3).for_each(|_| drop(scene.check()));
    scene.told(&["removed"], "removed");
    let three = scene.registry.push_image("web", "v1", "three");
    scene.check();
    assert_eq!(scene.told(&["moved", "restored"], "moved").1, three);

    scene.registry.rule(|_, _| Reply::status(500));
    scene.check();
    scene.check();
    scene.told_nothing();
    assert_eq!(scene.check()["outcome"], "failed");
    assert_eq!(scene.told(&["failing"], "failing").1, three);
    scene.check();
    scene.told_nothing();

    scene.registry.no_rules();
    scene.check();
    assert_eq!(scene.told(&["recovered"], "recovered").1, three);
    scene.check();
    scene.told_nothing();
}

#[test]
fn the_hooks_of_a_change_are_owed_in_the_order_of_the_config() {
    let bed = Bed::new();
    let text = std::fs::read_to_string(bed.config_path()).unwrap();
    let text = text + "[hook.zeta]\ncommand = ['/bin/true']\n[hook.alpha]\ncommand = ['/bin/true']\n";
    bed.push("one");
    bed.check(0);
    for (salt, order) in [("two", ["zeta", "alpha", "redeploy"]), ("three", ["redeploy", "zeta", "alpha"])] {
        let hooks = format!("hooks = {order:?}");
        std::fs::write(bed.config_path(), text.replace("hooks = ['redeploy']", &hooks)).unwrap();
        bed.push(salt);
        bed.check(0);
        let mut owed: Vec<Value> = bed.deliveries().into_iter().take(3).map(|row| row["hook"].clone()).collect();
        owed.reverse();
        assert_eq!(owed, order);
    }
}
