//! A command as configured, and the part of it that may be shown.
//!
//! *Invariant:* only the program of a command is ever shown, because any argument may be a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments, executed without a shell. Never empty.
    pub argv: Vec<String>,
    /// Working directory. The default is `/`.
    pub cwd: Option<PathBuf>,
    pub env: BTreeMap<String, String>,
    /// Names of the agent's own environment variables that are passed on.
    pub pass_env: Vec<String>,
}

impl Command {
    /// The program, with `***` for each argument.
    pub fn masked(&self) -> Vec<String> {
        let masked = |(position, word): (usize, &String)| if position == 0 { masked(word) } else { "***".to_owned() };
        self.argv.iter().enumerate().map(masked).collect()
    }
}

/// A shell command with `***` for all but its program, or for all of it if it does not start with a plain program.
pub fn masked(script: &str) -> String {
    let script = script.trim();
    match program(script) {
        Some(program) if program == script => program.to_owned(),
        Some(program) => format!("{program} ***"),
        None => "***".to_owned(),
    }
}

/// The first word of a shell command if it is a plain program, without assignment, quotes or other shell syntax.
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
