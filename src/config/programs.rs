//! Warnings about the program of a hook: one that cannot be run, and files of the command that others may write.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::hook::{self, Command};

use super::fault::Fault;
use super::find::Environment;
use super::inspect::{Inspection, Spot};
use super::quote::quoted;
use super::trust;
use super::walk::TomlField;

pub(super) fn inspect(command: &Command, field: &TomlField<'_, '_>) {
    let command = command.clone();
    let look = move |spot: &Spot, environment: &Environment| faults(&command, spot, environment);
    let subject = "its program, or a file of its command,".to_owned();
    field.table.log.inspect(Inspection::new(field.says("command"), subject, field.spot(), look));
}

fn faults(command: &Command, spot: &Spot, environment: &Environment) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut looked_up = None;
    if let Some(program) = program_of(command) {
        match find(program, command, environment) {
            Ok(found) => looked_up = Some(found),
            Err(reason) => faults.push(spot.warning(format!("{} {reason}", quoted(&hook::masked(program))))),
        }
    }
    if environment.acting.is_some() {
        faults.extend(faults_of_trust(command, looked_up, spot, environment));
    }
    faults
}

fn start_folder(command: &Command) -> &Path {
    command.cwd.as_deref().unwrap_or(Path::new("/"))
}

/// Where a program is, or why it cannot be run, as far as that can be seen.
fn find(program: &str, command: &Command, environment: &Environment) -> Result<PathBuf, &'static str> {
    if !program.contains('/') {
        let own = command.env.get("PATH").map(OsStr::new);
        let folders = own.or(environment.path.as_deref()).unwrap_or(OsStr::new("/usr/bin:/bin"));
        let mut places = std::env::split_paths(folders).map(|folder| folder.join(program));
        let is_it = |place: &PathBuf| place.metadata().is_ok_and(|found| is_executable(&found));
        return places.find(is_it).ok_or("is not in $PATH; write its whole path");
    }
    let place = start_folder(command).join(program);
    match place.metadata() {
        Ok(found) if is_executable(&found) => Ok(place),
        Ok(found) if found.is_dir() => Err("is a directory, not a program"),
        Ok(_) => Err("is not executable; chmod +x it"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("does not exist"),
        // Another user may well see it.
        Err(_) => Ok(place),
    }
}

fn is_executable(file: &Metadata) -> bool {
    file.is_file() && file.permissions().mode() & 0o111 != 0
}

/// The program to look for: of a shell command its first word, if that is plainly a program and not the shell's own.
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

/// Warns of files of the command that others may write or replace.
fn faults_of_trust(
    command: &Command,
    looked_up: Option<PathBuf>,
    spot: &Spot,
    environment: &Environment,
) -> Vec<Fault> {
    let words: Vec<&str> = command.argv.iter().flat_map(|word| word.split_whitespace()).collect();
    // The script may be an argument of its interpreter, or a word of a shell command; what is written to is no script.
    let is_target = |at: usize| at.checked_sub(1).is_some_and(|before| words[before].ends_with('>'));
    let named = words.iter().enumerate().filter(|(at, word)| word.contains('/') && !is_target(*at));
    let named = named.map(|(_, word)| start_folder(command).join(word));
    let mut files: Vec<PathBuf> = looked_up.into_iter().chain(named).collect();
    files.dedup();
    let files = files.iter().filter(|path| path.metadata().is_ok_and(|found| found.is_file()));
    files.filter_map(|path| trust::fault_of("", path, spot, environment)).collect()
}
