//! Runs one command, supervised: argument list, clean environment, standard input, timeout, process group, output.

mod options;

pub use options::Command;
