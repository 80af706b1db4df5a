//! Which file is the config, and what the process's environment decides where the config says nothing.
//!
//! *Invariant:* `src/config` reads the environment here and nowhere else.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::acting::Acting;
use super::fault::{Fault, Faults};
use super::wait;
use super::zones;

/// Where packages put the config.
const SYSTEM: &str = "/etc/taghook/config.toml";

/// What the defaults of a config depend on.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
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
    /// That the host names one which there is not, so that UTC stands in its place.
    pub(super) zone_fault: Option<Fault>,
    /// Who acts on the files: whoever else can write one of them acts as this user. `None`: nobody, so all are trusted.
    pub(super) acting: Option<Acting>,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        // The XDG specification: a relative path is invalid and to be ignored.
        let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let zone = zones::of_host();
        Self {
            state_directory: env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty()),
            xdg_state_home: folder("XDG_STATE_HOME"),
            xdg_config_home: folder("XDG_CONFIG_HOME"),
            home: folder("HOME"),
            path: env::var_os("PATH"),
            zone: Some(zone.clone().unwrap_or(TimeZone::UTC)),
            zone_fault: zone.err(),
            acting: Some(Acting::of_process()),
        }
    }

    /// Where the state is kept if the config at `config` does not say so.
    pub(super) fn state(&self, config: &Path) -> Option<PathBuf> {
        if let Some(folders) = &self.state_directory {
            // systemd lists all of `StateDirectory=`, separated by colons; the first is the unit's own.
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

/// The runtime directory that systemd made for this unit, `$RUNTIME_DIRECTORY`: the first, if there are several.
pub fn runtime_directory() -> Option<PathBuf> {
    first_runtime_directory(&env::var_os("RUNTIME_DIRECTORY")?)
}

fn first_runtime_directory(folders: &OsStr) -> Option<PathBuf> {
    env::split_paths(folders).next().filter(|path| path.is_absolute())
}

/// Which file is the config: the explicit one, else `/etc/taghook/config.toml`, else the user's.
///
/// # Errors
///
/// There is no config; the fault names the places and the remedy. Whether an explicit one exists is found by loading it.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, Faults> {
    find_in(explicit, Path::new(SYSTEM), &Environment::of_process())
}

fn find_in(explicit: Option<&Path>, system: &Path, environment: &Environment) -> Result<PathBuf, Faults> {
    if let Some(path) = explicit {
        return Ok(path.to_owned());
    }
    let places: Vec<PathBuf> = [Some(system.to_owned()), environment.user_config()].into_iter().flatten().collect();
    // A file that we may not look at may well be there: loading it says what is wrong.
    if let Some(found) = places.iter().find(|path| wait::is_there(path)) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    let fault = Fault::error(format!("there is no config; looked for {}", looked.join(" and ")))
        .help("name one with --config PATH or $TAGHOOK_CONFIG, or write one with taghook init");
    Err(Faults(vec![fault]))
}

/// Where to write a new config: at the explicit path, else at root's or the user's own.
///
/// # Errors
///
/// There is no path: without `$HOME`, only an explicit one is known.
pub fn path_for_new(explicit: Option<&Path>) -> Result<PathBuf, Faults> {
    let environment = Environment::of_process();
    let own = if environment.acting.is_some_and(Acting::is_root) {
        Some(PathBuf::from(SYSTEM))
    } else {
        environment.user_config()
    };
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
        let environment = Environment { home: Some(folder.path().to_owned()), ..Environment::default() };
        let users = folder.path().join(".config/taghook/config.toml");
        std::fs::create_dir_all(users.parent().unwrap()).unwrap();
        std::fs::write(&users, "").unwrap();
        assert_eq!(find_in(None, &system, &environment).unwrap(), users);
        std::fs::write(&system, "").unwrap();
        assert_eq!(find_in(None, &system, &environment).unwrap(), system);
        assert_eq!(find_in(Some(Path::new("x.toml")), &system, &environment).unwrap(), Path::new("x.toml"));
    }

    #[test]
    fn no_config_names_the_places_and_the_remedy() {
        let environment = Environment { xdg_config_home: Some("/nowhere".into()), ..Environment::default() };
        let faults = find_in(None, Path::new("/nowhere/system.toml"), &environment).unwrap_err();
        assert_eq!(
            faults.to_string(),
            "error: there is no config; looked for /nowhere/system.toml and /nowhere/taghook/config.toml\n |\n \
             = help: name one with --config PATH or $TAGHOOK_CONFIG, or write one with taghook init"
        );
    }

    #[test]
    fn the_first_runtime_directory_is_the_units_own() {
        let first = |folders: &str| first_runtime_directory(OsStr::new(folders));
        assert_eq!(first("/run/a:/run/b"), Some("/run/a".into()));
        assert_eq!(first("/run/a"), Some("/run/a".into()));
        assert_eq!((first(""), first("relative")), (None, None));
    }

    #[test]
    fn state_is_where_systemd_says_then_by_where_the_config_stands() {
        let mut environment = Environment { home: Some("/home/ann".into()), ..Environment::default() };
        let state = |environment: &Environment, config: &str| environment.state(Path::new(config)).unwrap();
        assert_eq!(state(&environment, "/home/ann/c.toml"), Path::new("/home/ann/.local/state/taghook"));
        assert_eq!(state(&environment, "/etc/taghook/config.toml"), Path::new("/var/lib/taghook"));
        environment.xdg_state_home = Some("/x".into());
        assert_eq!(state(&environment, "/home/ann/c.toml"), Path::new("/x/taghook"));
        environment.state_directory = Some("/var/lib/a:/var/lib/b".into());
        assert_eq!(state(&environment, "/etc/taghook/config.toml"), Path::new("/var/lib/a"));
        assert_eq!(Environment::default().state(Path::new("/c.toml")), None);
    }
}
