//! libFuzzer over `fuzz::settlement::run`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::settlement::run(bytes));
