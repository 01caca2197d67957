//! How cargo is called, and what `cargo xtask` and the lab do alike: steps one after the other, ended in order when the
//! user interrupts.

#![forbid(unsafe_code)]

pub mod interrupt;
pub mod steps;
pub mod workspace;

/// The commands that are the lab's.
pub const LAB_COMMANDS: [&str; 8] = [
    "demo",
    "million",
    "tune",
    "chaos",
    "guide",
    "bench",
    "dependencies",
    "checks",
];
