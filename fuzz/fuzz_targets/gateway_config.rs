//! libFuzzer over `fuzz::configs::gateway_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::configs::gateway_config(bytes));
