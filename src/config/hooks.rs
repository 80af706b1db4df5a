//! `[hook.NAME]` → hooks.
//!
//! *Invariant:* what a hook is told of its run (`TAGHOOK_…`) and what belongs to the agent alone (systemd's sockets and
//! credentials) can be neither set nor passed on by the config.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeValue;

use crate::domain::backoff::Backoff;
use crate::domain::delivery::RetryPolicy;
use crate::domain::{ChangeKind, ChangeSet};
use crate::hook::{self, Action, Command};

use super::fault::Fault;
use super::find::Surroundings;
use super::source::Place;
use super::suggest::nearest;
use super::values::{Text, Zero, written};
use super::walk::{Item, Report, Table};
use super::{Hook, defaults, keys, names, trust};

/// The hooks, and the names of all that are defined, well or not.
pub(super) struct Read<'a> {
    pub(super) hooks: BTreeMap<Arc<str>, Arc<Hook>>,
    pub(super) names: BTreeSet<Arc<str>>,
    items: &'a BTreeMap<&'a str, Item<'a>>,
}

impl Read<'_> {
    /// Warns of hooks that no watch names: they never run.
    pub(super) fn warn_of_unused(&self, used: &BTreeSet<Arc<str>>, report: &Report) {
        for (name, item) in self.items.iter().filter(|(name, _)| !used.contains(**name)) {
            let fault = Fault::warning(format!("hook {name:?} is named by no watch, so it never runs"));
            report.add(fault.at(item.key_place()).help(format!("add hooks = [{name:?}] to a watch")));
        }
    }
}

/// Reads the hooks.
pub(super) fn read<'a>(items: &'a BTreeMap<&'a str, Item<'a>>, around: &Surroundings, report: &Report) -> Read<'a> {
    let mut read = Read { hooks: BTreeMap::new(), names: items.keys().map(|name| Arc::from(*name)).collect(), items };
    for item in read.items.values() {
        let is_named = names::check("hook", *item, report);
        let Some(mut table) = Table::of(format!("hook {:?}", item.name()), &keys::HOOK, *item, report) else {
            continue;
        };
        let hook = read_hook(*item, &mut table, around);
        table.finish();
        if let Some(hook) = hook.filter(|_| is_named) {
            read.hooks.insert(Arc::clone(&hook.name), Arc::new(hook));
        }
    }
    read
}

fn read_hook<'a>(item: Item<'a>, table: &mut Table<'a, '_>, around: &Surroundings) -> Option<Hook> {
    let command_at = table.peek("command");
    let argv = read_command(item, table);
    let on = read_on(table);
    let retry = read_retry(table);
    let timeout = table.duration("timeout", Zero::Refused).unwrap_or(defaults::TIMEOUT);
    let cwd_at = table.peek("cwd");
    let cwd = table.path("cwd");
    if let (Some(item), Some(cwd)) = (cwd_at, cwd.as_deref())
        && std::fs::metadata(cwd)
            .map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |found| !found.is_dir())
    {
        let text = format!("cwd: {} is not a directory, so the command cannot be started", cwd.display());
        table.report.add(Fault::warning(table.says(text)).at(item.place()).help("create it, or name another one"));
    }
    let env = read_env(table);
    let pass_env = read_pass_env(table);
    let concurrency = table.count("concurrency").map_or(defaults::CONCURRENCY, |count| count as usize);
    let command = Command { argv: argv?, cwd, env, pass_env };
    if let Some(item) = command_at {
        warn_of_programs(&command, item.place(), table, around);
    }
    let action = Action::Command(command);
    Some(Hook { name: Arc::from(item.name()), action, timeout, on, retry, concurrency })
}

/// A list is executed as it is; a string is given to the shell.
fn read_command<'a>(hook: Item<'a>, table: &mut Table<'a, '_>) -> Option<Vec<String>> {
    let Some(item) = table.peek("command") else {
        table.take("command");
        let fault = Fault::error(table.says("there is no command")).at(hook.key_place());
        table.report.add_missing(fault.help("add for example command = [\"/usr/local/bin/redeploy\", \"web\"]"));
        return None;
    };
    let words: Vec<String> = table.texts("command")?.iter().map(|word| word.text.to_owned()).collect();
    if words.iter().any(|word| word.contains('\0')) {
        table.fault(item.place(), "command cannot have a NUL character");
        return None;
    }
    if words.first().is_none_or(|program| program.trim().is_empty()) {
        table.fault_with(item.place(), "command names no program", "write for example [\"/bin/echo\", \"moved\"]");
        return None;
    }
    Some(match item.value.get_ref() {
        DeValue::String(script) => vec!["/bin/sh".to_owned(), "-c".to_owned(), script.clone().into_owned()],
        _ => words,
    })
}

fn read_on(table: &mut Table<'_, '_>) -> ChangeSet {
    let item = table.peek("on");
    let Some(words) = table.texts("on") else { return defaults::ON.into_iter().collect() };
    if let (true, Some(item)) = (words.is_empty(), item) {
        table.fault(item.place(), "on is empty, so the hook would never run; write for example [\"moved\"]");
    }
    let known = || ChangeKind::ALL.iter().map(|kind| kind.as_str());
    let mut kinds = Vec::new();
    for Text { text, item } in words {
        match ChangeKind::parse(text) {
            Some(kind) => kinds.push(kind),
            None => {
                let help = match nearest(text, known()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("changes are {}", known().collect::<Vec<_>>().join(", ")),
                };
                table.fault_with(item.place(), format!("on: there is no change {text:?}"), help);
            }
        }
    }
    kinds.into_iter().collect()
}

fn read_retry(table: &mut Table<'_, '_>) -> RetryPolicy {
    let default = defaults::RETRY;
    let at = table.peek("backoff").or_else(|| table.peek("backoff_max"));
    let attempts = table.count("attempts").unwrap_or(default.attempts);
    let first = table.duration("backoff", Zero::Refused).unwrap_or(default.backoff.first);
    let max = table.duration("backoff_max", Zero::Refused).unwrap_or(default.backoff.max);
    if let Some(item) = at.filter(|_| first > max) {
        table.fault(
            item.place(),
            format!("backoff ({}) is longer than backoff_max ({}); raise backoff_max", written(first), written(max)),
        );
    }
    RetryPolicy { attempts, backoff: Backoff { first, max } }
}

fn read_env(table: &mut Table<'_, '_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for Text { text, item } in table.text_table("env") {
        check_variable(item.name(), item.key_place(), "env", table);
        if text.contains('\0') {
            table.fault(item.place(), format!("env: the value of {:?} has a NUL character", item.name()));
        }
        env.insert(item.name().to_owned(), text.to_owned());
    }
    env
}

fn read_pass_env(table: &mut Table<'_, '_>) -> Vec<String> {
    let names = table.texts("pass_env").unwrap_or_default();
    for Text { text, item } in &names {
        check_variable(text, item.place(), "pass_env", table);
    }
    names.into_iter().map(|name| name.text.to_owned()).collect()
}

fn check_variable(name: &str, place: Place, key: &str, table: &Table<'_, '_>) {
    if let Some((name, _)) = name.split_once('=') {
        // What follows is its value, and may be a secret.
        table.fault(place, format!("{key}: \"{name}=…\" is not the name of a variable; values stand in env"));
    } else if name.is_empty() || name.contains('\0') {
        table.fault(place, format!("{key}: {name:?} is not the name of a variable"));
    } else if name.starts_with("TAGHOOK_") {
        table
            .fault(place, format!("{key}: {name:?} is taghook's own; choose a name that does not start with TAGHOOK_"));
    } else if matches!(name, "NOTIFY_SOCKET" | "CREDENTIALS_DIRECTORY") || name.starts_with("WATCHDOG_") {
        table.fault(place, format!("{key}: {name:?} belongs to the agent and systemd; remove it"));
    }
}

/// Warns of a program that is not there or cannot be run, and of files of the command that anyone may write.
fn warn_of_programs(command: &Command, place: Place, table: &Table<'_, '_>, around: &Surroundings) {
    let Some(program) = program_of(command) else { return warn_of_trust(command, place, table, around) };
    let warn = |reason: &str| {
        let text = format!("{:?} {reason}", hook::masked(program));
        table.report.add(Fault::warning(table.says(text)).at(place.clone()));
    };
    let start = command.cwd.as_deref().unwrap_or(Path::new("/"));
    if program.contains('/') {
        match std::fs::metadata(start.join(program)) {
            Ok(found) if is_executable(&found) => {}
            Ok(found) if found.is_dir() => warn("is a directory, not a program"),
            Ok(_) => warn("is not executable; chmod +x it"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => warn("does not exist"),
            // Another user may well see it.
            Err(_) => {}
        }
    } else {
        let own = command.env.get("PATH").map(OsStr::new);
        let folders = own.or(around.path.as_deref()).unwrap_or(OsStr::new("/usr/bin:/bin"));
        let has = |folder: &Path| std::fs::metadata(folder.join(program)).is_ok_and(|found| is_executable(&found));
        if !std::env::split_paths(folders).any(|folder| has(&folder)) {
            warn("is not in $PATH; write its whole path");
        }
    }
    warn_of_trust(command, place, table, around);
}

/// The program that is looked for: of a shell command its first word, if that is plainly one and not the shell's own.
fn program_of(command: &Command) -> Option<&str> {
    let [shell, flag, script] = &command.argv[..] else { return command.argv.first().map(String::as_str) };
    if shell != "/bin/sh" || flag != "-c" {
        return Some(shell);
    }
    let program = hook::program(script)?;
    let is_function = script.trim_start()[program.len()..].trim_start().starts_with('(');
    (!is_function && !SHELL_WORDS.contains(&program)).then_some(program)
}

/// What a POSIX shell, dash or bash does itself.
const SHELL_WORDS: &[&str] = &[
    ".", ":", "[", "alias", "bg", "break", "builtin", "case", "cd", "chdir", "command", "continue", "declare", "dirs",
    "disown", "do", "done", "echo", "elif", "else", "enable", "esac", "eval", "exec", "exit", "export", "false", "fc",
    "fg", "fi", "for", "function", "getopts", "hash", "help", "history", "if", "in", "jobs", "kill", "let", "local",
    "logout", "mapfile", "popd", "printf", "pushd", "pwd", "read", "readonly", "return", "select", "set", "shift",
    "shopt", "source", "test", "then", "time", "times", "trap", "true", "type", "typeset", "ulimit", "umask", "until",
    "while",
];

/// Warns root of files of the command that anyone may write or replace.
fn warn_of_trust(command: &Command, place: Place, table: &Table<'_, '_>, around: &Surroundings) {
    if !around.is_root {
        return;
    }
    let start = command.cwd.as_deref().unwrap_or(Path::new("/"));
    // The script may be an argument of its interpreter, or a word of a shell command.
    let words = command.argv.iter().flat_map(|word| word.split_whitespace()).filter(|word| word.contains('/'));
    for path in words.map(|word| start.join(word)) {
        let found = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file);
        if let Some(fault) = found.and_then(|found| trust::fault_of(&table.says(""), &path, &found, around)) {
            table.report.add(fault.at(place.clone()));
        }
        // Who may write a folder may put another file in the place of the script, except where the sticky bit forbids it.
        let Some(folder) = path.parent().filter(|_| path.is_file()) else { continue };
        let found = std::fs::metadata(folder).ok().filter(|found| found.permissions().mode() & 0o1000 == 0);
        if let Some(fault) = found.and_then(|found| trust::fault_of(&table.says("the folder "), folder, &found, around))
        {
            table.report.add(fault.at(place.clone()));
        }
    }
}

fn is_executable(file: &std::fs::Metadata) -> bool {
    file.is_file() && file.permissions().mode() & 0o111 != 0
}
