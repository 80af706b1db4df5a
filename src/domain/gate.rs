//! What lets a registry be asked: concurrency, a rate, and a hold-off that all its watches share.
//!
//! A gate is open or held off. A rate limit or an unreachable host holds it off until a time; then one check is let
//! through as a probe, and only an answer to it opens the gate for the rest.

use std::time::{Duration, Instant};

use super::answer::FailureKind;
use super::backoff::Backoff;

/// How hard a registry may be asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Checks under way at a time.
    pub concurrency: u32,
    /// Requests per second in the long run.
    pub rate: f64,
}

impl Limits {
    /// What registries tolerate when nothing else is configured; `public.ecr.aws` allows one request a second.
    pub fn default_for(registry: &str) -> Self {
        match registry {
            "public.ecr.aws" => Self { concurrency: 1, rate: 1.0 },
            _ => Self { concurrency: 4, rate: 10.0 },
        }
    }
}

/// The pauses of a registry that fails or limits without saying for how long.
const HOLD_OFF: Backoff = Backoff { first: Duration::from_secs(10), max: Duration::from_secs(900) };

/// The bounds of a pause that a registry asks for; the upper one keeps a garbled date from muting it for ever.
const RETRY_AFTER: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(6 * 3600);

/// So many repositories must answer 5xx before the registry, and not one repository, counts as broken.
const BROKEN_REPOSITORIES: usize = 3;

/// The gate of one registry.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    in_flight: u32,
    tokens: f64,
    refilled: Instant,
    held: Option<Hold>,
    /// How often the registry has come to be reached otherwise.
    generation: u32,
    /// Hashes of repositories that answered 5xx since the last good answer.
    broken: Vec<u64>,
}

#[derive(Debug)]
struct Hold {
    until: Instant,
    cause: FailureKind,
    tries: u32,
    probing: bool,
}

/// Whether a check may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go; give the permit back with [`Gate::release`].
    Granted(Permit),
    /// Not before this.
    At(Instant),
    /// When a check that is under way has ended.
    WhenOneEnds,
}

/// The right to make one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a permit must be given back"]
pub struct Permit {
    probe: bool,
    generation: u32,
}

/// What a check has learnt about the registry itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// It answered, whatever the answer.
    Answered,
    /// It asked for fewer requests, perhaps for so long.
    RateLimited(Option<Duration>),
    /// It asked to be left alone for so long, because it is in trouble.
    Unavailable(Duration),
    /// It could not be reached: name, connection, trust or time.
    Unreachable(FailureKind),
    /// It answered 5xx to this repository (a hash of its name).
    Broken(u64),
}

/// How much of what a gate allows is in use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// What it allows.
    pub limits: Limits,
    /// Checks under way.
    pub under_way: u32,
    /// Requests that may be made at once; less than nothing where checks have cost more than one request.
    pub allowance: f64,
}

impl Gate {
    /// An open gate with a full burst.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let tokens = burst(limits);
        Self { limits, in_flight: 0, tokens, refilled: now, held: None, generation: 0, broken: Vec::new() }
    }

    /// How hard the registry may be asked.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// From now on this hard.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Forgets why the registry was held off: it is reached otherwise from now on. What checks that are under way will
    /// report is of the way that was.
    pub fn reopen(&mut self) {
        self.held = None;
        self.generation = self.generation.wrapping_add(1);
        self.broken.clear();
    }

    /// Asks to start a check.
    pub fn admit(&mut self, now: Instant) -> Admission {
        self.refill(now);
        let probe = match &self.held {
            Some(hold) if hold.probing => return Admission::WhenOneEnds,
            Some(hold) if now < hold.until => return Admission::At(hold.until),
            Some(_) => true,
            None => false,
        };
        if self.in_flight >= self.limits.concurrency.max(1) {
            return Admission::WhenOneEnds;
        }
        if self.tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.limits.rate);
            return Admission::At(now + wait.max(Duration::from_millis(1)));
        }
        self.tokens -= 1.0;
        self.in_flight += 1;
        if let Some(hold) = &mut self.held {
            hold.probing = true;
        }
        Admission::Granted(Permit { probe, generation: self.generation })
    }

    /// Ends a check that made `requests` requests; `chance` is uniform in 0..1.
    pub fn release(&mut self, permit: Permit, requests: u32, report: Report, now: Instant, chance: f64) {
        self.refill(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.tokens -= f64::from(requests.saturating_sub(1));
        if permit.generation != self.generation {
            return;
        }
        if permit.probe
            && let Some(hold) = &mut self.held
        {
            hold.probing = false;
        }
        match report {
            Report::Answered => {
                self.broken.clear();
                // An answer to a check that began before the hold-off says nothing about now.
                if permit.probe {
                    self.held = None;
                }
            }
            Report::RateLimited(retry_after) => self.hold(permit, FailureKind::RateLimited, retry_after, now, chance),
            Report::Unavailable(pause) => self.hold(permit, FailureKind::Server, Some(pause), now, chance),
            Report::Unreachable(kind) => self.hold(permit, kind, None, now, chance),
            Report::Broken(repository) => {
                if !self.broken.contains(&repository) && self.broken.len() < BROKEN_REPOSITORIES {
                    self.broken.push(repository);
                }
                if permit.probe || self.broken.len() >= BROKEN_REPOSITORIES {
                    self.hold(permit, FailureKind::Server, None, now, chance);
                }
            }
        }
    }

    /// Why and until when the registry is held off, if it is.
    pub fn held_off(&self) -> Option<(FailureKind, Instant)> {
        self.held.as_ref().map(|hold| (hold.cause, hold.until))
    }

    /// Whether a check could not start now because the registry is held off.
    pub fn is_closed(&self, now: Instant) -> bool {
        self.held.as_ref().is_some_and(|hold| hold.probing || now < hold.until)
    }

    /// How much of what it allows is in use.
    pub fn usage(&self, now: Instant) -> Usage {
        Usage { limits: self.limits, under_way: self.in_flight, allowance: self.tokens_at(now) }
    }

    fn hold(&mut self, permit: Permit, cause: FailureKind, asked: Option<Duration>, now: Instant, chance: f64) {
        // Checks that were under way together fail together: that is one piece of news, not several.
        let tries = match &self.held {
            Some(hold) if permit.probe => hold.tries.saturating_add(1),
            Some(hold) => hold.tries,
            None => 0,
        };
        let pause = match asked {
            Some(asked) => {
                let asked = asked.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end());
                asked + (asked / 10).mul_f64(chance)
            }
            None => HOLD_OFF.pause(tries, chance),
        };
        let until = self.held.as_ref().map_or(now + pause, |hold| hold.until.max(now + pause));
        let probing = self.held.as_ref().is_some_and(|hold| hold.probing);
        self.held = Some(Hold { until, cause, tries, probing });
    }

    fn refill(&mut self, now: Instant) {
        self.tokens = self.tokens_at(now);
        self.refilled = now;
    }

    fn tokens_at(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64();
        (self.tokens + elapsed * self.limits.rate).min(burst(self.limits))
    }
}

/// A small burst: what may be under way at a time may also start at a time.
fn burst(limits: Limits) -> f64 {
    f64::from(limits.concurrency.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { concurrency: 2, rate: 10.0 };

    fn granted(gate: &mut Gate, now: Instant) -> Permit {
        match gate.admit(now) {
            Admission::Granted(permit) => permit,
            other => panic!("not admitted: {other:?}"),
        }
    }

    #[test]
    fn no_more_than_concurrency_are_under_way() {
        let now = Instant::now();
        let mut gate = Gate::new(LIMITS, now);
        let permit = granted(&mut gate, now);
        let _ = granted(&mut gate, now);
        assert_eq!(gate.admit(now + Duration::from_secs(9)), Admission::WhenOneEnds);
        gate.release(permit, 1, Report::Answered, now, 0.5);
        let _ = granted(&mut gate, now + Duration::from_secs(9));
    }

    #[test]
    fn a_rate_limit_closes_the_gate_for_all_until_a_probe_is_answered() {
        let now = Instant::now();
        let mut gate = Gate::new(LIMITS, now);
        let (limited, late) = (granted(&mut gate, now), granted(&mut gate, now));
        gate.release(limited, 1, Report::RateLimited(Some(Duration::from_secs(30))), now, 0.0);
        assert_eq!(gate.admit(now), Admission::At(now + Duration::from_secs(30)));
        gate.release(late, 1, Report::Answered, now, 0.0);
        assert!(gate.is_closed(now), "an answer from before the limit does not open the gate");

        let then = now + Duration::from_secs(30);
        let probe = granted(&mut gate, then);
        assert_eq!(gate.admit(then), Admission::WhenOneEnds, "one probe at a time");
        gate.release(probe, 1, Report::Answered, then, 0.0);
        let _ = granted(&mut gate, then);
        assert_eq!(gate.held_off(), None);
    }

    #[test]
    fn what_was_under_way_says_nothing_about_a_registry_that_is_reached_otherwise() {
        let now = Instant::now();
        let mut gate = Gate::new(LIMITS, now);
        let (first, second) = (granted(&mut gate, now), granted(&mut gate, now));
        gate.release(first, 1, Report::Unreachable(FailureKind::Connect), now, 1.0);
        gate.reopen();
        assert_eq!(gate.held_off(), None);
        gate.release(second, 1, Report::Unreachable(FailureKind::Connect), now, 1.0);
        assert_eq!(gate.held_off(), None);
        let then = now + Duration::from_secs(1);
        // Its place is given back all the same.
        let (_, _) = (granted(&mut gate, then), granted(&mut gate, then));
    }

    #[test]
    fn checks_that_fail_together_step_the_back_off_once() {
        let now = Instant::now();
        let mut gate = Gate::new(LIMITS, now);
        for permit in [granted(&mut gate, now), granted(&mut gate, now)] {
            gate.release(permit, 1, Report::Unreachable(FailureKind::Connect), now, 1.0);
        }
        assert_eq!(gate.held_off(), Some((FailureKind::Connect, now + Duration::from_secs(10))));
        let then = now + Duration::from_secs(10);
        let probe = granted(&mut gate, then);
        gate.release(probe, 1, Report::Unreachable(FailureKind::Connect), then, 1.0);
        assert_eq!(gate.held_off(), Some((FailureKind::Connect, then + Duration::from_secs(20))));
    }

    #[test]
    fn one_broken_repository_does_not_hold_off_the_others() {
        let now = Instant::now();
        let mut gate = Gate::new(Limits { concurrency: 9, rate: 100.0 }, now);
        for repository in [1, 1, 2, 1] {
            let permit = granted(&mut gate, now);
            gate.release(permit, 1, Report::Broken(repository), now, 0.0);
        }
        assert_eq!(gate.held_off(), None);
        let permit = granted(&mut gate, now);
        gate.release(permit, 1, Report::Broken(3), now, 0.0);
        assert!(gate.is_closed(now));
    }

    #[test]
    fn a_registry_in_trouble_that_says_for_how_long_is_left_alone_for_so_long() {
        let now = Instant::now();
        let mut gate = Gate::new(LIMITS, now);
        let permit = granted(&mut gate, now);
        gate.release(permit, 1, Report::Unavailable(Duration::from_secs(120)), now, 0.0);
        assert_eq!(gate.held_off(), Some((FailureKind::Server, now + Duration::from_secs(120))));
    }

    #[test]
    fn a_garbled_pause_is_kept_within_bounds() {
        let now = Instant::now();
        for (asked, at_most) in [(Duration::ZERO, 2), (Duration::from_secs(u64::from(u32::MAX)), 7 * 3600)] {
            let mut gate = Gate::new(LIMITS, now);
            let permit = granted(&mut gate, now);
            gate.release(permit, 1, Report::RateLimited(Some(asked)), now, 0.9);
            let (_, until) = gate.held_off().unwrap();
            assert!(until >= now + Duration::from_secs(1) && until <= now + Duration::from_secs(at_most));
        }
    }

    proptest::proptest! {
        /// Whatever a registry says, the checks of any window never exceed burst plus rate times its length.
        #[test]
        fn the_rate_holds(steps in proptest::collection::vec((0u64..400, 1u32..4), 1..200)) {
            let start = Instant::now();
            let (mut gate, mut now, mut requests) = (Gate::new(LIMITS, start), start, 0.0);
            for (pause, cost) in steps {
                now += Duration::from_millis(pause);
                if let Admission::Granted(permit) = gate.admit(now) {
                    requests += f64::from(cost);
                    gate.release(permit, cost, Report::Answered, now, 0.5);
                }
                // The last check may cost up to three requests more than it was admitted for.
                let allowed = 2.0 + 3.0 + LIMITS.rate * (now - start).as_secs_f64() + 1e-6;
                proptest::prop_assert!(requests <= allowed, "{requests} > {allowed}");
            }
        }
    }
}
