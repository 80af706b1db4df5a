//! What the disk pays, counted by the system calls that wait for it: moves are committed together, and rest is quiet.
//!
//! Only counts are compared, with room to spare.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::Path;

use support::disk::Disk;
use support::process::Agent;
use support::registry::Registry;
use support::sandbox::{Sandbox, Who};
use support::wall_clock::WallClock;

/// So many watches of one registry, which is asked at will, and one hook for all, which succeeds at once.
fn scene(watches: usize, lines: &str, hook: &str) -> (Sandbox, Registry) {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let table = |number| format!("[watch.w{number}]\nimage = '{}'\n", registry.image(&format!("w{number}"), "v1"));
    let tables: String = (0..watches).map(table).collect();
    sandbox.write_whole_config(&format!(
        "[defaults]\nhooks = ['redeploy']\n{lines}\n{tables}\
         [hook.redeploy]\ncommand = ['/bin/true']\n{hook}\n\
         [registry.'{}']\nplain_http = true\nrate = '100000/s'\nconcurrency = 32\ntimeout = '10m'\n",
        registry.host()
    ));
    push(&registry, watches, "one");
    (sandbox, registry)
}

fn push(registry: &Registry, watches: usize, salt: &str) {
    for number in 0..watches {
        registry.push_image(&format!("w{number}"), "v1", salt);
    }
}

#[test]
fn moves_that_come_together_are_committed_together() {
    const MOVES: usize = 300;
    let (sandbox, registry) = scene(MOVES, "schedule = '30d'", "concurrency = 16");
    sandbox.run(&["check"]).expect(0);
    push(&registry, MOVES, "two");
    let disk = Disk::new(&sandbox);
    let agent = Agent::start(disk.under(&sandbox.command(Who::Us, &["run"])));
    let lines = sandbox.run(&["check", "--json"]).expect(0).json_lines();
    agent.stop();

    let ran = lines.iter().filter(|line| line["deliveries"][0]["state"] == "succeeded").count();
    assert_eq!(ran, MOVES, "{lines:#?}");
    let commits = disk.until(usize::MAX).commits;
    // One by one it would be three for each: the move, the start of its hook, and its end.
    assert!(commits < MOVES, "{commits} commits for {MOVES} moves and as many runs");
}

#[test]
fn a_run_costs_two_commits_at_most() {
    const RUNS: usize = 100;
    let (sandbox, registry) = scene(RUNS, "schedule = '30d'", "concurrency = 1");
    let names: Vec<String> = (0..RUNS).map(|number| format!("w{number}")).collect();
    let act = |verb| sandbox.run(&[&[verb], &*names.iter().map(|name| &**name).collect::<Vec<_>>()].concat()).expect(0);
    sandbox.run(&["check"]).expect(0);
    act("pause");
    push(&registry, RUNS, "two");
    sandbox.run(&["check"]);
    let disk = Disk::new(&sandbox);
    let mut agent = Agent::start(disk.under(&sandbox.command(Who::Us, &["run"])));

    act("resume");

    names.iter().for_each(|name| drop(agent.wait_for("hook succeeded", &[("watch", name)])));
    agent.stop();
    let commits = disk.until(usize::MAX).commits;
    // Its start and its end; often the end of one and the start of the next are together. And a few for the agent itself.
    assert!(commits <= RUNS * 2 + 10, "{commits} commits for {RUNS} runs, one after another");
}

#[test]
fn an_hour_at_rest_is_a_small_commit_a_minute() {
    const WATCHES: usize = 600;
    let (sandbox, registry) = scene(WATCHES, "schedule = '20m'", "");
    sandbox.run(&["check"]).expect(0);
    let (disk, clock) = (Disk::new(&sandbox), WallClock::new(sandbox.path()));
    let agent = Agent::start(disk.under(&clock.times(300, sandbox.command(Who::Us, &["run"]))));
    // The start has some of its own.
    disk.until(5);
    let (began, asked) = (alive(&sandbox.state()), registry.log().len());

    let done = disk.until(60);

    let minutes = (alive(&sandbox.state()) - began) / 60_000;
    assert!(minutes >= 59, "60 commits in {minutes} minutes");
    assert!(registry.log().len() > asked + WATCHES / 2, "checks go on");
    // A page each for the heartbeat, and for a sixtieth of the watches.
    assert!(done.largest < 40_000, "{done:?}");
    drop(agent);
}

/// When the agent last said that it is alive, in milliseconds.
fn alive(state: &Path) -> i64 {
    let database = rusqlite::Connection::open(state.join("taghook.db")).unwrap();
    database.query_row("SELECT at FROM heartbeat", [], |row| row.get(0)).unwrap()
}
