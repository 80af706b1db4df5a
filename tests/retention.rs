//! What is forgotten of the past, by the real binary and its config.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use support::bed::{Bed, Setup};
use support::process::Agent;
use support::sandbox::Who;

const LIMITS: &str = "retention = { changes = 3, deliveries = 2, outputs = 1 }";

/// Six images that were seen and delivered, one after the other.
fn six() -> (Bed, Vec<String>) {
    let bed = Bed::with(Setup { top: LIMITS, ..Setup::default() });
    let digests = (0..6).map(|number| {
        let digest = bed.push(&format!("image {number}"));
        bed.check(0);
        digest
    });
    let digests = digests.collect();
    (bed, digests)
}

/// Lets the last pass have been yesterday.
fn a_day_passes(bed: &Bed) {
    let database = rusqlite::Connection::open(bed.state().join("taghook.db")).unwrap();
    assert_eq!(database.execute("UPDATE expiry SET at = at - 86400000", []).unwrap(), 1, "the first pass was noted");
}

#[test]
fn what_the_config_does_not_keep_is_forgotten_once_a_day() {
    for by_agent in [false, true] {
        let (bed, digests) = six();
        assert_eq!(bed.history().len(), 6, "nothing is forgotten twice a day");
        a_day_passes(&bed);
        if by_agent {
            let mut command = bed.command(Who::Us, &["run"]);
            command.env("RUST_LOG", "taghook=debug");
            let mut agent = Agent::start(command);
            agent.wait_for("the past was cut down", &[]);
            agent.stop();
        } else {
            bed.check(0);
        }

        let (history, deliveries) = (bed.history(), bed.deliveries());
        let told: Vec<&str> = history.iter().map(|change| change["to"].as_str().unwrap()).collect();
        assert_eq!(told, [&*digests[5], &*digests[4], &*digests[3]], "the newest");
        assert_eq!(deliveries.len(), 2);
        assert_eq!(deliveries[0]["to"], digests[5]);

        // What happens next is the same as ever.
        let next = bed.push("the next");
        let line = bed.check(0);
        assert_eq!((&line["outcome"], &line["digest"]), (&"moved".into(), &next.into()));
        assert_eq!(line["deliveries"][0]["state"], "succeeded");
    }
}
