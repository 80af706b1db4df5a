//! A config that changes while checks are under way, queued, or held off.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::sync::mpsc::{Receiver, Sender, channel};

use support::hook::Hook;
use support::process::Agent;
use support::registry::{Registry, Reply};
use support::sandbox::Sandbox;

/// A config of these watches: name, registry, repository, hooks.
fn config(hook: &Hook, watches: &[(&str, &Registry, &str, &str)]) -> String {
    let mut text = format!("[hook.tell]\ncommand = {}\non = ['first', 'moved']\nattempts = 1\n", hook.toml());
    let mut hosts: Vec<String> = watches.iter().map(|(_, registry, ..)| registry.host()).collect();
    hosts.sort();
    hosts.dedup();
    for host in hosts {
        text += &format!("[registry.'{host}']\nplain_http = true\nconcurrency = 1\n");
    }
    for (name, registry, repository, hooks) in watches {
        let image = registry.image(repository, "v1");
        text += &format!("[watch.{name}]\nimage = '{image}'\nschedule = '30d'\nhooks = [{hooks}]\n");
    }
    text
}

fn repositories(registry: &Registry) -> Vec<String> {
    let mut asked: Vec<String> = registry.log().into_iter().map(|seen| seen.path).collect();
    asked.sort();
    asked.dedup();
    asked
}

#[test]
fn a_place_that_is_taken_again_is_asked_at_its_own_registry() {
    let (a, b, sandbox) = (Registry::start(), Registry::start(), Sandbox::new());
    let hook = sandbox.hook();
    for (registry, repository) in [(&a, "w0"), (&a, "w1"), (&b, "v"), (&b, "w2")] {
        registry.push_image(repository, "v1", repository);
        registry.rule(|_, _| Reply::status(429).with("retry-after", "1"));
    }
    sandbox.write_whole_config(&config(&hook, &[("w0", &a, "w0", ""), ("w1", &a, "w1", ""), ("z", &b, "v", "")]));
    let mut agent = sandbox.agent();
    agent.wait_for("registry held off", &[]);
    agent.wait_for("registry held off", &[]);

    // What waits at one registry leaves; what comes then takes its place, and is of another registry.
    sandbox.write_whole_config(&config(&hook, &[("w0", &a, "w0", ""), ("z", &b, "v", "")]));
    sandbox.run(&["reload"]).expect(0);
    sandbox.write_whole_config(&config(&hook, &[("w0", &a, "w0", ""), ("w2", &b, "w2", ""), ("z", &b, "v", "")]));
    sandbox.run(&["reload"]).expect(0);
    a.no_rules();
    b.no_rules();

    for name in ["w0", "w2", "z"] {
        agent.wait_for("first seen", &[("watch", name)]);
    }
    assert!(
        repositories(&a).iter().all(|path| path.contains("/w0/") || path.contains("/w1/")),
        "{:?}",
        repositories(&a)
    );
    // No permit is lost on the way.
    sandbox.run(&["check"]).expect(0);
    agent.stop();
}

/// One watch, whose next check the registry does not answer before it is told to.
struct Held {
    registry: Registry,
    sandbox: Sandbox,
    hook: Hook,
    agent: Agent,
    arrived: Receiver<()>,
    answer: Sender<()>,
}

impl Held {
    fn new(hooks: &str) -> Self {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        let hook = sandbox.hook();
        registry.push_image("web", "v1", "one");
        sandbox.write_whole_config(&config(&hook, &[("web", &registry, "web", hooks)]));
        let mut agent = sandbox.agent();
        agent.wait_for("first seen", &[]);
        if !hooks.is_empty() {
            hook.call();
            agent.wait_for("hook succeeded", &[]);
        }
        registry.push_image("web", "v1", "two");
        let ((tell, arrived), (answer, may_answer)) = (channel(), channel::<()>());
        registry.rule(move |_, reply| {
            if tell.send(()).is_ok() {
                may_answer.recv().ok();
            }
            reply
        });
        Self { registry, sandbox, hook, agent, arrived, answer }
    }

    /// Checks; while the registry is asked, the config comes to be this one.
    fn check_across(&mut self, watches: &[(&str, &str, &str)]) -> support::process::Output {
        let check = self.sandbox.start(&["check", "--json"]);
        self.arrived.recv_timeout(support::DEADLINE).unwrap();
        let watches: Vec<_> =
            watches.iter().map(|(name, repository, hooks)| (*name, &self.registry, *repository, *hooks)).collect();
        self.sandbox.write_whole_config(&config(&self.hook, &watches));
        self.sandbox.run(&["reload"]).expect(0);
        // Now, and all that follow.
        for _ in 0..9 {
            self.answer.send(()).ok();
        }
        check.finish()
    }
}

#[test]
fn a_hook_that_came_while_the_registry_was_asked_hears_of_the_move() {
    let mut held = Held::new("");
    held.check_across(&[("web", "web", "'tell'")]).expect(0);
    assert_eq!(held.hook.only_call().var("TAGHOOK_CHANGE"), "moved");
    held.agent.stop();
}

#[test]
fn a_hook_that_left_while_the_registry_was_asked_hears_nothing() {
    for left in [&[("web", "web", "")][..], &[("other", "web", "'tell'")], &[]] {
        let mut held = Held::new("'tell'");
        held.check_across(left);
        held.agent.wait_for("tag moved", &[("watch", "web")]);
        let deliveries = held.sandbox.run(&["deliveries", "web", "--json"]).expect(0).json_lines();
        assert_eq!(deliveries.len(), 1, "that of `first`: {deliveries:?}");
        held.agent.stop();
    }
}

#[test]
fn a_pause_stays_when_the_image_is_edited() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    let hook = sandbox.hook();
    registry.push_image("one", "v1", "one");
    registry.push_image("two", "v1", "two");
    sandbox.write_whole_config(&config(&hook, &[("web", &registry, "one", "")]));
    let mut agent = sandbox.agent();
    agent.wait_for("first seen", &[]);
    sandbox.run(&["pause", "web"]).expect(0);
    sandbox.write_whole_config(&config(&hook, &[("web", &registry, "two", "'tell'")]));
    sandbox.run(&["reload"]).expect(0);

    agent.wait_for("first seen", &[]);
    assert_eq!(sandbox.run(&["status", "--json"]).expect(0).json()["watches"][0]["paused"], true);
    hook.expect_no_call();
    sandbox.run(&["resume", "web"]).expect(0);
    hook.call();
    agent.stop();
}

#[test]
fn what_left_the_config_is_not_tried_again() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    let hook = sandbox.hook();
    registry.push_image("web", "v1", "one");
    for (code, state) in [(0, "succeeded"), (1, "failed")] {
        hook.exits_with(code);
        registry.push_image("web", "v1", state);
        sandbox.write_whole_config(&config(&hook, &[("web", &registry, "web", "'tell'")]));
        sandbox.run(&["check"]).expect(code);
        hook.call();
        let delivery = sandbox.run(&["deliveries", "--json"]).expect(0).json_lines().remove(0);
        assert_eq!(delivery["state"], state);

        sandbox.write_whole_config(&config(&hook, &[("web", &registry, "web", ""), ("v", &registry, "web", "'tell'")]));
        let output = sandbox.run(&["retry", delivery["id"].as_str().unwrap()]).expect(2);
        assert!(output.stderr.contains("as an earlier config had them"), "{output:#?}");
        let output = sandbox.run(&["retry", "--failed"]).expect(0);
        assert!(output.stdout.contains("nothing has failed"), "{output:#?}");
    }
}

/// How the run of a hook ends that was taken from its watch meanwhile.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Exits(i32),
    AgentKilled,
}

#[test]
fn a_hook_that_left_while_it_ran_is_brought_to_the_newest_when_it_returns() {
    for ending in [Ending::Exits(1), Ending::Exits(75), Ending::AgentKilled, Ending::Exits(0)] {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        let hook = sandbox.hook();
        let reload = |hooks| {
            sandbox.write_whole_config(&config(&hook, &[("web", &registry, "web", hooks)]));
            sandbox.run(&["reload"]).expect(0);
        };
        let one = registry.push_image("web", "v1", "one");
        sandbox.write_whole_config(&config(&hook, &[("web", &registry, "web", "'tell'")]));
        let mut agent = sandbox.agent();
        hook.call();
        agent.wait_for("hook succeeded", &[]);
        let two = registry.push_image("web", "v1", "two");
        hook.holds();
        let check = sandbox.start(&["check"]);
        let run = hook.call();
        assert_eq!(run.var("TAGHOOK_DIGEST"), two);

        reload("");
        let three = registry.push_image("web", "v1", "three");
        let second_check = sandbox.start(&["check"]);
        agent.wait_for("tag moved", &[]);
        agent.wait_for("tag moved", &[]);
        hook.exits_with(0);
        match ending {
            Ending::Exits(code) => {
                run.exit(code);
                agent.wait_for(if code == 0 { "hook succeeded" } else { "hook failed" }, &[]);
            }
            Ending::AgentKilled => {
                agent.kill();
                agent = sandbox.agent();
            }
        }
        check.finish();
        second_check.finish();
        assert_eq!(sandbox.run(&["deliveries", "--json"]).expect(0).json_lines()[0]["held"], "not_fed");
        hook.expect_no_call();

        reload("'tell'");
        let call = hook.call();
        assert_eq!(call.var("TAGHOOK_DIGEST"), three, "{ending:?}");
        let stands = if matches!(ending, Ending::Exits(0)) { two } else { one };
        assert_eq!(call.var("TAGHOOK_PREVIOUS_DIGEST"), stands, "{ending:?}");
        agent.wait_for("hook succeeded", &[]);
        hook.expect_no_call();
        sandbox.run(&["health"]).expect(0);
        agent.stop();
    }
}

#[test]
fn a_retry_after_an_absence_is_for_the_newest_or_refused() {
    for code in [0, 1] {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        let hook = sandbox.hook();
        let configure = |hooks| sandbox.write_whole_config(&config(&hook, &[("web", &registry, "web", hooks)]));
        let latest = || sandbox.run(&["deliveries", "--json"]).expect(0).json_lines().remove(0);
        registry.push_image("web", "v1", "one");
        configure("'tell'");
        sandbox.run(&["check"]).expect(0);
        registry.push_image("web", "v1", "two");
        hook.exits_with(code);
        sandbox.run(&["check"]).expect(code);
        let of_two = latest()["id"].as_str().unwrap().to_owned();
        hook.more_calls();

        configure("");
        let three = registry.push_image("web", "v1", "three");
        sandbox.run(&["check"]).expect(code);
        configure("'tell'");
        hook.exits_with(0);
        if code == 1 {
            // It is owed the newest without a retry.
            let newest = latest()["id"].as_str().unwrap().to_owned();
            let refused = sandbox.run(&["retry", &of_two]).expect(2).stderr;
            assert!(refused.contains(&newest), "{refused}");
        } else {
            sandbox.run(&["retry", &of_two]).expect(0);
        }
        sandbox.run(&["check"]).expect(0);
        assert_eq!(hook.only_call().var("TAGHOOK_DIGEST"), three);
        assert_eq!(latest()["to"], three);
    }
}
