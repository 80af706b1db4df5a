//! `Retry-After`, as a header and as a body.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taghook::registry::fuzz::wait(bytes));
