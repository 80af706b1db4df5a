//! What an unchanged check costs, beside the floor of a bare loop of `HEAD`s by the same HTTP client on the same server.
//!
//! `cargo bench --bench checks` prints processor time; the real agent runs saturated on one core, nginx on the other. Agent and
//! floor take turns, and the best of some rounds counts, as whatever else the machine does only ever adds. With `-- --short`
//! it counts instructions instead, on which the machine's load has no influence, and fails on gross regressions. It is
//! meant for the profile of the tests: `cargo test --bench checks -- --short`.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark fails by panicking, and nobody imports it"
)]

mod bed;
mod ceiling;
mod floor;
mod instructions;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use bed::{Bed, Protocol};

const IN_FLIGHT: [u32; 4] = [1, 16, 64, 256];
/// So many that some are always due: each comes back within a second.
const WATCHES: u32 = 60_000;
/// So many checks are measured, and as many requests of the floor and the ceiling.
const COUNT: u64 = 60_000;
const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "floor") {
        return floor::run(&arguments[1..]);
    }
    if support::short() {
        return instructions::bound();
    }
    println!("{WATCHES} watches, {COUNT} requests each; processor time for each request, best of {ROUNDS} rounds");
    println!("protocol  in flight    agent    floor  ratio       ab  requests per check  connections");
    for protocol in Protocol::ALL {
        let bed = Bed::new(protocol, WATCHES);
        for in_flight in IN_FLIGHT {
            println!("{}", row(&bed, in_flight));
        }
    }
}

fn row(bed: &Bed, in_flight: u32) -> String {
    let (mut agent, mut floor, mut ceiling) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let (mut per_check, mut connections): (f64, u64) = (0.0, 0);
    for _ in 0..ROUNDS {
        let measured = bed.checks(in_flight, COUNT);
        agent = agent.min(measured.cpu);
        per_check = per_check.max(measured.requests_per_check);
        connections = connections.max(measured.connections);
        floor = floor.min(floor::measure(bed, in_flight, COUNT));
        ceiling = ceiling.min(ceiling::measure(bed, in_flight, COUNT).unwrap_or(Duration::MAX));
    }
    let told = |cpu: Duration| match cpu {
        Duration::MAX => "-".to_owned(),
        cpu => format!("{:.1} µs", cpu.as_secs_f64() * 1e6),
    };
    format!(
        "{:<8} {in_flight:>10} {:>8} {:>8} {:>6.2} {:>8} {per_check:>19.3} {connections:>12}",
        bed.protocol.as_str(),
        told(agent),
        told(floor),
        agent.div_duration_f64(floor),
        told(ceiling),
    )
}
