//! The loader over real files.

mod example;
mod in_force;
mod loading;
mod refusals;
mod rules;
mod snapshots;

use std::path::{Path, PathBuf};

use super::find::Surroundings;
use super::load::load_in;
use super::*;

fn around() -> Surroundings {
    Surroundings {
        home: Some("/home/ann".into()),
        path: Some("/usr/bin:/bin".into()),
        zone: Some(jiff::tz::TimeZone::UTC),
        ..Surroundings::default()
    }
}

/// A folder with a config and its fragments.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(config: &str, fragments: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        for (name, text) in fragments {
            std::fs::write(folder.path().join("conf.d").join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("config.toml")
    }

    fn load(&self) -> Result<Loaded, Faults> {
        load_in(&self.path(), &around())
    }

    /// The rendered faults, with the folder left out.
    fn faults(&self) -> String {
        self.load().unwrap_err().to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// The rendered faults of a config without fragments.
fn faults(config: &str) -> String {
    Folder::new(config, &[]).faults()
}
