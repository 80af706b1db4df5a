//! Events in the native protocol of the journal: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
//!
//! Not the `tracing-journald` crate, because that sends from the thread that logs, which a journal that stands still would
//! hold up.

use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::domain::shown::Shown;

const SOCKET: &str = "/run/systemd/journal/socket";

/// The connection to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// Fails where there is no journal.
    pub(super) fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // The journal ignores an empty message.
        match socket.send_to(&[], SOCKET) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        socket.set_nonblocking(false)?;
        Ok(Self { socket })
    }

    /// Sends an entry. Waits for as long as the journal does not read.
    pub(super) fn send(&self, entry: &[u8]) -> io::Result<()> {
        match self.socket.send_to(entry, SOCKET) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                self.send_in_file(entry)
            }
            sent => sent.map(drop),
        }
    }

    /// Sends what is too large for a message: as a sealed file in memory.
    fn send_in_file(&self, entry: &[u8]) -> io::Result<()> {
        let file = memfd_create("journal-entry", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(file);
        file.write_all(entry)?;
        fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut attached = SendAncillaryBuffer::new(&mut space);
        attached.push(SendAncillaryMessage::ScmRights(&files));
        let journal = SocketAddrUnix::new(SOCKET)?;
        sendmsg_addr(&self.socket, &journal, &[IoSlice::new(&[])], &mut attached, SendFlags::empty())?;
        Ok(())
    }
}

/// Hands each event on as an entry.
pub(super) struct JournalLayer<F> {
    pub(super) put: F,
}

impl<S: Subscriber, F: Fn(Vec<u8>) + 'static> Layer<S> for JournalLayer<F> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut entry = JournalEntry(Vec::with_capacity(512));
        entry.field("PRIORITY", priority(metadata.level()));
        entry.field("SYSLOG_IDENTIFIER", "taghook");
        entry.field("TARGET", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            entry.field("CODE_FILE", file);
            entry.field("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        (self.put)(entry.0);
    }
}

/// syslog(3). "Informational" is for what RUST_LOG=debug adds.
fn priority(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    }
}

struct JournalEntry(Vec<u8>);

impl JournalEntry {
    /// With its length before it, so that a value may hold anything.
    fn field(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn recorded(&mut self, field: &Field, value: impl std::fmt::Display) {
        let name = match field.name() {
            "message" => "MESSAGE".to_owned(),
            // With a prefix, so that none is taken for one of the journal's own.
            name => name
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
                .fold("F_".to_owned(), |all, c| all + c.to_ascii_uppercase().encode_utf8(&mut [0; 4])),
        };
        let mut text = String::new();
        let _ = write!(text, "{}", Shown(value));
        self.field(&name, &text);
    }
}

impl Visit for JournalEntry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.recorded(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.recorded(field, format_args!("{value:?}"));
    }
}
