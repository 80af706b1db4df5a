//! Logins that `docker login` and `podman login` store in auth files, or in a credential helper that such a file names.
//!
//! Formats: docker `config.json` ("auths", "credHelpers", "credsStore") and containers-auth.json(5), whose keys may
//! have a path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tracing::debug;

use super::helper::Helper;
use super::login::Login;
use super::secret_file::read_text;
use crate::domain::reference::canonical_host;

/// What an auth file has for a repository. The login is used if there is no helper, or if the helper has none.
pub(super) struct FoundLogin {
    pub(super) helper: Option<Helper>,
    pub(super) login: Option<Login>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFileContent {
    #[serde(default)]
    auths: HashMap<String, AuthEntry>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Deserialize)]
struct AuthEntry {
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

struct AuthFile {
    path: PathBuf,
    named_by: Namer,
}

/// Where the path of an auth file comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Namer {
    /// The config: the file must be there.
    Config,
    /// The environment: if the file is there, it must be readable.
    Environment,
    /// It is a default path.
    Convention,
}

/// What each auth file has for a repository, the most important first: the configured one, then the usual ones.
pub(super) async fn find_all(
    configured: Option<&Path>,
    registry: &str,
    repository: &str,
) -> Result<Vec<FoundLogin>, String> {
    let mut all = Vec::new();
    let configured = configured.map(|path| AuthFile { path: path.to_owned(), named_by: Namer::Config });
    for source in configured.into_iter().chain(sources()) {
        let file = source.path.display().to_string();
        let Some(text) = read(&source).await? else {
            debug!(file, "credentials: no such file");
            continue;
        };
        let found = find(&text, registry, repository).map_err(|error| format!("{file}: {error}"))?;
        let what = match &found {
            FoundLogin { helper: Some(_), .. } => "a helper",
            FoundLogin { login: Some(_), .. } => "a login",
            _ => "nothing",
        };
        debug!(file, "credentials: the file has {what} for {registry}");
        all.push(found);
    }
    Ok(all)
}

fn sources() -> Vec<AuthFile> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("HOME");
    let below_home = |path: &str| home.as_deref().map(|home| home.join(path));
    let source = |path: Option<PathBuf>, named_by| path.map(|path| AuthFile { path, named_by });
    let docker = match variable("DOCKER_CONFIG") {
        Some(directory) => source(Some(directory.join("config.json")), Namer::Environment),
        None => source(below_home(".docker/config.json"), Namer::Convention),
    };
    let mut sources = Vec::from_iter(docker);
    match variable("REGISTRY_AUTH_FILE") {
        Some(file) => sources.extend(source(Some(file), Namer::Environment)),
        None => {
            let config = variable("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
            for directory in [variable("XDG_RUNTIME_DIR"), config].into_iter().flatten() {
                sources.extend(source(Some(directory.join("containers/auth.json")), Namer::Convention));
            }
        }
    }
    sources
}

async fn read(source: &AuthFile) -> Result<Option<String>, String> {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match read_text(&source.path, "put a docker config or nothing there").await {
        Ok(text) => Ok(Some(text)),
        Err((NotFound, _)) if source.named_by != Namer::Config => Ok(None),
        // The home directory may be another user's.
        Err((PermissionDenied, _)) if source.named_by == Namer::Convention => Ok(None),
        Err((_, reason)) => Err(reason),
    }
}

/// The helper for the registry, and the login of the entry with the longest key that covers the repository.
fn find(text: &str, registry: &str, repository: &str) -> Result<FoundLogin, String> {
    // The parser's message could quote a secret in the file, so only the position is kept.
    let file: AuthFileContent = serde_json::from_str(text)
        .map_err(|error| format!("not a docker config (line {}, column {})", error.line(), error.column()))?;
    let full = format!("{registry}/{repository}");
    let mut best: Option<(usize, &AuthEntry)> = None;
    for (key, entry) in &file.auths {
        let key = normal(key);
        let covers = full.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if covers && !entry.is_empty() && best.is_none_or(|(length, _)| key.len() > length) {
            best = Some((key.len(), entry));
        }
    }
    let login = best.map(|(_, entry)| entry.login()).transpose()?;
    let own = file.cred_helpers.iter().find(|(key, _)| normal(key) == registry);
    let helper = match own {
        Some((key, name)) if !name.is_empty() => Some(Helper { name: name.clone(), server: key.clone() }),
        Some(_) => None,
        None if file.creds_store.is_empty() => None,
        None => Some(Helper { name: file.creds_store, server: server_of(registry) }),
    };
    Ok(FoundLogin { helper, login })
}

/// The name by which Docker asks a helper for a registry's login.
fn server_of(registry: &str) -> String {
    match registry {
        "docker.io" => "https://index.docker.io/v1/".to_owned(),
        other => other.to_owned(),
    }
}

/// Normalises a key. Docker writes `docker.io` as `https://index.docker.io/v1/`, and others with or without a scheme.
fn normal(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    canonical_host(host).unwrap_or_else(|_| host.to_owned()) + path
}

impl AuthEntry {
    /// With a credential store, Docker leaves an empty entry behind.
    fn is_empty(&self) -> bool {
        self.auth.is_empty() && self.username.is_empty() && self.identitytoken.is_empty()
    }

    fn login(&self) -> Result<Login, String> {
        if !self.identitytoken.is_empty() {
            return Ok(Login::identity(self.identitytoken.clone()));
        }
        if self.auth.is_empty() {
            return Ok(Login::new(self.username.clone(), self.password.clone()));
        }
        let garbled = || "the \"auth\" of its entry is not base64 of user:password".to_owned();
        let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| garbled())?;
        let text = String::from_utf8(bytes).map_err(|_| garbled())?;
        // Docker sometimes pads with zero bytes.
        let (username, password) = text.trim_end_matches('\0').split_once(':').ok_or_else(garbled)?;
        Ok(Login::new(username.to_owned(), password.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(json: &str, registry: &str, repository: &str) -> Result<Option<String>, String> {
        find(json, registry, repository).map(|found| match found.helper {
            Some(helper) => Some(format!("{} {}", helper.name, helper.server)),
            None => Some(found.login?.username),
        })
    }

    #[test]
    fn a_helper_is_asked_by_the_name_that_it_knows() {
        let json = r#"{"auths":{"a.b":{"username":"x","password":"y"}},
            "credHelpers":{"https://ECR.example":"ecr-login","c.d":""},"credsStore":"pass"}"#;
        for (registry, found) in [
            ("ecr.example", Some("ecr-login https://ECR.example")),
            ("docker.io", Some("pass https://index.docker.io/v1/")),
            ("a.b", Some("pass a.b")),
            ("c.d", None),
        ] {
            assert_eq!(user(json, registry, "acme/web"), Ok(found.map(str::to_owned)), "{registry}");
        }
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
            let json = format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}"}}}},"credsStore":""}}"#);
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
        // The order of the keys is another one each time.
        for _ in 0..20 {
            assert_eq!(user(json, "quay.io", "acme/web"), Ok(Some("acme".into())));
            assert_eq!(user(json, "quay.io", "acorn"), Ok(Some("all".into())));
        }
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
