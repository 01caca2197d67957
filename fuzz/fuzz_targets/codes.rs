//! libFuzzer over `fuzz::sealed::codes`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::sealed::codes(bytes));
