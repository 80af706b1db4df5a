//! The test bed does what the other tests take for granted.

mod support;

use std::path::Path;
use std::process::Command;

use support::bed::{Bed, REPOSITORY, TAG};
use support::distribution::{Distribution, INDEX, MANIFEST, digest_of};
use support::process::{Agent, Running, field};
use support::sandbox::{Sandbox, Who};
use support::silent::Silent;

/// Status and digest of a tag, as the registry itself tells them.
fn tag(registry: &Distribution, tag: &str) -> (u16, Option<String>) {
    let path = format!("/v2/{REPOSITORY}/manifests/{tag}");
    let answer = registry.request("HEAD", &path, &[("Accept", &format!("{INDEX}, {MANIFEST}"))], b"");
    (answer.status, answer.headers.get("docker-content-digest").cloned())
}

/// Runs the hook's command line as an agent would.
fn run_hook(sandbox: &Sandbox, who: Who) -> Running {
    let script = sandbox.path().join("hook-0.sh");
    let mut command = who.command(&[("TAGHOOK_TAG", "a\nb=c".to_owned())], Path::new("/bin/bash"));
    command.arg(script);
    Running::start(command)
}

#[test]
fn the_registry_serves_what_was_pushed() {
    let registry = Distribution::start();
    let first = registry.push_image(REPOSITORY, TAG, "one");
    let second = registry.push_image(REPOSITORY, TAG, "two");
    assert_ne!(first, second);
    assert_eq!(tag(&registry, TAG), (200, Some(second)));
    registry.move_tag(REPOSITORY, TAG, &first);
    assert_eq!(tag(&registry, TAG), (200, Some(first)));
    registry.delete_tag(REPOSITORY, TAG);
    assert_eq!(tag(&registry, TAG).0, 404);
}

#[test]
fn the_registry_serves_an_index_and_its_children() {
    let registry = Distribution::start();
    let index = registry.push_index(REPOSITORY, TAG, &[("linux/amd64", "one"), ("linux/arm64", "one")]);
    assert_eq!(tag(&registry, TAG), (200, Some(index.digest)));
    for child in index.children.values() {
        assert_eq!(tag(&registry, child), (200, Some(child.clone())));
    }
}

#[test]
fn the_registry_comes_back_on_the_same_port_with_the_same_content() {
    let mut registry = Distribution::start();
    let (host, digest) = (registry.host(), registry.push_image(REPOSITORY, TAG, "one"));
    registry.stop();
    assert!(std::net::TcpStream::connect(&host).is_err());
    registry.restart();
    assert_eq!((registry.host(), tag(&registry, TAG)), (host, (200, Some(digest))));
}

#[test]
fn the_registry_tells_what_it_was_asked() {
    let registry = Distribution::start();
    registry.push_image(REPOSITORY, TAG, "one");
    registry.requests();
    tag(&registry, TAG);
    let asked = format!("HEAD /v2/{REPOSITORY}/manifests/{TAG}");
    assert_eq!(registry.requests(), [asked.as_str()]);
}

#[test]
fn a_hook_reports_its_run_and_ends_as_told() {
    let sandbox = Sandbox::new();
    let hook = sandbox.hook();
    hook.exits_with(7);
    let output = run_hook(&sandbox, Who::Us).finish().expect(7);
    assert_eq!(output.stdout, "the hook was run\n");
    let call = hook.only_call();
    assert_eq!((call.var("TAGHOOK_TAG"), call.stdin.as_str()), ("a\nb=c", ""));
    assert_eq!(call.env.len(), 1, "{:?}", call.env);

    hook.holds();
    let running = run_hook(&sandbox, Who::Us);
    let call = hook.call();
    call.exit(0);
    running.finish().expect(0);
}

#[test]
fn a_hook_that_is_killed_is_seen_to_end() {
    let sandbox = Sandbox::new();
    let hook = sandbox.hook();
    hook.holds();
    let mut child = Command::new("/bin/bash").arg(sandbox.path().join("hook-0.sh")).spawn().unwrap();
    let call = hook.call();
    child.kill().unwrap();
    child.wait().unwrap();
    call.await_end();
}

#[test]
fn the_users_are_who_they_should_be() {
    let sandbox = Sandbox::of_owner();
    let id = |who, what: &str| sandbox.shell(who, &format!("id {what}")).expect(0).stdout;
    assert_eq!(id(Who::Root, "-u"), "0\n");
    assert_ne!(id(Who::Owner, "-u"), "0\n");
    assert_ne!(id(Who::Reader, "-u"), id(Who::Owner, "-u"));
    assert_eq!(id(Who::Reader, "-G"), id(Who::Owner, "-g"));
    assert_ne!(id(Who::Nobody, "-G"), id(Who::Owner, "-g"));
    sandbox.shell(Who::Owner, "touch ours").expect(0);
    assert_ne!(sandbox.shell(Who::Reader, "touch theirs").code, Some(0));
    for who in [Who::Owner, Who::Reader, Who::Nobody, Who::Root] {
        Running::start(sandbox.bare_command(who, &["--version"])).finish().expect(0);
    }
}

#[test]
fn a_silent_registry_accepts() {
    let silent = Silent::start();
    let _connection = std::net::TcpStream::connect(silent.host()).unwrap();
    silent.await_asked();
}

#[test]
fn fields_of_log_lines_are_read_quoted_or_not() {
    let line = r#"2026-01-01T00:00:00Z  INFO tag moved watch=web from="sha256:a" to=sha256:b"#;
    assert_eq!(field(line, "watch"), Some("web"));
    assert_eq!(field(line, "from"), Some("sha256:a"));
    assert_eq!(field(line, "to"), Some("sha256:b"));
    assert_eq!(field(line, "hook"), None);
}

#[test]
fn words_of_log_lines_are_words() {
    let mut agent = Agent::spawn(shell("echo 'it is already up' >&2; echo 'INFO ready watches=1' >&2; read -r never"));
    assert_eq!(agent.wait_for("ready", &[]), "INFO ready watches=1");
    assert_eq!(agent.log().len(), 2);
}

#[test]
fn an_agent_stops_when_it_is_asked_to_and_is_gone_when_it_is_killed() {
    let script = "trap 'echo stopped >&2; exit 0' TERM; echo ready >&2; while :; do read -r -t 1 <> <(:); done";
    let agent = Agent::start(shell(script));
    agent.stop();
    Agent::start(shell(script)).kill();
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script]);
    command
}

#[test]
fn the_bed_stands() {
    let bed = Bed::new();
    let digest = bed.push("one");
    assert_eq!(tag(&bed.registry, TAG).1, Some(digest));
    assert_eq!(digest_of(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let config: toml::Table = std::fs::read_to_string(bed.config_path()).unwrap().parse().unwrap();
    assert!(config.contains_key("state"), "{config}");
}
