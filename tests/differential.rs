//! Our digest is everybody's: on a real registry, the digest of `taghook check` equals those of skopeo and of the
//! `oci-client` crate, for every shape of image and however the registry is served.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use support::distribution::{DOCKER_LIST, DOCKER_MANIFEST, Distribution, INDEX, MANIFEST, digest_of};
use support::nginx::Nginx;
use support::process::Running;
use support::sandbox::Sandbox;

const REPOSITORY: &str = "team/web";
/// `htpasswd -Bbn robot hunter2`
const HTPASSWD: &str = "robot:$2y$04$9TXiWKMN.atnxPS/GpYuOOVQxgGO0Xxvf04Ayb4PMCD4zQWHqVXTe\n";

/// How a registry is reached, in the words of each of the three.
#[derive(Default)]
struct Access<'a> {
    ca: Option<&'a Ca>,
    login: Option<(&'a str, &'a str)>,
}

/// A private authority, and what it has certified for 127.0.0.1.
struct Ca {
    dir: tempfile::TempDir,
}

impl Ca {
    fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        authority.distinguished_name.push(DnType::CommonName, "private authority");
        let key = KeyPair::generate().unwrap();
        let ca = authority.self_signed(&key).unwrap();
        let issuer = Issuer::new(authority, key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("trusted")).unwrap();
        std::fs::write(dir.path().join("trusted/ca.crt"), ca.pem()).unwrap();
        std::fs::write(dir.path().join("leaf.pem"), leaf.pem()).unwrap();
        std::fs::write(dir.path().join("leaf.key"), key.serialize_pem()).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

/// Pushes an image of every shape; tags and digests.
fn push_all(registry: &Distribution) -> Vec<(&'static str, String)> {
    let manifest = registry.push_image(REPOSITORY, "manifest", "1");
    let children = [("linux/amd64", "2"), ("linux/arm64", "2")];
    let index = registry.push_index(REPOSITORY, "index", &children).digest;
    let nested = registry.push_parent(REPOSITORY, "nested", [INDEX, INDEX], &index);
    let docker = registry.push_docker(REPOSITORY, "docker", "3");
    let list = registry.push_parent(REPOSITORY, "list", [DOCKER_LIST, DOCKER_MANIFEST], &docker);
    let mixed = registry.push_parent(REPOSITORY, "mixed", [DOCKER_LIST, MANIFEST], &manifest);
    vec![
        ("manifest", manifest),
        ("index", index),
        ("nested", nested),
        ("docker", docker),
        ("list", list),
        ("mixed", mixed),
    ]
}

/// All three say what was pushed.
#[track_caller]
fn agree(host: &str, access: &Access<'_>, pushed: &[(&str, String)]) {
    let sandbox = Sandbox::new();
    let ours = ours(&sandbox, host, access, pushed);
    for ((tag, digest), ours) in pushed.iter().zip(ours) {
        assert_eq!(ours, *digest, "taghook: {tag}");
        let image = format!("{host}/{REPOSITORY}:{tag}");
        assert_eq!(skopeo(&sandbox, &image, access), *digest, "skopeo: {tag}");
        assert_eq!(oci_client(&image, access), *digest, "oci-client: {tag}");
    }
}

/// `taghook check`, with all that a config can say.
fn ours(sandbox: &Sandbox, host: &str, access: &Access<'_>, pushed: &[(&str, String)]) -> Vec<String> {
    let mut table = match access.ca {
        None => "plain_http = true\n".to_owned(),
        Some(ca) => format!("ca_file = {:?}\n", ca.path("trusted/ca.crt")),
    };
    if let Some((user, password)) = access.login {
        let file = sandbox.path().join("password");
        std::fs::write(&file, password).unwrap();
        table += &format!("username = {user:?}\npassword_file = {file:?}\n");
    }
    let watches: String =
        pushed.iter().map(|(tag, _)| format!("[watch.{tag}]\nimage = '{host}/{REPOSITORY}:{tag}'\n")).collect();
    sandbox.write_whole_config(&format!("{watches}[registry.'{host}']\n{table}"));
    let lines = sandbox.run(&["check", "--json"]).expect(0).json_lines();
    let digest = |tag: &str| {
        let line = lines.iter().find(|line| line["watch"] == tag).unwrap_or_else(|| panic!("{tag}: {lines:#?}"));
        line["digest"].as_str().unwrap().to_owned()
    };
    pushed.iter().map(|(tag, _)| digest(tag)).collect()
}

/// The digest of the very bytes that skopeo is given; without `--raw` it would choose a platform for us.
fn skopeo(sandbox: &Sandbox, image: &str, access: &Access<'_>) -> String {
    let mut command = Command::new("skopeo");
    command.env_clear().env("HOME", sandbox.path().join("home")).env("PATH", "/usr/bin:/bin");
    command.args(["inspect", "--raw"]).stdin(Stdio::null());
    match access.ca {
        None => command.arg("--tls-verify=false"),
        Some(ca) => command.arg("--cert-dir").arg(ca.path("trusted")),
    };
    if let Some((user, password)) = access.login {
        command.arg(format!("--creds={user}:{password}"));
    }
    let output = Running::start({
        command.arg(format!("docker://{image}"));
        command
    });
    digest_of(output.finish().expect(0).stdout.as_bytes())
}

fn oci_client(image: &str, access: &Access<'_>) -> String {
    // It has no provider of its own, so that only one is built. Another test may have installed it.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let mut config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    if let Some(ca) = access.ca {
        let data = read(&ca.path("trusted/ca.crt"));
        config.protocol = ClientProtocol::Https;
        config.extra_root_certificates = vec![Certificate { encoding: CertificateEncoding::Pem, data }];
    }
    let auth = access
        .login
        .map_or(RegistryAuth::Anonymous, |(user, password)| RegistryAuth::Basic(user.to_owned(), password.to_owned()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let digest = runtime.block_on(async {
        let client = oci_client::Client::new(config);
        client.fetch_manifest_digest(&image.parse().unwrap(), &auth).await
    });
    digest.unwrap_or_else(|error| panic!("{image}: {error}"))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn on_a_plain_registry_all_agree_on_every_shape() {
    let registry = Distribution::start();
    let pushed = push_all(&registry);
    agree(&registry.host(), &Access::default(), &pushed);
}

#[test]
fn behind_a_password_all_agree_on_every_shape() {
    let registry = Distribution::start();
    let pushed = push_all(&registry);
    let front = registry.with_htpasswd(HTPASSWD);
    agree(&front.host(), &Access { login: Some(("robot", "hunter2")), ..Access::default() }, &pushed);
    let image = format!("{}/{REPOSITORY}:index", front.host());
    let told = Sandbox::new().run_bare(&["check", "--plain-http", "--json", "--image", &image]).expect(1).json();
    assert_eq!(told["error"]["kind"], "unauthorized");
}

#[test]
fn under_a_private_authority_all_agree_on_every_shape() {
    let (registry, ca) = (Distribution::start(), Ca::new());
    let pushed = push_all(&registry);
    let front = registry.with_tls(&ca.path("leaf.pem"), &ca.path("leaf.key"));
    agree(&front.host(), &Access { ca: Some(&ca), ..Access::default() }, &pushed);
    let image = format!("{}/{REPOSITORY}:index", front.host());
    let told = Sandbox::new().run_bare(&["check", "--json", "--image", &image]).expect(1).json();
    assert_eq!(told["error"]["kind"], "tls", "{told}");
}

#[test]
fn behind_nginx_and_its_limit_the_agent_sees_every_shape_in_its_turn() {
    let registry = Distribution::start();
    let pushed = push_all(&registry);
    let nginx = Nginx::limiting(&registry.host(), 1);
    let (sandbox, host) = (Sandbox::new(), nginx.host());
    let watches: String = pushed
        .iter()
        .map(|(tag, _)| format!("[watch.{tag}]\nimage = '{host}/{REPOSITORY}:{tag}'\nschedule = '30d'\n"))
        .collect();
    // A rate of one's own would not run into the limit.
    sandbox.write_whole_config(&format!("{watches}[registry.'{host}']\nplain_http = true\nrate = '1000/s'\n"));
    registry.requests();
    let mut agent = sandbox.agent();
    agent.wait_for("registry held off", &[("kind", "rate_limited")]);
    for (tag, digest) in &pushed {
        agent.wait_for("first seen", &[("watch", tag), ("digest", digest)]);
    }
    let asked = registry.requests();
    assert!(asked.iter().all(|request| request.starts_with("HEAD ")), "never a GET after a 429: {asked:?}");
    assert_eq!(asked.len(), pushed.len(), "{asked:?}");
    agent.stop();
    // skopeo waits for the limit, too, and reads the same. oci-client does not: it answers the 429 with a GET, which a
    // registry counts as a pull, and then gives up. That is where ours differs, and why.
    for (tag, digest) in &pushed {
        assert_eq!(skopeo(&sandbox, &format!("{host}/{REPOSITORY}:{tag}"), &Access::default()), *digest);
    }
}
