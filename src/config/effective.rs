//! The effective config: every value that is in force, and where it comes from.
//!
//! *Invariant:* values are read from what the config means, never from the file again, so a default stands nowhere but
//! with its type. Nothing in here is secret: the values of a hook's variables are masked, and the arguments of its command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use toml::Value;

use crate::domain::Watch;
use crate::domain::gate::Limits;
use crate::hook::{self, Action};
use crate::registry::{Options, Password};
use crate::store::{Keep, Retention};

use super::fault::{Fault, Faults};
use super::find::Surroundings;
use super::load::{Sections, load_with};
use super::values::written;
use super::walk::Item;
use super::{Config, Hook, Registry};

/// All tables of a config, the top of the file first.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The tables, with what is in force in each.
    pub tables: Vec<Table>,
    /// What is probably not meant.
    pub warnings: Vec<Fault>,
}

/// One table.
#[derive(Debug, Clone)]
pub struct Table {
    /// `retention`, `watch`, `hook` or `registry`; empty for the top of the file.
    pub kind: &'static str,
    /// Its name; empty where there is only one.
    pub name: String,
    /// What is in force, in the order of the keys.
    pub settings: Vec<Setting>,
}

/// A value, and where it comes from.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// The key.
    #[serde(skip)]
    pub key: &'static str,
    /// Its value, as it may be written.
    pub value: Value,
    /// Who says so.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Who says what a value is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// The table itself.
    Table {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// `[defaults]`.
    Defaults {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// Nobody.
    Default,
}

/// Reads the config at `path` as [`load`](fn@super::load) does, and says what is in force.
///
/// # Errors
///
/// Those of [`load`](fn@super::load).
pub fn effective(path: &Path) -> Result<Effective, Faults> {
    let (loaded, tables) = load_with(path, &Surroundings::of_process(), tables)?;
    Ok(Effective { tables, warnings: loaded.warnings })
}

/// The tables of a config that was read from these sections.
pub(super) fn tables(config: &Config, sections: &Sections<'_>) -> Vec<Table> {
    let top = settings(top(config), |key| origin(sections.top.get(key)));
    let retention = settings(retention(&config.retention), |key| origin(sections.retention.get(key)));
    let mut tables = vec![
        Table { kind: "", name: String::new(), settings: top },
        Table { kind: "retention", name: String::new(), settings: retention },
    ];
    for watch in config.watches.values() {
        let item = sections.watches.get(watch.name());
        let settings = settings(watch_values(watch), |key| match item.and_then(|item| item.key_of(key)) {
            Some(own) => origin(Some(&own)),
            None => match origin(sections.defaults.get(key)) {
                Origin::Table { file, line } => Origin::Defaults { file, line },
                other => other,
            },
        });
        tables.push(Table { kind: "watch", name: watch.name().to_owned(), settings });
    }
    for hook in config.hooks.values() {
        let item = sections.hooks.get(&*hook.name);
        let settings = settings(hook_values(hook), |key| origin(item.and_then(|item| item.key_of(key)).as_ref()));
        tables.push(Table { kind: "hook", name: hook.name.to_string(), settings });
    }
    tables.extend(registries(config, sections));
    tables
}

/// The registries with a table, and those that are asked without one.
fn registries(config: &Config, sections: &Sections<'_>) -> Vec<Table> {
    let asked = config.watches.values().map(|watch| watch.key.question.repository.registry().to_owned());
    let hosts: std::collections::BTreeSet<String> = config.registries.keys().cloned().chain(asked).collect();
    let canonical = |name: &str| crate::domain::reference::canonical_host(name).ok();
    let table = |host: String| {
        let registry = config.registries.get(&host).cloned();
        let registry =
            registry.unwrap_or_else(|| Registry { client: Options::default(), limits: Limits::default_for(&host) });
        let item = sections.registries.iter().find(|(name, _)| canonical(name).as_ref() == Some(&host));
        let own = |key: &str| item.and_then(|(_, item)| item.key_of(key));
        Table {
            kind: "registry",
            settings: settings(registry_values(&registry), |key| origin(own(key).as_ref())),
            name: host,
        }
    };
    hosts.into_iter().map(table).collect()
}

fn origin(item: Option<&Item<'_>>) -> Origin {
    item.map_or(Origin::Default, |item| {
        let place = item.key_place();
        Origin::Table { file: place.file().display().to_string(), line: place.line() }
    })
}

type Values = Vec<(&'static str, Option<Value>)>;

fn settings(values: Values, origin: impl Fn(&'static str) -> Origin) -> Vec<Setting> {
    let set = values.into_iter().filter_map(|(key, value)| Some(Setting { key, value: value?, origin: origin(key) }));
    set.collect()
}

fn top(config: &Config) -> Values {
    vec![
        ("state", path(Some(&config.state))),
        ("socket", path(config.socket.as_ref())),
        ("listen", text(config.listen.map(|address| address.to_string()).as_deref())),
        ("shutdown_grace", duration(config.shutdown_grace)),
    ]
}

fn retention(retention: &Retention) -> Values {
    let count = |keep: &Keep| Some(keep.count.into());
    let age = |keep: &Keep| keep.age.and_then(duration);
    let Retention { changes, deliveries, outputs } = retention;
    vec![
        ("changes", count(changes)),
        ("changes_age", age(changes)),
        ("deliveries", count(deliveries)),
        ("deliveries_age", age(deliveries)),
        ("outputs", count(outputs)),
        ("outputs_age", age(outputs)),
    ]
}

fn watch_values(watch: &Watch) -> Values {
    let platform = watch.key.question.platform.as_ref().map(ToString::to_string);
    let zone = watch.schedule.zone().and_then(|zone| zone.iana_name());
    vec![
        ("image", text(Some(&watch.key.question.reference()))),
        ("schedule", text(Some(&watch.schedule.to_string()))),
        ("timezone", text(zone)),
        ("jitter", duration(watch.jitter)),
        ("platform", text(platform.as_deref())),
        ("settle", duration(watch.policy.settle)),
        ("confirm_after", duration(watch.policy.confirm_after)),
        ("absent_after", duration(watch.policy.absent_after)),
        ("hooks", texts(watch.hooks.iter())),
        ("enabled", Some(watch.enabled.into())),
    ]
}

fn hook_values(hook: &Hook) -> Values {
    let Action::Command(command) = &hook.action;
    let program = match &command.argv[..] {
        [shell, flag, script] if shell == "/bin/sh" && flag == "-c" => Some(hook::masked(script).into()),
        _ => texts(command.masked().iter()),
    };
    let env: toml::Table = command.env.keys().map(|name| (name.clone(), Value::from("***"))).collect();
    let root = PathBuf::from("/");
    vec![
        ("command", program),
        ("on", texts(hook.on.iter().map(|kind| kind.as_str()))),
        ("timeout", duration(hook.timeout)),
        ("attempts", Some(hook.retry.attempts.into())),
        ("backoff", duration(hook.retry.backoff.first)),
        ("backoff_max", duration(hook.retry.backoff.max)),
        ("cwd", path(Some(command.cwd.as_ref().unwrap_or(&root)))),
        ("env", Some(Value::Table(env))),
        ("pass_env", texts(command.pass_env.iter())),
        ("concurrency", i64::try_from(hook.concurrency).ok().map(Value::from)),
    ]
}

fn registry_values(registry: &Registry) -> Values {
    let client = &registry.client;
    let (file, credential) = match client.account.as_ref().map(|account| &account.password) {
        Some(Password::File(path)) => (Some(path), None),
        Some(Password::Credential(name)) => (None, Some(name.as_str())),
        None => (None, None),
    };
    let identity = client.identity.as_ref();
    vec![
        ("username", text(client.account.as_ref().map(|account| account.username.as_str()))),
        ("password_file", path(file)),
        ("password_credential", text(credential)),
        ("auth_file", path(client.auth_file.as_ref())),
        ("ca_file", path(client.ca_file.as_ref())),
        ("client_cert", path(identity.map(|identity| &identity.cert))),
        ("client_key", path(identity.map(|identity| &identity.key))),
        // With an endpoint, its scheme says it.
        ("plain_http", client.endpoint.is_none().then_some(client.plain_http.into())),
        ("endpoint", text(client.endpoint.as_deref())),
        ("concurrency", Some(registry.limits.concurrency.into())),
        ("rate", text(Some(&rate(registry.limits.rate)))),
        ("timeout", duration(client.timeout)),
    ]
}

fn text(text: Option<&str>) -> Option<Value> {
    text.map(Value::from)
}

fn texts(texts: impl Iterator<Item = impl ToString>) -> Option<Value> {
    Some(Value::Array(texts.map(|text| Value::from(text.to_string())).collect()))
}

fn path(path: Option<&PathBuf>) -> Option<Value> {
    path.map(|path| path.display().to_string().into())
}

fn duration(duration: Duration) -> Option<Value> {
    Some(written(duration).into())
}

/// A rate in the unit in which it is a whole number.
fn rate(per_second: f64) -> String {
    let units = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let whole = |count: f64| (count - count.round()).abs() < 1e-6 && count >= 1.0;
    match units.iter().find(|(_, seconds)| whole(per_second * seconds)) {
        Some((unit, seconds)) => format!("{:.0}/{unit}", per_second * seconds),
        None => format!("{}/h", per_second * 3600.0),
    }
}

/// The value of a key where a config says nothing of it, for each key of these tables that has one.
pub(super) fn defaults_of(kind: &str) -> Vec<(&'static str, Value)> {
    let found = super::load::smallest(tables).into_iter().find(|table| table.kind == kind);
    let settings = found.map(|table| table.settings).unwrap_or_default();
    let defaults = settings.into_iter().filter(|setting| setting.origin == Origin::Default);
    defaults.map(|setting| (setting.key, setting.value)).collect()
}

impl Table {
    /// What is in force and has a meaning: the spread and the zone of an interval have none.
    pub fn meaningful(&self) -> impl Iterator<Item = &Setting> {
        let is_cron = self.settings.iter().any(|setting| setting.key == "timezone");
        self.settings.iter().filter(move |setting| self.kind != "watch" || setting.key != "jitter" || is_cron)
    }

    /// `[watch.web]`, with quotes where the name needs them.
    pub fn header(&self) -> String {
        let is_bare = self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let name = if is_bare { self.name.clone() } else { format!("{:?}", self.name) };
        match (self.kind, self.name.as_str()) {
            ("", _) => String::new(),
            (kind, "") => format!("[{kind}]"),
            (kind, _) => format!("[{kind}.{name}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_where_they_can_be() {
        for (text, per_second) in [("10/s", 10.0), ("6/m", 0.1), ("1000/h", 1000.0 / 3600.0), ("0.5/h", 0.5 / 3600.0)] {
            assert_eq!(rate(per_second), text);
        }
    }
}
