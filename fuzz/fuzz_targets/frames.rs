//! libFuzzer over `fuzz::frames::run`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::frames::run(bytes));
