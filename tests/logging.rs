//! The agent's log: for people, for programs, and what RUST_LOG makes of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use serde_json::Value;

use support::bed::Bed;
use support::process::Agent;
use support::sandbox::Who;

/// An agent with this `RUST_LOG`.
fn agent_with(bed: &Bed, rust_log: &str, args: &[&str]) -> Agent {
    let args: Vec<&str> = ["run"].iter().chain(args).copied().collect();
    let mut command = bed.command(Who::Us, &args);
    command.env("RUST_LOG", rust_log);
    Agent::spawn(command)
}

#[test]
fn as_json_each_line_is_an_object_with_the_fields_of_its_event() {
    let bed = Bed::new();
    bed.push("one");
    let mut agent = Agent::start(bed.command(Who::Us, &["run", "--log-format", "json"]));
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.check(0);
    agent.wait_for("hook succeeded", &[]);

    let lines: Vec<Value> = agent.log().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let moved = lines.iter().find(|line| line["message"] == "tag moved").unwrap();
    assert_eq!((&moved["level"], &moved["watch"]), (&"INFO".into(), &"web".into()), "{moved}");
    assert!(moved["to"].as_str().unwrap().starts_with("sha256:") && moved["timestamp"].is_string(), "{moved}");
    agent.stop();
}

#[test]
fn an_unchanged_check_is_told_at_debug_only() {
    for (rust_log, told) in [("", 0), ("taghook=debug", 1)] {
        let bed = Bed::new();
        bed.push("one");
        bed.check(0);
        let mut agent = agent_with(&bed, rust_log, &[]);
        agent.wait_for("ready", &[]);
        let before = agent.log().len();
        bed.check(0);
        // What comes after it has been read, so has all that came before.
        bed.run(&["reload"]).expect(0);
        agent.wait_for("config reloaded", &[]);
        let lines = agent.log().split_off(before);
        let checked = lines.iter().filter(|line| line.contains("checked: ")).count();
        assert_eq!(checked, told, "{lines:#?}");
        assert!(told > 0 || lines.len() == 1, "{lines:#?}");
        agent.stop();
    }
}

#[test]
fn a_rust_log_that_cannot_be_understood_is_told() {
    let bed = Bed::new();
    bed.push("one");
    for (rust_log, told) in [
        ("taghook=verbose", "RUST_LOG=\"taghook=verbose\" is ignored: "),
        ("a=b=c", "RUST_LOG=\"a=b=c\" is ignored: "),
        ("debgu,info", "RUST_LOG: \"debgu\" is taken for the name of a module; did you mean \"debug\"?"),
    ] {
        let mut agent = agent_with(&bed, rust_log, &[]);
        agent.wait_for("ready", &[]);
        let log = agent.log();
        assert!(log[0].contains("WARN") && log[0].contains(told), "{log:#?}");
        agent.stop();

        let mut check = bed.command(Who::Us, &["check"]);
        check.env("RUST_LOG", rust_log);
        let said = support::process::Running::start(check).finish().stderr;
        assert!(said.contains(told), "{said}");
    }
    let mut agent = agent_with(&bed, "debgu", &[]);
    let line = agent.wait_for("RUST_LOG", &[]);
    assert!(line.starts_with("warning: "), "where nothing is logged it is said all the same: {line}");
    agent.kill();
}
