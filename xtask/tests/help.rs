//! The help of `cargo xtask`, as a person meets it.

use std::process::Command;
use xtask::LAB_COMMANDS;

#[test]
fn help_is_wrapped_once_at_any_width() {
    let commands = host::help_check::wrapped_once_but(env!("CARGO_BIN_EXE_xtask"), &LAB_COMMANDS);
    for own in ["test", "fuzz"] {
        assert!(commands.contains(own), "{own} in {commands:?}");
    }
}

/// The list of commands is shown without building the lab; it may not drift.
#[test]
fn the_labs_commands_are_told_as_it_tells_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("--help").output();
    let help = String::from_utf8(output.expect("it starts").stdout).expect("text");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let lab = include_str!("../../lab/src/main.rs");
    for name in LAB_COMMANDS {
        let variant = name[..1].to_uppercase() + &name[1..];
        let told = lab
            .split("    /// ")
            .find(|part| part.contains(&format!("\n    {variant}")));
        let told = told.and_then(|part| part.lines().next()).expect("the lab has it");
        let shown = format!("{name} {}", told.trim_end_matches('.'));
        assert!(help.contains(&shown), "{shown} in {help}");
    }
}
