//! What a person waits for who asks `taghook status`, beside the floor of starting `true`.
//!
//! With and without an agent, at 10 to 100,000 watches.

#![allow(clippy::unwrap_used, reason = "benchmarks fail by panicking")]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::process::Agent;
use support::sandbox::{Sandbox, Who};
use support::supervisor::Supervisor;

const RUNS: usize = 40;

fn main() {
    let floor = median(|| Command::new("true"));
    println!("Median of {RUNS} runs, ms; `true` takes {:.2}.", ms(floor));
    println!("watches  --version  status  with an agent  status WATCH  with an agent  x true");
    for watches in [10, 1_000, 100_000] {
        let sandbox = Sandbox::new();
        sandbox.write_whole_config(&config(watches));
        let run = |args: &[&str]| median(|| sandbox.command(Who::Us, args));
        let version = median(|| sandbox.bare_command(Who::Us, &["--version"]));
        // The state must exist.
        stop(start(&sandbox));
        let alone = [run(&["status"]), run(&["status", "service-0"])];
        let agent = start(&sandbox);
        let asked = [run(&["status"]), run(&["status", "service-0"])];
        stop(agent);
        println!(
            "{watches:>7} {:>10.2} {:>7.2} {:>14.2} {:>13.2} {:>14.2} {:>7.1}",
            ms(version),
            ms(alone[0]),
            ms(asked[0]),
            ms(alone[1]),
            ms(asked[1]),
            asked[1].div_duration_f64(floor),
        );
    }
}

/// Nothing is asked: what is measured is what is read and said.
fn config(watches: usize) -> String {
    let watch =
        |index| format!("[watch.service-{index}]\nimage = \"registry.example.com/team/service-{index}:stable\"\n");
    let head = "[defaults]\nenabled = false\nhooks = [\"deploy\"]\n[hook.deploy]\ncommand = [\"/bin/true\"]\n";
    head.to_owned() + &(0..watches).map(watch).collect::<String>()
}

fn start(sandbox: &Sandbox) -> Agent {
    std::fs::remove_file(sandbox.path().join("notify")).ok();
    let mut supervisor = Supervisor::new(sandbox);
    let agent = Agent::spawn(supervisor.command(sandbox, None));
    supervisor.wait_for("READY=1");
    agent
}

fn stop(agent: Agent) {
    agent.stop();
}

fn median(command: impl Fn() -> Command) -> Duration {
    let time = |_| {
        let mut command = command();
        let start = Instant::now();
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let elapsed = start.elapsed();
        // 1: something needs attention.
        assert!(matches!(status.unwrap().code(), Some(0 | 1)), "{command:?}");
        elapsed
    };
    let mut times: Vec<Duration> = (0..RUNS).map(time).collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
