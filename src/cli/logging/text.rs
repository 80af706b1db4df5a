//! Events as lines on standard error.

use std::fmt::Debug;
use std::io::{self, Write};

use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::domain::shown::{Shown, shown_in_json};

/// Takes the line of one event.
pub(super) struct TextWriter {
    pub(super) put: fn(Vec<u8>),
    pub(super) is_json: bool,
}

impl Write for TextWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bytes = match std::str::from_utf8(line) {
            Ok(json) if self.is_json => shown_in_json(json).into_owned().into_bytes(),
            _ => line.to_vec(),
        };
        (self.put)(bytes);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The message and `name=value`, as the usual formatter writes them, with all that others wrote made safe to show.
pub(super) fn fields() -> impl for<'a> FormatFields<'a> + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        if field.name() == "message" {
            return write!(writer, "{}", Shown(format_args!("{value:?}")));
        }
        let (begin, equals) = if writer.has_ansi_escapes() { ("\x1b[3m", "\x1b[0m\x1b[2m=\x1b[0m") } else { ("", "=") };
        write!(writer, "{begin}{}{equals}{}", field.name(), Shown(format_args!("{value:?}")))
    })
    .delimited(" ")
}
