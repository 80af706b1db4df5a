//! What a process writes to the log of its database, and how often it commits, as strace tells it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};

use super::DEADLINE;
use super::sandbox::Sandbox;

/// Of a log (fileformat2.html, section 4.1).
const HEADER: usize = 32;

/// What an agent does to its disk, told by strace while it does it.
pub struct Disk {
    calls: Receiver<Call>,
    pipe: PathBuf,
}

#[derive(Debug)]
enum Call {
    /// So many bytes are written to the log of the database.
    Write(usize),
    /// The log is made durable.
    SyncLog,
    /// Another file is.
    Sync,
}

/// What was done in all.
#[derive(Debug, Default)]
pub struct Done {
    pub commits: usize,
    pub bytes: usize,
    /// The largest commit.
    pub largest: usize,
}

impl Disk {
    pub fn new(sandbox: &Sandbox) -> Self {
        let pipe = sandbox.path().join("calls");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (sender, calls) = mpsc::channel();
        let end = pipe.clone();
        std::thread::spawn(move || {
            let lines = BufReader::new(std::fs::File::open(end).unwrap()).lines();
            lines.map_while(Result::ok).filter_map(|line| call(&line)).try_for_each(|call| sender.send(call))
        });
        Self { calls, pipe }
    }

    /// The command, which stays the one that is started: it is watched from beside.
    pub fn under(&self, command: &Command) -> Command {
        let mut traced = Command::new("strace");
        traced
            .args(["-D", "-f", "--seccomp-bpf", "-y", "--quiet=all", "--trace=pwrite64,fsync,fdatasync", "--output"])
            .arg(&self.pipe);
        // For the program alone, where a library is put before it.
        for (name, value) in command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?))) {
            traced.args(["-E", &format!("{name}={value}")]);
        }
        traced.arg(command.get_program()).args(command.get_args());
        traced.env_clear().current_dir(command.get_current_dir().unwrap());
        traced
    }

    /// Until there were so many commits, or until the agent has ended.
    pub fn until(&self, commits: usize) -> Done {
        let (mut done, mut open) = (Done::default(), 0);
        while done.commits < commits {
            match self.calls.recv_timeout(DEADLINE) {
                Ok(Call::Write(bytes)) => open += bytes,
                // With next to nothing written it is a checkpoint, or the header of a log that begins anew.
                Ok(Call::SyncLog) if open <= HEADER => {}
                Ok(Call::SyncLog) => {
                    done.commits += 1;
                    done.bytes += open;
                    done.largest = done.largest.max(std::mem::take(&mut open));
                }
                Ok(Call::Sync) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("nothing is written any more: {done:?}"),
            }
        }
        done
    }
}

/// `123 fdatasync(5</state/taghook.db-wal>) = 0`, or the end of one that another thread has interrupted.
fn call(line: &str) -> Option<Call> {
    let is_begun = !line.contains("resumed>");
    let is_log = line.contains("-wal>");
    if line.contains("sync(") && is_begun {
        return Some(if is_log { Call::SyncLog } else { Call::Sync });
    }
    let length = line.rsplit(", ").nth(1)?.parse().ok();
    length.filter(|_| is_log && line.contains("pwrite64(")).map(Call::Write)
}
