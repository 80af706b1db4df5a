//! A clock that a test sets, under programs that it starts.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};

/// A clock beside the machine's own, which runs on from wherever it is set to. The monotonic clock goes on as it is.
pub struct WallClock {
    offset: PathBuf,
    monotonic: bool,
}

impl WallClock {
    /// One that shows the machine's time; `dir` holds the file by which it is set.
    pub fn new(dir: &Path) -> Self {
        let clock = Self { offset: dir.join("wall-clock"), monotonic: false };
        clock.is_off_by(SignedDuration::ZERO);
        clock
    }

    /// One by which all time goes, the monotonic clock's too: set forward, so much time has passed. Who sleeps sleeps
    /// as long as before.
    pub fn of_all_time(dir: &Path) -> Self {
        Self { monotonic: true, ..Self::new(dir) }
    }

    /// Sets it to so much after the machine's time, or before it.
    pub fn is_off_by(&self, offset: SignedDuration) {
        let written = self.offset.with_extension("new");
        std::fs::write(&written, format!("{:+}\n", offset.as_secs())).unwrap();
        // At once: who reads half a file would see a third time.
        std::fs::rename(&written, &self.offset).unwrap();
    }

    /// Sets it to that time.
    pub fn shows(&self, time: &str) {
        self.is_off_by(time.parse::<Timestamp>().unwrap().duration_since(Timestamp::now()));
    }

    /// What the command's environment must hold, so that it goes by this clock.
    fn env(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", u8::from(!self.monotonic).to_string()),
        ]
    }

    /// The command, for which all time goes so many times as fast from now on, sleeping included.
    pub fn times(&self, factor: u32, mut command: Command) -> Command {
        let library = ("LD_PRELOAD", library().display().to_string());
        command.envs([library, ("FAKETIME", format!("+0 x{factor}")), ("FAKETIME_NO_CACHE", "1".to_owned())]);
        command
    }

    /// The command, going by this clock.
    pub fn under(&self, mut command: Command) -> Command {
        command.envs(self.env());
        command
    }
}

/// Removes what libfaketime leaves of a process that was killed.
pub fn clean_up_after(pid: u32) {
    for name in ["faketime_shm", "sem.faketime_sem"] {
        std::fs::remove_file(format!("/dev/shm/{name}_{pid}")).ok();
    }
}

/// Where Debian's `libfaketime` puts it; scripts/test sees that it is there.
fn library() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let mut found = found.map(|arch| arch.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).expect("libfaketime is missing; scripts/test installs it")
}
