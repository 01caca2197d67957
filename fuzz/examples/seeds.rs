//! Writes the seeds of every target: into the repository's corpus, or into the directory that is named.
//! `cargo run -p fuzz --example seeds [DIRECTORY]`

use std::fs;
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let corpus = std::env::args_os()
        .nth(1)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"), PathBuf::from);
    for target in fuzz::TARGETS {
        let directory = corpus.join(target.name);
        fs::create_dir_all(&directory)?;
        for (name, bytes) in (target.seeds)() {
            fs::write(directory.join(name), bytes)?;
        }
    }
    Ok(())
}
