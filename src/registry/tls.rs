//! Whom a registry's TLS trusts, and what a failed handshake means in words.
//!
//! *Invariant:* a certificate is trusted only if its name and dates are right and the server has its key. That holds for one
//! that is listed in `ca_file` itself, too.

use std::error::Error as StdError;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError,
    PeerIncompatible, RootCertStore, SignatureScheme,
};

use crate::bounded::FILES;

/// The certificate that a registry is shown, with its chain, and its key.
pub(super) type ClientIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The settings for a registry: the system's authorities and these, and what it is shown.
pub(super) fn settings(
    listed: Vec<CertificateDer<'static>>,
    identity: Option<ClientIdentity>,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier(listed, provider)?);
    let mut settings = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(settings)
}

/// The certificates in a PEM file. The error says what is wrong, without its content.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("it has no PEM certificate".to_owned()),
        Ok(found) => Ok(found),
        Err(_) => Err("it is no PEM of certificates".to_owned()),
    }
}

/// A certificate and its key from PEM files, which may be the same one.
pub(super) fn identity(certificate: &[u8], key: &[u8]) -> Result<ClientIdentity, String> {
    // The parser's message could quote the key, so it is dropped.
    let wrong = || "it is no PEM of a certificate and its key".to_owned();
    let chain = certificates(certificate).map_err(|_| wrong())?;
    Ok((chain, PrivateKeyDer::from_pem_slice(key).map_err(|_| wrong())?))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// The system's authorities, read once for all registries: that takes milliseconds, and they take memory.
static SYSTEM: OnceLock<RootCertStore> = OnceLock::new();

fn system() -> &'static RootCertStore {
    SYSTEM.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

/// Reads the system's authorities, unless they were read before: on another thread, because they may be on a file system
/// that hangs. The error names them.
pub(super) async fn read_system() -> Result<(), String> {
    if SYSTEM.get().is_some() {
        return Ok(());
    }
    let read = || {
        named_by_environment().map(|()| {
            system();
        })
    };
    FILES.run_alone("the system's certificates".to_owned(), SYSTEM_TIMEOUT, read).await.unwrap_or_else(|why| {
        Err(format!(
            "the system's certificates cannot be read: {why}; is /etc/ssl, or what $SSL_CERT_FILE and \
             $SSL_CERT_DIR name, on a file system that hangs?"
        ))
    })
}

/// How long reading the system's authorities may take.
const SYSTEM_TIMEOUT: Duration = Duration::from_secs(10);
/// In bytes; Debian's file has 200,000.
const LARGEST_BUNDLE: u64 = 16 << 20;

/// Refuses a file of the environment that would be read without end.
fn named_by_environment() -> Result<(), String> {
    let Some(file) = std::env::var_os("SSL_CERT_FILE") else { return Ok(()) };
    match std::fs::metadata(&file) {
        Ok(found) if !found.is_file() || found.len() > LARGEST_BUNDLE => {
            let shown = file.display();
            Err(format!("$SSL_CERT_FILE names {shown}, which is no file of certificates; name one, or unset it"))
        }
        _ => Ok(()),
    }
}

fn verifier(
    listed: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let build = |roots: RootCertStore| {
        let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        built.map_err(|_| {
            TlsError::General("this host has no certificates of authorities; install ca-certificates".into())
        })
    };
    if listed.is_empty() {
        static SHARED: OnceLock<Arc<WebPkiServerVerifier>> = OnceLock::new();
        return match SHARED.get() {
            Some(shared) => Ok(shared.clone()),
            None => build(system().clone()).map(|built| SHARED.get_or_init(|| built).clone() as _),
        };
    }
    let mut roots = system().clone();
    for certificate in &listed {
        roots.add(certificate.clone())?;
    }
    Ok(Arc::new(ListedVerifier { listed, inner: build(roots)? }))
}

/// Trusts a server's certificate that is listed byte for byte, although it says that it is an authority's: `openssl req
/// -x509` makes such ones, and manuals tell people to.
#[derive(Debug)]
struct ListedVerifier {
    listed: Vec<CertificateDer<'static>>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for ListedVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match self.inner.verify_server_cert(certificate, chain, name, ocsp, now) {
            // webpki looks at the dates before it looks at what the certificate is for, so these are right.
            Err(error) if is_of_an_authority(&error) && self.listed.iter().any(|listed| listed == certificate) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn is_of_an_authority(error: &TlsError) -> bool {
    let TlsError::InvalidCertificate(CertificateError::Other(OtherError(why))) = error else { return false };
    why.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// What went wrong in a handshake, and the remedy, in words; `table` is how the config names the registry. `None` if the
/// error is not one of TLS.
pub(super) fn told(error: &(dyn StdError + 'static), table: Option<&str>) -> Option<String> {
    let error = find(error)?;
    let set = |keys: &str| table.map(|table| format!("; set {keys} in [registry.{table:?}]")).unwrap_or_default();
    Some(match error {
        TlsError::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("its certificate has expired{}; renew it, or look at this host's clock", when(why))
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("its certificate is not valid yet{}; look at this host's clock", when(why))
            }
            CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                format!("its certificate is for {}, not for this name", names(presented))
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate has no subjectAltName for this name; make one with it".to_owned()
            }
            CertificateError::UnknownIssuer => {
                format!("its certificate is from an unknown authority{}", set("ca_file = \"CA.pem\""))
            }
            _ if is_of_an_authority(error) => {
                format!(
                    "its certificate is made for an authority (CA:TRUE){}",
                    set("ca_file to a file with this very certificate")
                )
            }
            CertificateError::Revoked => "its certificate was revoked".to_owned(),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "its certificate is not made for servers (extended key usage)".to_owned()
            }
            CertificateError::BadEncoding => "its certificate is malformed".to_owned(),
            CertificateError::BadSignature => "its certificate has a wrong signature".to_owned(),
            other => format!("its certificate is not accepted: {other}"),
        },
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            format!("it wants a client certificate{}", set("client_cert and client_key"))
        }
        TlsError::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
            "it does not accept our client certificate; see client_cert".to_owned()
        }
        TlsError::AlertReceived(AlertDescription::ProtocolVersion)
        | TlsError::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "it speaks none but old versions of TLS; it needs 1.2 or 1.3".to_owned()
        }
        TlsError::AlertReceived(AlertDescription::HandshakeFailure) | TlsError::PeerIncompatible(_) => {
            "it offers none but ciphers that are too old".to_owned()
        }
        TlsError::AlertReceived(alert) => format!("it refused the handshake: {alert:?}"),
        other => other.to_string(),
    })
}

/// rustls's error. An error of input and output hides what it is made of from `source`, and there may be several around it.
fn find<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e TlsError> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    match error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()) {
        Some(inner) => find(inner),
        None => find(error.source()?),
    }
}

/// The date that a certificate's dates are wrong by.
fn when(why: &CertificateError) -> String {
    let (word, at) = match why {
        CertificateError::ExpiredContext { not_after, .. } => ("on", not_after),
        CertificateError::NotValidYetContext { not_before, .. } => ("before", not_before),
        _ => return String::new(),
    };
    let at = i64::try_from(at.as_secs()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map(|at| format!(" ({word} {at})")).unwrap_or_default()
}

/// At most three of them: a shared host's certificate may have a hundred.
fn names(presented: &[String]) -> String {
    let more = if presented.len() > 3 { ", …" } else { "" };
    presented.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ") + more
}
