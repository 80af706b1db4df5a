//! The keys at the top of the files: where the agent keeps its state and where it listens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::Fault;
use super::find::Environment;
use super::key::ValueKind;
use super::log::FaultLog;
use super::model::Config;
use super::quote::quoted;
use super::retention::default_retention;
use super::row::{Row, keys_of, put, read_rows};
use super::show;
use super::values::Zero;
use super::walk::{TomlEntry, TomlField, TomlTable};
use crate::store;

fn default_config() -> Config {
    Config {
        // Depends on the environment, and is set after reading.
        state: PathBuf::new(),
        socket: None,
        listen: None,
        allowed_hosts: Vec::new(),
        shutdown_grace: Duration::from_secs(30),
        identity: None,
        retention: default_retention(),
        watches: BTreeMap::new(),
        hooks: BTreeMap::new(),
        registries: BTreeMap::new(),
    }
}

pub(super) static TOP: [Row<Config, Config>; 5] = [
    Row {
        name: "state",
        kind: ValueKind::Path,
        about: "Where the state is kept.",
        read: |config, field| put(&mut config.state, field.path()),
        show: |config| show::path(&config.state),
    },
    Row {
        name: "socket",
        kind: ValueKind::Path,
        about: "The control socket.",
        read: |config, field| put(&mut config.socket, field.path()),
        show: |config| config.socket.as_deref().and_then(show::path),
    },
    Row {
        name: "listen",
        kind: ValueKind::Form("127.0.0.1:9464", 64),
        about: "An address and a port for metrics, health and status over HTTP; whoever can reach it may read them.",
        read: |config, field| put(&mut config.listen, read_listen(field)),
        show: |config| show::text(&config.listen?.to_string()),
    },
    Row {
        name: "allowed_hosts",
        kind: ValueKind::Texts,
        about: "Names by which the address of `listen` may be asked, beside IP addresses and the host's own name.",
        read: |config, field| put(&mut config.allowed_hosts, read_hosts(field)),
        show: |config| show::texts(config.allowed_hosts.iter()),
    },
    Row {
        name: "shutdown_grace",
        kind: ValueKind::Duration,
        about: "How long running hooks may go on when the agent stops; then they are ended, and run again after the next \
                start.",
        read: |config, field| put(&mut config.shutdown_grace, field.duration(Zero::Allowed)),
        show: |config| show::duration(config.shutdown_grace),
    },
];

/// A config with the keys at the top; the tables are still at their defaults.
pub(super) fn read(
    path: &Path,
    entries: &BTreeMap<&str, TomlEntry<'_>>,
    environment: &Environment,
    log: &FaultLog,
) -> Config {
    let keys = keys_of(&TOP);
    let mut config = default_config();
    read_rows(&TOP, &mut config, &TomlTable::new(String::new(), &keys, entries.clone(), log));
    if config.state.as_os_str().is_empty() {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        put(&mut config.state, environment.state(&absolute));
    }
    if config.state.as_os_str().is_empty() {
        let fault = Fault::error("there is no place for the state: $STATE_DIRECTORY and $HOME are not set");
        log.add_missing(fault.help("write state = \"/path\" into the config"));
    }
    if let Some(exposed) = store::exposed(&config.state) {
        log.add_missing(Fault::warning(format!("state: {}", exposed.message)).help(exposed.remedy));
    }
    config
}

fn read_listen(field: &TomlField<'_, '_>) -> Option<SocketAddr> {
    let read = |text: &str| {
        let wrong = |_| format!("{} is not an address with a port; write for example \"127.0.0.1:9464\"", quoted(text));
        text.parse::<SocketAddr>().map_err(wrong)
    };
    let address = field.parsed(read)?;
    if !address.ip().to_canonical().is_loopback() {
        let fault = field.warning(format!("listen \"{address}\" can be reached from outside, without a password"));
        let help = "names of images and hooks can be read there; use \"127.0.0.1:PORT\", or see to it with a firewall";
        field.report(fault.help(help));
    }
    Some(address)
}

fn read_hosts(field: &TomlField<'_, '_>) -> Option<Vec<String>> {
    let names = field.texts()?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
    for (name, field) in &names {
        if name.is_empty() || !name.chars().all(is_part) {
            field.refuse("this is not a name of a host; write it without scheme and port: \"monitor.example.com\"");
        }
    }
    Some(names.into_iter().map(|(name, _)| name.to_owned()).collect())
}
