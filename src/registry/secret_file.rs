//! Files that hold logins.
//!
//! *Invariant:* none of them can hold up or fill the agent, whatever stands in its place.

use std::io::ErrorKind;
use std::path::Path;

use crate::bounded;

/// In bytes. A docker config with hundreds of registries has some ten thousand.
pub const MAX_SECRET_FILE: usize = 1 << 20;

/// The text of a file. The error names it, with the `remedy` if it is no file that can hold a login.
pub(super) async fn read_text(path: &Path, remedy: &str) -> Result<String, (ErrorKind, String)> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        let remedy = match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::FileTooLarge | ErrorKind::IsADirectory => format!("; {remedy}"),
            _ => String::new(),
        };
        (error.kind(), format!("{shown}: {error}{remedy}"))
    };
    let bytes = bounded::read(path.to_owned(), MAX_SECRET_FILE).await.map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| (ErrorKind::InvalidData, format!("{shown}: it is not UTF-8; {remedy}")))
}
