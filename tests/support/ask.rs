//! `taghook check --image`: one question to a registry, without a config.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::registry::{Registry, base64};

/// No test needs as long; a child that does is killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// One run of the binary in an environment that has nothing of ours.
pub struct Ask {
    pub command: Command,
    pub home: tempfile::TempDir,
}

/// What came of it.
#[derive(Debug)]
pub struct Told {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ask {
    pub fn new(arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_taghook"));
        command.env_clear().env("HOME", home.path()).arg("check").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, home }
    }

    /// Over plain HTTP, as JSON.
    pub fn image(image: &str) -> Self {
        Self::new(&["--plain-http", "--json", "--image", image])
    }

    pub fn platform(mut self, platform: &str) -> Self {
        self.command.args(["--platform", platform]);
        self
    }

    /// With `docker login` for a registry.
    pub fn docker_login(self, registry: &str, login: &str) -> Self {
        let auth = base64(login);
        self.docker_config(&serde_json::json!({"auths": {registry: {"auth": auth}}}).to_string())
    }

    pub fn docker_config(self, text: &str) -> Self {
        std::fs::create_dir_all(self.home.path().join(".docker")).unwrap();
        std::fs::write(self.home.path().join(".docker/config.json"), text).unwrap();
        self
    }

    /// With a credential helper of this name: a shell script that is run with `sh` in the home directory.
    pub fn helper(mut self, name: &str, script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.home.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\ncd \"$HOME\"\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.command.env("PATH", format!("{}:/usr/bin:/bin", self.home.path().display()));
        self
    }

    pub fn run(mut self) -> Told {
        let child = self.command.spawn().unwrap();
        let pid = child.id().to_string();
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        });
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        drop(done);
        watchdog.join().unwrap();
        Told {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// The digest; anything else ends the test.
    pub fn digest(self) -> String {
        let told = self.run();
        let line = told.json();
        assert_eq!((told.code, line["outcome"].as_str()), (0, Some("present")), "{told:?}");
        line["digest"].as_str().unwrap().to_owned()
    }

    /// The kind and the message of the failure; anything else ends the test.
    pub fn failure(self) -> (String, String) {
        let told = self.run();
        let line = told.json();
        assert_eq!((told.code, line["outcome"].as_str()), (1, Some("failed")), "{told:?}");
        assert_eq!(line["digest"], Value::Null);
        (line["error"]["kind"].as_str().unwrap().to_owned(), line["error"]["message"].as_str().unwrap().to_owned())
    }
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(self.out.trim()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A registry that holds `acme/web:stable`, and the tag's digest.
pub fn acme() -> (Registry, String, String) {
    let registry = Registry::start();
    let digest = registry.push_image("acme/web", "stable", "1");
    let image = registry.image("acme/web", "stable");
    (registry, image, digest)
}
