//! Readers that stand still: a pipe and a socket that are full.

use std::io::{ErrorKind, PipeReader, PipeWriter, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// A pipe into which nothing more goes until somebody reads.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    // A byte at a time in the end: else there might be room for a short line.
    for size in [4096, 1] {
        while writer.write(&vec![b'\n'; size]).is_ok() {}
    }
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

/// A socket that takes no message until somebody reads: the kernel keeps only a few (`net.unix.max_dgram_qlen`).
pub fn full_socket(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    fill(path);
    socket
}

pub fn fill(path: &Path) {
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    let full = loop {
        match sender.send_to(b"FILLER=1", path) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
}
