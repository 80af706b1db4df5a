//! Logins that `docker login` and `podman login` have left in files.
//!
//! Formats: docker `config.json` ("auths") and containers-auth.json(5), whose keys may have a path.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::credentials::Login;
use crate::domain::reference::canonical_host;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// A file that may have logins; one that was named explicitly must be readable if it exists.
struct Source {
    path: PathBuf,
    explicit: bool,
}

/// The login for a repository of a registry, from the first file that has one.
pub(super) fn login(registry: &str, repository: &str) -> Result<Option<Login>, String> {
    for source in sources() {
        let Some(text) = read(&source)? else { continue };
        if let Some(login) = find(&text, registry, repository).map_err(|e| format!("{}: {e}", source.path.display()))? {
            return Ok(Some(login));
        }
    }
    Ok(None)
}

fn sources() -> Vec<Source> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("HOME");
    let below_home = |path: &str| home.as_deref().map(|home| home.join(path));
    let source = |path: Option<PathBuf>, explicit| path.map(|path| Source { path, explicit });
    let docker = match variable("DOCKER_CONFIG") {
        Some(directory) => source(Some(directory.join("config.json")), true),
        None => source(below_home(".docker/config.json"), false),
    };
    let mut sources = Vec::from_iter(docker);
    match variable("REGISTRY_AUTH_FILE") {
        Some(file) => sources.extend(source(Some(file), true)),
        None => {
            let config = variable("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
            for directory in [variable("XDG_RUNTIME_DIR"), config].into_iter().flatten() {
                sources.extend(source(Some(directory.join("containers/auth.json")), false));
            }
        }
    }
    sources
}

fn read(source: &Source) -> Result<Option<String>, String> {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match std::fs::read_to_string(&source.path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == NotFound => Ok(None),
        // Somebody else's home directory is no fault of this one.
        Err(error) if error.kind() == PermissionDenied && !source.explicit => Ok(None),
        Err(error) => Err(format!("{}: {error}", source.path.display())),
    }
}

/// The entry whose key is the longest that the repository lies below.
fn find(text: &str, registry: &str, repository: &str) -> Result<Option<Login>, String> {
    // The parser's own message could repeat a part of the file.
    let file: File = serde_json::from_str(text)
        .map_err(|error| format!("not a docker config (line {}, column {})", error.line(), error.column()))?;
    let full = format!("{registry}/{repository}");
    let mut best: Option<(usize, &Entry)> = None;
    for (key, entry) in &file.auths {
        let key = normal(key);
        let covers = full.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if covers && !entry.is_empty() && best.is_none_or(|(length, _)| key.len() > length) {
            best = Some((key.len(), entry));
        }
    }
    best.map(|(_, entry)| entry.login()).transpose()
}

/// `https://index.docker.io/v1/` is how docker writes `docker.io`; others are written with or without a scheme.
fn normal(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    canonical_host(host).unwrap_or_else(|_| host.to_owned()) + path
}

impl Entry {
    /// With a credential store, docker leaves an entry that only says that there is one.
    fn is_empty(&self) -> bool {
        self.auth.is_empty() && self.username.is_empty()
    }

    fn login(&self) -> Result<Login, String> {
        if self.auth.is_empty() {
            return Ok(Login { username: self.username.clone(), password: self.password.clone().into() });
        }
        let garbled = || "the \"auth\" of its entry is not base64 of user:password".to_owned();
        // Docker pads with zero bytes at times.
        let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| garbled())?;
        let text = String::from_utf8(bytes).map_err(|_| garbled())?;
        let (username, password) = text.trim_end_matches('\0').split_once(':').ok_or_else(garbled)?;
        Ok(Login { username: username.to_owned(), password: password.to_owned().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(json: &str, registry: &str, repository: &str) -> Result<Option<String>, String> {
        find(json, registry, repository).map(|login| login.map(|login| login.username))
    }

    #[test]
    fn every_way_to_write_a_registry_is_understood() {
        let auth = STANDARD.encode("robot:secret");
        for (key, registry) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://GHCR.io", "ghcr.io"),
            ("http://localhost:5000/v2/", "localhost:5000"),
            ("quay.io/acme", "quay.io"),
        ] {
            let json = format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}"}}}},"credsStore":"x"}}"#);
            assert_eq!(user(&json, registry, "acme/web"), Ok(Some("robot".into())), "{key}");
            assert_eq!(user(&json, "other.example", "acme/web"), Ok(None), "{key}");
        }
    }

    #[test]
    fn the_most_specific_key_wins_and_empty_entries_do_not_count() {
        let json = r#"{"auths":{
            "quay.io":{"username":"all","password":"x"},
            "quay.io/acme":{"username":"acme","password":"x"},
            "quay.io/acme/web":{},
            "quay.io/ac":{"username":"no","password":"x"}}}"#;
        assert_eq!(user(json, "quay.io", "acme/web"), Ok(Some("acme".into())));
        assert_eq!(user(json, "quay.io", "other"), Ok(Some("all".into())));
    }

    #[test]
    fn what_is_garbled_is_an_error_that_repeats_nothing() {
        for json in ["{\"auths\":{\"a.b\":\"c2VjcmV0\"}}", "{\"auths\":{\"a.b\":{\"auth\":\"c2VjcmV0\"}}}", "c2VjcmV0"]
        {
            let error = user(json, "a.b", "x").unwrap_err();
            assert!(!error.contains("c2VjcmV0") && !error.contains("secret"), "{error}");
        }
    }
}
