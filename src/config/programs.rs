//! Warnings about the program of a hook: one that cannot be run, and files of the command that anyone may write.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::hook::{self, Command};

use super::find::Environment;
use super::trust;
use super::walk::TomlField;

pub(super) fn warn(command: &Command, field: &TomlField<'_, '_>, environment: &Environment) {
    if let Some(program) = program_of(command)
        && let Some(reason) = obstacle(program, command, environment)
    {
        field.report(field.warning(format!("{:?} {reason}", hook::masked(program))));
    }
    if environment.is_root {
        warn_of_trust(command, field, environment);
    }
}

fn start_folder(command: &Command) -> &Path {
    command.cwd.as_deref().unwrap_or(Path::new("/"))
}

/// Why a program cannot be run, as far as that can be seen.
fn obstacle(program: &str, command: &Command, environment: &Environment) -> Option<&'static str> {
    if !program.contains('/') {
        let own = command.env.get("PATH").map(OsStr::new);
        let folders = own.or(environment.path.as_deref()).unwrap_or(OsStr::new("/usr/bin:/bin"));
        let has = |folder: &Path| std::fs::metadata(folder.join(program)).is_ok_and(|found| is_executable(&found));
        let is_found = std::env::split_paths(folders).any(|folder| has(&folder));
        return (!is_found).then_some("is not in $PATH; write its whole path");
    }
    match std::fs::metadata(start_folder(command).join(program)) {
        Ok(found) if is_executable(&found) => None,
        Ok(found) if found.is_dir() => Some("is a directory, not a program"),
        Ok(_) => Some("is not executable; chmod +x it"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("does not exist"),
        // Another user may well see it.
        Err(_) => None,
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

/// Warns root of files of the command that anyone may write or replace.
fn warn_of_trust(command: &Command, field: &TomlField<'_, '_>, environment: &Environment) {
    let warn = |what: &str, path: &Path, found: &Metadata| {
        if let Some(fault) = trust::fault_of(&field.says(what), path, found, environment) {
            field.report(fault.at(field.location()));
        }
    };
    // The script may be an argument of its interpreter, or a word of a shell command.
    let words = command.argv.iter().flat_map(|word| word.split_whitespace()).filter(|word| word.contains('/'));
    for path in words.map(|word| start_folder(command).join(word)) {
        let Some(found) = std::fs::metadata(&path).ok().filter(Metadata::is_file) else { continue };
        warn("", &path, &found);
        // Whoever may write a folder may replace the script in it, except where the sticky bit forbids it.
        let Some(folder) = path.parent() else { continue };
        if let Some(found) = std::fs::metadata(folder).ok().filter(|found| found.permissions().mode() & 0o1000 == 0) {
            warn("the folder ", folder, &found);
        }
    }
}
