//! The lab as `cargo xtask` starts it.

use std::process::{Command, Output};
use xtask::LAB_COMMANDS;

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(arguments)
        .output()
        .expect("it starts")
}

#[test]
fn it_speaks_of_itself_as_cargo_xtask() {
    for command in LAB_COMMANDS {
        let output = lab(&[command, "--help"]);
        assert!(output.status.success(), "{command}");
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(help.contains(&format!("Usage: cargo xtask {command}")), "{help}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &["demo", "--sessions", "0"][..],
        &["bench", "cost", "--no-such"],
        &["chaos", "--rounds"],
    ] {
        let output = lab(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_schedule_is_printed_without_building_anything() {
    let output = lab(&["chaos", "--schedule", "--rounds", "3", "--seed", "7"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3);
}
