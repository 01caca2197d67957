//! Fuzz targets: one function for each decoder that reads bytes from outside its process. A target takes any bytes, must
//! return within milliseconds, and panics when something does not hold; beyond "no panic" each states what else must hold.
//!
//! [`TARGETS`] is the list of them all, with the seeds of their corpora. libFuzzer runs them (`fuzz_targets/`,
//! `cargo xtask fuzz`), and `tests/replay.rs` replays corpus and mutations without it.

#![forbid(unsafe_code)]

pub mod configs;
pub mod frames;
pub mod lean;
pub mod manifest;
pub mod mutate;
pub mod records;
pub mod rings;
pub mod sealed;
pub mod seed_file;
pub mod settlement;

mod input;
mod scratch;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its program, its corpus and its dictionary.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Valid inputs, with the names of their files. The same ones at every call.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<(&'static str, Vec<u8>)>) -> Target {
    Target { name, run, seeds }
}

/// Every target.
pub const TARGETS: [Target; 17] = [
    target("frames", frames::run, frames::seeds),
    target("tokens", sealed::tokens, sealed::token_seeds),
    target("tickets", sealed::tickets, sealed::ticket_seeds),
    target("cookies", sealed::cookies, sealed::cookie_seeds),
    target("codes", sealed::codes, sealed::code_seeds),
    target("records", records::run, records::seeds),
    target("mapping", rings::mapping, rings::mapping_seeds),
    target("ring", rings::ring, rings::ring_seeds),
    target("seed_file", seed_file::run, seed_file::seeds),
    target("manifest", manifest::run, manifest::seeds),
    target("settlement", settlement::run, settlement::seeds),
    target("keys", configs::keys, configs::key_seeds),
    target("show", configs::show, configs::show_seeds),
    target("gateway_config", configs::gateway_config, configs::gateway_config_seeds),
    target("agent_config", configs::agent_config, configs::agent_config_seeds),
    target("scenario", configs::scenario, configs::scenario_seeds),
    target("lean", lean::run, lean::seeds),
];
