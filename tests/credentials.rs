//! Where logins come from: the real binary with a config, a home and an environment, against a scripted registry.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::bed::one;
use support::process::Running;
use support::registry::{Registry, base64};
use support::sandbox::{Sandbox, Who};

/// A registry that wants a login, and a watch of `acme/web:stable` there.
struct Scene {
    registry: Registry,
    sandbox: Sandbox,
    env: Vec<(&'static str, PathBuf)>,
}

impl Scene {
    /// `table` is what stands in the registry's table.
    fn new(table: &str) -> Self {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        registry.push_image("acme/web", "stable", "1");
        registry.wants_basic("robot:right");
        let host = registry.host();
        sandbox.write_whole_config(&format!(
            "[watch.web]\nimage = '{host}/acme/web:stable'\n[registry.'{host}']\nplain_http = true\n{table}\n"
        ));
        Self { registry, sandbox, env: Vec::new() }
    }

    fn env(mut self, name: &'static str, path: PathBuf) -> Self {
        self.env.push((name, path));
        self
    }

    /// Writes a file of the sandbox, with the folders above it.
    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.sandbox.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A file as docker and podman write it.
    fn auths(&self, path: &str, key: &str, login: &str) -> PathBuf {
        self.write(path, &json!({"auths": {key: {"auth": base64(login)}}}).to_string())
    }

    #[track_caller]
    fn check(&self, code: i32) -> Value {
        let mut command = self.sandbox.command(Who::Us, &["check", "--dry-run", "--json"]);
        command.envs(self.env.iter().map(|(name, path)| (name, path)));
        one(&Running::start(command).finish().expect(code))
    }

    /// The kind and message of the failure.
    #[track_caller]
    fn failure(&self) -> (String, String) {
        let error = self.check(1)["error"].take();
        (error["kind"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
    }

    /// The logins that were sent, as the user's names.
    fn sent(&self) -> Vec<String> {
        let log = self.registry.log();
        log.iter().filter_map(|seen| seen.header("authorization").map(str::to_owned)).collect()
    }
}

#[test]
fn a_password_is_read_from_a_systemd_credential() {
    let scene = Scene::new("username = 'robot'\npassword_credential = 'registry-robot'");
    let (kind, message) = scene.failure();
    assert_eq!(kind, "credentials");
    assert!(message.contains("LoadCredential=registry-robot:"), "{message}");

    let file = scene.write("run/credentials/registry-robot", "right\n");
    let scene = scene.env("CREDENTIALS_DIRECTORY", file.parent().map(Path::to_owned).unwrap());
    assert_eq!(scene.check(0)["outcome"], "first");
    std::fs::remove_file(file).unwrap();
    let (kind, message) = scene.failure();
    assert!(kind == "credentials" && message.contains("registry-robot"), "{message}");
}

#[test]
fn the_first_source_that_has_a_login_counts() {
    let scene = Scene::new("username = 'robot'\npassword_file = 'password'\nauth_file = 'auth.json'");
    let host = scene.registry.host();
    scene.registry.wants_basic("nobody:nothing");
    scene.write("password", "0");
    scene.auths("auth.json", &host, "robot:1");
    let docker = scene.auths("home/.docker/config.json", &host, "robot:2");
    let named = scene.auths("named.json", &host, "robot:3");
    scene.auths("runtime/containers/auth.json", &host, "robot:4");
    let last = scene.auths("home/.config/containers/auth.json", &host, "robot:5");
    let runtime = scene.sandbox.path().join("runtime");
    let mut scene = scene.env("REGISTRY_AUTH_FILE", named.clone()).env("XDG_RUNTIME_DIR", runtime.clone());
    let config = std::fs::read_to_string(scene.sandbox.config_path()).unwrap();
    for number in 0..6 {
        match number {
            // The account's own table; then each file in its turn.
            0 => {}
            1 => std::fs::write(
                scene.sandbox.config_path(),
                config.replace("username = 'robot'\npassword_file = 'password'\n", ""),
            )
            .unwrap(),
            // One that is there and has nothing for this registry is passed over.
            2 => drop(scene.auths("auth.json", "elsewhere.example", "robot:x")),
            3 => std::fs::remove_file(&docker).unwrap(),
            4 => scene.env.retain(|(name, _)| *name != "REGISTRY_AUTH_FILE"),
            _ => std::fs::remove_dir_all(&runtime).unwrap(),
        }
        scene.registry.clear_log();
        assert_eq!(scene.failure().0, "unauthorized");
        let wanted = format!("Basic {}", base64(&format!("robot:{number}")));
        assert_eq!(scene.sent().first(), Some(&wanted), "{number}");
    }
    std::fs::remove_file(last).unwrap();
    scene.registry.clear_log();
    let (kind, message) = scene.failure();
    assert!(kind == "unauthorized" && message.contains("an anonymous request"), "{message}");
}

#[test]
fn an_auth_file_that_the_config_names_must_be_there() {
    let scene = Scene::new("auth_file = 'auth.json'");
    let (kind, message) = scene.failure();
    assert!(kind == "credentials" && message.contains("auth.json"), "{message}");
    scene.auths("auth.json", &scene.registry.host(), "robot:right");
    scene.check(0);
}

#[test]
fn the_longest_key_that_covers_the_repository_counts() {
    let scene = Scene::new("auth_file = 'auth.json'");
    let host = scene.registry.host();
    let entry = |login: &str| json!({"auth": base64(login)});
    let auths = json!({"auths": {
        &host: entry("robot:host"),
        format!("{host}/acme"): entry("robot:right"),
        format!("{host}/acme/we"): entry("robot:beside"),
        format!("{host}/acme/web/inner"): entry("robot:below"),
    }});
    scene.write("auth.json", &auths.to_string());
    scene.check(0);
    assert_eq!(scene.sent(), [format!("Basic {}", base64("robot:right"))]);
}

#[test]
fn with_an_endpoint_files_are_asked_for_the_endpoints_host() {
    let scene = Scene::new("");
    let host = scene.registry.host();
    scene.registry.push_image("hub/library/nginx", "latest", "1");
    scene.sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = 'nginx'\n[registry.'docker.io']\nendpoint = 'http://{host}/hub'\nauth_file = 'auth.json'\n"
    ));
    scene.auths("auth.json", "https://index.docker.io/v1/", "robot:right");
    assert_eq!(scene.failure().0, "unauthorized");
    assert_eq!(scene.sent(), Vec::<String>::new(), "a login for Docker Hub is none for its mirror");
    scene.auths("auth.json", &host, "robot:right");
    scene.check(0);
}
