//! What to run and within which limits; and as much of it as may be shown.
//!
//! *Invariant:* of a command nothing is shown but its program. Which argument is a secret cannot be told from its looks.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A command and what it runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments, executed as they are; never empty.
    pub argv: Vec<String>,
    /// Working directory; `/` where none is set.
    pub cwd: Option<PathBuf>,
    /// Variables set for the command.
    pub env: BTreeMap<String, String>,
    /// Names of our own variables that are passed on.
    pub pass_env: Vec<String>,
}

impl Command {
    /// The program, and `***` for each argument.
    pub fn masked(&self) -> Vec<String> {
        let argument = |_| "***".to_owned();
        self.argv.iter().take(1).map(|word| masked(word)).chain(self.argv.iter().skip(1).map(argument)).collect()
    }
}

/// A shell command with `***` for all but its program; all of it, where it does not start with one.
pub fn masked(script: &str) -> String {
    let script = script.trim();
    match program(script) {
        Some(program) if program == script => program.to_owned(),
        Some(program) => format!("{program} ***"),
        None => "***".to_owned(),
    }
}

/// The first word of a shell command, if it is plainly a program: no assignment, no quotes, nothing of the shell.
pub fn program(script: &str) -> Option<&str> {
    let word = script.split_whitespace().next()?;
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+');
    word.chars().all(is_plain).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_command_only_the_program_is_shown() {
        for (script, shown) in [
            ("curl -u admin:hunter2 https://h.example", "curl ***"),
            ("/usr/bin/mysql\t-phunter2", "/usr/bin/mysql ***"),
            ("true", "true"),
            ("PASS=hunter2 deploy --now", "***"),
            ("$(cat hunter2)", "***"),
            ("'hunter2 x'", "***"),
            ("curl;echo hunter2", "***"),
            ("\n  cd /srv\n  ./up hunter2", "cd ***"),
        ] {
            assert_eq!(masked(script), shown, "{script}");
        }
    }
}
