//! Exponential back-off with jitter.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling of the first pause. It doubles for each further one.
    pub first: Duration,
    /// The upper bound of the ceiling.
    pub max: Duration,
}

impl Backoff {
    /// The pause after `tries` earlier pauses. `chance` is a uniform random number in 0..1.
    ///
    /// The pause is uniform between half the first ceiling and the current one. This is nearly full jitter, so that
    /// hosts which failed together do not retry together, and a pause is still never zero.
    pub fn pause(&self, tries: u32, chance: f64) -> Duration {
        let ceiling = self.first.saturating_mul(2u32.saturating_pow(tries)).min(self.max);
        let floor = (self.first / 2).min(ceiling);
        floor + (ceiling - floor).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(30), max: Duration::from_secs(900) };

    #[test]
    fn the_ceiling_doubles_up_to_the_longest() {
        let ceilings: Vec<u64> = (0..8).map(|n| BACKOFF.pause(n, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [30, 60, 120, 240, 480, 900, 900, 900]);
    }

    proptest::proptest! {
        #[test]
        fn a_pause_is_never_nothing_and_never_too_long(tries: u32, chance in 0.0..1.0f64) {
            let pause = BACKOFF.pause(tries, chance);
            proptest::prop_assert!(pause >= BACKOFF.first / 2 && pause <= BACKOFF.max);
        }
    }
}
