//! What to run and within which limits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A command and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments, executed as they are; never empty.
    pub argv: Vec<String>,
    /// After this the process group gets SIGTERM, and ten seconds later SIGKILL.
    pub timeout: Duration,
    /// Working directory; `/` where none is set.
    pub cwd: Option<PathBuf>,
    /// Variables set for the command.
    pub env: BTreeMap<String, String>,
    /// Names of our own variables that are passed on.
    pub pass_env: Vec<String>,
}
