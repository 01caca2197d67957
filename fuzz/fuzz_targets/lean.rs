//! libFuzzer over `fuzz::lean::run`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::lean::run(bytes));
