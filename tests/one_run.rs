//! One run of a delivery at a time, also of a command that has left its process group, and over stops and starts.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::PathBuf;

use support::bed::{Bed, Setup};
use support::process::Agent;
use support::sandbox::{Sandbox, Who};

/// Commands that put `sh INNER` into a group or a session of its own, and wait for it.
const ESCAPES: [(&str, &str); 5] = [
    ("plain", "sh INNER"),
    ("timeout", "timeout 4000 sh INNER"),
    ("setsid", "setsid --wait sh INNER"),
    ("script", "script -qec 'sh INNER' /dev/null"),
    ("jobs", "bash -mc 'sh INNER & wait'"),
];

/// A script that tells of each run, and of one that begins while another is alive.
struct Runs {
    dir: PathBuf,
}

impl Runs {
    fn in_(sandbox: &Sandbox) -> Self {
        let dir = sandbox.path().join("runs");
        std::fs::create_dir(&dir).unwrap();
        let script = format!(
            "cd {dir:?}\nexec 9>>\"$1.lock\"\nflock -n 9 || echo overlap >>overlaps\necho run >>\"$1\"\n\
             while :; do sleep 1000; done\n"
        );
        std::fs::write(dir.join("inner"), script).unwrap();
        Self { dir }
    }

    fn command(&self, name: &str, escape: &str) -> String {
        escape.replace("INNER", &format!("{} {name}", self.dir.join("inner").display()))
    }

    fn count(&self, name: &str) -> usize {
        std::fs::read_to_string(self.dir.join(name)).unwrap_or_default().lines().count()
    }

    #[track_caller]
    fn expect_no_overlap(&self) {
        assert!(!self.dir.join("overlaps").exists(), "two were alive at once");
    }

    /// Nothing of it is alive.
    #[track_caller]
    fn expect_over(&self, sandbox: &Sandbox, name: &str) {
        let lock = self.dir.join(format!("{name}.lock"));
        sandbox.shell(Who::Us, &format!("flock -n {lock:?} true")).expect(0);
    }
}

/// A bed whose only watch feeds one hook for each escape.
fn escaping(hook: &str) -> (Bed, Runs) {
    let bed = Bed::new();
    let runs = Runs::in_(&bed);
    let (host, image) = (bed.registry.host(), bed.image());
    let hooks: String = ESCAPES
        .iter()
        .map(|(name, escape)| {
            let command = runs.command(name, escape);
            format!(
                "[hook.{name}]\ncommand = \"{command}\"\non = ['first']\nbackoff = '1ms'\nbackoff_max = '1ms'\n{hook}\n"
            )
        })
        .collect();
    let names = ESCAPES.map(|(name, _)| name);
    bed.write_whole_config(&format!(
        "shutdown_grace = '1s'\n[watch.web]\nimage = '{image}'\nschedule = '30d'\nhooks = {names:?}\n{hooks}\
         [registry.'{host}']\nplain_http = true\n"
    ));
    bed.push("one");
    (bed, runs)
}

fn wait_for_all(agent: &mut Agent, runs: &Runs, count: usize) {
    for (name, _) in ESCAPES {
        agent.wait_for("hook started", &[("hook", name)]);
    }
    let begun = std::time::Instant::now();
    while ESCAPES.iter().any(|(name, _)| runs.count(name) < count) {
        assert!(begun.elapsed() < support::DEADLINE, "not all have run");
        std::thread::yield_now();
    }
}

#[test]
fn after_a_time_limit_nothing_of_a_run_is_alive_when_the_next_starts() {
    let (bed, runs) = escaping("timeout = '1s'\nattempts = 3");

    let mut agent = bed.agent();

    for (name, _) in ESCAPES {
        agent.wait_for("hook failed", &[("hook", name), ("state", "failed")]);
        assert_eq!(runs.count(name), 3, "{name}");
        runs.expect_over(&bed, name);
    }
    runs.expect_no_overlap();
    agent.stop();
}

#[test]
fn after_a_stop_nothing_of_a_run_is_alive() {
    let (bed, runs) = escaping("");
    let mut agent = bed.agent();
    wait_for_all(&mut agent, &runs, 1);

    agent.stop();

    for (name, _) in ESCAPES {
        runs.expect_over(&bed, name);
    }
}

#[test]
fn what_outlived_a_killed_agent_has_ended_before_its_deliveries_start_again() {
    let (bed, runs) = escaping("");
    let mut agent = bed.agent();
    wait_for_all(&mut agent, &runs, 1);
    agent.kill();

    let mut agent = bed.agent();

    wait_for_all(&mut agent, &runs, 2);
    runs.expect_no_overlap();
    agent.stop();
}

#[test]
fn what_an_interrupted_check_has_started_has_ended_with_it() {
    let (bed, runs) = escaping("");
    let check = bed.start(&["check"]);
    let (first, _) = ESCAPES[0];
    let begun = std::time::Instant::now();
    while ESCAPES.iter().all(|(name, _)| runs.count(name) == 0) {
        assert!(begun.elapsed() < support::DEADLINE, "{first} was not run");
        std::thread::yield_now();
    }

    check.sigterm();

    check.finish().expect(1);
    for (name, _) in ESCAPES {
        runs.expect_over(&bed, name);
    }
}

#[test]
fn a_hook_that_ends_by_itself_keeps_what_it_left_in_the_background() {
    let bed = Bed::new();
    let runs = Runs::in_(&bed);
    let (host, image) = (bed.registry.host(), bed.image());
    let inner = runs.dir.join("inner");
    bed.write_whole_config(&format!(
        "[watch.web]\nimage = '{image}'\nschedule = '30d'\nhooks = ['later']\n[registry.'{host}']\nplain_http = true\n\
         [hook.later]\ncommand = \"test -e {0}/first || exec setsid sh {1} first >{0}/first 2>&1 & exit 75\"\non = ['first']\n\
         backoff = '1ms'\nbackoff_max = '1ms'\n",
        runs.dir.display(),
        inner.display()
    ));
    bed.push("one");
    bed.run(&["check"]).expect(1);
    bed.run(&["check"]).expect(1);

    let lock = runs.dir.join("first.lock");
    bed.shell(Who::Us, &format!("flock -n {lock:?} true")).expect(1);
    bed.shell(Who::Us, &format!("fuser -k -TERM {lock:?}"));
}

#[test]
fn an_agent_that_a_hook_has_started_does_not_end_itself() {
    let bed = Bed::new();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.hook.holds();
    bed.push("two");
    let check = bed.start(&["check"]);
    let call = bed.hook.call();
    agent.kill();
    check.finish();

    let mut command = bed.command(Who::Us, &["run"]);
    command.env("TAGHOOK_DELIVERY", call.var("TAGHOOK_DELIVERY"));
    let agent = Agent::start(command);

    call.await_end();
    bed.hook.call().exit(0);
    agent.stop();
}

#[test]
fn what_cannot_be_ended_keeps_its_own_delivery_from_starting_and_no_other() {
    let bed = Bed::inside(Sandbox::of_owner(), Setup::default());
    let (host, command) = (bed.registry.host(), bed.hook.toml());
    let script = command.split('"').nth(3).unwrap();
    let root = bed.path().join("become-root");
    // A stranger to the agent, in the hook's own group.
    let made = format!("cp \"$(command -v setpriv)\" {root:?} && chown 0:0 {root:?} && chmod 4755 {root:?}");
    bed.shell(Who::Root, &made).expect(0);
    let stranger = "sleep 4321";
    let line = format!(
        "if [ $TAGHOOK_WATCH = a ] && [ $TAGHOOK_ATTEMPT = 1 ]; then {} --reuid=0 --regid=0 --clear-groups {stranger} & wait; fi; \
         exec bash {script}",
        root.display()
    );
    let watch =
        |name: &str| format!("[watch.{name}]\nimage = '{host}/team/{name}:v1'\nschedule = '1s'\nhooks = ['deploy']\n");
    bed.write_whole_config(&format!(
        "{}{}[hook.deploy]\ncommand = '{line}'\non = ['first']\nconcurrency = 1\ntimeout = '5s'\nbackoff = '1ms'\n\
         backoff_max = '1ms'\n[registry.'{host}']\nplain_http = true\n",
        watch("a"),
        watch("b")
    ));
    bed.registry.push_image("team/a", "v1", "one");
    let mut agent = bed.agent_as(Who::Owner);
    let told = agent.wait_for("the hook is not over", &[("hook", "deploy")]);
    assert!(told.contains("cannot be ended"), "{told}");

    bed.registry.push_image("team/b", "v1", "one");

    assert_eq!(bed.hook.only_call().var("TAGHOOK_WATCH"), "b");
    let running = bed.run_as(Who::Owner, &["deliveries", "a", "--json"]).expect(0).json();
    assert_eq!(running["state"], "running", "{running}");
    bed.shell(Who::Root, &format!("pkill -KILL -f '^{stranger}$'")).expect(0);
    let again = bed.hook.call();
    assert_eq!((again.var("TAGHOOK_WATCH"), again.var("TAGHOOK_ATTEMPT")), ("a", "2"));
    agent.stop();
}
