//! The files of a tree, without what is built.

use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All files, by their path below the root with `/` between the parts. Sources and documents with their text.
#[derive(Debug, Default)]
pub struct Tree {
    /// The text of `.rs`, `.md` and `Cargo.toml`; of others none.
    pub files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads the tree below `root`, without git's own folder and what is built.
    ///
    /// # Errors
    /// When a folder or file cannot be read, or a source is no UTF-8.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let path = root.join(&folder);
            let entries = std::fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for entry in entries {
                let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let below = folder.join(&name);
                let kind = entry.file_type().context("cannot tell files from folders")?;
                if kind.is_dir() && ![".git", "target", "__pycache__"].contains(&&*name) {
                    folders.push(below);
                } else if kind.is_file() {
                    tree.add(root, &below)?;
                }
            }
        }
        Ok(tree)
    }

    fn add(&mut self, root: &Path, below: &Path) -> anyhow::Result<()> {
        let name = below.to_string_lossy().into_owned();
        let is_text = name.ends_with(".rs") || name.ends_with(".md") || below.ends_with("Cargo.toml");
        let text = is_text.then(|| {
            std::fs::read_to_string(root.join(below)).with_context(|| format!("cannot read {}", below.display()))
        });
        self.files.insert(name, text.transpose()?);
        Ok(())
    }

    /// Files whose name ends so, with their text.
    pub fn texts(&self, end: &str) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter(move |(name, _)| name.ends_with(end));
        files.filter_map(|(name, text)| Some((name.as_str(), text.as_deref()?)))
    }

    /// The text of a source or document.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.files.get(name)?.as_deref()
    }

    /// Whether there is a file or folder of this path, or one whose path ends so: documents name
    /// `quic-shard/src/tls/mod.rs` as `tls/mod.rs`.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let (within, at_end) = (format!("/{path}/"), format!("/{path}"));
        self.files.keys().any(|file| {
            let file = format!("/{file}");
            file.contains(&within) || file.ends_with(&at_end)
        })
    }

    /// The folders that hold a package, each with the package's name.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts("/Cargo.toml").filter_map(|(file, text)| {
            let name = text.lines().find_map(|line| line.strip_prefix("name = "))?;
            Some((file.strip_suffix("/Cargo.toml")?, name.trim_matches('"')))
        })
    }
}

#[cfg(test)]
impl<'a> FromIterator<(&'a str, &'a str)> for Tree {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(files: T) -> Self {
        let files = files.into_iter();
        Self {
            files: files
                .map(|(name, text)| (name.to_owned(), Some(text.to_owned())))
                .collect(),
        }
    }
}
