//! The page of metrics: what is on it, what docs/metrics.md and docs/alerts.yml say of it, and what Prometheus' own tool
//! thinks of both.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use support::bed::{Bed, Setup};
use support::http::{curl, listening};
use support::process::Agent;
use support::registry::{Registry, Reply};
use support::sandbox::{Sandbox, Who};

const LISTEN: &str = "listen = '127.0.0.1:0'";

fn scrape(sandbox: &Sandbox, address: &str) -> String {
    let (code, page) = curl(sandbox, &format!("http://{address}/metrics"));
    assert_eq!(code, 200, "{page}");
    page
}

/// The sample of a series, as it is written on the page.
#[track_caller]
fn sample(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
}

fn families(page: &str) -> BTreeSet<String> {
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

/// One watch that was moved, whose hook has succeeded.
fn moved() -> (Bed, Agent, String) {
    let bed = Bed::with(Setup { top: LISTEN, hook: "attempts = 1", ..Setup::default() });
    bed.push("one");
    let (mut agent, address) = listening(&bed);
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.check(0);
    (bed, agent, address)
}

/// `promtool LINE`, from the top of the project.
fn promtool(sandbox: &Sandbox, line: &str) {
    let said = sandbox.shell(Who::Us, &format!("cd {} && promtool {line}", env!("CARGO_MANIFEST_DIR"))).expect(0);
    assert_eq!(said.stderr, "", "promtool {line}: {}", said.stdout);
}

#[test]
fn what_was_done_is_counted() {
    let (bed, agent, address) = moved();
    let page = scrape(&bed, &address);
    let host = bed.registry.host();
    for (series, expected) in [
        ("taghook_watches{state=\"ok\"}".to_owned(), 1.0),
        ("taghook_watches{state=\"failing\"}".to_owned(), 0.0),
        (format!("taghook_checks_total{{registry=\"{host}\",outcome=\"first\"}}"), 1.0),
        (format!("taghook_checks_total{{registry=\"{host}\",outcome=\"moved\"}}"), 1.0),
        (format!("taghook_check_duration_seconds_count{{registry=\"{host}\"}}"), 2.0),
        (format!("taghook_check_duration_seconds_bucket{{registry=\"{host}\",le=\"+Inf\"}}"), 2.0),
        // One each, and one for the new digest by itself.
        (format!("taghook_registry_requests_total{{registry=\"{host}\"}}"), 3.0),
        (format!("taghook_registry_gate_closed_seconds_total{{registry=\"{host}\"}}"), 0.0),
        ("taghook_changes_total{change=\"first\"}".to_owned(), 1.0),
        ("taghook_changes_total{change=\"moved\"}".to_owned(), 1.0),
        ("taghook_changes_total{change=\"removed\"}".to_owned(), 0.0),
        ("taghook_attempts_total{hook=\"redeploy\",result=\"succeeded\"}".to_owned(), 1.0),
        ("taghook_attempt_duration_seconds_count{hook=\"redeploy\"}".to_owned(), 1.0),
        ("taghook_store_writable".to_owned(), 1.0),
        ("taghook_config_last_reload_successful".to_owned(), 1.0),
        (format!("taghook_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(sample(&page, &series), expected, "{series} in\n{page}");
    }
    let last_ok = sample(&page, "taghook_watch_last_ok_timestamp_seconds{watch=\"web\"}");
    let status = bed.status();
    let told: jiff::Timestamp = status["last_ok"].as_str().unwrap().parse().unwrap();
    assert!((last_ok - told.as_duration().as_secs_f64()).abs() < 0.001, "{last_ok} {told}");

    bed.hook.exits_with(3);
    bed.push("three");
    bed.check(1);
    let page = scrape(&bed, &address);
    assert_eq!(sample(&page, "taghook_attempts_total{hook=\"redeploy\",result=\"failed\"}"), 1.0);
    assert_eq!(sample(&page, "taghook_deliveries{hook=\"redeploy\",state=\"failed\"}"), 1.0);
    agent.stop();
}

#[test]
fn a_registry_that_fails_is_counted_by_why_and_a_limit_by_what_is_left() {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    registry.push_image("acme/web", "stable", "1");
    let host = registry.host();
    sandbox.write_whole_config(&format!(
        "{LISTEN}\n[watch.web]\nimage = '{host}/acme/web:stable'\nschedule = '30d'\n[registry.'{host}']\nplain_http = true\n"
    ));
    registry.rule(|_, reply| reply.with("ratelimit-remaining", "76;w=21600"));
    let (mut agent, address) = listening(&sandbox);
    agent.wait_for("first seen", &[]);
    let page = scrape(&sandbox, &address);
    let of = |name: &str, more: &str| format!("taghook_{name}{{registry=\"{host}\"{more}}}");
    assert_eq!(sample(&page, &of("registry_ratelimit_remaining", "")), 76.0);

    registry.rule(|_, _| Reply::status(429));
    sandbox.run(&["check"]).expect(1);

    let page = scrape(&sandbox, &address);
    assert_eq!(sample(&page, &of("checks_total", ",outcome=\"failed\"")), 1.0);
    assert_eq!(sample(&page, &of("check_failures_total", ",kind=\"rate_limited\"")), 1.0);
    assert_eq!(sample(&page, "taghook_watches{state=\"failing\"}"), 1.0);
    assert!(sample(&page, &of("registry_gate_closed_seconds_total", "")) > 0.0);
    agent.stop();
}

#[test]
fn prometheus_finds_nothing_amiss_with_the_page_and_the_alerts() {
    let (bed, agent, address) = moved();
    let page = bed.path().join("page");
    std::fs::write(&page, scrape(&bed, &address)).unwrap();
    promtool(&bed, &format!("check metrics < {}", page.display()));
    promtool(&bed, "check rules docs/alerts.yml");
    promtool(&bed, "test rules docs/alerts_test.yml");
    agent.stop();
}

#[test]
fn docs_and_alerts_name_what_is_exported_and_nothing_else() {
    let (bed, agent, address) = moved();
    let page = scrape(&bed, &address);
    let docs =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap();
    let table = docs("metrics.md");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `taghook_"));
    let named: BTreeSet<String> = rows.map(|row| format!("taghook_{}", row.split('`').next().unwrap())).collect();
    assert_eq!(named, families(&page));

    let alerts = docs("alerts.yml");
    let words = alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let used: BTreeSet<String> = words.filter(|word| word.starts_with("taghook_")).map(str::to_owned).collect();
    assert!(used.len() > 5 && used.is_subset(&named), "{used:?}");
    agent.stop();
}
