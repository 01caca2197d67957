//! libFuzzer over `fuzz::configs::scenario`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::configs::scenario(bytes));
