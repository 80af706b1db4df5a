//! What was claimed is always given back, and what hangs holds nothing but its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::bed::{Bed, Setup};
use support::http::{curl, listening};
use support::process::Agent;
use support::registry::Registry;
use support::sandbox::{Sandbox, Who};

/// A bed whose state belongs to somebody who is not root, for whom limits are in force.
fn of_owner() -> Bed {
    let setup = Setup { watch: "schedule = '1s'", hook: "attempts = 1", ..Setup::default() };
    Bed::inside(Sandbox::of_owner(), setup)
}

/// Sets a soft limit of a running agent; `None` makes it as high as it may be.
fn limit(bed: &Bed, agent: &Agent, what: &str, most: Option<u32>) {
    let pid = agent.pid();
    let hard = format!("$(prlimit --pid {pid} --{what} --output HARD --noheadings | tr -d ' ')");
    let soft = most.map_or(hard, |most| most.to_string());
    bed.shell(Who::Owner, &format!("prlimit --pid {pid} --{what}={soft}:")).expect(0);
}

/// While something is short, a hook waits; once it is there again, the hook has its one attempt.
fn waits_for_what_is_short(what: &str, most: u32, remedy: &str) {
    let bed = of_owner();
    bed.push("one");
    let mut agent = bed.agent_as(Who::Owner);
    agent.wait_for("first seen", &[]);
    limit(&bed, &agent, what, Some(most));
    let second = bed.push("two");

    let said = agent.wait_for("hook not started", &[]);

    assert!(said.contains(remedy), "{said}");
    bed.hook.expect_no_call();
    // It is tried again by itself, and each time in vain.
    agent.wait_for("hook not started", &[]);
    limit(&bed, &agent, what, None);
    let call = bed.hook.call();
    assert_eq!((call.var("TAGHOOK_DIGEST"), call.var("TAGHOOK_ATTEMPT")), (&*second, "1"));
    agent.wait_for("hook succeeded", &[("attempt", "1")]);
    bed.hook.expect_no_call();
    agent.stop();
}

#[test]
fn a_hook_for_which_no_thread_can_be_started_spends_no_attempt_and_runs_later() {
    waits_for_what_is_short("nproc", 1, "TasksMax=");
}

#[test]
fn a_hook_for_which_no_file_can_be_opened_spends_no_attempt_and_runs_later() {
    waits_for_what_is_short("nofile", 1, "LimitNOFILE=");
}

#[test]
fn hooks_that_cannot_be_started_are_told_and_check_does_not_wait_for_them() {
    let bed = of_owner();
    bed.push("one");
    let mut agent = bed.agent_as(Who::Owner);
    agent.wait_for("first seen", &[]);
    limit(&bed, &agent, "nproc", Some(1));
    bed.push("two");
    agent.wait_for("hook not started", &[]);

    let health = bed.run_as(Who::Owner, &["health", "--json"]).expect(1).json();

    let [problem] = &health["problems"].as_array().unwrap()[..] else { panic!("{health:#}") };
    assert_eq!((&problem["what"], &problem["hook"]), (&json!("held"), &json!("redeploy")));
    assert!(problem["message"].as_str().unwrap().contains("no thread can be started"), "{problem}");
    let status = bed.run_as(Who::Owner, &["status"]).expect(0).stdout;
    assert!(status.starts_with("hooks are held: redeploy: "), "{status}");
    let checked = bed.run_as(Who::Owner, &["check", "--json"]).expect(1).json_lines().remove(0);
    assert_eq!(checked["deliveries"][0]["state"], "pending", "{checked}");
    let owed = bed.run_as(Who::Owner, &["deliveries", "--json"]).expect(0).json_lines().remove(0);
    assert_eq!((&owed["state"], &owed["attempts"]), (&json!("pending"), &json!(0)), "{owed}");
    limit(&bed, &agent, "nproc", None);
    agent.wait_for("hook succeeded", &[]);
    bed.run_as(Who::Owner, &["health"]).expect(0);
    agent.stop();
}

#[cfg(feature = "failpoints")]
#[test]
fn a_run_that_panics_counts_as_cut_and_nobody_waits_for_it() {
    let bed = Bed::with(Setup { hook: "attempts = 1", ..Setup::default() });
    bed.push("one");
    let mut command = bed.command(Who::Us, &["run"]);
    command.env("TAGHOOK_PANIC", "redeploy");
    let mut agent = Agent::start(command);
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.holds();

    let mut asked = bed.command(Who::Us, &["check", "--json"]);
    asked.stdin(Stdio::null());
    let checked = support::process::Running::start(asked).finish().expect(1).json_lines().remove(0);

    // What is cut is repeated once, even if a single attempt is allowed.
    agent.wait_for("panicked", &[]);
    agent.wait_for("panicked", &[]);
    let owed = &checked["deliveries"][0];
    assert!(owed["error"].as_str().unwrap().contains("was cut: taghook has a bug here"), "{checked}");
    assert_eq!(eventually(&bed, |owed| owed["state"] == "failed")["attempts"], 2);
    for _ in 0..2 {
        bed.hook.call().await_end();
    }
    agent.stop();
}

/// The only delivery, once it is as wanted. Each look is a command of its own.
#[cfg(feature = "failpoints")]
fn eventually(bed: &Bed, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = std::time::Instant::now() + support::DEADLINE;
    loop {
        let owed = bed.deliveries().remove(0);
        if wanted(&owed) {
            return owed;
        }
        assert!(std::time::Instant::now() < deadline, "{owed}");
    }
}

#[test]
fn a_delivery_that_counts_as_running_without_a_run_is_told_and_healed_without_a_restart() {
    let bed = Bed::with(Setup { top: "listen = '127.0.0.1:0'", hook: "backoff = '1h'", ..Setup::default() });
    bed.push("one");
    let (mut agent, address) = listening(&bed);
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.exits_with(1);
    bed.check(1);
    bed.hook.only_call();
    bed.hook.exits_with(0);
    let database = rusqlite::Connection::open(bed.state().join("taghook.db")).unwrap();
    database.busy_timeout(support::DEADLINE).unwrap();
    let lost = "UPDATE deliveries SET state = 'running', due = NULL WHERE state = 'pending'";
    assert_eq!(database.execute(lost, []).unwrap(), 1);

    let health = bed.run(&["health", "--json"]).expect(1).json();

    let problem = &health["problems"][0];
    assert_eq!((&problem["what"], &problem["hook"]), (&json!("stray"), &json!("redeploy")), "{health}");
    agent.wait_for("made due again", &[]);
    assert_eq!(bed.hook.call().var("TAGHOOK_ATTEMPT"), "2");
    agent.wait_for("hook succeeded", &[]);
    bed.run(&["health"]).expect(0);
    let (_, page) = curl(&bed, &format!("http://{address}/metrics"));
    assert!(page.contains("\ntaghook_deliveries_stray 0\n"), "{page}");
    agent.stop();
}

#[test]
fn a_run_that_goes_on_is_no_stray_however_often_somebody_looks() {
    let bed = Bed::new();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check"]);
    let call = bed.hook.call();
    for _ in 0..5 {
        bed.run(&["health"]).expect(0);
    }
    call.exit(0);
    check.finish().expect(0);
    bed.hook.expect_no_call();
    assert!(!agent.log().iter().any(|line| line.contains("nothing runs")));
    agent.stop();
}

#[test]
fn a_run_whose_row_somebody_has_changed_ends_all_the_same() {
    let bed = Bed::new();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check"]);
    let call = bed.hook.call();
    let database = rusqlite::Connection::open(bed.state().join("taghook.db")).unwrap();
    database.busy_timeout(support::DEADLINE).unwrap();
    assert_eq!(database.execute("UPDATE deliveries SET state = 'superseded'", []).unwrap(), 1);

    call.exit(0);

    agent.wait_for("cannot record the end of a hook", &[("kind", "not_running")]);
    check.finish();
    // The hook's only slot is free again.
    bed.hook.exits_with(0);
    bed.push("three");
    bed.check(0);
    agent.stop();
}

/// A directory in which every look waits until this is dropped: a file system whose server has taken the mount and never
/// answers.
struct HungDirectory {
    server: Child,
    path: PathBuf,
}

impl HungDirectory {
    fn mount(path: PathBuf) -> Self {
        let mount = "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung \"$0\" \
                     && echo mounted && read -r end";
        let mut command = if rustix::process::geteuid().is_root() { Command::new("sh") } else { Command::new("sudo") };
        if !rustix::process::geteuid().is_root() {
            command.args(["-n", "sh"]);
        }
        let mut server =
            command.args(["-c", mount]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n");
        Self { server, path }
    }
}

impl Drop for HungDirectory {
    fn drop(&mut self) {
        // Its connection ends with it, and so do all looks.
        drop(self.server.stdin.take());
        self.server.wait().ok();
        support::sandbox::Sandbox::new().shell(Who::Root, &format!("umount -l {:?}", self.path));
    }
}

#[test]
fn a_program_that_hangs_holds_few_threads_and_keeps_no_other_hook_from_starting() {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let well = sandbox.hook();
    let hung = sandbox.path().join("hung");
    std::fs::create_dir(&hung).unwrap();
    // More than there are threads for starts.
    let watches: String = (0..80)
        .map(|number| {
            registry.push_image(&format!("hung{number}"), "v1", "one");
            let image = registry.image(&format!("hung{number}"), "v1");
            format!("[watch.hung{number}]\nimage = '{image}'\nschedule = '1s'\nhooks = ['hung']\n")
        })
        .collect();
    registry.push_image("well", "v1", "one");
    sandbox.write_whole_config(&format!(
        "listen = '127.0.0.1:0'\n{watches}[watch.well]\nimage = '{}'\nschedule = '1s'\nhooks = ['well']\n\
         [hook.hung]\ncommand = [{:?}]\nconcurrency = 100\n\
         [hook.well]\ncommand = {}\n[registry.'{}']\nplain_http = true\nrate = '1000/s'\n",
        registry.image("well", "v1"),
        hung.join("program"),
        well.toml(),
        registry.host()
    ));
    let (mut agent, address) = listening(&sandbox);
    for number in 0..80 {
        agent.wait_for("first seen", &[("watch", &format!("hung{number}"))]);
    }
    let hung = HungDirectory::mount(hung);
    for number in 0..80 {
        registry.push_image(&format!("hung{number}"), "v1", "two");
    }
    for number in 0..80 {
        agent.wait_for("tag moved", &[("watch", &format!("hung{number}"))]);
    }
    registry.push_image("well", "v1", "two");

    assert_eq!(well.call().var("TAGHOOK_ATTEMPT"), "1");

    agent.wait_for("hook succeeded", &[("hook", "well"), ("attempt", "1")]);
    let (_, page) = curl(&sandbox, &format!("http://{address}/metrics"));
    assert!(page.contains("\ntaghook_threads{pool=\"starts\"} 4\n"), "{page}");
    drop(hung);
    agent.kill();
}

#[test]
fn names_that_do_not_resolve_keep_no_hook_waiting() {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let well = sandbox.hook();
    let watches: String = (0..600)
        .map(|number| format!("[watch.hung{number}]\nimage = 'h{number}.invalid/x:v1'\nschedule = '30d'\n"))
        .collect();
    registry.push_image("well", "v1", "one");
    sandbox.write_whole_config(&format!(
        "listen = '127.0.0.1:0'\n{watches}[watch.well]\nimage = '{}'\nschedule = '1s'\nhooks = ['well']\n\
         [hook.well]\ncommand = {}\n[registry.'{}']\nplain_http = true\n",
        registry.image("well", "v1"),
        well.toml(),
        registry.host()
    ));
    // Whoever looks a name up reads /etc/hosts, and waits there for somebody who writes.
    let pipe = sandbox.path().join("hosts");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let agent = sandbox.command(Who::Root, &["run"]);
    let mut agent = Agent::start(with_hosts(&pipe, &agent));
    let ready = agent.log().into_iter().find_map(|line| support::process::field(&line, "listen").map(str::to_owned));
    let address = ready.unwrap();
    agent.wait_for("first seen", &[("watch", "well")]);
    let page = page_with(&sandbox, &address, "taghook_threads{pool=\"lookups\"} 64");
    assert!(page.contains("\ntaghook_threads_limit{pool=\"lookups\"} 64\n"), "{page}");
    registry.push_image("well", "v1", "two");

    assert_eq!(well.call().var("TAGHOOK_ATTEMPT"), "1");

    agent.wait_for("hook succeeded", &[("attempt", "1")]);
    agent.wait_for("check failed", &[("kind", "dns")]);
    page_with(&sandbox, &address, "taghook_threads_late{pool=\"lookups\"} 64");
    let health = sandbox.run(&["health", "--json"]).expect(1).json();
    let problems = health["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem["what"] == "stuck"), "{}", problems[0]);
    agent.kill();
}

/// The page of metrics, once it has this line.
fn page_with(sandbox: &Sandbox, address: &str, line: &str) -> String {
    let deadline = std::time::Instant::now() + support::DEADLINE;
    loop {
        let (_, page) = curl(sandbox, &format!("http://{address}/metrics"));
        if page.lines().any(|found| found == line) {
            return page;
        }
        assert!(std::time::Instant::now() < deadline, "no {line} in\n{page}");
    }
}

/// The command in a mount namespace of its own, with another `/etc/hosts`.
fn with_hosts(hosts: &Path, command: &Command) -> Command {
    let mut apart = Command::new("unshare");
    apart.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(hosts);
    apart.arg(command.get_program()).args(command.get_args());
    apart.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    apart.current_dir(command.get_current_dir().unwrap());
    apart
}
