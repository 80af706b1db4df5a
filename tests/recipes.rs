//! Each recipe of docs/recipes.md, run by the real binary in the environment that its unit gives, with stand-ins for docker and
//! the like that note how they were called.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::{Path, PathBuf};

use support::process::{Output, Running};
use support::sandbox::{Sandbox, Who, chmod};

/// What is not on every machine, and what each needs of its environment, in words of the shell: without it, it fails in the
/// words of the real one.
const STAND_INS: [(&str, &str); 6] = [
    // The system's manager is at a fixed place, the user's is not.
    ("systemctl", "case $* in *--user*) need XDG_RUNTIME_DIR 'Failed to connect to bus: No medium found' ;; esac"),
    ("systemd-run", "case $* in *--user*) need XDG_RUNTIME_DIR 'Failed to connect to bus: No medium found' ;; esac"),
    // The login and the plugins, compose among them, are below it.
    ("docker", "need HOME 'docker: unknown command: docker compose'"),
    ("podman", "need HOME 'cannot find home directory'; need_bus"),
    ("kubectl", "need HOME 'no cache'; need KUBECONFIG 'The connection to the server localhost:8080 was refused'"),
    ("curl", ""),
];

/// What systemd sets for a service of the system, and for one of a user: systemd.exec(5), "Environment variables in spawned
/// processes". `taghook run` reads the sockets of systemd, which are not there; so `NOTIFY_SOCKET` and its like are left out.
const OF_EACH_UNIT: [(&str, &str); 6] = [
    ("LANG", "C.UTF-8"),
    ("LOGNAME", "taghook"),
    ("USER", "taghook"),
    ("SHELL", "/usr/sbin/nologin"),
    ("INVOCATION_ID", "8a1b0d6c5f4e4d3c9b2a1f0e9d8c7b6a"),
    ("SYSTEMD_EXEC_PID", "1"),
];

/// The unit whose environment a recipe is run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    System,
    User,
}

/// The recipes that are beside the user unit; all others are of the system's.
const OF_USERS: [&str; 2] = ["apart", "podman"];
/// Where scripts stand, for people.
const SCRIPTS: &str = "/usr/local/lib/taghook/";

/// The page: its config in force, its scripts in place, and stand-ins on the path.
struct Page {
    sandbox: Sandbox,
    dir: PathBuf,
}

impl Page {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let dir = sandbox.path().to_owned();
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md")).unwrap();
        let here = |text: &str| {
            let text = text.replace(SCRIPTS, &format!("{}/", dir.display()));
            text.replace("/srv/web", dir.to_str().unwrap())
                .replace("/etc/taghook/webhook.secret", &format!("{}/secret", dir.display()))
        };
        sandbox.write_whole_config(&here(&blocks(&page, "toml").join("\n")));
        std::fs::write(dir.join("secret"), "It's a Secret to Everybody\n").unwrap();
        let names = page.lines().filter_map(|line| line.strip_prefix('`')?.strip_prefix(SCRIPTS)?.strip_suffix("`:"));
        let scripts = blocks(&page, "sh");
        let names: Vec<&str> = names.collect();
        assert_eq!(names, ["compose", "rollout", "webhook", "mail"]);
        write_script(&dir.join("deploy"), "#!/bin/sh\n");
        assert_eq!(scripts.len(), names.len());
        for (name, script) in names.into_iter().zip(scripts) {
            write_script(&dir.join(name), &script);
        }
        std::fs::create_dir(dir.join("bin")).unwrap();
        for (name, needs) in STAND_INS {
            let script = format!(
                "#!/bin/bash\nneed() {{ [ -n \"${{!1}}\" ] || {{ echo \"{name}: $2\" >&2; exit 125; }}; }}\n\
                 need_bus() {{ need XDG_RUNTIME_DIR 'unable to get systemd connection'; }}\n{needs}\nprintf '%s\\n' \"{name} ${{*@Q}}\" >>'{0}/calls'\ncase $* in *upload-file*|*data-binary*) cat >'{0}/sent' ;; esac\n\
                 . '{0}/answers'\n",
                dir.display()
            );
            write_script(&dir.join("bin").join(name), &script);
        }
        let page = Self { sandbox, dir };
        page.answers("");
        page
    }

    /// What the stand-ins do when they were called, in words of the shell.
    fn answers(&self, script: &str) {
        std::fs::write(self.dir.join("answers"), script).unwrap();
    }

    /// `taghook hook test HOOK web`, and how the stand-ins were called.
    fn run(&self, hook: &str, more: &[&str]) -> (Output, Vec<String>) {
        let _ = std::fs::remove_file(self.dir.join("calls"));
        let unit = if OF_USERS.contains(&hook) { Unit::User } else { Unit::System };
        let mut command = self.sandbox.command(Who::Us, &[&["hook", "test", hook, "web"], more].concat());
        self.as_in(&mut command, unit);
        let output = Running::start(command).finish();
        let calls = std::fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        (output, calls.lines().map(|line| line.replace('\'', "")).collect())
    }

    /// Gives a command exactly the environment that systemd gives a unit; only its `PATH` has the stand-ins first.
    fn as_in(&self, command: &mut std::process::Command, unit: Unit) {
        let dir = self.dir.display();
        command.env_clear().envs(OF_EACH_UNIT).env("HOME", self.dir.join("home"));
        command.env("PATH", format!("{dir}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        match unit {
            Unit::System => {
                command.env("STATE_DIRECTORY", self.sandbox.state()).env("CONFIGURATION_DIRECTORY", &self.dir)
            }
            Unit::User => command.env("XDG_RUNTIME_DIR", self.dir.join("run")).env("MANAGERPID", "1"),
        };
    }

    fn sent(&self) -> String {
        std::fs::read_to_string(self.dir.join("sent")).unwrap()
    }
}

fn write_script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    chmod(path, 0o755);
}

/// What stands in the fences of this kind.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let fences = page.split("\n```").skip(1).step_by(2);
    fences.filter_map(|block| Some(block.strip_prefix(kind)?.strip_prefix('\n')?.to_owned() + "\n")).collect()
}

#[test]
fn the_recipes_are_a_config_without_faults() {
    let page = Page::new();
    let output = page.sandbox.run(&["config", "check"]).expect(0);
    assert!(!output.stderr.contains("error"), "{output:#?}");
}

#[test]
fn a_unit_is_restarted() {
    let (output, calls) = Page::new().run("restart", &[]);
    output.expect(0);
    assert_eq!(calls, ["systemctl restart web.service"]);
}

#[test]
fn compose_pulls_and_starts_what_was_seen_and_nothing_else() {
    let page = Page::new();
    page.answers("[ \"$1\" != image ] || echo \"ghcr.io/acme/web@$TAGHOOK_DIGEST\"\n");
    let (output, calls) = page.run("compose", &[]);
    output.expect(0);
    let expected = [
        "docker compose pull --quiet",
        "docker image inspect --format {{join .RepoDigests \"\\n\"}} ghcr.io/acme/web:stable",
        "docker compose up --detach --remove-orphans",
    ];
    assert_eq!(calls, expected);

    page.answers("[ \"$1\" != image ] || echo ghcr.io/acme/web@sha256:0000\n");
    let (output, calls) = page.run("compose", &[]);
    assert!(output.stdout.contains("75"), "{output:#?}");
    assert_eq!(calls, expected[..2], "an old image from a mirror is not started");

    page.answers("exit 1");
    let (output, calls) = page.run("compose", &[]);
    assert_ne!(output.code, Some(0));
    assert_eq!(calls, expected[..1]);
}

#[test]
fn a_unit_of_the_users_own_systemd_lives_on() {
    let page = Page::new();
    let (output, calls) = page.run("apart", &[]);
    output.expect(0);
    let deploy = page.dir.join("deploy");
    assert_eq!(calls, [format!("systemd-run --user --wait --collect --pipe {}", deploy.display())]);
}

/// Else a recipe that needs more than its unit gives, or than it passes on, would pass here.
#[test]
fn a_stand_in_fails_without_what_it_needs() {
    let page = Page::new();
    let config = std::fs::read_to_string(page.sandbox.config_path()).unwrap();
    for (hook, lacks) in [("apart", "No medium found"), ("podman", "unable to get systemd connection")] {
        std::fs::write(page.sandbox.config_path(), config.replace("pass_env = [\"XDG_RUNTIME_DIR\"]\n", "")).unwrap();
        let (output, calls) = page.run(hook, &[]);
        assert!(output.code != Some(0) && calls.is_empty(), "{output:#?}");
        assert!((output.stdout + &output.stderr).contains(lacks), "{hook}");
        std::fs::write(page.sandbox.config_path(), &config).unwrap();
    }
}

#[test]
fn every_recipe_is_run_here() {
    let page = Page::new();
    let mut agents = page.sandbox.command(Who::Us, &["config", "show", "--json"]);
    page.as_in(&mut agents, Unit::System);
    let shown = Running::start(agents).finish().expect(0).json();
    let hooks: Vec<&str> = shown["hook"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(hooks, ["apart", "compose", "mail", "podman", "podman-root", "restart", "rollout", "webhook"]);
}

#[test]
fn podman_updates_by_itself() {
    let page = Page::new();
    let (output, calls) = page.run("podman", &[]);
    output.expect(0);
    assert_eq!(calls, ["podman auto-update"]);
    assert_eq!(page.run("podman-root", &[]).1, ["systemctl start podman-auto-update.service"]);
}

#[test]
fn a_rollout_is_pinned_and_taken_back_when_it_does_not_come_up() {
    let page = Page::new();
    page.answers("case $* in *set*) echo \"$KUBECONFIG $5\"; [ \"$6\" = \"web=$TAGHOOK_PINNED\" ] ;; esac\n");
    let (output, calls) = page.run("rollout", &[]);
    let output = output.expect(0);
    assert!(output.stdout.contains("/var/lib/taghook/kubeconfig deployment/web"), "{output:#?}");
    assert!(calls[0].starts_with("kubectl --namespace shop set image deployment/web web=ghcr.io/acme/web@sha256:"));
    assert_eq!(calls[1..], ["kubectl --namespace shop rollout status deployment/web --timeout=5m"]);

    page.answers("case $* in *status*) exit 1 ;; esac\n");
    let (output, calls) = page.run("rollout", &[]);
    assert_ne!(output.code, Some(0));
    assert_eq!(calls[2], "kubectl --namespace shop rollout undo deployment/web");
}

#[test]
fn a_webhook_is_signed_and_its_secret_is_on_no_command_line() {
    let page = Page::new();
    let (output, calls) = page.run("webhook", &[]);
    output.expect(0);
    let body = page.sent();
    let change: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(change["watch"], "web");
    // By another hand than the recipe's.
    std::fs::write(page.dir.join("body"), &body).unwrap();
    let line = "openssl dgst -sha256 -hmac \"It's a Secret to Everybody\" body | sed 's/.* //'";
    let signature = page.sandbox.shell(Who::Us, line).expect(0).stdout;
    let [call] = calls.as_slice() else { panic!("{calls:#?}") };
    assert!(call.contains(&format!("X-Hub-Signature-256: sha256={} ", signature.trim())), "{call}");
    assert!(call.contains("Idempotency-Key: ") && call.ends_with(" https://ci.example.com/hooks/web"), "{call}");
    assert!(!call.contains("Everybody"), "{call}");

    page.answers("exit 22");
    assert_ne!(page.run("webhook", &[]).0.code, Some(0), "a refused call is a failed hook");
}

#[test]
fn a_failing_check_is_mailed() {
    let page = Page::new();
    let (output, calls) = page.run("mail", &["--change", "failing"]);
    output.expect(0);
    assert!(
        calls[0].contains(
            "--crlf --url smtps://mail.example.com --mail-from taghook@example.com --mail-rcpt ops@example.com"
        )
    );
    let mail = page.sent();
    let (head, body) = mail.split_once("\n\n").unwrap();
    assert!(head.contains("Subject: taghook: web is failing"), "{mail}");
    assert!(head.starts_with("From: taghook@example.com\nTo: ops@example.com\n"), "{mail}");
    // RFC 5322 wants a date; not every server adds the one that is missing.
    assert!(head.lines().any(|line| line.starts_with("Date: ")), "{mail}");
    assert!(body.contains("taghook status web") && body.contains("\"change\":\"failing\""), "{mail}");
}
