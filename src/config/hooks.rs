//! `[hook.NAME]` → hooks.
//!
//! *Invariant:* what a hook is told about its run (`TAGHOOK_…`) and what belongs to the agent alone (systemd's sockets and
//! credentials) can be neither set nor passed on by the config.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Value;
use toml::de::DeValue;

use crate::domain::backoff::Backoff;
use crate::domain::delivery::RetryPolicy;
use crate::domain::{ChangeKind, ChangeSet};
use crate::hook::{self, Action, Command};

use super::fault::Fault;
use super::inspect::Inspection;
use super::key::ValueKind;
use super::log::FaultLog;
use super::model::Hook;
use super::quote::{quoted, shortened};
use super::row::{Row, keys_of, put, read_rows};
use super::show::{self, human_duration};
use super::suggest::nearest;
use super::values::Zero;
use super::walk::{TomlEntry, TomlField, TomlTable};
use super::{names, programs};

/// A hook while its table is read. What it does is known only once all keys are.
pub(super) struct HookDraft {
    command: Command,
    timeout: Duration,
    on: ChangeSet,
    retry: RetryPolicy,
    concurrency: usize,
}

fn default_hook() -> HookDraft {
    HookDraft {
        command: Command { argv: Vec::new(), cwd: None, env: BTreeMap::new(), pass_env: Vec::new() },
        timeout: Duration::from_secs(600),
        on: [ChangeKind::Moved].into_iter().collect(),
        retry: RetryPolicy {
            attempts: 5,
            backoff: Backoff { first: Duration::from_secs(30), max: Duration::from_secs(3600) },
        },
        concurrency: 1,
    }
}

impl HookDraft {
    fn named(self, name: &str) -> Hook {
        let Self { command, timeout, on, retry, concurrency } = self;
        Hook { name: Arc::from(name), action: Action::Command(command), timeout, on, retry, concurrency }
    }
}

/// The command of a hook that has one.
fn command(hook: &Hook) -> &Command {
    let Action::Command(command) = &hook.action;
    command
}

pub(super) static HOOK: [Row<HookDraft, Hook>; 10] = [
    Row {
        name: "command",
        kind: ValueKind::Command,
        about: "What to run: a string is given to /bin/sh -c; a list, such as [\"/usr/local/bin/redeploy\", \"web\"], is \
                run as it is.",
        read: |hook, field| put(&mut hook.command.argv, read_command(field)),
        show: |hook| show_command(command(hook)),
    },
    Row {
        name: "on",
        kind: ValueKind::Changes,
        about: "What to run it for: moved, first, removed, restored, failing, recovered.",
        read: |hook, field| put(&mut hook.on, read_on(field)),
        show: |hook| show::texts(hook.on.iter().map(|kind| kind.as_str())),
    },
    Row {
        name: "timeout",
        kind: ValueKind::Duration,
        about: "How long one run may take; then all that it has started gets SIGTERM, and 10 s later SIGKILL.",
        read: |hook, field| put(&mut hook.timeout, field.duration(Zero::Refused)),
        show: |hook| show::duration(hook.timeout),
    },
    Row {
        name: "attempts",
        kind: ValueKind::Count,
        about: "How often it is tried before the delivery is \"failed\", until it is retried by hand or the tag moves on.",
        read: |hook, field| put(&mut hook.retry.attempts, field.count()),
        show: |hook| Some(hook.retry.attempts.into()),
    },
    Row {
        name: "backoff",
        kind: ValueKind::Duration,
        about: "The pause after the first failure; it doubles with each further one.",
        read: |hook, field| put(&mut hook.retry.backoff.first, field.duration(Zero::Refused)),
        show: |hook| show::duration(hook.retry.backoff.first),
    },
    Row {
        name: "backoff_max",
        kind: ValueKind::Duration,
        about: "No pause is longer.",
        read: |hook, field| put(&mut hook.retry.backoff.max, field.duration(Zero::Refused)),
        show: |hook| show::duration(hook.retry.backoff.max),
    },
    Row {
        name: "cwd",
        kind: ValueKind::Path,
        about: "The working directory; it must exist.",
        read: |hook, field| put(&mut hook.command.cwd, read_cwd(field)),
        show: |hook| show::path(command(hook).cwd.as_deref().unwrap_or(Path::new("/"))),
    },
    Row {
        name: "env",
        kind: ValueKind::Variables,
        about: "Variables to set; names that start with TAGHOOK_ are taghook's own.",
        read: |hook, field| put(&mut hook.command.env, read_env(field)),
        show: |hook| Some(Value::Table(command(hook).env.keys().map(|name| (name.clone(), "***".into())).collect())),
    },
    Row {
        name: "pass_env",
        kind: ValueKind::Texts,
        about: "Variables of the agent to pass on; the environment is otherwise clean.",
        read: |hook, field| put(&mut hook.command.pass_env, read_pass_env(field)),
        show: |hook| show::texts(command(hook).pass_env.iter()),
    },
    Row {
        name: "concurrency",
        kind: ValueKind::Count,
        about: "How many runs of this hook may go on at a time, over all watches.",
        read: |hook, field| put(&mut hook.concurrency, field.count().and_then(|count| usize::try_from(count).ok())),
        show: |hook| i64::try_from(hook.concurrency).ok().map(Value::from),
    },
];

/// The hooks that are defined. One that is faulty is among them, so that watches may name it.
pub(super) fn read(entries: &BTreeMap<&str, TomlEntry<'_>>, log: &FaultLog) -> BTreeMap<Arc<str>, Arc<Hook>> {
    let keys = keys_of(&HOOK);
    let read = |entry: &TomlEntry<'_>| {
        names::check("hook", *entry, log);
        let mut hook = default_hook();
        if let Some(table) = TomlTable::of(names::title("hook", entry.name()), &keys, *entry, log) {
            read_rows(&HOOK, &mut hook, &table);
            check_command(&hook, *entry, &table);
            check_pauses(&hook, &table);
        }
        let hook = hook.named(entry.name());
        (Arc::clone(&hook.name), Arc::new(hook))
    };
    entries.values().map(read).collect()
}

/// Warns of hooks that no watch names: they never run.
pub(super) fn warn_of_unused(entries: &BTreeMap<&str, TomlEntry<'_>>, used: &BTreeSet<Arc<str>>, log: &FaultLog) {
    for (name, entry) in entries.iter().filter(|(name, _)| !used.contains(**name)) {
        let fault = Fault::warning(format!("hook {} is named by no watch, so it never runs", quoted(name)));
        log.add(fault.at(entry.key_location()).help(format!("add hooks = [{}] to a watch", quoted(name))));
    }
}

fn check_command(hook: &HookDraft, entry: TomlEntry<'_>, table: &TomlTable<'_, '_>) {
    match table.field("command") {
        None => {
            let fault = Fault::error(table.says("there is no command")).at(entry.key_location());
            table.log.add_missing(fault.help("add for example command = [\"/usr/local/bin/redeploy\", \"web\"]"));
        }
        Some(field) if !hook.command.argv.is_empty() => programs::inspect(&hook.command, &field),
        Some(_) => {}
    }
}

fn check_pauses(hook: &HookDraft, table: &TomlTable<'_, '_>) {
    let Backoff { first, max } = hook.retry.backoff;
    let field = table.field("backoff").or_else(|| table.field("backoff_max"));
    if let Some(field) = field.filter(|_| first > max) {
        let [first, max] = [first, max].map(human_duration);
        field.refuse(format!("backoff ({first}) is longer than backoff_max ({max}); raise backoff_max"));
    }
}

/// A list is executed as it is; a string is given to the shell.
fn read_command(field: &TomlField<'_, '_>) -> Option<Vec<String>> {
    let words: Vec<String> = field.texts()?.iter().map(|(word, _)| (*word).to_owned()).collect();
    if words.iter().any(|word| word.contains('\0')) {
        field.refuse("command cannot have a NUL character");
        return None;
    }
    if words.first().is_none_or(|program| program.trim().is_empty()) {
        field.report(field.error("command names no program").help("write for example [\"/bin/echo\", \"moved\"]"));
        return None;
    }
    Some(match field.value.get_ref() {
        DeValue::String(script) => vec!["/bin/sh".to_owned(), "-c".to_owned(), script.clone().into_owned()],
        _ => words,
    })
}

fn show_command(command: &Command) -> Option<Value> {
    match &command.argv[..] {
        [shell, flag, script] if shell == "/bin/sh" && flag == "-c" => show::text(&hook::masked(script)),
        _ => show::texts(command.masked().iter()),
    }
}

fn read_on(field: &TomlField<'_, '_>) -> Option<ChangeSet> {
    let words = field.texts()?;
    if words.is_empty() {
        field.refuse("on is empty, so the hook would never run; write for example [\"moved\"]");
    }
    let known = || ChangeKind::ALL.iter().map(|kind| kind.as_str());
    let kind = |(text, field): (&str, TomlField<'_, '_>)| {
        let kind = ChangeKind::parse(text);
        if kind.is_none() {
            let help = match nearest(text, known()) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None => format!("changes are {}", known().collect::<Vec<_>>().join(", ")),
            };
            field.report(field.error(format!("on: there is no change {}", quoted(text))).help(help));
        }
        kind
    };
    Some(words.into_iter().filter_map(kind).collect())
}

fn read_cwd(field: &TomlField<'_, '_>) -> Option<std::path::PathBuf> {
    let cwd = field.path()?;
    field.table.log.inspect(Inspection::of_path("cwd: ", &cwd, field.spot(), |cwd, spot, _| {
        let is_wrong = cwd.metadata().map_or_else(|error| error.kind() == ErrorKind::NotFound, |found| !found.is_dir());
        let text = || format!("cwd: {} is not a directory, so the command cannot be started", cwd.display());
        is_wrong.then(|| spot.warning(text()).help("create it, or name another one")).into_iter().collect()
    }));
    Some(cwd)
}

fn read_env(field: &TomlField<'_, '_>) -> Option<BTreeMap<String, String>> {
    let mut env = BTreeMap::new();
    for (text, variable) in field.variables()? {
        let name = variable.entry.name();
        if let Some(wrong) = wrong_variable(name) {
            field.report(field.error(format!("env: {wrong}")).at(variable.key_location()));
        }
        if text.contains('\0') {
            variable.refuse(format!("env: the value of {} has a NUL character", quoted(name)));
        }
        env.insert(name.to_owned(), text.to_owned());
    }
    Some(env)
}

fn read_pass_env(field: &TomlField<'_, '_>) -> Option<Vec<String>> {
    let names = field.texts()?;
    for (name, field) in &names {
        if let Some(wrong) = wrong_variable(name) {
            field.refuse(format!("pass_env: {wrong}"));
        }
    }
    Some(names.into_iter().map(|(name, _)| name.to_owned()).collect())
}

/// What is wrong with the name of a variable.
fn wrong_variable(name: &str) -> Option<String> {
    if let Some((name, _)) = name.split_once('=') {
        // The rest is a value, which may be a secret.
        Some(format!("\"{}=…\" is not the name of a variable; values stand in env", shortened(name)))
    } else if name.is_empty() || name.contains('\0') {
        Some(format!("{} is not the name of a variable", quoted(name)))
    } else if name.starts_with("TAGHOOK_") {
        Some(format!("{} is taghook's own; choose a name that does not start with TAGHOOK_", quoted(name)))
    } else if matches!(name, "NOTIFY_SOCKET" | "CREDENTIALS_DIRECTORY") || name.starts_with("WATCHDOG_") {
        Some(format!("{} belongs to the agent and systemd; remove it", quoted(name)))
    } else {
        None
    }
}
