//! The files of `deploy` that runs go by.

use anyhow::Context;
use xtask::workspace;

/// The text of `deploy/KIND/NAME.toml`.
///
/// # Errors
/// When there is no such file; the message lists those that there are.
pub fn deployed(kind: &str, name: &str) -> anyhow::Result<String> {
    let directory = workspace::root().join("deploy").join(kind);
    let path = directory.join(format!("{name}.toml"));
    std::fs::read_to_string(&path).with_context(|| {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let names: Vec<_> = entries
            .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
            .collect();
        format!("cannot read {}; there are: {}", path.display(), names.join(", "))
    })
}
