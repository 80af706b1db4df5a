//! What a process has used, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// A reading; take two and subtract.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// On a processor, all threads, to the nanosecond.
    pub cpu: Duration,
    /// Times that a thread went to sleep by itself: as often it was woken.
    pub wakeups: u64,
    /// Bytes that were sent to the storage layer.
    pub written: u64,
}

/// What is resident, in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub resident: u64,
    /// The part that is its own: heap and stacks.
    pub anonymous: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

impl Usage {
    /// Of the threads that live now; ours keeps its threads.
    pub fn of(pid: u32) -> Self {
        let mut usage = Self::default();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
            // A thread may have ended between the two.
            let Ok(schedstat) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let nanoseconds = schedstat.split(' ').next().unwrap().parse().unwrap();
            usage.cpu += Duration::from_nanos(nanoseconds);
            let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
            usage.wakeups += field(&status, "voluntary_ctxt_switches:");
        }
        usage.written = field(&fs::read_to_string(format!("/proc/{pid}/io")).unwrap(), "write_bytes:");
        usage
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
            written: self.written - before.written,
        }
    }
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        Self {
            resident: field(&status, "VmRSS:"),
            anonymous: field(&status, "RssAnon:"),
            peak: field(&status, "VmHWM:"),
        }
    }
}

/// On a processor: all children that have ended and were waited for, to a hundredth of a second.
pub fn children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, which may have anything in it: cutime and cstime, in ticks of which Linux always tells 100 a second.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}
