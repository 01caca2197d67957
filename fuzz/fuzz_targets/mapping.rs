//! libFuzzer over `fuzz::rings::mapping`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::rings::mapping(bytes));
