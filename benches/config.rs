//! Loading, checking and reloading a config of 10,000 watches, beside the floor of a bare TOML parse of the same text.
//!
//! `cargo bench --bench config` prints the best of some runs, and the ratio. Reloading is that of a running agent, from the
//! question on its socket to the answer; its watches are not enabled, so that nothing is asked.

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taghook::agent;
use taghook::control::Client;
use tokio::sync::Notify;

const WATCHES: usize = 10_000;
const HOOKS: usize = 100;
const RUNS: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("config.toml");
    let good = config()?;
    std::fs::write(&path, format!("state = {:?}\n{good}", dir.path()))?;
    let text = std::fs::read_to_string(&path)?;

    let floor = best(|| drop(black_box(toml::de::DeTable::parse_recoverable(black_box(&text)))));
    let load = best(|| drop(black_box(taghook::config::load(&path))));
    let show = best(|| drop(black_box(taghook::config::effective(&path))));
    let warnings = taghook::config::load(&path)?.warnings.len();

    // The worst for remedies: every watch names a hook that does not exist, and has an unknown key.
    std::fs::write(&path, good.replace("hooks = [\"hook-", "colour = 1\nhooks = [\"hock-"))?;
    let refuse = best(|| drop(black_box(taghook::config::load(&path))));

    let [same, changed] = reload(dir.path(), &good)?;
    println!("{WATCHES} watches, {HOOKS} hooks, {} KiB, {warnings} warnings; best of {RUNS} runs", text.len() / 1024);
    let rows = [
        ("bare TOML parse", floor),
        ("load and check", load),
        ("show", show),
        ("refuse", refuse),
        ("reload the same", same),
        ("reload all changed", changed),
    ];
    for (what, time) in rows {
        println!("{what:<18} {:>8.1} ms  {:>5.2} x", time.as_secs_f64() * 1e3, time.div_duration_f64(floor));
    }
    Ok(())
}

/// Reloads that change nothing, and reloads that change every watch.
fn reload(dir: &Path, good: &str) -> Result<[Duration; 2], Box<dyn std::error::Error>> {
    let path = dir.join("config.toml");
    let write = |settle: usize| {
        let defaults = format!("[defaults]\nenabled = false\nconfirm_after = \"{settle}s\"");
        std::fs::write(&path, format!("state = {dir:?}\n{defaults}\n{good}"))
    };
    write(0)?;
    let config = taghook::config::load(&path)?.config;
    static READY: Notify = Notify::const_new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let world = agent::World {
        tell: |sign| {
            if matches!(sign, agent::Sign::Ready) {
                READY.notify_one();
            }
        },
        alive: None,
        reload: Arc::default(),
        stop: async move { drop(stopped.await) },
        hurry: std::future::pending(),
    };
    let measure = async {
        READY.notified().await;
        let mut best = [Duration::MAX; 2];
        for run in 1..=RUNS {
            write(run)?;
            for best in best.iter_mut().rev() {
                let mut client = Client::connect(&dir.join("control.sock")).await?;
                let start = Instant::now();
                black_box(client.reload().await?);
                *best = (*best).min(start.elapsed());
            }
        }
        drop(stop);
        Ok::<_, Box<dyn std::error::Error>>(best)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ran, best) = runtime.block_on(async { tokio::join!(agent::run(path.clone(), config, world), measure) });
    ran?;
    best
}

fn best(mut run: impl FnMut()) -> Duration {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..RUNS).map(|_| time(&mut run)).min().unwrap_or_default()
}

/// Watches as large installations have them: several registries, schedules and platforms.
fn config() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for n in 0..HOOKS {
        writeln!(text, "[hook.hook-{n}]\ncommand = [\"/bin/true\", \"{n}\"]\non = [\"moved\", \"failing\"]")?;
    }
    for n in 0..WATCHES {
        writeln!(text, "[watch.service-{n}]\nimage = \"registry-{}.example.com/team/service-{n}:stable\"", n % 20)?;
        writeln!(text, "hooks = [\"hook-{}\"]", n % HOOKS)?;
        match n % 3 {
            0 => writeln!(text, "schedule = \"{}m\"", 15 + n % 45)?,
            1 => writeln!(text, "schedule = \"{} */2 * * *\"\ntimezone = \"Europe/Berlin\"", n % 60)?,
            _ => writeln!(text, "platform = \"linux/arm64\"\nsettle = \"1h\"")?,
        }
    }
    Ok(text)
}
