//! A token endpoint's answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taghook::registry::fuzz::token_answer(bytes));
