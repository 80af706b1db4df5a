//! Which file is the config, and what the process's surroundings say where it says nothing.
//!
//! *Invariant:* the environment is read here and nowhere else in the config.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::fault::{Fault, Faults};

/// Where packages put the config.
const SYSTEM: &str = "/etc/taghook/config.toml";

/// What the config's defaults depend on.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// `$STATE_DIRECTORY`, set by systemd.
    pub(super) state_directory: Option<OsString>,
    /// `$XDG_STATE_HOME`
    pub(super) xdg_state_home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`
    pub(super) xdg_config_home: Option<PathBuf>,
    /// `$HOME`
    pub(super) home: Option<PathBuf>,
    /// `$PATH`
    pub(super) path: Option<OsString>,
    /// The host's time zone.
    pub(super) zone: Option<TimeZone>,
    /// Whether we are root, so that what anyone may write is everyone's.
    pub(super) is_root: bool,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        // The XDG specification: a relative path is invalid and to be ignored.
        let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            state_directory: env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty()),
            xdg_state_home: folder("XDG_STATE_HOME"),
            xdg_config_home: folder("XDG_CONFIG_HOME"),
            home: folder("HOME"),
            path: env::var_os("PATH"),
            zone: Some(TimeZone::system()),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// Where state is kept when the config at `config` does not say it.
    pub(super) fn state(&self, config: &Path) -> Option<PathBuf> {
        if let Some(folders) = &self.state_directory {
            // systemd lists all of `StateDirectory=`, parted by colons; the first is the unit's own.
            return env::split_paths(folders).next();
        }
        if config.starts_with("/etc") {
            return Some(PathBuf::from("/var/lib/taghook"));
        }
        let base = self.xdg_state_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/state")));
        Some(base?.join("taghook"))
    }

    fn user_config(&self) -> Option<PathBuf> {
        let base = self.xdg_config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")));
        Some(base?.join("taghook/config.toml"))
    }
}

/// Which file is the config: the explicit one, else `/etc/taghook/config.toml`, else the user's.
///
/// # Errors
///
/// There is none; the fault names the places and the remedy. Whether an explicit one exists is for
/// [`load`](fn@super::load) to say.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, Faults> {
    find_in(explicit, Path::new(SYSTEM), &Surroundings::of_process())
}

fn find_in(explicit: Option<&Path>, system: &Path, around: &Surroundings) -> Result<PathBuf, Faults> {
    if let Some(path) = explicit {
        return Ok(path.to_owned());
    }
    let places: Vec<PathBuf> = [Some(system.to_owned()), around.user_config()].into_iter().flatten().collect();
    // A file that may not be looked at is there, for all we know: loading it says what is the matter.
    if let Some(found) = places.iter().find(|path| path.try_exists().unwrap_or(true)) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    let fault = Fault::error(format!("there is no config; looked for {}", looked.join(" and ")))
        .help("name one with --config PATH or $TAGHOOK_CONFIG, or write one with taghook init");
    Err(Faults(vec![fault]))
}

/// Where a config is written that is not there yet: the explicit place, else root's or the user's own.
///
/// # Errors
///
/// No place: without `$HOME`, only an explicit one is known.
pub fn place_for_new(explicit: Option<&Path>) -> Result<PathBuf, Faults> {
    let around = Surroundings::of_process();
    let own = if around.is_root { Some(PathBuf::from(SYSTEM)) } else { around.user_config() };
    explicit.map(Path::to_owned).or(own).ok_or_else(|| {
        let fault = Fault::error("there is no place for a config: neither $XDG_CONFIG_HOME nor $HOME is set");
        Faults(vec![fault.help("name one: taghook init PATH")])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_explicit_file_comes_first_then_the_systems_then_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().join("system.toml");
        let around = Surroundings { home: Some(folder.path().to_owned()), ..Surroundings::default() };
        let users = folder.path().join(".config/taghook/config.toml");
        std::fs::create_dir_all(users.parent().unwrap()).unwrap();
        std::fs::write(&users, "").unwrap();
        assert_eq!(find_in(None, &system, &around).unwrap(), users);
        std::fs::write(&system, "").unwrap();
        assert_eq!(find_in(None, &system, &around).unwrap(), system);
        assert_eq!(find_in(Some(Path::new("x.toml")), &system, &around).unwrap(), Path::new("x.toml"));
    }

    #[test]
    fn no_config_names_the_places_and_the_remedy() {
        let around = Surroundings { xdg_config_home: Some("/nowhere".into()), ..Surroundings::default() };
        let faults = find_in(None, Path::new("/nowhere/system.toml"), &around).unwrap_err();
        assert_eq!(
            faults.to_string(),
            "error: there is no config; looked for /nowhere/system.toml and /nowhere/taghook/config.toml\n |\n \
             = help: name one with --config PATH or $TAGHOOK_CONFIG, or write one with taghook init"
        );
    }

    #[test]
    fn state_is_where_systemd_says_then_by_where_the_config_stands() {
        let mut around = Surroundings { home: Some("/home/ann".into()), ..Surroundings::default() };
        let state = |around: &Surroundings, config: &str| around.state(Path::new(config)).unwrap();
        assert_eq!(state(&around, "/home/ann/c.toml"), Path::new("/home/ann/.local/state/taghook"));
        assert_eq!(state(&around, "/etc/taghook/config.toml"), Path::new("/var/lib/taghook"));
        around.xdg_state_home = Some("/x".into());
        assert_eq!(state(&around, "/home/ann/c.toml"), Path::new("/x/taghook"));
        around.state_directory = Some("/var/lib/a:/var/lib/b".into());
        assert_eq!(state(&around, "/etc/taghook/config.toml"), Path::new("/var/lib/a"));
        assert_eq!(Surroundings::default().state(Path::new("/c.toml")), None);
    }
}
