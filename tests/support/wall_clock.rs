//! A wall clock that a test sets, under programs that it starts; their monotonic clock goes on as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};

/// A clock beside the machine's own, which runs on from wherever it is set to.
pub struct WallClock {
    offset: PathBuf,
}

impl WallClock {
    /// One that shows the machine's time; `dir` holds the file by which it is set.
    pub fn new(dir: &Path) -> Self {
        let clock = Self { offset: dir.join("wall-clock") };
        clock.is_off_by(SignedDuration::ZERO);
        clock
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
    pub fn env(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// The command, going by this clock.
    pub fn under(&self, mut command: Command) -> Command {
        command.envs(self.env());
        command
    }
}

/// Where Debian's `libfaketime` puts it; scripts/test sees that it is there.
fn library() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let mut found = found.map(|arch| arch.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).expect("libfaketime is missing; scripts/test installs it")
}
