//! Which names in a request mean this host.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether this value of `Host` means this host, whoever sends it: an address, `localhost` and what is below it, the host's
/// own name, or one of those that are `allowed`. Any other name may be that of somebody else, which leads here.
pub(super) fn is_known(host: &str, allowed: &[String]) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.split_once(']').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_name = |known: &str| known.eq_ignore_ascii_case(&name);
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<Ipv4Addr>().is_ok()
        || is_own(&name)
        || allowed.iter().any(|known| is_name(known))
}

/// Whether this is the host's name, in full or without its domain.
fn is_own(name: &str) -> bool {
    let system = rustix::system::uname();
    let own = system.nodename().to_str().unwrap_or_default();
    let short = own.split('.').next().unwrap_or_default();
    !own.is_empty() && (own.eq_ignore_ascii_case(name) || short.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_the_names_of_this_host_are_known_and_no_others() {
        let allowed = ["Monitor.example.com".to_owned(), "taghook".to_owned()];
        let own = rustix::system::uname().nodename().to_str().unwrap().to_owned();
        let known = [
            "localhost",
            "localhost:9464",
            "127.0.0.1:9464",
            "192.0.2.7",
            "[::1]:9464",
            "[2001:db8::1]",
            "taghook:80",
            "a.localhost:1",
            "LOCALHOST.",
            "monitor.EXAMPLE.com:9464",
            &own,
        ];
        for host in known {
            assert!(is_known(host, &allowed), "{host}");
        }
        let unknown = [
            "evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[evil.example]",
            "[::1",
            "a.monitor.example.com",
            "example.com",
            "xlocalhost",
            "evil.example.",
            "evil",
            "",
            ":9464",
            "1.2.3",
            "?",
        ];
        for host in unknown {
            assert!(!is_known(host, &allowed), "{host}");
        }
    }
}
