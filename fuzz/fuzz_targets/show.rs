//! libFuzzer over `fuzz::configs::show`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::configs::show(bytes));
