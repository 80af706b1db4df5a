//! What an agent costs at rest and on schedule, from 10 to 100,000 watches at 1 to 100 registries.
//!
//! `cargo bench --bench scale [-- PART…]`, of the parts `rest`, `schedule` and `disk`, takes half an hour. A start is told beside
//! the floor of a bare TOML parse of the same text. With `--short` it fails where something grows that must not.

#![allow(clippy::unwrap_used, reason = "benchmarks fail by panicking")]

mod support;

use std::collections::HashMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use support::disk::{Disk, Done};
use support::process::Agent;
use support::sandbox::{Sandbox, Who};
use support::stub::Stub;
use support::supervisor::Supervisor;
use support::usage::{Memory, Usage};
use support::wall_clock::WallClock;
use taghook::domain::Schedule;

fn main() {
    if support::short() {
        return short();
    }
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let parts: [(&str, fn()); 3] =
        [("rest", at_rest_in_full), ("schedule", on_schedule_in_full), ("disk", disk_in_full)];
    if let Some(unknown) = named.iter().find(|named| !parts.iter().any(|(name, _)| name == named)) {
        panic!("there is no part {unknown:?}");
    }
    for (_, run) in parts.iter().filter(|(name, _)| named.is_empty() || named.iter().any(|named| named == name)) {
        run();
    }
}

fn at_rest_in_full() {
    println!("At rest. \"parse\" is the floor: the same file through a bare TOML parser.");
    println!(
        "watches registries  parse/ms  first start  restart  resident/KiB  own  peak  a watch/B  wake-ups/min  CPU ms/min"
    );
    let mut least = None;
    for watches in [10, 1_000, 10_000, 100_000] {
        for registries in [1, 10, 100] {
            let rest = at_rest(watches, registries, Duration::from_secs(65));
            let ten = *least.get_or_insert(rest.memory.resident);
            let more = (rest.memory.resident as f64 - ten as f64) * 1024.0 / watches as f64;
            let minutes = rest.window.as_secs_f64() / 60.0;
            println!(
                "{watches:>7} {registries:>10}  {:>8.1}  {:>8.2} s  {:>5.2} s  {:>12}  {:>3}  {:>4}  {more:>9.0}  {:>12.1}  {:>10.2}",
                rest.parse.as_secs_f64() * 1e3,
                rest.first.as_secs_f64(),
                rest.restart.as_secs_f64(),
                rest.memory.resident,
                rest.memory.anonymous,
                rest.memory.peak,
                rest.used.wakeups as f64 / minutes,
                rest.used.cpu.as_secs_f64() * 1e3 / minutes,
            );
        }
    }
}

fn on_schedule_in_full() {
    println!("\nOn schedule: 100 checks a second, a minute long.");
    println!("watches registries  every  checks  lateness/ms: median  99 %  most  CPU µs/check");
    for (watches, registries, every) in [(1_000, 1, 10), (10_000, 10, 100), (100_000, 100, 1000)] {
        let run = on_schedule(watches, registries, every, Duration::from_secs(60));
        println!(
            "{watches:>7} {registries:>10} {every:>4} s  {:>6}  {:>19}  {:>4}  {:>4}  {:>12.1}",
            run.late.len(),
            run.late[run.late.len() / 2],
            run.late[run.late.len() * 99 / 100],
            run.late[run.late.len() - 1],
            run.cpu.as_secs_f64() * 1e6 / run.late.len() as f64,
        );
    }
}

fn disk_in_full() {
    println!("\nAn hour in which each watch is checked once and nothing moves, in a minute of ours.");
    println!("watches  checks  minutes  commits  log/KiB  largest/KiB");
    for watches in [10, 1_000, 10_000, 100_000] {
        let hour = an_hour_on_disk(watches);
        println!(
            "{watches:>7}  {:>6}  {:>7.1}  {:>7}  {:>7.1}  {:>11.1}",
            hour.checks,
            hour.minutes,
            hour.done.commits,
            hour.done.bytes as f64 / 1024.0,
            hour.done.largest as f64 / 1024.0,
        );
    }
}

/// What must not grow with the watches: wake-ups at rest, requests for each; and what must grow with them only so much.
fn short() {
    let window = Duration::from_secs(3);
    let [few, many] = [10, 3_000].map(|watches| at_rest(watches, 10, window));
    println!("10 watches:    {few:?}\n3,000 watches: {many:?}");
    // A heartbeat may fall into the window; a tick would not be one of some few.
    for used in [few.used, many.used] {
        assert!(used.wakeups <= 20, "an agent at rest wakes {} times in {window:?}", used.wakeups);
    }
    // A tenth more than it was when this was written, and the allocator's slack: 2 KiB in all.
    let own = (many.memory.anonymous - few.memory.anonymous) * 1024 / (3_000 - 10);
    assert!(own < 2048, "a watch takes {own} bytes");
}

/// What was measured of an agent whose watches are never due.
#[derive(Debug)]
struct Rest {
    /// The floor of a start.
    parse: Duration,
    /// To READY, without a database.
    first: Duration,
    /// To READY, with one.
    restart: Duration,
    /// After everything was checked once, and the agent was started again.
    memory: Memory,
    /// During this long.
    window: Duration,
    used: Usage,
}

fn at_rest(watches: usize, registries: u8, window: Duration) -> Rest {
    let stub = Stub::start(registries);
    let bed = Bed::new(&stub, watches, "365d");
    let parse = bed.floor();
    let (agent, first) = bed.start();
    bed.await_first_checks(&stub, agent.pid(), watches);
    stop(agent);
    assert_eq!(stub.requests(), watches as u64, "one request each");
    let (agent, restart) = bed.start();
    // Whatever a start leaves to be done.
    std::thread::sleep(Duration::from_secs(1));
    let before = Usage::of(agent.pid());
    std::thread::sleep(window);
    let used = Usage::of(agent.pid()).since(&before);
    let memory = Memory::of(agent.pid());
    stop(agent);
    Rest { parse, first, restart, memory, window, used }
}

/// What was measured of an agent on schedule.
struct Busy {
    /// How much later than due each request came, in milliseconds, sorted.
    late: Vec<i64>,
    cpu: Duration,
}

fn on_schedule(watches: usize, registries: u8, every: u32, window: Duration) -> Busy {
    let stub = Stub::start(registries);
    let bed = Bed::new(&stub, watches, &format!("{every}s"));
    let (agent, _) = bed.start();
    bed.await_first_checks(&stub, agent.pid(), watches);
    let (began, before) = (Timestamp::now(), Usage::of(agent.pid()));
    std::thread::sleep(window);
    let (ended, used) = (Timestamp::now(), Usage::of(agent.pid()).since(&before));
    stop(agent);
    let late = lateness(&stub, &format!("{every}s"), watches, began, ended);
    Busy { late, cpu: used.cpu }
}

/// Holds what was asked against when it was due, by the schedule itself; every due time must have its request.
fn lateness(stub: &Stub, every: &str, watches: usize, began: Timestamp, ended: Timestamp) -> Vec<i64> {
    let schedule = Schedule::parse(every, &TimeZone::UTC).unwrap();
    let mut asked: HashMap<String, Vec<i64>> = HashMap::new();
    for request in stub.times() {
        asked.entry(request.repository).or_default().push((request.at * 1e3).round() as i64);
    }
    let mut late = Vec::new();
    for name in (0..watches).map(name) {
        let times = asked.get(&name).map_or(&[][..], Vec::as_slice);
        let mut due = schedule.next(&name, Duration::ZERO, began);
        while due < ended {
            let due_at = due.as_millisecond();
            due = schedule.next(&name, Duration::ZERO, due);
            // The last ones may be under way still.
            match times.iter().find(|at| **at >= due_at) {
                Some(at) if *at < due.as_millisecond() => late.push(at - due_at),
                _ => assert!(due >= ended, "{name} was due at {due_at} and not asked for"),
            }
        }
    }
    late.sort_unstable();
    late
}

/// What was written in about an hour of the agent's time.
struct Hour {
    checks: u64,
    minutes: f64,
    done: Done,
}

fn an_hour_on_disk(watches: usize) -> Hour {
    const FASTER: u32 = 60;
    let stub = Stub::start(10);
    let bed = Bed::new(&stub, watches, "1h");
    let (agent, _) = bed.start();
    bed.await_first_checks(&stub, agent.pid(), watches);
    stop(agent);
    let (disk, clock) = (Disk::new(&bed.sandbox), WallClock::new(bed.sandbox.path()));
    let agent = Agent::spawn(disk.under(&clock.times(FASTER, bed.sandbox.command(Who::Us, &["run"]))));
    // The start has some of its own.
    disk.until(5);
    let (began, asked) = (bed.alive(), stub.requests());
    let done = disk.until(60);
    let hour = Hour { checks: stub.requests() - asked, minutes: (bed.alive() - began) as f64 / 60e3, done };
    drop(agent);
    let due = watches as f64 * hour.minutes / 60.0;
    assert!((hour.checks as f64 - due).abs() <= due / 10.0 + 10.0, "{} checks where {due:.0} were due", hour.checks);
    hour
}

struct Bed {
    sandbox: Sandbox,
    config: String,
}

impl Bed {
    /// So many watches at all registries of the stub.
    fn new(stub: &Stub, watches: usize, every: &str) -> Self {
        let mut config = format!("[defaults]\nschedule = {every:?}\nhooks = [\"deploy\"]\n");
        config += "[hook.deploy]\ncommand = [\"/bin/true\"]\n";
        for host in &stub.hosts {
            write!(config, "[registry.{host:?}]\nplain_http = true\nrate = \"1000000/s\"\ntimeout = \"10m\"\n")
                .unwrap();
        }
        for (index, host) in (0..watches).zip(stub.hosts.iter().cycle()) {
            let name = name(index);
            write!(config, "[watch.{name}]\nimage = \"{host}/timed/{name}/app:stable\"\n").unwrap();
        }
        let sandbox = Sandbox::new();
        sandbox.write_whole_config(&config);
        Self { sandbox, config }
    }

    /// The best of some bare parses.
    fn floor(&self) -> Duration {
        let parse = |_| {
            let start = Instant::now();
            std::hint::black_box(toml::de::DeTable::parse_recoverable(std::hint::black_box(&self.config)));
            start.elapsed()
        };
        (0..5).map(parse).min().unwrap()
    }

    /// Starts it, on a core of its own, and waits for READY.
    fn start(&self) -> (Agent, Duration) {
        let notify = self.sandbox.path().join("notify");
        std::fs::remove_file(&notify).ok();
        let mut supervisor = Supervisor::new(&self.sandbox);
        let mut command = support::pinned(0, &supervisor.command(&self.sandbox, None));
        // "first seen" 100,000 times is not what is measured.
        command.env("RUST_LOG", "warn");
        let start = Instant::now();
        let agent = Agent::spawn(command);
        supervisor.wait_for("READY=1");
        let ready = start.elapsed();
        (agent, ready)
    }

    /// When the agent last wrote that it is alive, in milliseconds.
    fn alive(&self) -> i64 {
        let database = rusqlite::Connection::open(self.sandbox.state().join("taghook.db")).unwrap();
        database.query_row("SELECT at FROM heartbeat", [], |row| row.get(0)).unwrap()
    }

    /// Waits until all were asked for, and until the agent has nothing left to do.
    fn await_first_checks(&self, stub: &Stub, pid: u32, watches: usize) {
        let deadline = Instant::now() + Duration::from_secs(300);
        while stub.requests() < watches as u64 {
            assert!(Instant::now() < deadline, "not all were asked for in time: {} of {watches}", stub.requests());
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut before = Usage::of(pid);
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = Usage::of(pid);
            if now.since(&before).cpu < Duration::from_millis(100) || Instant::now() > deadline {
                return;
            }
            before = now;
        }
    }
}

fn stop(mut agent: Agent) {
    agent.sigterm();
    assert!(agent.wait_exit().success());
}

fn name(index: usize) -> String {
    format!("service-{index}")
}
