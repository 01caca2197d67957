//! libFuzzer over `fuzz::rings::ring`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::rings::ring(bytes));
