//! What a parent hands down (ignored and blocked signals, limits, empty variables, the place of process 1) changes nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::bed::{Bed, Setup, one};
use support::process::{Agent, Running};
use support::sandbox::{Sandbox, Who};

/// The command, started by another program.
fn under(parent: &[&str], command: &Command) -> Command {
    let mut under = Command::new(parent[0]);
    under.args(&parent[1..]).arg(command.get_program()).args(command.get_args());
    under.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    under.current_dir(command.get_current_dir().unwrap());
    under
}

fn bed_for_first() -> Bed {
    let bed = Bed::with(Setup { hook: "on = ['first']\nattempts = 1", ..Setup::default() });
    bed.push("one");
    bed
}

#[test]
fn hooks_succeed_whether_or_not_a_parent_ignores_the_end_of_children() {
    let bed = bed_for_first();
    let ignoring = ["env", "--ignore-signal=CHLD"];

    let check = under(&ignoring, &bed.command(Who::Us, &["check", "--json"]));
    let line = one(&Running::start(check).finish().expect(0));

    assert_eq!(line["deliveries"][0]["state"], "succeeded", "{line}");
    let trial = under(&ignoring, &bed.command(Who::Us, &["hook", "test", "redeploy"]));
    Running::start(trial).finish().expect(0);
}

#[test]
fn an_agent_stops_when_it_is_told_whatever_signals_its_parent_has_blocked() {
    let bed = bed_for_first();
    let blocking = ["env", "--block-signal=TERM,INT,HUP,CHLD"];
    let mut agent = Agent::start(under(&blocking, &bed.command(Who::Us, &["run"])));
    agent.wait_for("hook succeeded", &[]);

    agent.stop();
}

#[test]
fn a_limit_on_the_size_of_files_is_told_as_such_and_ends_nothing() {
    let bed = Bed::with(Setup { watch: "schedule = '1s'", ..Setup::default() });
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    let limit = |agent: &Agent, bytes: &str| {
        let command = format!("prlimit --pid {} --fsize={bytes}:unlimited", agent.pid());
        bed.shell(Who::Root, &command).expect(0);
    };
    limit(&agent, "4096");
    let second = bed.push("two");

    agent.wait_for("check failed", &[("kind", "store")]);

    let store = bed.run(&["status", "--json"]).expect(0).json()["store"].take();
    assert_eq!(store["kind"], "full", "{store}");
    assert!(store["message"].as_str().unwrap().contains("ulimit -f"), "{store}");
    bed.hook.expect_no_call();
    limit(&agent, "unlimited");
    assert_eq!(bed.hook.call().var("TAGHOOK_DIGEST"), second);
    agent.stop();
}

#[test]
fn a_command_that_a_limit_on_files_keeps_from_starting_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("");
    for blocks in ["0", "8"] {
        let limited = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let check = under(&["sh", "-c", &limited], &sandbox.command(Who::Us, &["check"]));
        let said = Running::start(check).finish().expect(1).stderr;
        assert!(said.contains("ulimit -f"), "{blocks}: {said}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let bed = bed_for_first();
    let names = [
        "TAGHOOK_CONFIG",
        "NOTIFY_SOCKET",
        "RUNTIME_DIRECTORY",
        "STATE_DIRECTORY",
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
        "CREDENTIALS_DIRECTORY",
        "DOCKER_CONFIG",
        "JOURNAL_STREAM",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "NO_COLOR",
        "RUST_LOG",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "PATH",
        "HOME",
    ];
    let emptied = |mut command: Command| {
        command.envs(names.map(|name| (name, "")));
        command
    };
    let mut agent = Agent::start(emptied(bed.command(Who::Us, &["run"])));
    agent.wait_for("hook succeeded", &[]);
    assert!(bed.hook.call().var("PATH").contains("/usr/bin"), "the default");
    bed.run(&["status"]).expect(0);
    agent.stop();

    let said = Running::start(emptied(bed.bare_command(Who::Us, &["config", "check"]))).finish().expect(2).stderr;
    assert!(said.contains("there is no config; looked for /etc/taghook/config.toml"), "{said}");
}

#[test]
fn as_process_1_the_agent_reaps_what_hooks_leave_and_a_time_limit_takes_no_longer() {
    let (bed, sandbox) = (Bed::new(), Sandbox::new());
    let (host, image) = (bed.registry.host(), bed.image());
    bed.push("one");
    // Leaves a dozen orphans, some of them in its group, then asks whether one still waits to be reaped.
    let leaves = "for i in 1 2 3 4 5 6; do (sleep 0 & setsid sleep 0 &); done; \
                  for i in $(seq 200); do grep -ls '^State:.Z' /proc/[0-9]*/status || exit 0; sleep 0.05; done; exit 9";
    let late = "(sleep 1000 &); (sleep 1000 &); sleep 1000";
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{image}'\nschedule = '30d'\nhooks = ['leaves', 'late']\n\
         [hook.leaves]\ncommand = \"{leaves}\"\non = ['first']\nattempts = 1\n\
         [hook.late]\ncommand = '{late}'\non = ['first']\nattempts = 1\ntimeout = '1s'\n\
         [registry.'{host}']\nplain_http = true\n"
    ));
    let first = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let began = Instant::now();

    let mut agent = Agent::start(under(&first, &sandbox.command(Who::Us, &["run"])));

    agent.wait_for("hook succeeded", &[("hook", "leaves")]);
    agent.wait_for("hook failed", &[("hook", "late")]);
    assert!(began.elapsed() < Duration::from_secs(9), "SIGTERM sufficed: {:?}", began.elapsed());
    // Told to process 1, as a container's runtime does.
    sandbox.shell(Who::Us, &format!("pkill -TERM --parent {}", agent.pid())).expect(0);
    agent.finish();
}
