//! libFuzzer over `fuzz::sealed::tickets`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::sealed::tickets(bytes));
