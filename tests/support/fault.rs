//! System calls that fail, by strace.

use std::process::Command;

/// The command, whose system calls fail as told in strace's words: `pwrite64:error=ENOSPC:when=3+`. Each of its threads
/// counts for itself.
pub fn with(fault: &str, command: &Command) -> Command {
    let mut traced = Command::new("strace");
    traced.args([
        "-f",
        "--quiet=all",
        "--output=/dev/null",
        "--trace=pwrite64,fsync,fdatasync,rename,unlink,ftruncate",
    ]);
    traced.arg(format!("--inject={fault}")).arg(command.get_program()).args(command.get_args());
    traced.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    traced.current_dir(command.get_current_dir().unwrap());
    traced
}
