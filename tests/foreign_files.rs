//! Files that are not the agent's own, and what may stand in their place: no such thing stops or fills it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use support::dead_mount::DeadMount;
use support::process::{Agent, Running};
use support::registry::Registry;
use support::sandbox::{Sandbox, Who, chmod};

/// Two registries, one of which needs a file: watches `good` and `bad`.
struct Scene {
    good: Registry,
    bad: Registry,
    sandbox: Sandbox,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { good: Registry::start(), bad: Registry::start(), sandbox: Sandbox::new() };
        scene.good.push_image("web", "v1", "1");
        scene.bad.push_image("web", "v1", "1");
        scene.bad.wants_basic("robot:right");
        scene
    }

    /// `table` is what stands in the table of the registry that needs a file.
    fn configure(&self, table: &str) {
        let [good, bad] = [&self.good, &self.bad].map(Registry::host);
        self.sandbox.write_whole_config(&format!(
            "[defaults]\nschedule = '30d'\n[watch.good]\nimage = '{good}/web:v1'\n[watch.bad]\nimage = '{bad}/web:v1'\n\
             [registry.'{good}']\nplain_http = true\n[registry.'{bad}']\nplain_http = true\n{table}\n"
        ));
    }

    /// The message of the failed check. The other watch is all right.
    #[track_caller]
    fn failure(&self) -> String {
        let lines = self.sandbox.run(&["check", "--dry-run", "--json"]).expect(1).json_lines();
        let line = |watch: &str| lines.iter().find(|line| line["watch"] == watch).unwrap();
        assert_eq!(line("good")["outcome"], "first", "{lines:?}");
        line("bad")["error"]["message"].as_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    #[track_caller]
    fn warnings(&self) -> Vec<Value> {
        let found = self.sandbox.run(&["config", "check", "--json"]).expect(0).json();
        found["faults"].as_array().unwrap().clone()
    }
}

fn make_pipe(path: &Path) {
    let _ = std::fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// How many threads of an agent have this name.
fn threads(agent: &Agent, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let named = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    named.filter(|comm| comm.trim() == name).count()
}

#[test]
fn whatever_stands_in_place_of_a_registrys_file_fails_only_its_registry_and_is_named() {
    let scene = Scene::new();
    let [pipe, folder, dangling, circle, large] =
        ["pipe", "folder", "dangling", "circle", "large"].map(|name| scene.path(name));
    make_pipe(&pipe);
    std::fs::create_dir(&folder).unwrap();
    symlink("nowhere", &dangling).unwrap();
    symlink("circle", &circle).unwrap();
    std::fs::File::create(&large).unwrap().set_len(6 << 30).unwrap();
    let devices = ["/dev/zero", "/dev/tty"].map(PathBuf::from);
    for thing in [&pipe, &folder, &dangling, &circle, &large].into_iter().chain(&devices) {
        for table in [format!("username = 'robot'\npassword_file = {thing:?}"), format!("ca_file = {thing:?}")] {
            scene.configure(&table);
            let message = scene.failure();
            assert!(message.contains(&thing.display().to_string()), "{table}: {message}");
        }
    }
    // Each key once.
    let pem = scene.path("some.pem");
    std::fs::write(&pem, "").unwrap();
    for table in [
        format!("auth_file = {pipe:?}"),
        format!("client_cert = {pipe:?}\nclient_key = {pem:?}"),
        format!("client_cert = {pem:?}\nclient_key = {pipe:?}"),
    ] {
        scene.configure(&table);
        let message = scene.failure();
        assert!(
            message.contains("pipe: it is not a regular file") || message.contains("pipe is of no use"),
            "{message}"
        );
        assert!(message.contains("; put ") || message.contains("; name "), "a remedy: {message}");
    }
    // And where nothing is configured.
    scene.configure("");
    for usual in [".docker/config.json", ".config/containers/auth.json"] {
        let path = scene.path("home").join(usual);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        make_pipe(&path);
        let message = scene.failure();
        assert!(message.contains(&format!("{usual}: it is not a regular file; put")), "{message}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn files_that_do_not_answer_fail_only_their_registry_and_hold_one_thread_each() {
    let (scene, dead) = (Scene::new(), DeadMount::new());
    scene.configure(&format!("username = 'robot'\npassword_file = {:?}", dead.file("password")));
    let mut agent = scene.sandbox.agent_unready();
    let warned = agent.wait_for("does not answer", &[]);
    assert!(warned.contains("password_file") && warned.contains("file system that hangs"), "{warned}");
    agent.wait_for("ready", &[]);
    agent.wait_for("first seen", &[("watch", "good")]);
    agent.wait_for("check failed", &[("watch", "bad")]);
    for _ in 0..3 {
        let failed = scene.sandbox.run(&["check", "bad", "--json"]).expect(1);
        assert!(failed.stdout.contains("file system that hangs"), "{failed:?}");
        scene.sandbox.run(&["check", "good"]).expect(0);
    }
    assert_eq!(threads(&agent, "files"), 1);
    // Reloads look at it again, and do not wait for it.
    scene.sandbox.run(&["reload"]).expect(0);
    scene.sandbox.run(&["reload"]).expect(0);
    assert_eq!((threads(&agent, "files"), threads(&agent, "inspections"), threads(&agent, "config")), (1, 1, 0));
    assert_eq!(scene.sandbox.run(&["status", "--json"]).expect(0).json()["source"], "agent");
    agent.stop();
}

#[test]
fn a_certificate_that_does_not_answer_any_more_leaves_the_client_as_it_was() {
    let (scene, dead) = (Scene::new(), DeadMount::new());
    let (link, pem) = (scene.path("ca.pem"), scene.path("real.pem"));
    std::fs::write(&pem, rcgen::generate_simple_self_signed(["r".to_owned()]).unwrap().cert.pem()).unwrap();
    symlink(&pem, &link).unwrap();
    let password = scene.path("password");
    std::fs::write(&password, "right").unwrap();
    scene.configure(&format!("ca_file = {link:?}\nusername = 'robot'\npassword_file = {password:?}"));
    let mut agent = scene.sandbox.agent();
    agent.wait_for("first seen", &[("watch", "bad")]);
    std::fs::remove_file(&link).unwrap();
    symlink(dead.file("ca.pem"), &link).unwrap();
    // Certificates are looked at again a second after they were.
    let deadline = Instant::now() + support::DEADLINE;
    while !agent.log().iter().any(|line| line.contains("going on with what it was before")) {
        assert!(Instant::now() < deadline, "it is not looked at");
        scene.sandbox.run(&["check", "bad"]).expect(0);
    }
    assert!(agent.wait_for("going on with what it was before", &[]).contains("file system that hangs"));
    agent.stop();
}

#[test]
fn config_check_warns_of_files_that_are_of_no_use() {
    let (scene, dead) = (Scene::new(), DeadMount::new());
    let pipe = scene.path("pipe");
    make_pipe(&pipe);
    std::fs::write(scene.path("empty"), "").unwrap();
    std::fs::File::create(scene.path("large")).unwrap().set_len(6 << 30).unwrap();
    for (file, said) in [
        ("pipe", "is not a regular file"),
        ("home", "is a directory"),
        ("empty", "is empty"),
        ("large", "is larger than"),
        ("nothing", "does not exist"),
    ] {
        for table in [
            format!("username = 'robot'\npassword_file = '{file}'"),
            format!("auth_file = '{file}'"),
            format!("ca_file = '{file}'"),
            format!("client_cert = '{file}'\nclient_key = '/etc/hostname'"),
            format!("client_cert = '/etc/hostname'\nclient_key = '{file}'"),
        ] {
            scene.configure(&table);
            let warnings = scene.warnings();
            let is_told = |fault: &&Value| fault["message"].as_str().is_some_and(|text| text.contains(said));
            assert!(warnings.iter().any(|fault| is_told(&fault) && fault["line"].is_u64()), "{table}: {warnings:?}");
        }
    }
    // Those that do not answer are waited for together.
    let hooks: String = (0..40)
        .map(|n| format!("[hook.h{n}]\ncommand = [{:?}]\ncwd = {:?}\n", dead.file(&format!("{n}")), dead.path()))
        .collect();
    scene.configure(&format!("ca_file = {:?}\n{hooks}", dead.file("ca.pem")));
    let warnings = scene.warnings();
    let told = |what: &str| {
        let is_it = |fault: &&Value| fault["message"].as_str().is_some_and(|text| text.contains(what));
        warnings.iter().filter(is_it).count()
    };
    assert_eq!(told("ca_file: "), 1, "{warnings:?}");
    assert!(told("does not answer") >= 30, "{warnings:?}");
    assert!(told("was not looked at: all 32 threads for inspections are held") >= 1, "{warnings:?}");
}

#[test]
fn config_check_tells_who_else_may_read_a_secret_or_write_what_is_acted_on() {
    let scene = Scene::new();
    let (password, script) = (scene.path("password"), scene.path("redeploy"));
    std::fs::write(&password, "right").unwrap();
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    chmod(&password, 0o600);
    chmod(&script, 0o755);
    scene.configure("username = 'robot'\npassword_file = 'password'\n[hook.h]\ncommand = ['./redeploy']");
    let config = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    let config = config.replace("[hook.h]\n", &format!("[hook.h]\ncwd = {:?}\n", scene.sandbox.path()));
    let config = config.replace("schedule = '30d'\n", "schedule = '30d'\nhooks = ['h']\n");
    std::fs::write(scene.sandbox.config_path(), config).unwrap();
    let said =
        || scene.warnings().iter().map(|fault| fault["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(said(), Vec::<String>::new());

    chmod(&password, 0o644);
    assert!(said()[0].contains("password can be read by anyone (mode 0644)"), "{:?}", said());
    chmod(&password, 0o600);
    for (path, what) in [
        (scene.sandbox.config_path(), "the config "),
        (script, "hook \"h\": "),
        (password, "password_file: "),
        (scene.sandbox.path().to_owned(), "the folder "),
    ] {
        let before = std::fs::metadata(&path).unwrap();
        for change in ["chmod o+w", "chgrp 60000 \"$file\"; chmod g+w", "chown 60001"] {
            scene
                .sandbox
                .shell(Who::Us, &format!("set -e; for file in {path:?}; do {change} \"$file\"; done"))
                .expect(0);
            let found = said();
            assert!(
                !found.is_empty() && found.iter().all(|text| text.contains("can be written by")),
                "{change}: {found:?}"
            );
            assert!(found.iter().any(|text| text.contains(what)), "{change}: {found:?}");
            std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
            std::fs::set_permissions(&path, before.permissions()).unwrap();
        }
    }
    assert_eq!(said(), Vec::<String>::new());
}

#[test]
fn a_config_that_is_a_pipe_for_a_while_is_refused_and_read_again_once_it_is_a_file() {
    let scene = Scene::new();
    scene.bad.push_image("web", "v1", "1");
    scene.configure("");
    let mut agent = scene.sandbox.agent();
    let (config, fragment) = (scene.sandbox.config_path(), scene.path("conf.d/a.toml"));
    std::fs::create_dir(scene.path("conf.d")).unwrap();
    let text = std::fs::read(&config).unwrap();
    for place in [&config, &fragment] {
        make_pipe(place);
        for _ in 0..2 {
            agent.sighup();
            let refused = agent.wait_for("is not a regular file", &[]);
            assert!(refused.contains(&place.display().to_string()), "{refused}");
        }
        std::fs::remove_file(place).unwrap();
        if place == &config {
            std::fs::write(place, &text).unwrap();
        }
        agent.sighup();
        agent.wait_for("config reloaded", &[]);
        assert_eq!(threads(&agent, "config"), 0, "none is left behind");
    }
    agent.stop();
}

#[test]
fn at_start_the_config_may_be_a_pipe_and_one_that_nobody_writes_is_told() {
    let scene = Scene::new();
    let pipe = scene.path("pipe.toml");
    make_pipe(&pipe);
    let start = |verb: &[&str]| {
        let mut command = scene.sandbox.bare_command(Who::Us, verb);
        Running::start({
            command.arg("--config").arg(&pipe);
            command
        })
    };
    let check = start(&["config", "check"]);
    std::fs::write(&pipe, format!("state = {:?}\n", scene.sandbox.state())).unwrap();
    assert!(check.finish().expect(0).stdout.contains("0 watches"));
    let refused = start(&["run"]).finish().expect(2);
    assert!(refused.stderr.contains("pipe.toml does not answer within 10 s"), "{refused:?}");
    assert!(refused.stderr.contains("a pipe that nobody writes to"), "{refused:?}");
    // Without waiting for the time limit.
    let stopped = start(&["run"]);
    stopped.sigterm();
    assert_eq!(stopped.finish().code, None, "ended by the signal");
    std::fs::remove_file(&pipe).unwrap();
    symlink("/dev/zero", &pipe).unwrap();
    assert!(start(&["config", "check"]).finish().expect(2).stderr.contains("larger than 16 MiB"));
}

#[test]
fn a_config_that_does_not_answer_is_told_and_a_running_agent_goes_on() {
    let (scene, dead) = (Scene::new(), DeadMount::new());
    for verb in [&["config", "check"][..], &["health"], &["run"]] {
        let mut command = scene.sandbox.bare_command(Who::Us, verb);
        command.arg("--config").arg(dead.file("config.toml"));
        let refused = Running::start(command).finish().expect(2);
        assert!(refused.stderr.contains("does not answer within 10 s"), "{refused:?}");
    }
    scene.configure("");
    let mut agent = scene.sandbox.agent();
    symlink(dead.path(), scene.path("conf.d")).unwrap();
    for _ in 0..2 {
        agent.sighup();
        agent.wait_for("config not reloaded", &[]);
        let told = agent.wait_for("does not answer", &[]);
        assert!(told.contains("conf.d"), "{told}");
    }
    assert_eq!(threads(&agent, "config"), 1);
    std::fs::remove_file(scene.path("conf.d")).unwrap();
    drop(dead);
    scene.sandbox.run(&["reload"]).expect(0);
    agent.stop();
}

#[test]
fn what_is_wrong_with_a_fragment_has_a_remedy_that_fits_a_fragment() {
    let scene = Scene::new();
    scene.configure("");
    std::fs::create_dir_all(scene.path("conf.d/a.toml")).unwrap();
    symlink("/nowhere/b.toml", scene.path("conf.d/b.toml")).unwrap();
    symlink("c.toml", scene.path("conf.d/c.toml")).unwrap();
    let told = scene.sandbox.run(&["config", "check"]).expect(2).stderr;
    for part in [
        "conf.d/a.toml is a directory, not a config file",
        "give it a name that does not end in .toml, or move it out of conf.d",
        "conf.d/b.toml is a link to /nowhere/b.toml, which is not there",
        "write that file, or remove the link",
        "conf.d/c.toml",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    assert!(!told.contains("--config") && !told.contains("taghook init"), "{told}");
}

#[test]
fn a_directory_as_a_command_is_told_as_one() {
    let scene = Scene::new();
    scene.configure("[hook.h]\ncommand = ['/etc']");
    let config = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    std::fs::write(scene.sandbox.config_path(), config.replace("'30d'\n", "'30d'\nhooks = ['h']\n")).unwrap();
    let told = scene.sandbox.run(&["hook", "test", "h", "good"]).expect(1).stdout;
    assert!(told.contains("it is a directory, not a program") && !told.contains("chmod"), "{told}");
}
