//! The registry client: one question, `check(reference) → answer`.

mod options;

pub use options::Options;
