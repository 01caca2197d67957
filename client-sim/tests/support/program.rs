//! The program as a process.

use std::process::{Command, Output};

/// Runs it to its end.
pub fn client_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_client-sim"))
        .args(arguments)
        .output()
        .expect("it starts")
}

/// What it said.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
