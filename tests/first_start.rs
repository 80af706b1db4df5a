//! The first start makes the database. Whatever cuts that short, the next start makes it anew.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use serde_json::Value;
use support::fault;
use support::process::{Output, Running};
use support::sandbox::{Sandbox, Who};

fn run(sandbox: &Sandbox, args: &[&str]) -> Output {
    Running::start(sandbox.command(Who::Us, args)).finish()
}

/// Runs `pause web` with a fault at its first write, its second, and so on, each time without a state; `then` looks at
/// what is left. Ends where the fault comes too late to be met.
fn at_every_write(sandbox: &Sandbox, fault: impl Fn(u32) -> String, then: impl Fn(&Output)) {
    for nth in 1.. {
        assert!(nth < 200, "the fault is met for ever");
        let _ = std::fs::remove_dir_all(sandbox.state());
        let command = sandbox.command(Who::Us, &["pause", "web"]);
        let done = Running::start(fault::with(&fault(nth), &command)).finish();
        then(&done);
        if done.code == Some(0) {
            assert!(nth > 2, "nothing was written");
            return;
        }
    }
}

#[test]
fn a_database_that_was_cut_short_at_its_making_is_made_at_the_next_start() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("[watch.web]\nimage = 'registry.example.com/acme/web:stable'\n");
    let dir = sandbox.state().display().to_string();
    let made = |done: &Output| {
        // It is there as a whole or not at all.
        let read = sandbox.run_bare(&["history", "--json", "--state", &dir]);
        let is_missing = read.code == Some(2) && read.stderr.contains("no agent has run here yet");
        assert!(read.code == Some(0) || is_missing, "{read:?} after {done:?}");
        run(&sandbox, &["pause", "web"]).expect(0);
        let history = run(&sandbox, &["history", "--json"]).expect(0).json_lines();
        assert_eq!(history, Vec::<Value>::new(), "{done:?}");
    };
    at_every_write(&sandbox, |nth| format!("pwrite64:signal=KILL:when={nth}"), made);
    at_every_write(&sandbox, |nth| format!("pwrite64:error=ENOSPC:when={nth}+"), made);
    at_every_write(&sandbox, |nth| format!("rename,unlink,ftruncate:signal=KILL:when={nth}"), made);
    let left = sandbox.snapshot(&sandbox.state()).into_keys().find(|path| path.display().to_string().contains(".new"));
    assert_eq!(left, None, "what a crash has left is removed");
}
