//! Finds and ends what is left of a run: after a time limit or a cut, and at start what outlived a killed agent.
//!
//! Its process group finds most of it. The delivery's id in the environment finds what made a group or a session of its own,
//! as timeout(1), setsid(1), script(1) and shells with job control do. Neither finds what left the group and then cleared its
//! environment or became another user's.
//!
//! *Invariant:* a run that ends by itself costs no look at other processes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, geteuid, getpgid, getpid, kill_process, kill_process_group, test_kill_process_group,
};
use tokio::time::{Instant, sleep};

use crate::bounded::{self, PROCESSES, PoolError};
use crate::hook::message::{DELIVERY, variable};

/// Time from SIGTERM to SIGKILL, long enough for a hook to clean up.
pub(super) const KILL_AFTER: Duration = Duration::from_secs(10);
/// Time from SIGTERM until we stop waiting. A process that has not ended by then hangs in the kernel, or is another user's.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15);
/// The first pause between two looks at `/proc`, which has no notification of an end, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// Looks in a row that must find nothing: the environment of a process that is just executing a program reads as empty.
const EMPTY_LOOKS: u32 = 2;
/// A look takes milliseconds. One that takes longer waits for a process that hangs in the kernel.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// More than Linux lets an environment have.
const MAX_ENVIRONMENT: usize = 8 << 20;

/// What the processes of a run are known by.
#[derive(Debug, Clone, Default)]
pub(super) struct Traces {
    /// Any of these stands in their environment.
    variables: Arc<[Vec<u8>]>,
    /// They are in this process group.
    group: Option<Pid>,
}

/// What could not be ended: the run is not over.
#[derive(Debug)]
pub struct Left {
    traces: Traces,
    /// For people: which processes.
    pub what: String,
}

impl Traces {
    /// `vars` as the run has them in its environment.
    pub(super) fn of_run(vars: &[(String, String)], group: Option<Pid>) -> Self {
        let delivery = variable(DELIVERY);
        let variables = vars.iter().filter(|(name, _)| *name == delivery).map(|(_, id)| entry(id)).collect();
        Self { variables, group }
    }

    fn of_deliveries(ids: &[String]) -> Self {
        Self { variables: ids.iter().map(|id| entry(id)).collect(), group: None }
    }

    fn is_group(&self, group: Option<Pid>) -> bool {
        self.group.is_some() && self.group == group
    }

    fn is_carried_in(&self, environment: &[u8]) -> bool {
        environment.split(|byte| *byte == 0).any(|var| self.variables.iter().any(|entry| entry == var))
    }
}

fn entry(id: &str) -> Vec<u8> {
    format!("{}={id}", variable(DELIVERY)).into_bytes()
}

/// Ends all that is left of these deliveries' runs. Returns how many processes that were, and whether some could not be ended.
pub async fn end_survivors(deliveries: &[String]) -> (usize, bool) {
    let (ended, left) = end(Traces::of_deliveries(deliveries), || true).await;
    (ended, left.is_some())
}

/// What is left of a delivery's run.
pub async fn left_of(delivery: &str) -> Option<Left> {
    look(&Traces::of_deliveries(&[delivery.to_owned()])).await
}

impl Left {
    /// Whether it has ended by now.
    pub async fn has_ended(&mut self) -> bool {
        match look(&self.traces).await {
            Some(left) => self.what = left.what,
            None => return true,
        }
        false
    }
}

/// Ends what has these traces: SIGTERM, and SIGKILL after a grace period. `reap` is called before each look, and says whether
/// the run's own process has been reaped.
pub(super) async fn end(traces: Traces, mut reap: impl FnMut() -> bool) -> (usize, Option<Left>) {
    let (began, mut pause, mut empty) = (Instant::now(), FIRST_PAUSE, 0);
    let mut asked: HashSet<Pid> = HashSet::new();
    loop {
        let is_reaped = reap();
        let found = find(&traces).await;
        let here = found.as_deref().unwrap_or_default();
        empty = if found.is_ok() && here.is_empty() && is_reaped { empty + 1 } else { 0 };
        if empty == EMPTY_LOOKS {
            return (asked.len(), None);
        }
        if began.elapsed() >= GIVE_UP_AFTER {
            return (asked.len(), Some(Left { what: name(&found), traces }));
        }
        if began.elapsed() >= KILL_AFTER {
            signal(here, &traces, Signal::KILL);
        } else if here.iter().all(|pid| !asked.contains(pid)) {
            // What has been asked to end may start commands to clean up, and these must not be ended under its hands.
            signal(here, &traces, Signal::TERM);
            signal(here, &traces, Signal::CONT);
            asked.extend(here);
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// The group is signalled as one, because it may fork meanwhile.
fn signal(found: &[Pid], traces: &Traces, signal: Signal) {
    let is_member = |pid: &&Pid| traces.group.is_some_and(|group| **pid == group || getpgid(Some(**pid)) == Ok(group));
    if let Some(group) = traces.group.filter(|_| found.iter().any(|pid| is_member(&pid))) {
        let _ = kill_process_group(group, signal);
    }
    for pid in found.iter().filter(|pid| !is_member(pid)) {
        let _ = kill_process(*pid, signal);
    }
}

/// What has these traces, without ending it.
async fn look(traces: &Traces) -> Option<Left> {
    for _ in 0..EMPTY_LOOKS {
        let found = find(traces).await;
        if !matches!(&found, Ok(found) if found.is_empty()) {
            return Some(Left { what: name(&found), traces: traces.clone() });
        }
        sleep(FIRST_PAUSE).await;
    }
    None
}

fn name(found: &Result<Vec<Pid>, PoolError>) -> String {
    match found {
        Ok(found) => {
            let pids: Vec<String> = found.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
            format!("process {}", pids.join(", "))
        }
        Err(why) => format!("processes cannot be looked at: {why}"),
    }
}

/// The living processes that have these traces.
async fn find(traces: &Traces) -> Result<Vec<Pid>, PoolError> {
    let traces = traces.clone();
    PROCESSES.run(LOOK_TIMEOUT, move || find_now(&traces)).await
}

fn find_now(traces: &Traces) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return traces.group.filter(|group| test_kill_process_group(*group).is_ok()).into_iter().collect();
    };
    let processes: Vec<Process> = entries.filter_map(|entry| Process::read(&entry.ok()?.path())).collect();
    let left_out = left_out(&processes, traces);
    let is_found = |process: &&Process| {
        // A zombie has ended, whoever should reap it.
        process.is_alive
            && !left_out.contains(&process.pid)
            && (traces.is_group(process.group) || traces.is_carried_in(&process.environment()))
    };
    processes.iter().filter(is_found).map(|process| process.pid).collect()
}

/// We and our ancestors: a hook may have started this agent, which then has inherited the delivery's id, and hands it on to
/// what it starts itself.
fn left_out(processes: &[Process], traces: &Traces) -> HashSet<Pid> {
    let parent = |of: Pid| processes.iter().find(|process| process.pid == of).and_then(|process| process.parent);
    let us = getpid();
    let mut all: HashSet<Pid> = std::iter::successors(Some(us), |pid| parent(*pid)).take(processes.len()).collect();
    let we = processes.iter().find(|process| process.pid == us);
    if we.is_some_and(|we| traces.is_carried_in(&we.environment())) {
        let is_of_others = |process: &&Process| !traces.is_group(process.group);
        let children = processes.iter().filter(|process| process.parent == Some(us)).filter(is_of_others);
        all.extend(children.map(|process| process.pid));
    }
    all
}

/// A process, as `/proc` tells of it.
#[derive(Debug)]
struct Process {
    pid: Pid,
    /// `None` for the first one.
    parent: Option<Pid>,
    /// `None` for threads of the kernel, and where the group is of another namespace.
    group: Option<Pid>,
    /// Neither a zombie nor just gone.
    is_alive: bool,
    /// Whether we may read its environment and signal it.
    is_ours: bool,
}

impl Process {
    fn read(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let pid = Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?)?;
        let user = geteuid();
        let is_ours = user.is_root() || std::fs::metadata(path).ok()?.uid() == user.as_raw();
        let stat = String::from_utf8_lossy(&std::fs::read(path.join("stat")).ok()?).into_owned();
        // proc(5): "pid (name) state ppid pgrp …", and a name may contain anything.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let is_alive = !matches!(fields.next()?, "Z" | "X" | "x");
        let parent = Pid::from_raw(fields.next()?.parse().ok()?);
        let group = Pid::from_raw(fields.next()?.parse().ok()?);
        Some(Self { pid, parent, group, is_alive, is_ours })
    }

    fn environment(&self) -> Vec<u8> {
        let path = format!("/proc/{}/environ", self.pid.as_raw_nonzero());
        if !self.is_ours {
            return Vec::new();
        }
        bounded::read_now(path.as_ref(), MAX_ENVIRONMENT).unwrap_or_default()
    }
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
        let ((ended, are_left), status) = tokio::join!(end_survivors(std::slice::from_ref(&id)), carrier.wait());
        assert_eq!((ended, are_left), (1, false));
        assert!(!status.unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "the other one still runs");
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let us = Process::read(format!("/proc/{}", std::process::id()).as_ref()).unwrap();
        assert_eq!((us.pid, us.parent, us.is_alive, us.is_ours), (getpid(), rustix::process::getppid(), true, true));
        let init = Process::read("/proc/1".as_ref()).unwrap();
        assert_eq!(init.parent, None);
        let processes = [us, init];
        assert!(left_out(&processes, &Traces::default()).contains(&getpid()));
    }
}
