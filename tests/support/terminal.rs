//! What a person sees: the binary on a pseudo-terminal, made by script(1).

use std::process::Command;

use super::process::{Output, Running};
use super::sandbox::Sandbox;

/// `taghook ARGS` with the sandbox's config, on a terminal of so many columns; `variables` as for env(1).
pub fn on_terminal(sandbox: &Sandbox, columns: u32, variables: &str, args: &str) -> Output {
    let (binary, config) = (env!("CARGO_BIN_EXE_taghook"), sandbox.config_path());
    let line = format!(
        "stty cols {columns} rows 50; exec env TERM=xterm {variables} {binary} {args} --config {}",
        config.display()
    );
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", sandbox.path());
    let mut output = Running::start(command).finish();
    output.stdout = output.stdout.replace("\r\n", "\n");
    output
}

/// A text without its colours.
pub fn without_colours(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('m').map_or(part, |(_, rest)| rest))
}
