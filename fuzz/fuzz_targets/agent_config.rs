//! libFuzzer over `fuzz::configs::agent_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::configs::agent_config(bytes));
