//! libFuzzer over `fuzz::seed_file::run`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::seed_file::run(bytes));
