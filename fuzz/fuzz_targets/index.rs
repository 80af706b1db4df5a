//! The bytes of an index.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taghook::registry::fuzz::index(bytes));
