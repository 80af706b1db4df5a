//! The ceiling: `ab`, which parses next to nothing. It does not speak h2.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bed::{Bed, Protocol};
use crate::support::pinned;
use crate::support::usage::children;

/// Processor time of one request.
pub fn measure(bed: &Bed, in_flight: u32, count: u64) -> Option<Duration> {
    if bed.protocol == Protocol::H2 {
        return None;
    }
    let mut command = Command::new("ab");
    command.args(["-q", "-i", "-k", "-c", &in_flight.to_string(), "-n", &count.to_string(), &bed.url()]);
    command.env("PATH", std::env::var("PATH").unwrap());
    let before = children();
    let status = pinned(0, &command).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "ab: {status}; Debian has it in apache2-utils");
    Some((children() - before).div_f64(count as f64))
}
