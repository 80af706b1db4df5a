//! Proxies, by the environment variables that Go programs and curl know, too.
//!
//! *Invariant:* a host that `NO_PROXY` excludes, by the reading of Go or by that of curl, is never asked through a proxy: the
//! proxy would see where the request goes, and over plain HTTP the login as well. Nor is a host on this machine.

use std::env;
use std::net::IpAddr;

use reqwest::Url;

/// The proxies of this process, and what is asked without one.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    excluded: Vec<Exclusion>,
}

/// One entry of `NO_PROXY`.
#[derive(Debug, PartialEq)]
enum Exclusion {
    Everything,
    /// An address, or all that share its first bits.
    Network(IpAddr, u8, Option<u16>),
    /// A domain and everything below it.
    Domain(String, Option<u16>),
}

impl Proxies {
    pub(super) fn of_environment() -> Self {
        // Within CGI, HTTP_PROXY is a header of the request (httpoxy); lower case is not.
        let is_cgi = env::var_os("REQUEST_METHOD").is_some();
        let read = |names: &[&str]| {
            let set = names.iter().filter(|name| !is_cgi || **name != "HTTP_PROXY");
            set.filter_map(|name| env::var(name).ok()).find(|value| !value.trim().is_empty())
        };
        let all = read(&["all_proxy", "ALL_PROXY"]);
        let http = read(&["http_proxy", "HTTP_PROXY"]).or_else(|| all.clone());
        let https = read(&["https_proxy", "HTTPS_PROXY"]).or(all);
        let excluded = read(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Self::new(http.as_deref(), https.as_deref(), &excluded)
    }

    fn new(http: Option<&str>, https: Option<&str>, excluded: &str) -> Self {
        let entries = excluded.split([',', ' ', '\t']).map(str::trim).filter(|entry| !entry.is_empty());
        Self {
            http: http.and_then(address),
            https: https.and_then(address),
            excluded: entries.filter_map(Exclusion::parse).collect(),
        }
    }

    /// The proxy for a request to this URL.
    pub(super) fn of(&self, url: &Url) -> Option<&Url> {
        let proxy = if url.scheme() == "https" { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = url.host_str()?.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let is_excluded = |entry: &Exclusion| entry.covers(&host, url.port_or_known_default());
        (!is_loopback(&host) && !self.excluded.iter().any(is_excluded)).then_some(proxy)
    }
}

/// The URL of a proxy, which may be written without its scheme.
fn address(text: &str) -> Option<Url> {
    let text = text.trim();
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    url.ok().filter(Url::has_host)
}

/// Whether a host, without a port, is this machine: Go and Docker ask it without a proxy.
pub(super) fn is_loopback(host: &str) -> bool {
    let by_address = host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    by_address || host == "localhost" || host.ends_with(".localhost")
}

impl Exclusion {
    /// `domain`, `.domain`, `*.domain`, `host:port`, an address, a network such as `10.0.0.0/8`, or `*`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits = bits.parse().ok().filter(|bits| *bits <= width(address))?;
            return Some(Self::Network(address, bits, None));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Network(address, width(address), None));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port.parse().ok()),
            _ => (text.as_str(), None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Network(address, width(address), port));
        }
        // Go takes ".domain" for what is below it alone, curl for the domain, too.
        let domain = host.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
        (!domain.is_empty()).then(|| Self::Domain(domain.to_owned(), port))
    }

    fn covers(&self, host: &str, port: Option<u16>) -> bool {
        match self {
            Self::Everything => true,
            Self::Network(network, bits, only) => {
                let address = host.parse::<IpAddr>().ok();
                is_of_port(*only, port) && address.is_some_and(|address| shares_bits(address, *network, *bits))
            }
            Self::Domain(domain, only) => {
                let above = host.strip_suffix(domain.as_str());
                is_of_port(*only, port) && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
        }
    }
}

fn is_of_port(only: Option<u16>, port: Option<u16>) -> bool {
    only.is_none() || only == port
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn shares_bits(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let number = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, true),
        IpAddr::V6(address) => (address.to_bits(), false),
    };
    let ((one, one_is_v4), (other, other_is_v4)) = (number(one), number(other));
    let differing = (one ^ other).checked_shr(128 - u32::from(bits)).unwrap_or(0);
    one_is_v4 == other_is_v4 && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_proxied(excluded: &str, url: &str) -> bool {
        let proxies = Proxies::new(Some("proxy.example:3128"), Some("http://proxy.example:3128"), excluded);
        proxies.of(&Url::parse(url).unwrap()).is_some()
    }

    #[test]
    fn what_go_or_curl_would_ask_without_a_proxy_is_asked_without_one() {
        for (excluded, url) in [
            ("*", "https://r.example/"),
            ("example.test", "https://example.test/"),
            ("example.test", "https://r.example.test:5000/"),
            (".example.test", "https://r.example.test/"),
            (".example.test", "https://example.test/"),
            ("*.example.test", "https://r.example.test/"),
            ("other.test, EXAMPLE.test", "http://R.Example.TEST/"),
            ("other.test example.test", "http://r.example.test/"),
            ("r.example.test:5000", "https://r.example.test:5000/"),
            ("r.example.test:443", "https://r.example.test/"),
            ("192.0.2.7", "http://192.0.2.7:5000/"),
            ("192.0.2.7:5000", "http://192.0.2.7:5000/"),
            ("192.0.2.0/24", "http://192.0.2.7/"),
            ("2001:db8::1", "http://[2001:db8::1]:5000/"),
            ("[2001:db8::1]:5000", "http://[2001:db8::1]:5000/"),
            ("2001:db8::/32", "http://[2001:db8:5::1]/"),
            ("", "http://localhost:5000/"),
            ("", "http://127.8.0.1/"),
            ("", "http://[::1]/"),
            ("", "http://r.localhost/"),
        ] {
            assert!(!is_proxied(excluded, url), "{excluded}: {url}");
        }
    }

    #[test]
    fn all_else_goes_by_the_proxy() {
        for (excluded, url) in [
            ("", "https://r.example/"),
            ("example.test", "https://badexample.test/"),
            ("r.example.test:5000", "https://r.example.test/"),
            ("192.0.2.0/24", "http://192.0.3.7/"),
            ("192.0.2.7:5000", "http://192.0.2.7/"),
            ("0.0.0.0/0", "http://[2001:db8::1]/"),
            ("192.0.2.0/33, ., *.", "http://192.0.2.7/"),
        ] {
            assert!(is_proxied(excluded, url), "{excluded}: {url}");
        }
        assert!(Proxies::new(None, Some("proxy.example"), "").of(&Url::parse("http://r.example/").unwrap()).is_none());
    }
}
