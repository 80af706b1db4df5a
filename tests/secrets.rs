//! No secret leaves: whatever a login is, and however much the agent is told to say.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use serde_json::json;
use support::bed::one;
use support::process::{Agent, Running};
use support::registry::{self, Bearer, Registry, base64};
use support::sandbox::{Sandbox, Who};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const SECRET: &str = "hunter2-is-secret";

/// Every form in which the secret, or what was had for it, could be seen.
fn forms() -> [String; 5] {
    let basic = |user: &str| base64(&format!("{user}:{SECRET}"));
    [SECRET.to_owned(), basic("robot"), basic("<token>"), base64(SECRET), "token-1".to_owned()]
}

#[track_caller]
fn assert_no_secret(place: &str, bytes: &[u8]) {
    for form in forms() {
        let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
        assert!(!found, "{place} has {form:?}:\n{}", String::from_utf8_lossy(bytes));
    }
}

/// Where the secret is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Basic,
    Bearer,
    Identity,
    Helper,
}

fn write(sandbox: &Sandbox, name: &str, text: &str, mode: u32) {
    let path = sandbox.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn no_secret_is_said_or_kept_at_any_level() {
    for kind in [Kind::Basic, Kind::Bearer, Kind::Identity, Kind::Helper] {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        registry.push_image("acme/web", "stable", "1");
        let (hook, host, login) = (sandbox.hook(), registry.host(), format!("robot:{SECRET}"));
        let bearer = Bearer { login: Some(login.clone()), anonymous: false, ..Bearer::default() };
        let mut table = "";
        match kind {
            Kind::Basic => registry.wants_basic(&login),
            Kind::Identity => registry.wants_bearer(Bearer { identity: Some(SECRET.into()), login: None, ..bearer }),
            Kind::Bearer | Kind::Helper => registry.wants_bearer(bearer),
        }
        match kind {
            Kind::Basic | Kind::Bearer => {
                table = "username = 'robot'\npassword_file = 'password'";
                write(&sandbox, "password", SECRET, 0o600);
            }
            Kind::Identity => {
                let config = json!({"auths": {&host: {"identitytoken": SECRET}}});
                write(&sandbox, "home/.docker/config.json", &config.to_string(), 0o600);
            }
            Kind::Helper => {
                write(&sandbox, "home/.docker/config.json", &json!({"credsStore": "test"}).to_string(), 0o600);
                let answer = json!({"ServerURL": host, "Username": "robot", "Secret": SECRET});
                let script = format!("#!/bin/sh\necho '{answer}'\necho '{SECRET}' >&2\n");
                write(&sandbox, "bin/docker-credential-test", &script, 0o755);
            }
        }
        sandbox.write_whole_config(&format!(
            "[watch.web]\nimage = '{host}/acme/web:stable'\nschedule = '30d'\nhooks = ['redeploy']\n\
             [hook.redeploy]\ncommand = {}\n[registry.'{host}']\nplain_http = true\n{table}\n",
            hook.toml()
        ));
        let mut command = sandbox.command(Who::Us, &["run"]);
        command.env("RUST_LOG", "trace").env("PATH", format!("{}/bin:/usr/bin:/bin", sandbox.path().display()));
        let mut agent = Agent::start(command);
        agent.wait_for("first seen", &[]);
        registry.push_image("acme/web", "stable", "2");
        sandbox.run(&["check"]).expect(0);
        let call = hook.call();
        let explain = |code: i32| {
            for form in ["--json", "--config"] {
                let mut command = sandbox.bare_command(Who::Us, &["explain", "web", form]);
                if form == "--json" {
                    command.arg("--config");
                }
                command.arg(sandbox.config_path()).env("RUST_LOG", "trace");
                command.env("PATH", format!("{}/bin:/usr/bin:/bin", sandbox.path().display()));
                let told = Running::start(command).finish().expect(code);
                assert!(told.stdout.contains("***") && told.stdout.contains("credentials: "), "{}", told.stdout);
                assert_no_secret("explain", format!("{} {}", told.stdout, told.stderr).as_bytes());
            }
        };
        // A server may say anything, also what it was told.
        registry.rule(|seen, reply| {
            let sent = seen.header("authorization").unwrap_or("nothing").to_owned();
            reply.with("server", &sent).with("x-request-id", &sent)
        });
        explain(0);
        assert_no_secret("the hook's environment", format!("{:?} {}", call.env, call.stdin).as_bytes());
        let sent = registry.log().iter().any(|seen| {
            let whole = format!("{seen:?} {}", String::from_utf8_lossy(&seen.body));
            forms().iter().any(|form| whole.contains(form))
        });
        assert!(sent, "{kind:?} was not used");

        // Refused, in every way in which that can be told.
        registry.rule(|seen, reply| if seen.path == "/token" || seen.is_manifest() { refuse(reply) } else { reply });
        let told = sandbox.run(&["check", "--json"]).expect(1);
        assert_eq!(one(&told)["error"]["kind"], "unauthorized", "{kind:?}");
        explain(1);
        assert_no_secret("check", told.stdout.as_bytes());
        for verb in ["status", "history", "deliveries"] {
            assert_no_secret(verb, sandbox.run(&[verb, "--json"]).expect(0).stdout.as_bytes());
        }
        let listed = std::fs::read(format!("/proc/{}/cmdline", agent.pid())).unwrap();
        assert_no_secret("the process list", &listed);
        agent.sigterm();
        agent.wait_for("stopped", &[]);
        agent.wait_exit();
        let log = agent.log().join("\n");
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "it says all that it can:\n{log}");
        assert_no_secret("the log", log.as_bytes());
        let state = sandbox.snapshot(&sandbox.state());
        assert!(!state.is_empty());
        for (path, found) in state {
            assert_no_secret(&path.display().to_string(), &found.bytes.unwrap_or_default());
        }
    }
}

fn refuse(reply: registry::Reply) -> registry::Reply {
    registry::Reply { status: 401, ..reply }.body("no")
}

/// A proxy that leads every `CONNECT` to one place; what it was asked, headers and all.
fn tunnel_to(upstream: String) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if client.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            if sender.send(String::from_utf8_lossy(&head).into_owned()).is_err() {
                break;
            }
            let server = TcpStream::connect(&upstream).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    (address, asked)
}

#[test]
fn a_proxy_leads_to_https_and_its_own_login_is_not_said() {
    let made = rcgen::generate_simple_self_signed(["registry.invalid".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let registry = Registry::start_with(move |stream, connection, shared| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                registry::serve(stream, connection, shared).await;
            }
        }
    });
    let digest = registry.push_image("acme/web", "stable", "1");
    let (proxy, asked) = tunnel_to(registry.host());
    let sandbox = Sandbox::new();
    write(&sandbox, "ca.pem", &made.cert.pem(), 0o644);
    sandbox.write_whole_config(
        "[watch.web]\nimage = 'registry.invalid/acme/web:stable'\n[registry.'registry.invalid']\nca_file = 'ca.pem'\n",
    );
    let check = |no_proxy: &str, code: i32| {
        let mut command = sandbox.command(Who::Us, &["check", "--json"]);
        command.env("HTTPS_PROXY", format!("http://robot:{SECRET}@{proxy}")).env("NO_PROXY", no_proxy);
        command.env("RUST_LOG", "trace");
        let output = Running::start(command).finish().expect(code);
        assert_no_secret("the log", output.stderr.as_bytes());
        assert_no_secret("the answer", output.stdout.as_bytes());
        one(&output)
    };
    assert_eq!(check("elsewhere.invalid", 0)["digest"], *digest);
    let asked = asked.try_recv().unwrap();
    assert!(asked.starts_with("CONNECT registry.invalid:443 "), "{asked}");
    let login = base64(&format!("robot:{SECRET}"));
    assert!(asked.to_ascii_lowercase().contains("proxy-authorization: basic ") && asked.contains(&login), "{asked}");
    assert!(registry.log().iter().all(|seen| seen.header("proxy-authorization").is_none()));
    assert_eq!(check(".invalid", 1)["error"]["kind"], "dns", "no proxy, and no such name");
}
