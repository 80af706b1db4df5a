//! A socket is taken only from the dead, and a client talks only to the agent that works on the state it means.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use support::DEADLINE;
use support::process::{Agent, Running};
use support::registry::Registry;
use support::sandbox::{Sandbox, Who};

/// Two sandboxes whose configs name the same socket, each with one watch of its own.
fn neighbours() -> (Registry, [Sandbox; 2], PathBuf) {
    let registry = Registry::start();
    let pair = [Sandbox::new(), Sandbox::new()];
    let socket = pair[0].path().join("shared.sock");
    for (sandbox, watch) in pair.iter().zip(["a", "b"]) {
        registry.push_image(watch, "v1", "one");
        sandbox.write_whole_config(&format!(
            "socket = {socket:?}\n[watch.{watch}]\nimage = '{}'\nschedule = '30d'\n[registry.'{}']\nplain_http = true\n",
            registry.image(watch, "v1"),
            registry.host()
        ));
    }
    (registry, pair, socket)
}

#[test]
fn a_socket_on_which_another_agent_answers_is_not_taken() {
    let (_registry, [one, other], socket) = neighbours();
    let agent = one.agent();

    let said = other.run(&["run"]).expect(1).stderr;

    let told = format!("pid {}", agent.pid());
    for part in [socket.to_str().unwrap(), &told, "`socket`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(one.run(&["status", "--json"]).expect(0).json()["source"], "agent");
    agent.stop();
    // Now it is free.
    other.agent().stop();
}

#[test]
fn a_live_socket_of_another_program_is_left_alone() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path().join("theirs.sock");
    sandbox.write_whole_config(&format!("socket = {socket:?}\n"));
    {
        let theirs = UnixListener::bind(&socket).unwrap();
        let said = sandbox.run(&["run"]).expect(1).stderr;
        assert!(said.contains("theirs.sock") && said.contains("`socket`"), "{said}");
        std::os::unix::net::UnixStream::connect(&socket).unwrap();
        drop(theirs);
    }
    std::fs::remove_file(&socket).unwrap();
    {
        let theirs = UnixDatagram::bind(&socket).unwrap();
        sandbox.run(&["run"]).expect(1);
        UnixDatagram::unbound().unwrap().send_to(b"x", &socket).unwrap();
        drop(theirs);
    }
    // Both are dead now.
    sandbox.agent().stop();
    assert!(!socket.exists());
}

#[test]
fn a_stop_removes_only_the_socket_that_is_ones_own() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path().join("mine.sock");
    sandbox.write_whole_config(&format!("socket = {socket:?}\n"));
    let agent = sandbox.agent();
    std::fs::remove_file(&socket).unwrap();
    let theirs = UnixListener::bind(&socket).unwrap();
    agent.stop();
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    drop(theirs);
}

#[test]
fn a_client_is_not_answered_by_the_agent_of_another_state() {
    let (_registry, [one, other], socket) = neighbours();
    // The agent of `one` was killed, and that of `other` has its socket now.
    let mut agent = one.agent();
    agent.wait_for("first seen", &[]);
    agent.kill();
    let lock = std::fs::read(one.state().join("taghook.lock")).unwrap();
    let agent = other.agent();
    assert!(socket.exists());
    std::fs::write(one.state().join("taghook.lock"), &lock).unwrap();

    let line = support::bed::one(&one.run(&["check", "--json"]).expect(0));
    assert_eq!((&line["watch"], &line["outcome"]), (&json!("a"), &json!("unchanged")));
    std::fs::write(one.state().join("taghook.lock"), &lock).unwrap();
    assert_eq!(one.run(&["status", "--json"]).expect(0).json()["source"], "database");
    let said = one.run(&["health"]).expect(1).stdout;
    assert!(said.starts_with("stale: no agent answers"), "{said}");
    let said = one.run(&["reload"]).expect(1).stderr;
    assert!(said.contains("no agent runs on this state"), "{said}");
    one.run(&["pause", "a"]).expect(0);
    agent.stop();
}

#[test]
fn two_starts_at_once_leave_one_agent_with_the_socket() {
    let (_registry, [one, other], socket) = neighbours();
    for _ in 0..10 {
        // What a killed agent left behind.
        drop(UnixListener::bind(&socket).unwrap());
        let agents = [one.agent_unready(), other.agent_unready()];
        let mut up = agents.map(Some);
        let mut refused = 0;
        let deadline = Instant::now() + DEADLINE;
        while refused == 0 {
            assert!(Instant::now() < deadline, "both agents run");
            for agent in &mut up {
                if agent.as_mut().is_some_and(Agent::has_exited) {
                    *agent = None;
                    refused += 1;
                }
            }
            std::thread::yield_now();
        }
        assert_eq!(refused, 1);
        let mut agent = up.into_iter().flatten().next().unwrap();
        agent.wait_for("ready", &[]);
        let sources =
            [&one, &other].map(|sandbox| sandbox.run(&["status", "--json"]).expect(0).json()["source"].clone());
        assert_eq!(sources.iter().filter(|source| **source == "agent").count(), 1, "{sources:?}");
        agent.stop();
        assert!(!socket.exists());
    }
}

#[test]
fn the_first_runtime_directory_holds_the_socket() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("");
    let folders = ["a", "b"].map(|name| sandbox.path().join(name));
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let mut command = sandbox.command(Who::Us, &["run"]);
    command.env("RUNTIME_DIRECTORY", format!("{}:{}", folders[0].display(), folders[1].display()));
    let agent = Agent::start(command);
    assert!(is_socket(&folders[0].join("control.sock")));
    assert_eq!(sandbox.run(&["status", "--json"]).expect(0).json()["source"], "agent");
    agent.stop();
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

#[test]
fn a_socket_that_cannot_be_has_a_message_of_its_own() {
    let sandbox = Sandbox::new();
    let long = sandbox.path().join("x".repeat(110));
    let missing = sandbox.path().join("missing/control.sock");
    let link = sandbox.path().join("link.sock");
    std::os::unix::fs::symlink("/nowhere/at.all", &link).unwrap();
    for (socket, code, parts) in [
        (&long, 2, ["107 bytes", "shorter"]),
        (&missing, 1, ["does not exist", "missing"]),
        (&link, 2, ["link.sock", "not a socket"]),
    ] {
        sandbox.write_whole_config(&format!("socket = {socket:?}\n"));
        let said = sandbox.run(&["run"]).expect(code).stderr;
        for part in parts.into_iter().chain(["`socket`"]) {
            assert!(said.contains(part), "{socket:?}: {part}: {said}");
        }
    }
    assert!(link.is_symlink());
}

#[test]
fn a_dead_socket_of_another_user_is_told_with_its_owner() {
    let sandbox = Sandbox::of_owner();
    let folder = sandbox.path().join("sticky");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let socket = folder.join("control.sock");
    drop(UnixListener::bind(&socket).unwrap());
    sandbox.write_whole_config(&format!("socket = {socket:?}\n"));
    let said = sandbox.run_as(Who::Owner, &["run"]).expect(2).stderr;
    assert!(said.contains("belongs to") && said.contains("`socket`"), "{said}");
}

#[test]
fn a_socket_that_was_removed_comes_back() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("");
    let mut agent = sandbox.agent();
    std::fs::remove_file(sandbox.state().join("control.sock")).unwrap();
    agent.sighup();
    agent.wait_for("config reloaded", &[]);
    assert_eq!(sandbox.run(&["status", "--json"]).expect(0).json()["source"], "agent");
    agent.stop();
}

#[test]
fn too_few_file_descriptors_are_no_fault_of_the_config() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("[watch.a]\nimage = 'a'\n");
    for limit in 5..24 {
        let mut command = std::process::Command::new("prlimit");
        command.arg(format!("--nofile={limit}:{limit}")).arg("--").arg(env!("CARGO_BIN_EXE_taghook"));
        command.args(["pause", "a", "--config"]).arg(sandbox.config_path()).current_dir(sandbox.path());
        let said = Running::start(command).finish();
        assert!(matches!(said.code, Some(0 | 1)), "{limit}: {said:#?}");
        assert!(said.code == Some(0) || said.stderr.contains("Too many open files"), "{limit}: {said:#?}");
    }
}
