//! libFuzzer over `fuzz::sealed::tokens`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::sealed::tokens(bytes));
