//! From a move to its hook: how soon, and how many at once.
//!
//! `cargo bench --bench deliveries [-- PART…]`, of the parts `latency` and `burst`. The real binary, a registry in this
//! process, and hooks that are this program again: their first act is to note the time. Each figure stands beside its
//! floor of the same run: the start of the same program by a bare loop, and a bare commit of SQLite in the same place.
//! What the disk pays is counted by `tests/commits.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]

mod runs;
mod scene;

#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runs::Runs;
use scene::{Place, Scene};
use support::usage::{Memory, Usage};

/// How many moves of each kind.
struct Size {
    /// One at a time.
    alone: usize,
    /// Together, for latencies.
    crowd: usize,
    /// Together, for throughput.
    burst: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, socket] = &arguments[..]
        && flag == runs::FLAG
    {
        return runs::report(socket);
    }
    let named: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| **name == part);
    let size = match support::short() {
        true => Size { alone: 50, crowd: 200, burst: 500 },
        false => Size { alone: 300, crowd: 1000, burst: 10_000 },
    };
    for place in [Place::Disk, Place::Memory] {
        println!("\nstate on {place}");
        let commit = place.bare_commits(200);
        println!("  floor: commit of SQLite, one row      {commit}");
        println!("  floor: start of the hook's program    {}", runs::bare_starts(200));
        if wanted("latency") {
            latency(place, size.alone);
            [4, 64].into_iter().for_each(|concurrency| crowd(place, size.crowd, concurrency));
        }
        if wanted("burst") {
            [1, 4, 64].into_iter().for_each(|concurrency| burst(place, size.burst, concurrency));
        }
    }
}

/// One move at a time, nothing else to do.
fn latency(place: Place, moves: usize) {
    let mut scene = Scene::new(place, 1, 1);
    let mut delays = Vec::new();
    for number in 0..moves {
        let digest = scene.push(&number.to_string());
        scene.check();
        let run = scene.runs.next();
        assert_eq!(run.digest, digest);
        scene.await_checks();
        delays.push(scene.delay(&run));
    }
    println!("  idle: answer to hook                  {}", Spread::of(delays));
}

/// All watches move at once: how long each waits for its hook.
fn crowd(place: Place, watches: usize, concurrency: usize) {
    let mut scene = Scene::new(place, watches, concurrency);
    scene.push("B");
    scene.check();
    let runs = scene.runs.take(watches);
    scene.await_checks();
    let spread = Spread::of(runs.iter().map(|run| scene.delay(run)).collect());
    println!("  {watches} at once, concurrency {concurrency:>2}:          {spread}");
}

/// All watches move at once, and once more while their hooks run.
fn burst(place: Place, watches: usize, concurrency: usize) {
    let mut scene = Scene::new(place, watches, concurrency);
    let (usage, memory) = (Usage::of(scene.pid()), Memory::of(scene.pid()));
    let began = Instant::now();
    scene.push("B");
    scene.check();
    let mut runs = scene.runs.take(watches / 10);
    let newest = scene.push("C");
    scene.check();
    // Heard as they come: a hook that nobody hears does not end.
    runs.extend(scene.runs.until_quiet());
    let checked = scene.await_checks().duration_since(began);
    let took = runs::last_end(&runs).duration_since(scene.began()).unwrap_or_default();
    runs::are_in_order(&runs, &newest, watches);
    let (usage, peak) = (Usage::of(scene.pid()).since(&usage), Memory::of(scene.pid()).peak);
    let (rate, floor) = (runs.len() as f64 / took.as_secs_f64(), floor_rate());
    println!(
        "  burst of {watches} moved twice, concurrency {concurrency:>2}: {} runs in {:.1} s, {rate:.0}/s; bare starts {floor:.0}/s",
        runs.len(),
        took.as_secs_f64()
    );
    println!(
        "    checks answered after {:.1} s; agent's CPU {:.0} us/run; resident {} -> at most {} KiB; written {} KiB",
        checked.as_secs_f64(),
        usage.cpu.as_secs_f64() * 1e6 / runs.len() as f64,
        memory.resident,
        peak,
        usage.written / 1024
    );
}

/// How many of the hook's program two bare loops get through in a second.
fn floor_rate() -> f64 {
    const EACH: usize = 200;
    let runs = Runs::listen();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let command = &mut Command::new(&runs.command()[0]);
                    let command = command.args(&runs.command()[1..]).stdin(Stdio::null());
                    assert!(command.status().expect("our own program starts").success());
                }
            });
        }
        scope.spawn(|| runs.take(EACH * 2));
    });
    (EACH * 2) as f64 / began.elapsed().as_secs_f64()
}

/// Times, in order.
struct Spread(Vec<Duration>);

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn at(&self, part: f64) -> f64 {
        let index = ((self.0.len() - 1) as f64 * part).round() as usize;
        self.0[index].as_secs_f64() * 1e3
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (median, p99) = (self.at(0.5), self.at(0.99));
        write!(f, "median {median:>8.2} ms, 99th percentile {p99:>8.2} ms ({} samples)", self.0.len())
    }
}
