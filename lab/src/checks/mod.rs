//! `cargo xtask checks`: what must hold of the sources as text. No circle of imports, no file that is too long, no
//! `unsafe` where none belongs, no document that names a path or a command that is not there, and a page of the benches that is
//! what their files give.
//!
//! What was there before a check was is listed in `lab/checks.toml`. The lists are exact: what is not listed fails,
//! and so does what is listed and mended. So they only become shorter.

mod commands;
mod documents;
mod imports;
mod sources;
#[cfg(test)]
mod tests;
mod tree;

use crate::bench;
use crate::report::page;
use anyhow::{Context, bail};
use cargo_metadata::MetadataCommand;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use tree::Tree;
use xtask::workspace::root;

/// What is known and still let pass; see `lab/checks.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Source files of more than [`sources::LINES_MAX`] lines.
    lines: BTreeSet<String>,
    /// Packages that may have `unsafe`.
    #[serde(rename = "unsafe")]
    has_unsafe: BTreeSet<String>,
    /// By package: its circles of modules. Only packages that stand here are looked at.
    circles: BTreeMap<String, BTreeSet<BTreeSet<String>>>,
    /// First parts of paths that documents name and that are made when programs run.
    made: BTreeSet<String>,
}

/// What is wrong, a line each.
pub type Findings = Vec<String>;

/// Checks this workspace.
///
/// # Errors
/// When something is wrong, by name; when the workspace or a list cannot be read; when the programs cannot be built.
pub fn check() -> anyhow::Result<()> {
    let path = root().join("lab/checks.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let known: Known = toml::from_str(&text).with_context(|| format!("{} is wrong", path.display()))?;
    let tree = Tree::read(root())?;
    let mut findings = sources::check_lines(&tree, &known.lines);
    findings.extend(sources::check_documents(&tree));
    findings.extend(sources::check_unsafe(&tree, &known.has_unsafe));
    findings.extend(check_packages()?);
    for (package, circles) in &known.circles {
        let circles_now = imports::circles(&imports::modules(&tree, package)?);
        findings.extend(imports::compare(package, &circles_now, circles));
    }
    findings.extend(documents::check_paths(&tree, &known.made));
    if !page::is_made_of_files(&bench::PUBLISHED)? {
        findings.push("docs/benchmarks.md is not what bench-results/ gives: `cargo xtask bench --publish`".to_owned());
    }
    none(&findings)?;
    // Last, because the programs must be built for it.
    none(&commands::check(&tree, &mut commands::Programs::build()?)?)
}

fn none(findings: &Findings) -> anyhow::Result<()> {
    if !findings.is_empty() {
        bail!("{} found:\n  {}", findings.len(), findings.join("\n  "));
    }
    Ok(())
}

/// That the packages of this workspace import each other in one direction, tests and build scripts included.
fn check_packages() -> anyhow::Result<Findings> {
    let mut command = MetadataCommand::new();
    command.current_dir(root()).no_deps();
    let metadata = command.exec().context("cargo metadata failed")?;
    let own: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut graph = imports::Graph::new();
    for package in &metadata.packages {
        let imported = package.dependencies.iter().map(|one| one.name.as_str());
        let imported = imported.filter(|name| own.contains(name)).map(str::to_owned);
        graph.insert(package.name.to_string(), imported.collect());
    }
    Ok(imports::compare(
        "the workspace",
        &imports::circles(&graph),
        &BTreeSet::new(),
    ))
}
