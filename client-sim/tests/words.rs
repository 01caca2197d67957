//! What the program says of itself, and of files that are not for it.

#[path = "support/program.rs"]
mod program;

use program::{client_sim, text};

#[test]
fn a_file_that_is_no_scenario_is_called_what_it_is() {
    let folder = tempfile::TempDir::new().expect("a temporary directory");
    let path = folder.path().join("other.toml");
    let name = path.to_string_lossy();
    for (content, kind) in [
        (include_str!("../../deploy/show.toml"), "a show"),
        (include_str!("../../deploy/throttle.toml"), "a throttle"),
        (include_str!("../../deploy/gateway.toml"), "a gateway's configuration"),
    ] {
        std::fs::write(&path, content).expect("written");
        for command in ["run", "check"] {
            let output = client_sim(&[command, &name]);
            let said = text(&output.stderr);
            let told = format!("errors:\nthis is {kind}, and a scenario of client-sim is wanted here\n");
            assert!(
                output.status.code() == Some(1) && said.ends_with(&told),
                "{command}: {said}"
            );
        }
    }
}

#[test]
fn help_is_wrapped_once_at_any_width() {
    let commands = host::help_check::wrapped_once(env!("CARGO_BIN_EXE_client-sim"));
    assert!(commands.contains("ctl rate"), "{commands:?}");
}

#[test]
fn help_teaches() {
    let help = text(&client_sim(&["run", "--help"]).stdout);
    for words in [
        "Exit codes",
        "Examples",
        "--opened",
        "--credits",
        "open-loop",
        "--certs",
    ] {
        assert!(help.contains(words), "no {words:?}");
    }
}
