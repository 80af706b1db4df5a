//! Looking up the addresses of a host: on threads with a bound of their own, one lookup of a host at a time.
//!
//! *Invariant:* name servers that do not answer hold up nothing but the checks of the hosts that they are asked for.

use std::net::ToSocketAddrs;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::bounded::{LOOKUPS, PoolError, explained};

/// Looks names up as the system does, each within this time.
pub(super) struct Lookup(pub(super) Duration);

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, limit) = (name.as_str().to_owned(), self.0);
        Box::pin(async move {
            let key = host.clone();
            // The port is set by the caller.
            let lookup = move || (host.as_str(), 0).to_socket_addrs();
            match LOOKUPS.run_alone(key, limit, lookup).await {
                Ok(Ok(found)) => Ok(Box::new(found) as Addrs),
                Ok(Err(error)) => Err(explained(&error).into()),
                Err(PoolError::Occupied { .. }) => Err("an earlier lookup of it has not ended".into()),
                Err(why) => Err(why.into()),
            }
        })
    }
}
