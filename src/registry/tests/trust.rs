//! Whom the client trusts, who trusts it, and what is never said without trust.

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::super::Identity;
use super::scripted::{self, Shared};
use super::*;

/// A registry over TLS, and the file with the certificate that it shows.
fn tls() -> (Registry, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    (serve(config.unwrap()), file_of(&made.cert.pem()))
}

/// The same, which wants to see a certificate, too; the files with one that will do, and its key.
fn mutual_tls() -> (Registry, tempfile::NamedTempFile, (tempfile::NamedTempFile, tempfile::NamedTempFile)) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let ours = rcgen::generate_simple_self_signed(["robot".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ours.cert.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let identity = (file_of(&ours.cert.pem()), file_of(&ours.signing_key.serialize_pem()));
    (serve(config), file_of(&made.cert.pem()), identity)
}

fn serve(config: ServerConfig) -> Registry {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Registry::start_with(move |stream, connection, shared: Shared| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                scripted::serve(stream, connection, shared).await;
            }
        }
    })
}

fn file_of(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn trusting(file: &tempfile::NamedTempFile) -> Options {
    Options { ca_file: Some(file.path().to_owned()), ..Options::default() }
}

#[tokio::test]
async fn an_unknown_authority_is_told_with_its_remedy_and_trusted_by_its_file() {
    let (registry, file) = tls();
    registry.push_image("acme/web", "stable", "1");
    let question = question(&registry, "acme/web", "stable");
    let stranger = Client::new(&registry.host(), &Options::default()).unwrap();
    let error = stranger.check(&question, Recorded::default()).await.result.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Tls, "{error}");
    let remedy = format!("set ca_file = \"CA.pem\" in [registry.{:?}]", registry.host());
    assert!(error.to_string().contains(&remedy), "{error}");

    let friend = Client::new(&registry.host(), &trusting(&file)).unwrap();
    digest(&friend, &question).await;
}

/// A registry that shows a certificate as `openssl req -x509` makes it, an authority's, changed by `change`; its PEM.
fn authority(change: impl FnOnce(&mut rcgen::CertificateParams)) -> (Registry, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    change(&mut params);
    let made = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.der().clone()], key);
    let registry = serve(config.unwrap());
    registry.push_image("acme/web", "stable", "1");
    (registry, made.pem())
}

/// What is said of a registry, by a client that trusts these certificates.
async fn said_of(registry: &Registry, trusted: &str) -> Result<(), String> {
    let file = file_of(trusted);
    let options = if trusted.is_empty() { Options::default() } else { trusting(&file) };
    let client = Client::new(&registry.host(), &options).unwrap();
    let asked = client.check(&question(registry, "acme/web", "stable"), Recorded::default()).await;
    asked.result.map(|_| ()).map_err(|error| {
        assert_eq!(error.kind(), FailureKind::Tls, "{error}");
        error.to_string()
    })
}

#[tokio::test]
async fn a_certificate_that_is_listed_itself_is_trusted_although_it_is_an_authoritys() {
    let (registry, pem) = authority(|_| ());
    let (_, other) = authority(|_| ());
    said_of(&registry, &pem).await.unwrap();
    said_of(&registry, &(other.clone() + &pem)).await.unwrap();
    for trusted in ["", &other] {
        let said = said_of(&registry, trusted).await.unwrap_err();
        assert!(
            said.contains("CA:TRUE") && said.contains("set ca_file to a file with this very certificate"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_listed_certificate_still_needs_its_name_and_its_dates() {
    let (registry, pem) =
        authority(|params| params.subject_alt_names = vec![rcgen::SanType::DnsName("r.example".try_into().unwrap())]);
    let said = said_of(&registry, &pem).await.unwrap_err();
    assert!(said.contains("its certificate is for ") && said.contains("r.example"), "{said}");
    let (registry, pem) = authority(|params| params.not_after = rcgen::date_time_ymd(2001, 2, 3));
    let said = said_of(&registry, &pem).await.unwrap_err();
    assert!(said.contains("has expired (on 2001-02-03T00:00:00Z)"), "{said}");
    let (registry, pem) = authority(|params| params.not_before = rcgen::date_time_ymd(3001, 2, 3));
    let said = said_of(&registry, &pem).await.unwrap_err();
    assert!(said.contains("is not valid yet (before 3001-02-03T00:00:00Z)"), "{said}");
}

#[tokio::test]
async fn a_server_of_old_tls_is_told_as_that() {
    // The alert of a server that speaks none but versions that we do not: protocol_version (70), fatal.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut hello = [0; 5];
            let _ = stream.read_exact(&mut hello).await;
            let _ = stream.write_all(&[21, 3, 1, 0, 2, 2, 70]).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let client = Client::new(&host, &Options::default()).unwrap();
    let question = Question::parse(&format!("{host}/acme/web:1"), None).unwrap();
    let error = client.check(&question, Recorded::default()).await.result.unwrap_err();
    assert!(error.to_string().contains("none but old versions of TLS"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_of_no_use_is_told_and_a_better_one_is_picked_up() {
    let (registry, file) = tls();
    registry.push_image("acme/web", "stable", "1");
    let question = question(&registry, "acme/web", "stable");
    let (good, path) = (std::fs::read(file.path()).unwrap(), file.path().to_owned());
    let client = Client::new(&registry.host(), &trusting(&file)).unwrap();
    std::fs::remove_file(&path).unwrap();
    let said = async || {
        let error = client.check(&question, Recorded::default()).await.result.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Tls, "{error}");
        error.to_string()
    };
    assert!(said().await.contains("ca_file"));
    std::fs::write(&path, "garbled").unwrap();
    assert!(said().await.contains("no PEM certificate"));
    std::fs::write(&path, &good).unwrap();
    digest(&client, &question).await;

    std::fs::write(&path, "half of it").unwrap();
    client.age();
    digest(&client, &question).await;
    std::fs::write(&path, rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem()).unwrap();
    client.age();
    assert!(said().await.contains("certificate"));
    // A failure is reason enough to look at once.
    std::fs::write(&path, &good).unwrap();
    digest(&client, &question).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_lack_is_told_with_the_remedy() {
    let (registry, file, identity) = mutual_tls();
    registry.push_image("acme/web", "stable", "1");
    let question = question(&registry, "acme/web", "stable");
    let nobody = Client::new(&registry.host(), &trusting(&file)).unwrap();
    let error = nobody.check(&question, Recorded::default()).await.result.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Tls, "{error}");
    assert!(error.to_string().contains("set client_cert and client_key"), "{error}");

    let (cert, key) = (identity.0.path().to_owned(), identity.1.path().to_owned());
    let swapped = Some(Identity { cert: key.clone(), key: key.clone() });
    let client = Client::new(&registry.host(), &Options { identity: swapped, ..trusting(&file) }).unwrap();
    let error = client.check(&question, Recorded::default()).await.result.unwrap_err().to_string();
    assert!(error.contains("client_cert") && !error.contains("PRIVATE"), "{error}");

    let identity = Some(Identity { cert, key });
    let client = Client::new(&registry.host(), &Options { identity, ..trusting(&file) }).unwrap();
    digest(&client, &question).await;
}

#[tokio::test]
async fn a_remedy_names_the_table_and_not_who_is_asked_instead() {
    let (registry, _file) = tls();
    let plain = Registry::start();
    for (endpoint, remedy) in [
        (format!("https://{}", registry.host()), "ca_file = \"CA.pem\" in [registry.\"docker.io\"]"),
        (format!("https://{}", plain.host()), "http:// in the endpoint of [registry.\"docker.io\"]"),
    ] {
        let client = Client::new("docker.io", &Options { endpoint: Some(endpoint), ..Options::default() }).unwrap();
        let error =
            client.check(&Question::parse("nginx", None).unwrap(), Recorded::default()).await.result.unwrap_err();
        assert!(error.to_string().contains(remedy), "{error}");
    }
    plain.wants_basic("robot:hunter2");
    let endpoint = Some(format!("http://{}", plain.host()));
    let client = Client::new("docker.io", &Options { endpoint, ..Options::default() }).unwrap();
    let error = client.check(&Question::parse("nginx", None).unwrap(), Recorded::default()).await.result.unwrap_err();
    assert!(error.to_string().contains("password_file in [registry.\"docker.io\"]"), "{error}");
}

#[tokio::test]
async fn https_never_goes_to_http() {
    let (secure, file) = tls();
    let insecure = Registry::start();
    insecure.push_image("acme/web", "stable", "1");
    let location = format!("http://{}/v2/acme/web/manifests/stable", insecure.host());
    secure.rule(move |_, _| Reply::redirect(307, &location));
    let client = Client::new(&secure.host(), &trusting(&file)).unwrap();
    let asked = client.check(&question(&secure, "acme/web", "stable"), Recorded::default()).await;
    assert_eq!(kind(asked), FailureKind::Redirect);
    assert!(insecure.log().is_empty());
}

#[tokio::test]
async fn a_token_endpoint_over_plain_http_gets_no_login_of_an_https_registry() {
    let (secure, file) = tls();
    let insecure = Registry::start();
    let realm = Some(format!("http://{}/token", insecure.host()));
    secure.wants_bearer(Bearer { realm, ..Bearer::default() });
    let (login, _password) = with_password("hunter2");
    let options = Options { plain_http: false, ca_file: Some(file.path().to_owned()), ..login };
    let client = Client::new(&secure.host(), &options).unwrap();
    let asked = client.check(&question(&secure, "acme/web", "stable"), Recorded::default()).await;
    let error: Error = asked.result.unwrap_err();
    assert!(error.to_string().contains("plain http"), "{error}");
    assert!(insecure.log().is_empty());
}
