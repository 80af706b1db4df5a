//! Ends the processes of hooks that outlived a killed agent.
//!
//! Under systemd, they end with the unit's cgroup. Elsewhere, a delivery must not be claimed again while its earlier
//! attempt is still running, so processes of our user with its id in their environment are ended first.

use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::time::{Instant, sleep};

use crate::hook::message::{DELIVERY, variable};

/// Time from SIGTERM to SIGKILL, long enough for a hook to clean up.
const KILL_AFTER: Duration = Duration::from_secs(10);
/// Time from SIGTERM until we stop waiting. A process that has not ended by then hangs in the kernel and cannot be
/// killed.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15);
/// How often the processes are polled: `/proc` has no notification of their end.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Ends all processes of our user whose environment carries one of these delivery ids, and returns their number.
pub async fn end_survivors(deliveries: &[String]) -> usize {
    let found = processes_of(deliveries);
    let count = found.len();
    signal(&found, Signal::TERM);
    let began = Instant::now();
    while !processes_of(deliveries).is_empty() && began.elapsed() < GIVE_UP_AFTER {
        if began.elapsed() >= KILL_AFTER {
            signal(&processes_of(deliveries), Signal::KILL);
        }
        sleep(POLL_INTERVAL).await;
    }
    count
}

fn signal(pids: &[Pid], signal: Signal) {
    for pid in pids {
        let _ = kill_process(*pid, signal);
    }
}

/// The processes of our user whose environment carries one of these delivery ids.
fn processes_of(deliveries: &[String]) -> Vec<Pid> {
    use std::os::unix::fs::MetadataExt;
    if deliveries.is_empty() {
        return Vec::new();
    }
    let entries: Vec<Vec<u8>> =
        deliveries.iter().map(|id| format!("{}={id}", variable(DELIVERY)).into_bytes()).collect();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(Result::ok)
        .filter_map(|entry| Some((Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?, entry)))
        .filter(|(_, entry)| entry.metadata().is_ok_and(|meta| meta.uid() == geteuid().as_raw()))
        .filter(|(_, entry)| {
            // The environment of a zombie reads as empty, so a process that only waits to be reaped does not count.
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|var| entries.iter().any(|entry| entry == var))
        })
        .map(|(pid, _)| pid)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_processes_that_carry_the_delivery_are_ended() {
        let id = uuid::Uuid::now_v7().to_string();
        let spawn = |id: &str| {
            tokio::process::Command::new("sleep")
                .arg("60")
                .env("TAGHOOK_DELIVERY", id)
                .kill_on_drop(true)
                .spawn()
                .unwrap()
        };
        let (mut carrier, mut other) = (spawn(&id), spawn("another"));
        let (ended, status) = tokio::join!(end_survivors(std::slice::from_ref(&id)), carrier.wait());
        assert_eq!(ended, 1);
        assert!(!status.unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "the other one still runs");
    }
}
