//! Tells systemd what the agent reports of itself: readiness, the watchdog's ping, and the line in `systemctl status`.
//!
//! *Invariant:* the agent never waits for systemd, whose socket takes only a few messages that were not read. One of each
//! kind waits, the newest.

use std::io;
use std::mem::{Discriminant, discriminant};
use std::sync::OnceLock;
use std::time::Duration;

use sd_notify::NotifyState;

use super::outbox::Outbox;
use super::text::count;
use crate::agent::{Sign, Summary};
use crate::domain::shown::shown;

/// The line names at most this many registries, so that it stays short, and counts more.
const MAX_NAMED: usize = 3;

/// How long the end of the agent waits for systemd to hear the last message.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

static OUTBOX: OnceLock<Outbox<Notification>> = OnceLock::new();

struct Notification {
    kind: Discriminant<Sign>,
    text: String,
}

/// Starts the thread that talks to systemd, if systemd listens.
pub(super) fn start() -> io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        // Nobody could be told of an error.
        let send = |message: Notification| drop(sd_notify::notify(&[NotifyState::Custom(&message.text)]));
        let _ = OUTBOX.set(Outbox::start("systemd", send)?);
    }
    Ok(())
}

/// Does nothing without systemd.
pub(super) fn tell(sign: Sign) {
    let Some(outbox) = OUTBOX.get() else { return };
    let message = Notification { kind: discriminant(&sign), text: text(&sign) };
    outbox.put(|waiting| {
        waiting.retain(|earlier| earlier.kind != message.kind);
        waiting.push_back(message);
    });
}

/// Waits until systemd has heard all, within a limit.
pub(super) fn flush() {
    if let Some(outbox) = OUTBOX.get() {
        outbox.flush(FLUSH_TIMEOUT);
    }
}

fn text(sign: &Sign) -> String {
    let states = match sign {
        Sign::Ready => vec![NotifyState::Ready],
        // `Type=notify-reload` (systemd 253) needs the time.
        Sign::Reloading => [NotifyState::Reloading].into_iter().chain(NotifyState::monotonic_usec_now().ok()).collect(),
        Sign::Summary(summary) => return NotifyState::Status(&line(summary)).to_string(),
        Sign::Alive => vec![NotifyState::Watchdog],
        Sign::Stopping(within) => vec![
            NotifyState::Stopping,
            NotifyState::Status("stopping: running hooks have their grace"),
            // So that TimeoutStopSec= need not be changed with the config.
            NotifyState::ExtendTimeoutUsec(u32::try_from(within.as_micros()).unwrap_or(u32::MAX)),
        ],
    };
    states.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One line: a line break would end the message.
fn line(summary: &Summary) -> String {
    let Summary { ok, settling, failing, absent, unknown, failed, held_off, write_failure, refused } = summary;
    let watches =
        [(ok, "ok"), (failing, "failing"), (absent, "absent"), (settling, "settling"), (unknown, "not checked yet")];
    let total = count(ok + settling + failing + absent + unknown, "watch", "watches");
    let states: Vec<String> =
        watches.iter().filter(|(number, _)| **number > 0).map(|(number, state)| format!("{number} {state}")).collect();
    let mut parts = vec![if states.is_empty() { total } else { format!("{total}: {}", states.join(", ")) }];
    if *failed > 0 {
        parts.push(format!("{} failed", count(*failed, "delivery", "deliveries")));
    }
    match held_off.len() {
        0 => {}
        1..=MAX_NAMED => parts.push(format!("{} held off", held_off.join(", "))),
        more => parts.push(format!("{more} registries held off")),
    }
    parts.extend(write_failure.iter().map(|why| format!("hooks are held: {why}")));
    parts.extend(refused.iter().map(|why| format!("the config as it is now was refused: {why}")));
    let line = parts.join("; ").split_whitespace().collect::<Vec<_>>().join(" ");
    shown(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_counts_what_there_is_and_names_what_is_wrong() {
        assert_eq!(line(&Summary::default()), "0 watches");
        let mut summary = Summary { ok: 310, failing: 2, failed: 1, ..Summary::default() };
        assert_eq!(line(&summary), "312 watches: 310 ok, 2 failing; 1 delivery failed");
        summary = Summary { unknown: 1, held_off: vec!["a".into(), "b".into()], ..Summary::default() };
        assert_eq!(line(&summary), "1 watch: 1 not checked yet; a, b held off");
        summary.held_off.extend(["c".into(), "d".into()]);
        summary.write_failure = Some("the disk is full".into());
        summary.refused = Some("config.toml:1:2\n  no".into());
        assert_eq!(
            line(&summary),
            "1 watch: 1 not checked yet; 4 registries held off; hooks are held: the disk is full; \
             the config as it is now was refused: config.toml:1:2 no"
        );
    }
}
