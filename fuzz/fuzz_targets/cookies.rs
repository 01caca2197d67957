//! libFuzzer over `fuzz::sealed::cookies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::sealed::cookies(bytes));
