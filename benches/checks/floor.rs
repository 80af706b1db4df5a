//! The floor: the same HTTP client as the agent's, with its default options, in a bare loop. This program runs itself as
//! `floor URL CERTIFICATE IN_FLIGHT COUNT`, so that nothing else is measured with it.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bed::Bed;
use crate::support::pinned;
use crate::support::stub::DIGEST;
use crate::support::usage::Usage;

/// This program as the floor.
pub fn command(bed: &Bed, in_flight: u32, count: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("floor").arg(bed.url()).arg(bed.stub.certificate());
    command.args([in_flight.to_string(), count.to_string()]);
    command
}

/// Processor time of one request.
pub fn measure(bed: &Bed, in_flight: u32, count: u64) -> Duration {
    let output = pinned(0, &command(bed, in_flight, count)).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the floor: {}", output.status);
    let nanoseconds: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    Duration::from_nanos(nanoseconds).div_f64(count as f64)
}

/// Asks `COUNT` times and prints the processor time in nanoseconds; each connection is warm before.
pub fn run(arguments: &[String]) {
    let [url, certificate, in_flight, count, ..] = arguments else { panic!("URL CERTIFICATE IN_FLIGHT COUNT") };
    let (in_flight, count): (u64, u64) = (in_flight.parse().unwrap(), count.parse().unwrap());
    let trusted = reqwest::Certificate::from_pem(&std::fs::read(certificate).unwrap()).unwrap();
    // The agent's. reqwest is built without one of its own.
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().tls_certs_merge([trusted]).build().unwrap();
        let url = reqwest::Url::parse(url).unwrap();
        asked(&client, &url, in_flight, in_flight).await;
        let before = Usage::of(std::process::id());
        asked(&client, &url, in_flight, count).await;
        println!("{}", Usage::of(std::process::id()).since(&before).cpu.as_nanos());
    });
}

async fn asked(client: &reqwest::Client, url: &reqwest::Url, in_flight: u64, count: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..in_flight {
        let (client, url) = (client.clone(), url.clone());
        let count = count / in_flight + u64::from(n < count % in_flight);
        tasks.spawn(async move {
            for _ in 0..count {
                let answer = client.head(url.clone()).send().await.unwrap();
                assert_eq!(answer.headers()["docker-content-digest"], DIGEST);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}
