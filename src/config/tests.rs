//! The loader over real files.

mod example;
mod in_force;
mod loading;
mod refusals;
mod rules;
mod secrets;
mod snapshots;

use std::path::{Path, PathBuf};

use std::sync::Arc;

use super::find::Environment;
use super::load::load_in;
use super::*;

fn environment() -> Environment {
    Environment {
        home: Some("/home/ann".into()),
        path: Some("/usr/bin:/bin".into()),
        zone: Some(jiff::tz::TimeZone::UTC),
        ..Environment::default()
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
        load_in(&self.path(), &environment())
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
