//! What every program of this project needs of the machine that it runs on.
//!
//! It knows nothing of sessions, rings or money.
#![forbid(unsafe_code)]

pub mod chain;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod console;
#[cfg(feature = "dial")]
pub mod dial;
pub mod groups;
#[cfg(feature = "help-check")]
pub mod help_check;
pub mod log;
pub mod machine;
pub mod memory;
pub mod pem;
pub mod secrecy;
pub mod steady;
pub mod user;
