//! `WWW-Authenticate`, a line a header.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taghook::registry::fuzz::challenges(bytes));
