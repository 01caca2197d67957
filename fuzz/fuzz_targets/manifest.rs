//! libFuzzer over `fuzz::manifest::run`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::manifest::run(bytes));
