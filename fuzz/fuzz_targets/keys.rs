//! libFuzzer over `fuzz::configs::keys`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::configs::keys(bytes));
