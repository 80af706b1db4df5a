//! The backup that the README describes, and what comes of restoring it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use support::bed::Bed;

#[test]
fn a_backup_made_beside_the_agent_brings_back_what_was_known_and_a_later_move_is_seen_again() {
    let bed = Bed::new();
    let first = bed.push("one");
    bed.check(0);
    let agent = bed.agent();
    let database = bed.state().join("taghook.db");
    let backup = bed.path().join("backup.db");
    let line = format!("VACUUM INTO '{}'", backup.display());
    rusqlite::Connection::open(&database).unwrap().execute_batch(&line).unwrap();
    let second = bed.push("two");
    bed.check(0);
    assert_eq!(bed.hook.only_call().var("TAGHOOK_DIGEST"), second);
    agent.stop();

    for file in ["taghook.db-wal", "taghook.db-shm"] {
        std::fs::remove_file(bed.state().join(file)).ok();
    }
    std::fs::copy(&backup, &database).unwrap();
    assert_eq!(bed.status()["digest"], first);
    let agent = bed.agent();
    assert_eq!(bed.check(0)["outcome"], "moved");
    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_PREVIOUS_DIGEST"), call.var("TAGHOOK_DIGEST")), (&*first, &*second));
    agent.stop();
}
