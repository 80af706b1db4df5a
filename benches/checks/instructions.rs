//! How many instructions an unchanged check takes, as valgrind counts them: load, clock and processor have no influence.
//!
//! With `TAGHOOK_PROFILES=DIR` the profiles are kept there, for `callgrind_annotate`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::bed::{Bed, PATIENCE, Protocol};
use crate::floor;
use crate::support::process::Agent;
use crate::support::wrapped;

const WATCHES: u32 = 200;
const IN_FLIGHT: u32 = 16;
/// Start and end cost the same in a short run and in a long one; what is between is the checks.
const SHORT: u64 = 300;
const LONG: u64 = 1100;
/// The agent's instructions for each of the floor's. There are 1.4, in every profile, to within a hundredth; a clone of the
/// whole config for each check makes it 1.9, and a second request more than 2.
const MOST: f64 = 1.7;

/// Fails where a check has become grossly more expensive.
pub fn bound() {
    let bed = Bed::new(Protocol::Http, WATCHES);
    let before = bed.stub.count();
    bed.configure(IN_FLIGHT);
    bed.sandbox.run(&["check"]).expect(0);
    let had = bed.stub.count().since(before);
    println!("{WATCHES} unchanged checks: {} requests, {} connections", had.requests, had.connections);
    assert_eq!(had.requests, u64::from(WATCHES), "an unchanged check is one request");
    // At the start there may be some more: who waits for a new one takes what another has done with.
    assert!(had.connections <= u64::from(2 * IN_FLIGHT), "connections are kept");

    // All at a time: they do not disturb each other.
    let [agent, floor] = thread::scope(|scope| {
        let runs = [of_the_agent, of_the_floor].map(|run| [LONG, SHORT].map(|count| scope.spawn(move || run(count))));
        runs.map(|runs| {
            let [(more, most), (less, least)] = runs.map(|run| run.join().unwrap());
            (more - less) as f64 / (most - least) as f64
        })
    });
    let ratio = agent / floor;
    println!("instructions: {agent:.0} of a check, {floor:.0} of a request of the floor, ratio {ratio:.2}");
    assert!(ratio < MOST, "at most {MOST} times the floor");
}

/// The instructions of an agent that ends once it has made so many checks, and how many it has made.
fn of_the_agent(count: u64) -> (u64, u64) {
    let bed = Bed::new(Protocol::Http, WATCHES);
    bed.configure(IN_FLIGHT);
    let counts = bed.sandbox.path().join("callgrind");
    let fresh = bed.stub.count();
    let agent = Agent::start(counted(&bed.agent(), &counts));
    bed.stub.wait_for(fresh.requests + count, PATIENCE);
    agent.stop();
    (total(&counts, &format!("agent-{count}")), bed.stub.count().since(fresh).requests)
}

/// The same for the floor.
fn of_the_floor(count: u64) -> (u64, u64) {
    let bed = Bed::new(Protocol::Http, 1);
    let counts = bed.sandbox.path().join("callgrind");
    let mut command = counted(&floor::command(&bed, IN_FLIGHT, count), &counts);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "the floor under valgrind: {status}");
    (total(&counts, &format!("floor-{count}")), count)
}

fn counted(command: &Command, counts: &Path) -> Command {
    let file = format!("--callgrind-out-file={}", counts.display());
    wrapped(&["valgrind", "--tool=callgrind", &file], command)
}

fn total(counts: &Path, name: &str) -> u64 {
    if let Some(dir) = std::env::var_os("TAGHOOK_PROFILES") {
        std::fs::copy(counts, Path::new(&dir).join(name)).unwrap();
    }
    let text = std::fs::read_to_string(counts).unwrap();
    text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap().trim().parse().unwrap()
}
