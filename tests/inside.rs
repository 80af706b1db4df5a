//! A hook that calls taghook does not wait for itself.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use serde_json::Value;

use support::bed::{Bed, Setup};
use support::hook::Call;
use support::process::{Output, Running};
use support::registry::Registry;
use support::sandbox::{Sandbox, Who};

/// What a run of the hook would start: the same environment, as far as it matters.
fn from_inside(sandbox: &Sandbox, call: &Call, args: &[&str]) -> Running {
    let mut command = sandbox.command(Who::Us, args);
    command.env("TAGHOOK_DELIVERY", call.var("TAGHOOK_DELIVERY"));
    Running::start(command)
}

fn states(output: &Output) -> Vec<(String, String)> {
    let lines = output.json_lines();
    let deliveries = lines.iter().flat_map(|line| line["deliveries"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    deliveries.map(|delivery| (text(&delivery["hook"]), text(&delivery["state"]))).collect()
}

fn state(hook: &str, state: &str) -> (String, String) {
    (hook.to_owned(), state.to_owned())
}

#[test]
fn a_check_from_inside_a_run_does_not_wait_for_that_run_or_for_what_waits_behind_it() {
    let bed = Bed::new();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check", "--json"]);
    let call = bed.hook.call();

    let output = from_inside(&bed, &call, &["check", "--json"]).finish();
    assert_eq!(states(&output), [state("redeploy", "running")]);
    output.expect(0);
    bed.push("three");
    let output = from_inside(&bed, &call, &["check", "web", "--json"]).finish().expect(0);
    assert_eq!(states(&output), [state("redeploy", "running"), state("redeploy", "pending")]);

    bed.hook.exits_with(0);
    call.exit(0);
    // Who asks from outside still waits.
    assert_eq!(states(&check.finish().expect(0)), [state("redeploy", "succeeded")]);
    bed.hook.call();
    agent.stop();
}

/// Two watches, `a` and `b`; the tables of their hooks are the test's.
fn two_watches(hooks: [&str; 2], tables: &str) -> (Sandbox, Registry) {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let host = registry.host();
    let mut text = String::new();
    for (watch, hook) in ["a", "b"].into_iter().zip(hooks) {
        registry.push_image(watch, "v1", "one");
        let image = registry.image(watch, "v1");
        text += &format!("[watch.{watch}]\nimage = '{image}'\nschedule = '30d'\nhooks = ['{hook}']\n");
    }
    sandbox.write_whole_config(&format!("{text}{tables}[registry.'{host}']\nplain_http = true\n"));
    (sandbox, registry)
}

#[test]
fn a_check_from_inside_a_run_waits_for_the_runs_of_others() {
    let sandbox_hooks = Sandbox::new();
    let (one, other) = (sandbox_hooks.hook(), sandbox_hooks.hook());
    let tables = format!("[hook.one]\ncommand = {}\n[hook.other]\ncommand = {}\n", one.toml(), other.toml());
    let (sandbox, registry) = two_watches(["one", "other"], &tables);
    let agent = sandbox.agent();
    sandbox.run(&["check"]).expect(0);
    registry.push_image("a", "v1", "two");
    one.holds();
    let outer = sandbox.start(&["check", "a", "--json"]);
    let call = one.call();
    registry.push_image("b", "v1", "two");
    other.exits_with(0);

    let inner = from_inside(&sandbox, &call, &["check", "--json"]).finish().expect(0);
    let mut found = states(&inner);
    found.sort();
    assert_eq!(found, [state("one", "running"), state("other", "succeeded")]);

    call.exit(0);
    outer.finish().expect(0);
    agent.stop();
}

#[test]
fn a_check_from_inside_a_run_does_not_wait_for_a_place_that_the_run_holds() {
    let hooks = Sandbox::new();
    let hook = hooks.hook();
    let (sandbox, registry) = two_watches(["one", "one"], &format!("[hook.one]\ncommand = {}\n", hook.toml()));
    let agent = sandbox.agent();
    sandbox.run(&["check"]).expect(0);
    registry.push_image("a", "v1", "two");
    hook.holds();
    let outer = sandbox.start(&["check", "a", "--json"]);
    let call = hook.call();
    registry.push_image("b", "v1", "two");

    let inner = from_inside(&sandbox, &call, &["check", "b", "--json"]).finish().expect(0);
    assert_eq!(states(&inner), [state("one", "pending")]);

    hook.exits_with(0);
    call.exit(0);
    outer.finish().expect(0);
    hook.call();
    agent.stop();
}

#[test]
fn two_runs_that_check_for_each_other_do_not_wait_for_each_other() {
    let hooks = Sandbox::new();
    let (one, other) = (hooks.hook(), hooks.hook());
    let tables = format!("[hook.one]\ncommand = {}\n[hook.other]\ncommand = {}\n", one.toml(), other.toml());
    let (sandbox, registry) = two_watches(["one", "other"], &tables);
    let agent = sandbox.agent();
    sandbox.run(&["check"]).expect(0);
    registry.push_image("a", "v1", "two");
    registry.push_image("b", "v1", "two");
    one.holds();
    other.holds();
    let outer = sandbox.start(&["check", "--json"]);
    let calls = [one.call(), other.call()];

    // The first waits for the run of the other, which has not asked yet; the other is told that the first runs.
    registry.clear_log();
    let first = from_inside(&sandbox, &calls[0], &["check", "b", "--json"]);
    registry.await_log(|log| log.iter().any(|seen| seen.path.contains("/b/")));
    let second = from_inside(&sandbox, &calls[1], &["check", "a", "--json"]).finish().expect(0);
    assert_eq!(states(&second), [state("one", "running")]);
    let [call_one, call_other] = calls;
    call_other.exit(0);
    assert!(["running", "succeeded"].contains(&states(&first.finish().expect(0))[0].1.as_str()));
    call_one.exit(0);
    outer.finish().expect(0);
    agent.stop();
}

#[test]
fn a_command_inside_a_one_shot_check_says_at_once_that_it_cannot_have_the_state() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.holds();
    let outer = bed.start(&["check", "--json"]);
    let call = bed.hook.call();
    let id = call.var("TAGHOOK_DELIVERY").to_owned();
    for verb in [&["check"][..], &["pause", "web"], &["retry", &id], &["prune"], &["run"]] {
        let began = std::time::Instant::now();
        let said = from_inside(&bed, &call, verb).finish().expect(1).stderr;
        assert!(said.contains("inside a hook") && said.contains("until that hook has ended"), "{verb:?}: {said}");
        // The state is waited for 30 s by others.
        assert!(began.elapsed().as_secs() < 20, "{verb:?}");
    }
    for reader in [&["status"][..], &["history"], &["deliveries"], &["check", "--dry-run"]] {
        from_inside(&bed, &call, reader).finish().expect(0);
    }
    call.exit(0);
    outer.finish().expect(0);
}

#[test]
fn a_hook_that_asks_with_curl_says_in_a_header_whose_it_is() {
    let bed = Bed::new();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check", "--json"]);
    let call = bed.hook.call();
    let (socket, id) = (bed.state().join("control.sock"), call.var("TAGHOOK_DELIVERY").to_owned());
    let line = format!(
        "curl -sS --max-time 30 --unix-socket {} -H 'taghook-delivery: {id}' -d '{{}}' http://taghook/v1/check",
        socket.display()
    );
    assert_eq!(states(&bed.shell(Who::Us, &line).expect(0)), [state("redeploy", "running")]);
    call.exit(0);
    check.finish().expect(0);
    agent.stop();
}

#[test]
fn every_verb_inside_a_run_of_an_agent_ends_by_itself() {
    let bed = Bed::with(Setup { top: "", ..Setup::default() });
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check", "--json"]);
    let call = bed.hook.call();
    for (verb, code) in [
        (&["status"][..], 0),
        (&["health"], 0),
        (&["reload"], 0),
        (&["pause", "web"], 0),
        (&["resume", "web"], 0),
        (&["prune"], 0),
        (&["retry", "--failed"], 0),
        (&["deliveries"], 0),
        (&["check", "--dry-run"], 0),
        (&["run"], 1),
    ] {
        from_inside(&bed, &call, verb).finish().expect(code);
    }
    bed.hook.exits_with(0);
    call.exit(0);
    check.finish().expect(0);
    agent.stop();
}
