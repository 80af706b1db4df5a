//! Property test: random sequences of sightings, failures, attempts, crashes, edits of the config and acts of a person,
//! checked against a simple model.
//!
//! The model knows which change is the newest that concerns the hook, and where the hook stands. Whatever the ledger
//! does, a delivery that is still owed must be for that change, and in the end the hook must stand there, or a failed
//! delivery must be visible.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::store::{HeldBecause, RetryRefused};

#[derive(Debug, Clone)]
enum Step {
    /// A check finds this content; `""` is a 404.
    Sees(&'static str),
    Fails,
    /// This many seconds pass.
    Waits(i64),
    /// The deliverer claims what is due.
    Claims,
    /// The running attempt ends.
    Ends(Ending),
    /// The agent is killed and starts again.
    Crashes,
    /// The hook leaves the config.
    Leaves,
    /// The hook returns to the config with the subscription that it had.
    Returns,
    /// The hook subscribes to other kinds; if it had left, it returns with them.
    Subscribes(Vec<ChangeKind>),
    /// The watch's image is edited, or edited back.
    EditsImage,
    Pauses(bool),
    /// A person retries the delivery that so many others came after.
    Retries(usize),
    RetriesAllFailed,
    /// A person discards all leftovers, or only the first.
    Prunes {
        all: bool,
    },
    /// Retention deletes everything that it may delete.
    Expires,
}

fn step() -> impl Strategy<Value = Step> {
    let ending = proptest::sample::select(vec![Ending::Succeeded, Ending::Failed, Ending::Failed, Ending::Deferred]);
    prop_oneof![
        10 => proptest::sample::select(vec!["a", "b", "c", "d", ""]).prop_map(Step::Sees),
        3 => Just(Step::Fails),
        3 => proptest::sample::select(vec![100, 4000, 90_000]).prop_map(Step::Waits),
        8 => Just(Step::Claims),
        8 => ending.prop_map(Step::Ends),
        2 => Just(Step::Crashes),
        4 => Just(Step::Leaves),
        4 => Just(Step::Returns),
        2 => on().prop_map(Step::Subscribes),
        1 => Just(Step::EditsImage),
        1 => any::<bool>().prop_map(Step::Pauses),
        3 => (0usize..3).prop_map(Step::Retries),
        1 => Just(Step::RetriesAllFailed),
        1 => any::<bool>().prop_map(|all| Step::Prunes { all }),
        1 => Just(Step::Expires),
    ]
}

/// What the hook subscribes to: single kinds, pairs, and all kinds, in one lane and in both.
fn on() -> impl Strategy<Value = Vec<ChangeKind>> {
    use ChangeKind::{Failing, First, Moved, Recovered, Removed, Restored};
    proptest::sample::select(vec![
        vec![Moved],
        vec![Moved],
        vec![First, Moved],
        vec![Removed],
        vec![Restored],
        vec![Moved, Removed],
        vec![Removed, Restored],
        vec![First, Moved, Removed, Restored],
        vec![Moved, Failing, Recovered],
        vec![Failing, Recovered],
        vec![Recovered],
        ChangeKind::ALL.to_vec(),
    ])
}

/// Where a change leads, in its lane: a digest, or "absent", "failing", "well".
type Place = String;

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    id: i64,
    kind: ChangeKind,
    place: Place,
}

fn place(kind: ChangeKind, to: Option<String>) -> Place {
    match kind {
        ChangeKind::Failing => "failing".into(),
        ChangeKind::Recovered => "well".into(),
        _ => to.unwrap_or_else(|| "absent".into()),
    }
}

/// One lane of one image.
#[derive(Default)]
struct Standing {
    /// Every change so far.
    changes: Vec<Seen>,
    /// The newest one that concerns the hook: that it is owed, or was last run for.
    newest: Option<Seen>,
    /// Where the hook stands after its last success, or stood when it was first owed something; `Some(None)` was before
    /// the first sighting.
    reached: Option<Option<Place>>,
}

impl Standing {
    fn stands_at(&self, seen: &Seen) -> bool {
        self.reached.iter().flatten().any(|place| *place == seen.place)
    }
}

/// One image that the watch has had.
struct Image {
    watch: WatchId,
    record: Record,
    /// What the hook last subscribed to.
    on: Vec<ChangeKind>,
    lanes: [Standing; 2],
}

struct Delivery {
    id: String,
    watch: WatchId,
    lane: Lane,
    state: DeliveryState,
    change: i64,
    kind: ChangeKind,
}

impl Delivery {
    fn is(&self, states: &[DeliveryState]) -> bool {
        states.contains(&self.state)
    }
}

use DeliveryState::{Failed, Pending, Running, Succeeded, Superseded};

/// The real ledger, and what the model expects of it.
struct Model {
    ledger: Ledger,
    running: Option<Claimed>,
    /// What the hook subscribes to while it is in the config.
    on: Vec<ChangeKind>,
    images: [Image; 2],
    /// The image that is configured.
    image: usize,
    paused: bool,
    /// How often a person has asked to run the hook once more for a change.
    retried: HashMap<i64, usize>,
}

impl Model {
    async fn new(on: Vec<ChangeKind>) -> Self {
        let ledger = Ledger::new(&on).await;
        let question = Question::parse("ghcr.io/acme/web:edited", None).unwrap();
        let key = WatchKey { name: "web".into(), question };
        let (other, _) = ledger.store.open_watches(vec![key]).await.unwrap().remove(0);
        let image = |watch| Image { watch, record: Record::default(), on: on.clone(), lanes: Default::default() };
        let images = [image(ledger.watch), image(other)];
        Self { ledger, running: None, on, images, image: 0, paused: false, retried: HashMap::new() }
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Sees(_) | Step::Fails => self.checks(step).await?,
            Step::Waits(seconds) => self.ledger.now += SignedDuration::from_secs(seconds),
            Step::Claims => {
                if let Some(claimed) = self.ledger.claims().await {
                    self.check(&claimed)?;
                    self.running = Some(claimed);
                }
            }
            Step::Ends(ending) => {
                if let Some(claimed) = self.running.take() {
                    let state = self.ledger.ends(&claimed, ending).await;
                    if ending == Ending::Succeeded {
                        prop_assert_eq!(state, "succeeded");
                        let place = place(claimed.kind, to_digest(&claimed.to).map(|to| to.to_string()));
                        self.standing(claimed.watch, claimed.kind.lane()).reached = Some(Some(place));
                    }
                }
            }
            Step::Crashes => {
                for cut in self.ledger.store.running().await.unwrap() {
                    let outcome = Outcome { ending: Ending::Cut, code: None, error: None, output: String::new() };
                    self.ledger.store.finish(cut.id, outcome, RETRY, self.ledger.now, 1.0).await.unwrap();
                }
                self.running = None;
            }
            Step::Leaves => self.subscribe(Vec::new()).await,
            Step::Returns => self.subscribe(self.on.clone()).await,
            Step::Subscribes(on) => self.subscribe(on).await,
            Step::EditsImage => self.edit_image().await,
            Step::Pauses(paused) => self.pause(paused).await,
            Step::Retries(age) => self.retry(age).await?,
            Step::RetriesAllFailed => self.retry_all_failed().await?,
            Step::Prunes { all } => self.prune(all).await?,
            Step::Expires => self.ledger.expires(1, Some(Duration::ZERO)).await,
        }
        self.check_what_is_open().await
    }

    fn standing(&mut self, watch: WatchId, lane: Lane) -> &mut Standing {
        let image = self.images.iter_mut().find(|image| image.watch == watch).unwrap();
        &mut image.lanes[lane as usize]
    }

    fn is_subscribed(&self, watch: WatchId) -> bool {
        watch == self.ledger.watch && !self.ledger.on.is_empty()
    }

    async fn subscribe(&mut self, on: Vec<ChangeKind>) {
        self.ledger.subscribe(&on).await;
        if !on.is_empty() {
            self.on = on.clone();
            self.images[self.image].on = on;
        }
    }

    async fn edit_image(&mut self) {
        self.images[self.image].record = self.ledger.record.clone();
        self.image = 1 - self.image;
        self.ledger.watch = self.images[self.image].watch;
        self.ledger.record = self.images[self.image].record.clone();
        self.subscribe(self.ledger.on.clone()).await;
    }

    async fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.ledger.store.pause(vec!["web".into()], paused).await.unwrap();
    }

    /// A claimed delivery is for the newest change that concerns the hook, and says where the hook stands.
    fn check(&mut self, claimed: &Claimed) -> Result<(), TestCaseError> {
        prop_assert!(self.running.is_none(), "two runs at once for one watch and hook");
        prop_assert!(self.is_subscribed(claimed.watch), "a run for a watch that does not feed the hook");
        prop_assert!(!self.paused, "a run for a paused watch");
        let to = place(claimed.kind, to_digest(&claimed.to).map(|to| to.to_string()));
        let standing = self.standing(claimed.watch, claimed.kind.lane());
        let newest = standing.newest.as_ref().map(|newest| (newest.kind, &newest.place));
        prop_assert_eq!(Some((claimed.kind, &to)), newest, "a run that is not for the newest");
        let reached = standing.reached.get_or_insert_default().as_ref();
        if let Some(reached) = reached.filter(|place| place.starts_with("sha256:") && **place != to)
            && claimed.kind.lane() == Lane::Content
        {
            let from = to_digest(&claimed.from).map(|from| from.to_string());
            prop_assert_eq!(from.as_ref(), Some(reached), "a run that is not from where the hook stands");
        }
        Ok(())
    }

    /// Runs a check, and works out which of its changes concern the hook.
    async fn checks(&mut self, step: Step) -> Result<(), TestCaseError> {
        let before = self.deliveries().await;
        let was = &self.ledger.record;
        let stood = match (&was.standing, was.absent_since) {
            (Some(_), Some(_)) => Some("absent".to_owned()),
            _ => was.digest().map(ToString::to_string),
        };
        match step {
            Step::Sees(name) => drop(self.ledger.sees(name).await),
            _ => self.ledger.fails().await,
        }
        let (watch, on) = (self.ledger.watch, self.ledger.on.clone());
        let news = self.news().await;
        for lane in Lane::ALL {
            let news: Vec<_> = news.iter().filter(|seen| seen.kind.lane() == lane).cloned().collect();
            let Some(first) = news.first() else { continue };
            let open = before.iter().filter(|row| row.watch == watch && row.lane == lane);
            let open: Vec<ChangeKind> =
                open.filter(|row| row.is(&[Pending, Running, Failed])).map(|row| row.kind).collect();
            if open.is_empty() {
                // Whatever it was owed before must have been settled.
                self.check_settled(watch, lane).await?;
            }
            // While it is owed something, a hook that has left hears of what it subscribed to until then.
            let subscribed = match (on.is_empty(), open.is_empty()) {
                (false, _) => on.clone(),
                (true, false) => self.images[self.image].on.clone(),
                (true, true) => Vec::new(),
            };
            let subscribes = on.iter().any(|kind| kind.lane() == lane);
            let standing = self.standing(watch, lane);
            standing.changes.extend(news.iter().cloned());
            if !subscribes && open.is_empty() {
                (standing.newest, standing.reached) = (None, None);
            }
            let concerns = |seen: &&Seen| subscribed.contains(&seen.kind) || open.contains(&seen.kind);
            if let Some(newest) = news.iter().rev().find(concerns) {
                standing.newest = Some(newest.clone());
                let stood = match first.kind {
                    ChangeKind::Failing => Some("well".to_owned()),
                    ChangeKind::Recovered => Some("failing".to_owned()),
                    _ => stood.clone(),
                };
                standing.reached.get_or_insert(stood);
            }
        }
        Ok(())
    }

    /// What a retry of the delivery must come to: the change that is delivered again, or why none is.
    fn retried(&mut self, row: &Delivery, all: &[Delivery]) -> Result<Seen, &'static str> {
        let newest = all.iter().rev().find(|other| other.watch == row.watch && other.lane == row.lane).unwrap();
        if newest.id != row.id {
            return Err("outdated");
        }
        let is_subscribed = self.is_subscribed(row.watch);
        match row.state {
            Running => return Err("owed"),
            _ if !is_subscribed => return Err("leftover"),
            Pending => return Err("owed"),
            Succeeded | Failed | Superseded => {}
        }
        let on = self.ledger.on.clone();
        let standing = self.standing(row.watch, row.lane);
        let concerns = |seen: &&Seen| on.contains(&seen.kind) || seen.kind == row.kind;
        let seen = standing.changes.iter().rev().find(concerns).unwrap().clone();
        match row.state == Superseded && standing.stands_at(&seen) {
            true => Err("taken back"),
            false => Ok(seen),
        }
    }

    async fn retry(&mut self, age: usize) -> Result<(), TestCaseError> {
        let all = self.deliveries().await;
        let Some(row) = all.iter().rev().nth(age) else { return Ok(()) };
        let expected = self.retried(row, &all);
        let done = self.ledger.store.retry(vec![row.id.clone()], self.ledger.now).await.unwrap();
        let refused = done.as_ref().err().map(|refused| match refused {
            RetryRefused::Unknown(_) | RetryRefused::Ambiguous(_) => "not found",
            RetryRefused::Owed { .. } => "owed",
            RetryRefused::Outdated { .. } => "outdated",
            RetryRefused::Leftover { .. } => "leftover",
            RetryRefused::TakenBack(_) => "taken back",
        });
        prop_assert_eq!(refused, expected.as_ref().err().copied(), "{:?}", done);
        if let Ok(seen) = expected {
            *self.retried.entry(seen.id).or_default() += 1;
            self.standing(row.watch, row.lane).newest = Some(seen);
        }
        Ok(())
    }

    async fn retry_all_failed(&mut self) -> Result<(), TestCaseError> {
        let all = self.deliveries().await;
        let failed = all.iter().filter(|row| row.state == Failed && self.is_subscribed(row.watch));
        let ids: Vec<String> = failed.map(|row| row.id.clone()).collect();
        prop_assert_eq!(&self.ledger.store.failed().await.unwrap(), &ids);
        for row in all.iter().filter(|row| ids.contains(&row.id)) {
            let seen = self.retried(row, &all).unwrap();
            *self.retried.entry(seen.id).or_default() += 1;
            self.standing(row.watch, row.lane).newest = Some(seen);
        }
        let done = self.ledger.store.retry(ids.clone(), self.ledger.now).await.unwrap();
        prop_assert_eq!(done.map(|retried| retried.len()), Ok(ids.len()));
        Ok(())
    }

    async fn prune(&mut self, all: bool) -> Result<(), TestCaseError> {
        let leftovers = self.ledger.store.leftovers().await.unwrap();
        let ids: Option<HashSet<String>> = (!all).then(|| leftovers.iter().take(1).map(|row| row.id.clone()).collect());
        let deliveries = self.deliveries().await;
        for row in self.ledger.store.discard(ids, self.ledger.now).await.unwrap() {
            let row = deliveries.iter().find(|other| other.id == row.id).unwrap();
            prop_assert!(!self.is_subscribed(row.watch) && row.is(&[Pending, Failed]));
            self.standing(row.watch, row.lane).newest = None;
        }
        Ok(())
    }

    /// All deliveries, in the order in which they were made.
    async fn deliveries(&self) -> Vec<Delivery> {
        let all = |connection: &rusqlite::Connection| {
            let sql = "SELECT d.id, d.watch, d.lane, d.state, d.change, c.kind FROM deliveries d
                 JOIN changes c ON c.id = d.change ORDER BY d.number";
            let mut query = connection.prepare(sql)?;
            let rows = query.query_map([], |row| {
                let (watch, change) = (WatchId(row.get(1)?), row.get(4)?);
                let (id, lane, state, kind) = (row.get(0)?, row.get(2)?, row.get(3)?, row.get(5)?);
                Ok(Delivery { id, watch, lane, state, change, kind })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        self.ledger.store.write(all).await.unwrap()
    }

    /// The changes of the configured image that the model has not read, oldest first.
    async fn news(&mut self) -> Vec<Seen> {
        let (watch, known) = (self.ledger.watch, &self.images[self.image].lanes);
        let known = known.iter().flat_map(|lane| &lane.changes).map(|seen| seen.id).max().unwrap_or_default();
        let all = move |connection: &rusqlite::Connection| {
            let sql = "SELECT id, kind, to_digest FROM changes WHERE watch = ?1 AND id > ?2 ORDER BY id";
            let mut query = connection.prepare(sql)?;
            let rows = query.query_map([watch.0, known], |row| {
                let kind = row.get(1)?;
                Ok(Seen { id: row.get(0)?, kind, place: place(kind, row.get(2)?) })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        self.ledger.store.write(all).await.unwrap()
    }

    /// What must hold at any time of what is pending, running or has failed.
    async fn check_what_is_open(&mut self) -> Result<(), TestCaseError> {
        let all = self.deliveries().await;
        prop_assert!(all.iter().filter(|row| row.state == Running).count() <= 1, "one run at a time");
        for (index, row) in all.iter().enumerate().filter(|(_, row)| row.is(&[Pending, Failed])) {
            let is_newest = !all[index + 1..].iter().any(|later| later.watch == row.watch && later.lane == row.lane);
            prop_assert!(is_newest, "a delivery that is {} was overtaken", row.state);
            let newest = self.standing(row.watch, row.lane).newest.as_ref().map(|newest| newest.id);
            prop_assert_eq!(Some(row.change), newest, "what is {} is not for the newest", row.state);
        }
        let mut succeeded: HashMap<i64, usize> = HashMap::new();
        for row in all.iter().filter(|row| row.state == Succeeded) {
            *succeeded.entry(row.change).or_default() += 1;
        }
        for (change, times) in succeeded {
            let asked = self.retried.get(&change).copied().unwrap_or_default();
            prop_assert!(times <= 1 + asked, "change {change} was delivered {times} times, {asked} of them by hand");
        }
        match all.iter().any(|row| row.is(&[Pending, Failed])) {
            true => self.check_what_is_held(&all).await,
            false => Ok(()),
        }
    }

    /// What waits for a person is told as such.
    async fn check_what_is_held(&self, all: &[Delivery]) -> Result<(), TestCaseError> {
        let leftovers = self.ledger.store.leftovers().await.unwrap();
        let expected = all.iter().filter(|row| row.is(&[Pending, Failed]) && !self.is_subscribed(row.watch));
        let expected: HashSet<&str> = expected.map(|row| &*row.id).collect();
        let found: HashSet<&str> = leftovers.iter().map(|row| &*row.id).collect();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(self.ledger.store.left_over().await.unwrap(), found.len() as u64);
        prop_assert!(leftovers.iter().all(|row| row.held == Some(HeldBecause::NotFed)), "{leftovers:?}");
        for row in self.ledger.store.open_deliveries(self.ledger.watch).await.unwrap() {
            let held = match row.state {
                Pending if !self.is_subscribed(self.ledger.watch) => Some(HeldBecause::NotFed),
                Pending if self.paused => Some(HeldBecause::Paused),
                _ => None,
            };
            prop_assert_eq!(row.held, held);
        }
        Ok(())
    }

    /// From now on every run succeeds, so everything that is owed must be delivered.
    async fn ends_well(mut self) -> Result<(), TestCaseError> {
        self.step(Step::Pauses(false)).await?;
        self.step(Step::Ends(Ending::Succeeded)).await?;
        for _ in &[(); 2] {
            self.step(Step::EditsImage).await?;
            self.step(Step::Returns).await?;
            self.ledger.now += SignedDuration::from_hours(48);
            while let Some(claimed) = self.ledger.claims().await {
                self.check(&claimed)?;
                self.running = Some(claimed);
                self.step(Step::Ends(Ending::Succeeded)).await?;
            }
        }
        let all = self.deliveries().await;
        prop_assert!(!all.iter().any(|row| row.is(&[Pending, Running])), "something is owed for ever");
        for image in 0..self.images.len() {
            for lane in Lane::ALL {
                self.check_settled(self.images[image].watch, lane).await?;
            }
        }
        Ok(())
    }

    /// The hook was run for the newest change that concerned it, already stands where that led, or has visibly failed.
    async fn check_settled(&mut self, watch: WatchId, lane: Lane) -> Result<(), TestCaseError> {
        let all = self.deliveries().await;
        let standing = self.standing(watch, lane);
        let Some(newest) = &standing.newest else { return Ok(()) };
        let done = all.iter().any(|row| row.change == newest.id && row.is(&[Succeeded, Failed]));
        prop_assert!(done || standing.stands_at(newest), "{:?}: {newest:?}", standing.reached);
        Ok(())
    }
}

proptest! {
    // The default of 256 cases takes seconds; `PROPTEST_CASES=10000` has it try more.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_hook_ends_up_at_the_newest_or_visibly_failed(
        on in on(),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new(on).await;
            for step in steps {
                model.step(step).await?;
            }
            model.ends_well().await
        })?;
    }
}
