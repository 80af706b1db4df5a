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
use super::suggest::nearest;
use super::values::Zero;
use super::walk::{Item, Report, Table};
use super::{Registry, keys};

/// The registries by canonical host, and where their tables stand.
pub(super) struct Read<'a> {
    pub(super) registries: BTreeMap<String, Registry>,
    pub(super) items: BTreeMap<String, Item<'a>>,
}

impl Read<'_> {
    /// Warns of tables for hosts that no watch asks, such as one whose port was forgotten. An empty table says nothing,
    /// so nothing of it is lost.
    pub(super) fn warn_of_unused(&self, watches: &BTreeMap<Arc<str>, Arc<Watch>>, report: &Report) {
        let asked: BTreeSet<&str> = watches.values().map(|watch| watch.key.question.repository.registry()).collect();
        let is_empty = |item: &Item<'_>| item.value.get_ref().as_table().is_none_or(|table| table.is_empty());
        let name = |host: &str| host.split(':').next().unwrap_or_default().to_owned();
        for (host, item) in self.items.iter().filter(|(host, item)| !asked.contains(host.as_str()) && !is_empty(item)) {
            let help = match asked.iter().find(|other| name(other) == name(host)) {
                Some(other) => format!("watches ask {other:?}; the port is a part of the name: [registry.{other:?}]"),
                None => match nearest(host, asked.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "watch an image of it, or remove the table".to_owned(),
                },
            };
            let fault = Fault::warning(format!("registry {:?} is asked by no watch", item.name()));
            report.add(fault.at(item.key_place()).help(help));
        }
    }
}

/// Reads the registries' tables.
pub(super) fn read<'a>(items: &BTreeMap<&'a str, Item<'a>>, report: &Report) -> Read<'a> {
    let mut read: BTreeMap<String, (Item<'a>, Registry)> = BTreeMap::new();
    for item in items.values().copied() {
        let host = read_host(item, report);
        let Some(mut table) = Table::of(format!("registry {:?}", item.name()), &keys::REGISTRY, item, report) else {
            continue;
        };
        let registry = read_registry(&mut table, host.as_deref().unwrap_or_default());
        table.finish();
        let Some(host) = host else { continue };
        if let Some((first, _)) = read.get(&host) {
            // The files' order decides which one is the first, not the names'.
            let (first, again) =
                if first.place().order() < item.place().order() { (*first, item) } else { (item, *first) };
            let message = format!("registry {:?} is defined twice: it is the same as {:?}", again.name(), first.name());
            report.add(Fault::error(message).at(again.key_place()).again_after(first.key_place()));
        }
        read.insert(host, (item, registry));
    }
    Read {
        items: read.iter().map(|(host, (item, _))| (host.clone(), *item)).collect(),
        registries: read.into_iter().map(|(host, (_, registry))| (host, registry)).collect(),
    }
}

fn read_host(item: Item<'_>, report: &Report) -> Option<String> {
    let name = item.name();
    let fault = |at: usize, reason: String| {
        report.add(Fault::error(format!("registry {name:?}: {reason}")).at(item.key_character(at)));
    };
    if let Some(at) = name.find("://").or_else(|| name.find('/')) {
        fault(at, "a registry is named by its host alone, as in [registry.\"registry.example.com:5000\"]".to_owned());
        return None;
    }
    canonical_host(name).map_err(|invalid| fault(invalid.at, invalid.reason)).ok()
}

fn read_registry(table: &mut Table<'_, '_>, host: &str) -> Registry {
    let default = Options::default();
    let account = read_account(table);
    let auth_file = read_file(table, "auth_file");
    let ca_file = read_file(table, "ca_file");
    let identity = read_identity(table);
    let plain_at = table.peek("plain_http");
    let plain_http = table.flag("plain_http").unwrap_or(default.plain_http);
    let endpoint = table.parsed("endpoint", read_endpoint);
    if let (true, true, Some(item)) = (plain_http, endpoint.is_some(), plain_at) {
        let text = "plain_http has no effect beside endpoint, whose scheme says it; remove plain_http";
        table.fault(item.key_place(), text);
    }
    let timeout = table.duration("timeout", Zero::Refused).unwrap_or(default.timeout);
    let limits = read_limits(table, host);
    Registry { client: Options { account, auth_file, ca_file, identity, plain_http, endpoint, timeout }, limits }
}

fn read_account(table: &mut Table<'_, '_>) -> Option<Account> {
    let user_at = table.peek("username");
    let (file_at, credential_at) = (table.peek("password_file"), table.peek("password_credential"));
    let username = table.text("username").map(|text| text.text.to_owned());
    let file = read_file(table, "password_file").map(Password::File);
    let credential = table.parsed("password_credential", read_credential).map(Password::Credential);
    match credential_at {
        Some(item) if file_at.is_some() => {
            let text = "there are two passwords, password_file and password_credential; remove one";
            table.fault(item.key_place(), text);
        }
        Some(_) => needs_both(table, ["username", "password_credential"], [user_at, credential_at]),
        None => needs_both(table, ["username", "password_file"], [user_at, file_at]),
    }
    Some(Account { username: username?, password: file.or(credential)? })
}

fn read_identity(table: &mut Table<'_, '_>) -> Option<Identity> {
    let keys = ["client_cert", "client_key"];
    needs_both(table, keys, keys.map(|key| table.peek(key)));
    let [cert, key] = keys.map(|key| read_file(table, key));
    Some(Identity { cert: cert?, key: key? })
}

/// Refuses one of two keys where the other one is absent.
fn needs_both(table: &Table<'_, '_>, [one, other]: [&str; 2], at: [Option<Item<'_>>; 2]) {
    let (item, one, other) = match at {
        [Some(item), None] => (item, one, other),
        [None, Some(item)] => (item, other, one),
        _ => return,
    };
    let fault = Fault::error(table.says(format!("{one} needs {other}"))).at(item.key_place());
    table.report.add_missing(fault.help(format!("add {other}, or remove {one}")));
}

/// The name of a systemd credential, which is that of a file.
fn read_credential(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.len() <= 255 && text != "." && text != "..";
    if is_name && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:".contains(&byte)) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not the name of a credential; write it as in LoadCredential=NAME:FILE"))
    }
}

fn read_limits(table: &mut Table<'_, '_>, host: &str) -> Limits {
    let default = Limits::default_for(host);
    Limits {
        concurrency: table.count("concurrency").unwrap_or(default.concurrency),
        rate: table.parsed("rate", read_rate).unwrap_or(default.rate),
    }
}

/// Requests per second of `10/s`, `600/m` or `1000/h`.
fn read_rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a rate; write for example \"10/s\", \"600/m\" or \"1000/h\"");
    let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let is_number = count.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let count = count.trim().parse::<f64>().ok().filter(|_| is_number).ok_or_else(wrong)?;
    let rate = count / seconds;
    // Fewer than one request a day would hold checks off for longer than anyone means.
    if (1.0 / 86_400.0..=1e6).contains(&rate) {
        Ok(rate)
    } else {
        Err(format!("{text:?} is out of range; a rate is at least \"0.05/h\" and at most \"1000000/s\""))
    }
}

/// `scheme://host[:port][/path]` with scheme and host in lower case and no slash at the end.
fn read_endpoint(text: &str) -> Result<String, String> {
    let example = "write for example \"https://mirror.example.com/hub\"";
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("it is not a URL; {example}"))?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(format!("its scheme is neither http nor https; {example}"));
    }
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if host.contains('@') {
        return Err("a URL with a user or password is not accepted; use username and password_file".to_owned());
    }
    if path.contains(['?', '#']) {
        return Err(format!("it has a query or a fragment; {example}"));
    }
    canonical_host(host).map_err(|invalid| invalid.reason)?;
    if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%:@!$&'()*+,;=".contains(&b)) {
        return Err("its path has characters that a URL cannot have; write them with % and their code".to_owned());
    }
    Ok(format!("{scheme}://{}{}", host.to_ascii_lowercase(), path.trim_end_matches('/')))
}

/// Takes the path of a file. One that is not there is a warning: it may yet come, and another user may see what we do
/// not.
fn read_file(table: &mut Table<'_, '_>, key: &'static str) -> Option<PathBuf> {
    let item = table.peek(key);
    let path = table.path(key)?;
    if let (Some(item), Ok(false)) = (item, path.try_exists()) {
        let text = format!("{key}: {} does not exist", path.display());
        table.report.add(Fault::warning(table.says(text)).at(item.place()));
    }
    Some(path)
}
