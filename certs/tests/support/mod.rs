//! A generated directory, and the program.
#![allow(dead_code, reason = "each test file uses a part of it")]

use certs::generate::{Request, generate};
use certs::report::{Report, Severity};
use jiff::Timestamp;
use std::process::{Command, Output};
use tempfile::TempDir;

pub fn made() -> TempDir {
    made_at(Timestamp::now())
}

pub fn made_at(now: Timestamp) -> TempDir {
    let place = TempDir::new().unwrap();
    generate(place.path(), &Request::default(), now).unwrap();
    place
}

/// Runs the program to its end.
pub fn certs(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_certs")).args(args).output().unwrap()
}

pub fn findings(report: &Report) -> Vec<(Severity, &str, &str)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.severity, &*finding.file, &*finding.message))
        .collect()
}
