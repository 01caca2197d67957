//! Where things are, and how cargo is called and builds what is run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the root Cargo.toml.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// Where cargo builds to.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// The cargo that runs this, in the workspace's folder.
pub fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    // Set by the outer `cargo run` for this package alone; they would make a nested build differ from a plain one.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Builds the programs and the lab, optimised. All in one go: with other packages, the features of what they share would
/// differ, and much be built again.
pub fn release() -> Command {
    let packages = ["gateway", "shake-agent", "client-sim", "certs", "lab"];
    cargo(
        ["build", "--release"]
            .into_iter()
            .chain(packages.into_iter().flat_map(|name| ["-p", name])),
    )
}

/// Builds the programs and the lab as the tests of the whole workspace build them.
pub fn dev() -> Command {
    cargo(["test", "--workspace", "--tests", "--no-run"])
}
