//! What an agent tells its supervisor. `cli/systemd.rs` puts it into systemd's words.

use std::time::Duration;

#[derive(Debug)]
pub enum Sign {
    /// It checks, delivers and listens, from now on or again after [`Sign::Reloading`].
    Ready,
    Reloading,
    Summary(Summary),
    /// Every part responds.
    Alive,
    /// It ends, which may take this long: running hooks get their grace.
    Stopping(Duration),
}

/// How things stand, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Enabled watches by state.
    pub ok: usize,
    pub settling: usize,
    pub failing: usize,
    pub absent: usize,
    pub unknown: usize,
    /// Deliveries that were given up.
    pub failed: u64,
    /// Registries that are held off.
    pub held_off: Vec<String>,
    /// Why nothing can be recorded, so that no hook runs.
    pub write_failure: Option<String>,
    /// Why the config as it is on disk was refused.
    pub refused: Option<String>,
}
