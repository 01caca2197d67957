//! The help of `cargo xtask`, as a person meets it.

/// What the lab does; it has the same test.
const LAB: [&str; 8] = [
    "demo",
    "million",
    "tune",
    "chaos",
    "guide",
    "bench",
    "dependencies",
    "checks",
];

#[test]
fn help_is_wrapped_once_at_any_width() {
    let commands = host::help_check::wrapped_once_but(env!("CARGO_BIN_EXE_xtask"), &LAB);
    for own in ["test", "fuzz"] {
        assert!(commands.contains(own), "{own} in {commands:?}");
    }
}
