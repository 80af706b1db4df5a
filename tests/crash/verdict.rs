//! Whether the promise was kept: what the state says, beside what the registry was told and what the hooks noted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::scene::{HOOKS, Pushed, Scene};

/// The figures, for people.
pub(crate) struct Figures {
    moves: usize,
    changes: usize,
    deliveries: usize,
    succeeded: usize,
    starts: usize,
    cut: usize,
    repeated: usize,
}

/// A delivery's id, and the number of an attempt.
type Run = (String, u32);

/// What is recorded of one attempt.
struct Attempt {
    watch: String,
    hook: String,
    ended: bool,
    error: Option<String>,
}

impl Attempt {
    fn was_cut(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.starts_with("was cut"))
    }
}

/// One line that a hook noted at its start.
struct Start {
    run: Run,
    watch: String,
    hook: String,
    digest: String,
}

/// Fails unless nothing was lost, nothing ran twice at once, what was repeated was cut, and the history has no gap.
pub(crate) fn verdict(scene: &Scene, pushed: &Pushed) -> Figures {
    let (noted, deliveries, history) = (scene.runs(), scene.json("deliveries"), scene.json("history"));
    let overlaps: Vec<String> =
        noted.iter().filter(|words| words[0] == "overlap").map(|words| words.join(" ")).collect();
    assert!(overlaps.is_empty(), "two runs of a watch and hook at once: {overlaps:#?}");
    nothing_is_lost(pushed, &deliveries, &history);
    the_history_is_what_happened(pushed, &history);

    let starts: Vec<Start> = noted.iter().filter(|words| words[0] == "start").map(|words| start(words)).collect();
    let well: BTreeSet<Run> =
        noted.iter().filter(|words| words[0] == "end" && words[3] == "0").map(|words| run(words)).collect();
    let attempts = attempts(scene);
    the_ledger_is_what_happened(&attempts, &starts, &well, &deliveries);
    Figures {
        moves: pushed.values().map(|digests| digests.len() - 1).sum(),
        changes: history.len(),
        deliveries: deliveries.len(),
        succeeded: deliveries.iter().filter(|delivery| delivery["state"] == "succeeded").count(),
        starts: starts.len(),
        cut: attempts.values().filter(|attempt| attempt.was_cut()).count(),
        repeated: repeated_after_a_cut(&attempts, &starts, &well),
    }
}

fn run(words: &[String]) -> Run {
    (words[1].clone(), words[2].parse().unwrap())
}

fn start(words: &[String]) -> Start {
    Start { run: run(words), watch: words[3].clone(), hook: words[4].clone(), digest: words[5].clone() }
}

fn attempts(scene: &Scene) -> BTreeMap<Run, Attempt> {
    let state = rusqlite::Connection::open(scene.sandbox.state().join("taghook.db")).unwrap();
    let mut query = state
        .prepare(
            "SELECT d.id, a.attempt, w.name, d.hook, a.ended IS NOT NULL, a.error
             FROM attempts a JOIN deliveries d ON d.number = a.delivery JOIN watches w ON w.id = d.watch",
        )
        .unwrap();
    let rows = query.query_map([], |row| {
        let attempt = Attempt { watch: row.get(2)?, hook: row.get(3)?, ended: row.get(4)?, error: row.get(5)? };
        Ok(((row.get(0)?, row.get(1)?), attempt))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Every hook has last succeeded for the newest digest; a baseline counts as such.
fn nothing_is_lost(pushed: &Pushed, deliveries: &[Value], history: &[Value]) {
    for (watch, digests) in pushed {
        let of_watch = |row: &&Value| row["watch"] == **watch;
        let baseline = history.iter().rfind(of_watch).map(|change| &change["to"]);
        for (hook, _) in HOOKS {
            let mut of_hook = deliveries.iter().filter(of_watch).filter(|delivery| delivery["hook"] == *hook);
            let last = of_hook.find(|delivery| delivery["state"] == "succeeded").map(|delivery| &delivery["to"]);
            let reached = last.or(baseline).and_then(Value::as_str);
            assert_eq!(reached, digests.last().map(|newest| &**newest), "{hook} is not where {watch} is");
        }
    }
    let open: Vec<&Value> =
        deliveries.iter().filter(|d| d["state"] != "succeeded" && d["state"] != "superseded").collect();
    assert!(open.is_empty(), "still owed, or given up: {open:#?}");
}

/// The history of each watch is a chain to where its tag is, and every link was pushed in that order.
fn the_history_is_what_happened(pushed: &Pushed, history: &[Value]) {
    let mut pushes: BTreeMap<&str, _> = pushed.iter().map(|(watch, digests)| (&**watch, digests.iter())).collect();
    let mut standing = BTreeMap::new();
    for change in history.iter().rev() {
        let watch = change["watch"].as_str().unwrap();
        let before = standing.insert(watch, &change["to"]).unwrap_or(&Value::Null);
        assert_eq!(*before, change["from"], "a gap before {change}");
        let was_pushed = pushes.get_mut(watch).unwrap().any(|digest| change["to"] == **digest);
        assert!(was_pushed, "never pushed, or before the change before it: {change}");
    }
    for (watch, digests) in pushed {
        assert_eq!(*standing[&**watch], **digests.last().unwrap(), "the end of the history of {watch}");
    }
}

/// What ran is recorded, before it ran and once only; what is recorded as a success has ended well.
fn the_ledger_is_what_happened(
    attempts: &BTreeMap<Run, Attempt>,
    starts: &[Start],
    well: &BTreeSet<Run>,
    deliveries: &[Value],
) {
    let mut started = BTreeSet::new();
    for Start { run, .. } in starts {
        assert!(attempts.contains_key(run), "started, and never recorded: {run:?}");
        assert!(started.insert(run), "one attempt, started twice: {run:?}");
    }
    for (run, attempt) in attempts {
        assert!(attempt.ended, "still running, says the record: {run:?}");
    }
    for delivery in deliveries.iter().filter(|delivery| delivery["state"] == "succeeded") {
        let last = (delivery["id"].as_str().unwrap().to_owned(), delivery["attempts"].as_u64().unwrap() as u32);
        assert!(well.contains(&last), "a success that never was: {delivery:#}");
    }
}

/// Where a hook was run for the digest that it had ended well for just before, the record of that must have been cut; or an
/// attempt for another digest in between was, before it could note its start: nobody knows how far that came.
fn repeated_after_a_cut(attempts: &BTreeMap<Run, Attempt>, starts: &[Start], well: &BTreeSet<Run>) -> usize {
    let noted: BTreeSet<&Run> = starts.iter().map(|start| &start.run).collect();
    let mut last = BTreeMap::<_, &Start>::new();
    let mut repeated = 0;
    for start in starts {
        let before = last.insert((&start.watch, &start.hook), start);
        if let Some(before) = before.filter(|before| before.digest == start.digest && well.contains(&before.run)) {
            // Ids begin with the time, and a hook's deliveries run in their order.
            let mut between = attempts.iter().filter(|(run, attempt)| {
                (&attempt.watch, &attempt.hook) == (&start.watch, &start.hook)
                    && (&before.run < *run && *run < &start.run)
            });
            let is_uncertain = between.any(|(run, attempt)| attempt.was_cut() && !noted.contains(run));
            let needed = attempts[&before.run].was_cut() || is_uncertain;
            assert!(needed, "repeated without need: {:?} by {:?}", before.run, start.run);
            repeated += 1;
        }
    }
    repeated
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { moves, changes, deliveries, succeeded, starts, cut, repeated } = self;
        write!(
            f,
            "{moves} moves, {changes} changes, {deliveries} deliveries, {succeeded} succeeded, {starts} starts, \
             {cut} attempts cut, {repeated} repeated although they had ended well"
        )
    }
}
