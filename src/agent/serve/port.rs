//! The port of `listen`, opened as soon as that is possible.
//!
//! *Invariant:* it is for reading only, so the agent works without it: an address that is not up yet, or a port that another
//! program holds, is told and tried again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::control::wire::ListenProblem;
use crate::domain::backoff::Backoff;

const RETRY: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

/// Opens the port, or says what is wrong.
pub(crate) async fn open(address: SocketAddr) -> Result<TcpListener, ListenProblem> {
    let opened = try_open(address).await;
    if let Err(problem) = &opened {
        warn!("{}; the agent works without it, and tries again", problem.message);
    }
    opened
}

/// Opens the port as soon as that is possible. `problem`: why it is not yet.
pub(crate) async fn open_again(address: SocketAddr, problem: &watch::Sender<Option<ListenProblem>>) -> TcpListener {
    let mut tries: u32 = 0;
    loop {
        sleep(RETRY.pause(tries, fastrand::f64())).await;
        tries = tries.saturating_add(1);
        match try_open(address).await {
            Ok(listener) => {
                info!(listen = %address, "listening now");
                problem.send_replace(None);
                return listener;
            }
            Err(why) => drop(problem.send_replace(Some(why))),
        }
    }
}

async fn try_open(address: SocketAddr) -> Result<TcpListener, ListenProblem> {
    TcpListener::bind(address).await.map_err(|why| ListenProblem {
        address,
        message: format!("cannot listen on {address}: {why}; {}", remedy(&why)),
    })
}

fn remedy(why: &io::Error) -> &'static str {
    match Errno::from_io_error(why) {
        Some(Errno::ADDRINUSE) => "another program has the port: `ss -ltnp` names it; or set `listen` to a free one",
        Some(Errno::ADDRNOTAVAIL) => {
            "this host does not have the address, or not yet: see `ip address`; or set `listen` to one that it has"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (in the unit: AmbientCapabilities= and CapabilityBoundingSet=); \
             or set `listen` to a higher port"
        }
        Some(Errno::MFILE | Errno::NFILE) => "there are too few file descriptors: raise LimitNOFILE",
        _ => "set `listen` to another address and port",
    }
}
