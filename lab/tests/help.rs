//! The help of what `cargo xtask` starts here, as a person meets it.

#[test]
fn help_is_wrapped_once_at_any_width() {
    let commands = host::help_check::wrapped_once(env!("CARGO_BIN_EXE_lab"));
    assert!(commands.contains("bench hostile"), "{commands:?}");
}
