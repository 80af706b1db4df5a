//! `[registry."HOST"]` → how registries are reached.
//!
//! *Invariant:* no password is ever in the config, nor in a message about it: not in an endpoint either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::Watch;
use crate::domain::gate::Limits;
use crate::domain::reference::canonical_host;
use crate::registry::{Account, Identity, Options, Password};

use super::fault::Fault;
use super::key::ValueKind;
use super::log::FaultLog;
use super::model::RegistryConfig;
use super::named::FileContent;
use super::names::title;
use super::quote::quoted;
use super::row::{Row, keys_of, put, read_rows};
use super::show;
use super::suggest::{MOST_COMPARISONS, nearest};
use super::values::Zero;
use super::walk::{TomlEntry, TomlTable};

/// What holds for a registry without a table.
pub(super) fn default_registry(host: &str) -> RegistryConfig {
    RegistryConfig { client: Options::default(), limits: Limits::default_for(host) }
}

pub(super) static REGISTRY: [Row<RegistryConfig, RegistryConfig>; 12] = [
    Row {
        name: "username",
        kind: ValueKind::Text,
        about: "The user; needs password_file or password_credential.",
        read: |registry, field| put(&mut account(registry).username, field.text()),
        show: |registry| show::text(&registry.client.account.as_ref()?.username),
    },
    Row {
        name: "password_file",
        kind: ValueKind::Path,
        about: "The file that holds the password; it is read when it is needed, so that a new password is picked up.",
        read: |registry, field| {
            put(&mut account(registry).password, field.file_path(FileContent::Secret).map(Password::File))
        },
        show: |registry| match &registry.client.account.as_ref()?.password {
            Password::File(path) => show::path(path),
            Password::Credential(_) => None,
        },
    },
    Row {
        name: "password_credential",
        kind: ValueKind::Text,
        about: "Instead of password_file: a credential that systemd hands over, as in \
                LoadCredential=robot:/etc/taghook/robot.",
        read: |registry, field| {
            put(&mut account(registry).password, field.parsed(read_credential).map(Password::Credential));
        },
        show: |registry| match &registry.client.account.as_ref()?.password {
            Password::Credential(name) => show::text(name),
            Password::File(_) => None,
        },
    },
    Row {
        name: "auth_file",
        kind: ValueKind::Path,
        about: "A file like docker's config.json or podman's auth.json, looked at before the usual ones; it must exist.",
        read: |registry, field| put(&mut registry.client.auth_file, field.file_path(FileContent::Secret)),
        show: |registry| registry.client.auth_file.as_deref().and_then(show::path),
    },
    Row {
        name: "ca_file",
        kind: ValueKind::Path,
        about: "Certificates (PEM) that are trusted beside the system's.",
        read: |registry, field| put(&mut registry.client.ca_file, field.file_path(FileContent::Certificates)),
        show: |registry| registry.client.ca_file.as_deref().and_then(show::path),
    },
    Row {
        name: "client_cert",
        kind: ValueKind::Path,
        about: "The certificate (PEM) that is shown to the registry.",
        read: |registry, field| put(&mut identity(registry).cert, field.file_path(FileContent::Certificates)),
        show: |registry| show::path(&registry.client.identity.as_ref()?.cert),
    },
    Row {
        name: "client_key",
        kind: ValueKind::Path,
        about: "The key (PEM) of client_cert.",
        read: |registry, field| put(&mut identity(registry).key, field.file_path(FileContent::Secret)),
        show: |registry| show::path(&registry.client.identity.as_ref()?.key),
    },
    Row {
        name: "plain_http",
        kind: ValueKind::Flag,
        about: "Speak plain HTTP; the default is HTTPS, also for localhost.",
        read: |registry, field| put(&mut registry.client.plain_http, field.flag()),
        // The scheme of an endpoint says it instead.
        show: |registry| registry.client.endpoint.is_none().then_some(registry.client.plain_http.into()),
    },
    Row {
        name: "endpoint",
        kind: ValueKind::Url("https://mirror.example.com/hub"),
        about: "Ask here instead, for example a mirror; the path is put before the repository's name: /v2/hub/NAME.",
        read: |registry, field| put(&mut registry.client.endpoint, field.parsed(read_endpoint)),
        show: |registry| registry.client.endpoint.as_deref().and_then(show::text),
    },
    Row {
        name: "concurrency",
        kind: ValueKind::Count,
        about: "How many checks may be under way at a time; 1 for public.ecr.aws.",
        read: |registry, field| put(&mut registry.limits.concurrency, field.count()),
        show: |registry| Some(registry.limits.concurrency.into()),
    },
    Row {
        name: "rate",
        kind: ValueKind::Form("10/s", 32),
        about: "How many requests may be made: a number per second, minute or hour (\"600/m\", \"1000/h\"); \"1/s\" for \
                public.ecr.aws.",
        read: |registry, field| put(&mut registry.limits.rate, field.parsed(read_rate)),
        show: |registry| show::text(&show_rate(registry.limits.rate)),
    },
    Row {
        name: "timeout",
        kind: ValueKind::Duration,
        about: "How long one request may take.",
        read: |registry, field| put(&mut registry.client.timeout, field.duration(Zero::Refused)),
        show: |registry| show::duration(registry.client.timeout),
    },
];

/// The account while its keys are read; that one of them is missing is found afterwards.
fn account(registry: &mut RegistryConfig) -> &mut Account {
    let empty = || Account { username: String::new(), password: Password::File(PathBuf::new()) };
    registry.client.account.get_or_insert_with(empty)
}

/// The client certificate and its key, as [`account`].
fn identity(registry: &mut RegistryConfig) -> &mut Identity {
    registry.client.identity.get_or_insert_with(|| Identity { cert: PathBuf::new(), key: PathBuf::new() })
}

/// The registries with a table, by canonical host.
pub(super) fn read(entries: &BTreeMap<&str, TomlEntry<'_>>, log: &FaultLog) -> BTreeMap<String, RegistryConfig> {
    let keys = keys_of(&REGISTRY);
    let mut registries = BTreeMap::new();
    let mut seen: BTreeMap<String, TomlEntry<'_>> = BTreeMap::new();
    for entry in entries.values().copied() {
        let host = read_host(entry, log);
        let Some(table) = TomlTable::of(title("registry", entry.name()), &keys, entry, log) else { continue };
        let mut registry = default_registry(host.as_deref().unwrap_or_default());
        read_rows(&REGISTRY, &mut registry, &table);
        check_account(&table);
        check_pair(&table, ["client_cert", "client_key"]);
        check_scheme(&registry, &table);
        let Some(host) = host else { continue };
        if let Some(other) = seen.insert(host.clone(), entry) {
            log.add(same_registry(other, entry));
        }
        registries.insert(host, registry);
    }
    registries
}

/// A domain name has at most 253 characters, and a port five.
const LONGEST_HOST: usize = 253 + 1 + 5;

fn read_host(entry: TomlEntry<'_>, log: &FaultLog) -> Option<String> {
    let name = entry.name();
    let fault = |at: usize, reason: String| {
        let message = format!("{}: {reason}", title("registry", name));
        log.add(Fault::error(message).at(entry.key_character(at)));
    };
    if name.len() > LONGEST_HOST {
        fault(0, format!("a host with its port is at most {LONGEST_HOST} characters long, not {}", name.len()));
        return None;
    }
    if let Some(at) = name.find("://").or_else(|| name.find('/')) {
        fault(at, "a registry is named by its host alone, as in [registry.\"registry.example.com:5000\"]".to_owned());
        return None;
    }
    if let Some(at) = name.find('@') {
        fault(at, "a registry is named without a user; use username and password_file".to_owned());
        return None;
    }
    canonical_host(name).map_err(|invalid| fault(invalid.at, invalid.reason)).ok()
}

/// Two names of one registry. The order of the files decides which one comes first, not that of the names.
fn same_registry(one: TomlEntry<'_>, other: TomlEntry<'_>) -> Fault {
    let [one_at, other_at] = [one, other].map(|entry| entry.key_location());
    let is_swapped = other_at.order() < one_at.order();
    let ((first, first_at), (again, again_at)) =
        if is_swapped { ((other, other_at), (one, one_at)) } else { ((one, one_at), (other, other_at)) };
    let message =
        format!("{} is defined twice: it is the same as {}", title("registry", again.name()), quoted(first.name()));
    Fault::error(message).at(again_at).again_after(Some(first_at)).help("remove one of the two")
}

fn check_account(table: &TomlTable<'_, '_>) {
    match table.field("password_credential") {
        Some(field) if table.field("password_file").is_some() => {
            let text = "there are two passwords, password_file and password_credential; remove one";
            field.report(field.error(text).at(field.key_location()));
        }
        Some(_) => check_pair(table, ["username", "password_credential"]),
        None => check_pair(table, ["username", "password_file"]),
    }
}

/// Refuses one of two keys if the other one is absent.
fn check_pair(table: &TomlTable<'_, '_>, [one, other]: [&str; 2]) {
    let (field, present, absent) = match (table.field(one), table.field(other)) {
        (Some(field), None) => (field, one, other),
        (None, Some(field)) => (field, other, one),
        _ => return,
    };
    let fault = field.error(format!("{present} needs {absent}")).at(field.key_location());
    table.log.add_missing(fault.help(format!("add {absent}, or remove {present}")));
}

fn check_scheme(registry: &RegistryConfig, table: &TomlTable<'_, '_>) {
    let is_said_twice = registry.client.plain_http && registry.client.endpoint.is_some();
    if let Some(field) = table.field("plain_http").filter(|_| is_said_twice) {
        let text = "plain_http has no effect beside endpoint, whose scheme says it; remove plain_http";
        field.report(field.error(text).at(field.key_location()));
    }
}

/// Warns of tables for hosts that no watch asks, such as one whose port was forgotten. An empty table has no effect, so
/// nothing of it is lost.
pub(super) fn warn_of_unused(
    entries: &BTreeMap<&str, TomlEntry<'_>>,
    watches: &BTreeMap<Arc<str>, Arc<Watch>>,
    log: &FaultLog,
) {
    let asked: BTreeSet<&str> = watches.values().map(|watch| watch.key.question.repository.registry()).collect();
    let mut compared = 0;
    let is_empty = |entry: &TomlEntry<'_>| entry.value.get_ref().as_table().is_none_or(|table| table.is_empty());
    let name = |host: &str| host.split(':').next().unwrap_or_default().to_owned();
    for entry in entries.values().filter(|entry| !is_empty(entry)) {
        let Some(host) = canonical_host(entry.name()).ok().filter(|host| !asked.contains(host.as_str())) else {
            continue;
        };
        compared += asked.len();
        let known = || asked.iter().copied().filter(|_| compared <= MOST_COMPARISONS);
        let help = match known().find(|other| name(other) == name(&host)) {
            Some(other) => format!("watches ask {0}; the port is a part of the name: [registry.{0}]", quoted(other)),
            None => match nearest(&host, known()) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None => "watch an image of it, or remove the table".to_owned(),
            },
        };
        let fault = Fault::warning(format!("no watch uses registry {}", quoted(entry.name())));
        log.add(fault.at(entry.key_location()).help(help));
    }
}

/// The name of a systemd credential, which is that of a file.
fn read_credential(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.len() <= 255 && text != "." && text != "..";
    if is_name && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:".contains(&byte)) {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is not the name of a credential; write it as in LoadCredential=NAME:FILE", quoted(text)))
    }
}

/// Requests per second of `10/s`, `600/m` or `1000/h`.
fn read_rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("{} is not a rate; write for example \"10/s\", \"600/m\" or \"1000/h\"", quoted(text));
    let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = RATE_UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, seconds)| seconds);
    let seconds = seconds.ok_or_else(wrong)?;
    let is_number = count.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let count = count.trim().parse::<f64>().ok().filter(|_| is_number).ok_or_else(wrong)?;
    let rate = count / seconds;
    // Fewer than one request a day would delay checks for longer than anyone means.
    if (1.0 / 86_400.0..=1e6).contains(&rate) {
        Ok(rate)
    } else {
        Err(format!("{} is out of range; a rate is at least \"0.05/h\" and at most \"1000000/s\"", quoted(text)))
    }
}

/// The units of a rate in seconds.
const RATE_UNITS: [(&str, f64); 3] = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// A rate in the first unit in which it is a whole number.
fn show_rate(per_second: f64) -> String {
    let whole = |count: f64| (count - count.round()).abs() < 1e-6 && count >= 1.0;
    match RATE_UNITS.iter().find(|(_, seconds)| whole(per_second * seconds)) {
        Some((unit, seconds)) => format!("{:.0}/{unit}", per_second * seconds),
        None => format!("{}/h", per_second * 3600.0),
    }
}

/// `scheme://host[:port][/path]` with scheme and host in lower case and no slash at the end. Errors do not show the URL.
fn read_endpoint(text: &str) -> Result<String, String> {
    let example = "write for example \"https://mirror.example.com/hub\"";
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("it is not a URL; {example}"))?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(format!("its scheme is neither http nor https; {example}"));
    }
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let has_login = "a URL with a user or password is not accepted; use username and password_file";
    if host.contains('@') {
        return Err(has_login.to_owned());
    }
    if path.contains(['?', '#']) {
        return Err(format!("it has a query or a fragment; {example}"));
    }
    // The reason may show the host, which is a piece of a password if the password has a slash in it.
    canonical_host(host).map_err(|invalid| if path.contains('@') { has_login.to_owned() } else { invalid.reason })?;
    if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%:@!$&'()*+,;=".contains(&b)) {
        return Err("its path has characters that a URL cannot have; write them with % and their code".to_owned());
    }
    Ok(format!("{scheme}://{}{}", host.to_ascii_lowercase(), path.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_where_they_can_be() {
        for (text, per_second) in [("10/s", 10.0), ("6/m", 0.1), ("1000/h", 1000.0 / 3600.0), ("0.5/h", 0.5 / 3600.0)] {
            assert_eq!(show_rate(per_second), text);
        }
    }
}
