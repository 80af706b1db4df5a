//! What is accepted, and what it means.

use std::time::Duration;

use super::*;

#[test]
fn a_config_means_what_it_says() {
    let folder = Folder::new(
        r#"
        state = "state"
        socket = "/run/x.sock"
        shutdown_grace = "5s"
        [defaults]
        schedule = "*/5 * * * *"
        timezone = "Europe/Berlin"
        settle = "1h"
        hooks = "b"
        [watch.web]
        image = "ghcr.io/acme/web:stable"
        [watch.api]
        image = "nginx"
        schedule = "7m"
        platform = "linux/aarch64"
        settle = "0s"
        hooks = ["a", "b"]
        enabled = false
        [hook.a]
        command = ["/bin/echo", "x"]
        on = ["first", "moved"]
        timeout = "1m"
        attempts = 2
        backoff = "1s"
        backoff_max = "2s"
        cwd = "work"
        env = { A = "1" }
        pass_env = ["DOCKER_HOST"]
        concurrency = 3
        [hook.b]
        command = "echo $X"
        [registry."GHCR.io"]
        username = "ann"
        password_file = "/run/x"
        endpoint = "HTTPS://Mirror.example.com:8443/Hub/"
        concurrency = 2
        rate = "600/m"
        timeout = "5s"
        "#,
        &[],
    );
    let config = folder.load().unwrap().config;
    assert_eq!(config.state, folder.0.path().join("state"));
    assert_eq!(config.socket.as_deref(), Some(Path::new("/run/x.sock")));
    assert_eq!(config.shutdown_grace, Duration::from_secs(5));

    let (web, api) = (&config.watches["web"], &config.watches["api"]);
    assert_eq!(web.key.question.reference(), "ghcr.io/acme/web:stable");
    assert_eq!((web.schedule.to_string().as_str(), web.enabled), ("*/5 * * * *", true));
    assert_eq!(web.policy.settle, Duration::from_secs(3600));
    assert_eq!(web.hooks.iter().map(|hook| &**hook).collect::<Vec<_>>(), ["b"]);
    assert_eq!(api.key.question.platform.as_ref().map(ToString::to_string).as_deref(), Some("linux/arm64"));
    assert_eq!((api.schedule.interval(), api.enabled), (Some(Duration::from_secs(420)), false));
    assert_eq!(api.policy.settle, Duration::ZERO);
    assert_eq!(api.hooks.len(), 2);

    let (a, b) = (&config.hooks["a"], &config.hooks["b"]);
    assert_eq!(command(a).argv, ["/bin/echo", "x"]);
    assert_eq!(command(a).cwd.as_deref(), Some(folder.0.path().join("work").as_path()));
    assert_eq!((a.retry.attempts, a.concurrency), (2, 3));
    assert_eq!(command(b).argv, ["/bin/sh", "-c", "echo $X"]);
    assert_eq!(b.on.iter().collect::<Vec<_>>(), [crate::domain::ChangeKind::Moved]);

    let ghcr = &config.registries["ghcr.io"];
    assert_eq!(ghcr.client.endpoint.as_deref(), Some("https://mirror.example.com:8443/Hub"));
    assert_eq!((ghcr.limits.concurrency, ghcr.limits.rate), (2, 10.0));
}

#[test]
fn watches_share_schedules_and_hook_lists() {
    let config = r#"
        [defaults]
        hooks = ["h"]
        [watch.a]
        image = "a"
        schedule = "@daily"
        [watch.b]
        image = "b"
        schedule = "@daily"
        hooks = ["h"]
        [watch.c]
        image = "c"
        schedule = "@daily"
        timezone = "Asia/Tokyo"
        [hook.h]
        command = "true"
    "#;
    let watches = Folder::new(config, &[]).load().unwrap().config.watches;
    let (a, b, c) = (&watches["a"], &watches["b"], &watches["c"]);
    assert!(Arc::ptr_eq(&a.schedule, &b.schedule) && Arc::ptr_eq(&a.hooks, &b.hooks));
    assert!(!Arc::ptr_eq(&a.schedule, &c.schedule), "another zone is another schedule");
    let now = "2026-11-23T12:00:00Z".parse().unwrap();
    assert_eq!(a.next_due(now).to_string(), "2026-11-24T00:00:00Z");
    assert_eq!(c.next_due(now).to_string(), "2026-11-23T15:00:00Z");
}

#[test]
fn fragments_are_merged_in_the_order_of_their_names() {
    let folder = Folder::new(
        "[watch.a]\nimage = 'a'\nhooks = ['h']\n",
        &[
            ("20.toml", "[defaults]\nschedule = '2m'\n"),
            ("10.toml", "[hook.h]\ncommand = ['/bin/echo']\n[watch.b]\nimage = 'b'\n"),
            (".#10.toml", "not read"),
            ("10.toml~", "not read"),
        ],
    );
    let loaded = folder.load().unwrap();
    assert_eq!(loaded.config.watches.len(), 2);
    assert_eq!(loaded.config.watches["b"].schedule.to_string(), "2m");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn the_first_fragment_by_name_is_the_one_that_stays() {
    let names: Vec<String> = (10..30).rev().map(|n| format!("{n}.toml")).collect();
    let fragments: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "[watch.a]\nimage = 'a'\n")).collect();
    let faults = Folder::new("", &fragments).load().unwrap_err();
    let again: Vec<std::ffi::OsString> =
        faults.iter().map(|fault| fault.file().unwrap().file_name().unwrap().to_owned()).collect();
    let expected: Vec<std::ffi::OsString> = names.iter().rev().skip(1).map(Into::into).collect();
    assert_eq!(again, expected);
    assert!(faults.iter().all(|fault| fault.first_defined().unwrap().0.ends_with("10.toml")));
}

#[test]
fn many_watches_are_read_without_quadratic_work() {
    use std::fmt::Write;
    let mut config = String::from("[hook.h]\ncommand = ['/bin/echo']\n");
    for n in 0..10_000 {
        write!(
            config,
            "[watch.w{n}]\nimage = 'ghcr.io/acme/w{n}'\nhooks = ['h']\nschedule = '*/{} * * * *'\n",
            n % 59 + 1
        )
        .unwrap();
    }
    assert_eq!(Folder::new(&config, &[]).load().unwrap().config.watches.len(), 10_000);
}

#[test]
fn an_explicit_file_that_is_missing_or_a_directory_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let text = |path: &Path| load_in(path, &environment()).unwrap_err().to_string();
    let missing = folder.path().join("x.toml");
    assert!(text(&missing).starts_with(&format!("error: there is no file {}\n", missing.display())));
    let directory = text(folder.path());
    assert!(directory.starts_with(&format!("error: {} is a directory", folder.path().display())), "{directory}");
}

#[test]
fn a_file_that_is_too_large_or_not_utf8_is_refused() {
    let folder = Folder::new("", &[]);
    std::fs::write(folder.path(), b"# fine\n# gr\xfcn\n").unwrap();
    assert_eq!(folder.faults(), "error: the file is not UTF-8; save it in that encoding\n --> config.toml:2:5");
    std::fs::write(folder.path(), vec![b'#'; (16 << 20) + 1]).unwrap();
    assert!(folder.faults().contains("larger than 16 MiB"));
}

#[test]
fn nothing_to_do_is_a_warning() {
    let warnings = |config: &str| {
        let loaded = Folder::new(config, &[]).load().unwrap();
        loaded.warnings.iter().map(|fault| fault.message().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(warnings(""), ["the config has no watches"]);
    assert_eq!(
        warnings(
            "[watch.a]\nimage = 'a'\njitter = '3s'\n[hook.h]\ncommand = ['/nowhere/x']\n[hook.i]\ncommand = ['no-such']\n"
        ),
        [
            "watch \"a\": jitter has no effect on the interval \"15m\"; it is for cron expressions",
            "hook \"h\" is named by no watch, so it never runs",
            "hook \"h\": \"/nowhere/x\" does not exist",
            "hook \"i\" is named by no watch, so it never runs",
            "hook \"i\": \"no-such\" is not in $PATH; write its whole path",
        ]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "\\PC{0,200}") {
        loads_or_renders(&text);
    }

    #[test]
    fn no_text_that_resembles_a_config_makes_the_loader_panic(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "[watch.a]\n", "[watch.\"é b\"]\n", "[hook.h]\n", "[registry.\"x:1\"]\n", "[defaults]\n", "[[hook]]\n", "[watch",
                "image = ", "schedule = ", "hooks = ", "command = ", "on = ", "env = ", "endpoint = ", "rate = ", "timeout = ",
                "state = ", "timezone = ", "platform = ", "attempts = ", "password = ", "cwd = ",
                "\"nginx\"", "'é:\u{1F980}'", "\"a\\u00e9!\"", "\"\"\"x\ny\"\"\"", "[1, 'x']", "{ A = 1, B = '' }", "3", "1e9", "true",
                "1979-05-27", "\"https://a:b@c/d?e\"", "\"15m\"", "\"* * * * *\"", "\"-1/s\"", "\n", "\r\n", "=", "\"", "#", "\u{feff}", "\0",
            ]),
            0..40,
        ),
    ) {
        loads_or_renders(&parts.concat());
    }
}

fn loads_or_renders(text: &str) {
    let folder = Folder::new(text, &[("a.toml", text)]);
    match folder.load() {
        Ok(loaded) => drop(render(&loaded.warnings, true)),
        Err(faults) => {
            assert!(faults.iter().next().is_some(), "a refusal has a reason");
            for fault in faults.iter() {
                let _ = (fault.to_string(), fault.line(), fault.column());
            }
            let _ = (faults.render(true), faults.to_string());
        }
    }
}

fn command(hook: &crate::config::Hook) -> &crate::hook::Command {
    let crate::hook::Action::Command(command) = &hook.action;
    command
}
