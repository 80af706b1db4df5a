//! Admission control of one registry: a concurrency limit, a token bucket, and a cool-down that all its watches share.
//!
//! A gate works like a circuit breaker. A rate limit or an unreachable host starts a cool-down. When that is over, one
//! check is admitted as a probe, and the gate opens for the rest only if the registry answers the probe.

use std::time::{Duration, Instant};

use super::answer::FailureKind;
use super::backoff::Backoff;

/// The limits of requests to a registry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The most checks in flight at a time.
    pub concurrency: u32,
    /// Requests per second, on average.
    pub rate: f64,
}

impl Limits {
    /// The limits unless others are configured. `public.ecr.aws` allows one anonymous request per second.
    pub fn default_for(registry: &str) -> Self {
        match registry {
            "public.ecr.aws" => Self { concurrency: 1, rate: 1.0 },
            _ => Self { concurrency: 4, rate: 10.0 },
        }
    }
}

/// The cool-down if the registry does not name one. It starts short, because most outages are, and is bounded so that
/// checks resume within a quarter of an hour after a long one.
const COOL_DOWN: Backoff = Backoff { first: Duration::from_secs(10), max: Duration::from_secs(900) };

/// Bounds of a cool-down that the registry asks for (`Retry-After`). The upper bound is there for a garbled date, which
/// would otherwise stop all checks indefinitely.
const RETRY_AFTER: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(6 * 3600);

/// Number of repositories that must answer 5xx before the registry as a whole counts as broken: with fewer, the fault
/// may lie in the repositories.
const BROKEN_REPOSITORIES: usize = 3;

#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    in_flight: u32,
    tokens: f64,
    refilled: Instant,
    cool_down: Option<CoolDown>,
    /// Incremented by [`Gate::reopen`], to tell apart the permits from before and after it.
    generation: u32,
    /// Hashes of the repositories that answered 5xx since the last good answer.
    broken: Vec<u64>,
}

#[derive(Debug)]
struct CoolDown {
    until: Instant,
    cause: FailureKind,
    /// Probes that have failed: the step of the back-off.
    failed_probes: u32,
    /// Whether a probe is in flight.
    probing: bool,
}

/// Whether a check may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may. Return the permit with [`Gate::release`].
    Granted(Permit),
    /// Not before this time.
    At(Instant),
    /// Not before a check in flight has ended.
    WhenOneEnds,
}

/// The right to make one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a permit must be given back"]
pub struct Permit {
    probe: bool,
    generation: u32,
}

/// What a check found out about the registry as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// It answered, no matter what.
    Answered,
    /// It asked for fewer requests, possibly with a `Retry-After`.
    RateLimited(Option<Duration>),
    /// It is unavailable and sent a `Retry-After`.
    Unavailable(Duration),
    /// The DNS look-up, the connection or the TLS handshake failed, or it timed out.
    Unreachable(FailureKind),
    /// It answered 5xx for the repository with this hash.
    Broken(u64),
}

/// How much of the limits is in use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    pub limits: Limits,
    /// Checks in flight.
    pub under_way: u32,
    /// Tokens in the bucket. Negative after checks that needed more than one request.
    pub allowance: f64,
}

impl Gate {
    /// An open gate with a full token bucket.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let tokens = burst(limits);
        Self { limits, in_flight: 0, tokens, refilled: now, cool_down: None, generation: 0, broken: Vec::new() }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Ends the cool-down after a change of the connection settings. Checks in flight still use the old settings, so
    /// their reports will be ignored.
    pub fn reopen(&mut self) {
        self.cool_down = None;
        self.generation = self.generation.wrapping_add(1);
        self.broken.clear();
    }

    /// Decides whether a check may start, and takes a token if so.
    pub fn admit(&mut self, now: Instant) -> Admission {
        self.refill(now);
        let probe = match &self.cool_down {
            Some(cool_down) if cool_down.probing => return Admission::WhenOneEnds,
            Some(cool_down) if now < cool_down.until => return Admission::At(cool_down.until),
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
        if let Some(cool_down) = &mut self.cool_down {
            cool_down.probing = true;
        }
        Admission::Granted(Permit { probe, generation: self.generation })
    }

    /// Ends a check that made `requests` requests. `chance` is a uniform random number in 0..1.
    pub fn release(&mut self, permit: Permit, requests: u32, report: Report, now: Instant, chance: f64) {
        self.refill(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.tokens -= f64::from(requests.saturating_sub(1));
        if permit.generation != self.generation {
            return;
        }
        if permit.probe
            && let Some(cool_down) = &mut self.cool_down
        {
            cool_down.probing = false;
        }
        match report {
            Report::Answered => {
                self.broken.clear();
                // Only a probe ends the cool-down: other checks in flight began before it.
                if permit.probe {
                    self.cool_down = None;
                }
            }
            Report::RateLimited(retry_after) => {
                self.start_cool_down(permit, FailureKind::RateLimited, retry_after, now, chance)
            }
            Report::Unavailable(pause) => self.start_cool_down(permit, FailureKind::Server, Some(pause), now, chance),
            Report::Unreachable(kind) => self.start_cool_down(permit, kind, None, now, chance),
            Report::Broken(repository) => {
                if !self.broken.contains(&repository) && self.broken.len() < BROKEN_REPOSITORIES {
                    self.broken.push(repository);
                }
                if permit.probe || self.broken.len() >= BROKEN_REPOSITORIES {
                    self.start_cool_down(permit, FailureKind::Server, None, now, chance);
                }
            }
        }
    }

    /// The cause and the end of the cool-down, if there is one.
    pub fn held_off(&self) -> Option<(FailureKind, Instant)> {
        self.cool_down.as_ref().map(|cool_down| (cool_down.cause, cool_down.until))
    }

    /// Whether the cool-down prevents a check from starting now.
    pub fn is_closed(&self, now: Instant) -> bool {
        self.cool_down.as_ref().is_some_and(|cool_down| cool_down.probing || now < cool_down.until)
    }

    pub fn usage(&self, now: Instant) -> Usage {
        Usage { limits: self.limits, under_way: self.in_flight, allowance: self.tokens_at(now) }
    }

    fn start_cool_down(
        &mut self,
        permit: Permit,
        cause: FailureKind,
        asked: Option<Duration>,
        now: Instant,
        chance: f64,
    ) {
        // Checks in flight at the same time fail for the same reason, so only a failed probe advances the back-off.
        let failed_probes = match &self.cool_down {
            Some(cool_down) if permit.probe => cool_down.failed_probes.saturating_add(1),
            Some(cool_down) => cool_down.failed_probes,
            None => 0,
        };
        let pause = match asked {
            Some(asked) => {
                let asked = asked.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end());
                asked + (asked / 10).mul_f64(chance)
            }
            None => COOL_DOWN.pause(failed_probes, chance),
        };
        let until = self.cool_down.as_ref().map_or(now + pause, |earlier| earlier.until.max(now + pause));
        let probing = self.cool_down.as_ref().is_some_and(|earlier| earlier.probing);
        self.cool_down = Some(CoolDown { until, cause, failed_probes, probing });
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

/// Capacity of the token bucket: as many checks as may be in flight may also start at once.
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
        // Its slot is still returned.
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
        /// The requests of any window never exceed the burst plus the rate times the length of the window.
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
                // The last check may have made up to three requests that its token did not pay for.
                let allowed = 2.0 + 3.0 + LIMITS.rate * (now - start).as_secs_f64() + 1e-6;
                proptest::prop_assert!(requests <= allowed, "{requests} > {allowed}");
            }
        }
    }
}
