//! The endpoint: where the requests to a registry go.
//!
//! *Invariant:* the scheme is what was configured and never guessed.

use reqwest::Url;

use super::error::Error;
use super::options::Options;

/// A registry's base URL, and the path prefix of its repositories.
#[derive(Debug)]
pub(super) struct Endpoint {
    base: Url,
    prefix: String,
    host: String,
}

impl Endpoint {
    pub(super) fn new(registry: &str, options: &Options) -> Result<Self, Error> {
        let text = match &options.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("{}://{}", if options.plain_http { "http" } else { "https" }, asked_at(registry)),
        };
        let wrong = |reason: String| Error::Protocol { host: registry.to_owned(), reason };
        let mut base = Url::parse(&text).map_err(|error| wrong(format!("its endpoint is no URL: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(wrong("its endpoint is no http or https URL".into()));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("its endpoint has credentials; use username and password_file instead".into()));
        }
        let path = base.path().trim_matches('/');
        let prefix = path.strip_prefix("v2").filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path);
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        base.set_path("/v2/");
        base.set_query(None);
        base.set_fragment(None);
        let host = host_of(&base);
        Ok(Self { base, prefix, host })
    }

    /// The host, and the port if it is not the scheme's default.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The URL of the manifest under a tag or a digest.
    pub(super) fn manifest(&self, repository: &str, which: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&["/v2/", &self.prefix, repository, "/manifests/", which].concat());
        url
    }

    /// The URL of the API root, which serves no content but sends challenges.
    pub(super) fn root(&self) -> Url {
        self.base.clone()
    }

    pub(super) fn scheme(&self) -> &str {
        self.base.scheme()
    }

    /// The repository's name at this endpoint, with the prefix.
    pub(super) fn name(&self, repository: &str) -> String {
        format!("{}{repository}", self.prefix)
    }
}

/// The API host of a registry. Docker Hub's differs from its name.
fn asked_at(registry: &str) -> &str {
    match registry {
        "docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// A URL's host, and its port if it is not the scheme's default.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(registry: &str, options: &Options) -> String {
        Endpoint::new(registry, options).unwrap().manifest("acme/web", "stable").to_string()
    }

    #[test]
    fn https_is_the_default_and_plain_http_is_never_guessed() {
        let plain = Options { plain_http: true, ..Options::default() };
        for (registry, options, url) in [
            ("ghcr.io", &Options::default(), "https://ghcr.io/v2/acme/web/manifests/stable"),
            ("docker.io", &Options::default(), "https://registry-1.docker.io/v2/acme/web/manifests/stable"),
            ("localhost:5000", &Options::default(), "https://localhost:5000/v2/acme/web/manifests/stable"),
            ("localhost:5000", &plain, "http://localhost:5000/v2/acme/web/manifests/stable"),
            ("[::1]:5000", &plain, "http://[::1]:5000/v2/acme/web/manifests/stable"),
        ] {
            assert_eq!(asked(registry, options), url);
        }
    }

    #[test]
    fn an_endpoints_path_is_put_before_the_name() {
        for endpoint in ["https://mirror.example.com/hub", "https://mirror.example.com/v2/hub/"] {
            let options = Options { endpoint: Some(endpoint.into()), ..Options::default() };
            assert_eq!(asked("docker.io", &options), "https://mirror.example.com/v2/hub/acme/web/manifests/stable");
        }
    }

    #[test]
    fn an_endpoint_that_is_none_is_refused_without_repeating_its_secret() {
        for endpoint in ["mirror.example.com", "ftp://x/", "https://user:secret@x/"] {
            let options = Options { endpoint: Some(endpoint.into()), ..Options::default() };
            let error = Endpoint::new("docker.io", &options).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
