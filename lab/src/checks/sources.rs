//! How long sources and some documents are, and where `unsafe` may stand.

use super::Findings;
use super::imports::code;
use super::tree::Tree;
use std::collections::BTreeSet;

/// A file of source has no more lines.
pub const LINES_MAX: usize = 400;
/// Documents that are read as a whole, and the most lines of each.
pub const DOCUMENT_LINES_MAX: [(&str, usize); 2] = [("README.md", 120), ("docs/architecture.md", 300)];
const FORBIDS: [&str; 2] = [
    "#![forbid(unsafe_code)]",
    // Where a test of the package injects faults.
    "#![cfg_attr(not(test), forbid(unsafe_code))]",
];

/// That no source is longer than it may be, and that those of the list still need to stand there.
pub fn check_lines(tree: &Tree, known: &BTreeSet<String>) -> Findings {
    let mut findings = Findings::new();
    for (file, text) in tree.texts(".rs") {
        let lines = text.lines().count();
        match (lines > LINES_MAX, known.contains(file)) {
            (true, false) => findings.push(format!("{file} has {lines} lines; {LINES_MAX} at most")),
            (false, true) => findings.push(format!("{file} has {lines} lines: take it off the list `lines`")),
            _ => {}
        }
    }
    let gone = known.iter().filter(|file| tree.text(file).is_none());
    findings.extend(gone.map(|file| format!("{file} is gone: take it off the list `lines`")));
    findings
}

/// That those documents are there, and no longer than they may be.
pub fn check_documents(tree: &Tree) -> Findings {
    let check = |&(file, most): &(&str, usize)| match tree.text(file).map(|text| text.lines().count()) {
        None => Some(format!("{file} is gone")),
        Some(lines) => (lines > most).then(|| format!("{file} has {lines} lines; {most} at most")),
    };
    DOCUMENT_LINES_MAX.iter().filter_map(check).collect()
}

/// That every library and program forbids `unsafe`, but for the packages of the list, which have some.
pub fn check_unsafe(tree: &Tree, known: &BTreeSet<String>) -> Findings {
    let mut findings = Findings::new();
    let mut packages = BTreeSet::new();
    let is_root = |file: &str| ["lib.rs", "main.rs"].contains(&file) || file.starts_with("bin/");
    for (folder, package) in tree.packages() {
        packages.insert(package);
        let source = format!("{folder}/src/");
        if known.contains(package) {
            let mut sources = tree.texts(".rs").filter(|(file, _)| file.starts_with(&source));
            if !sources.any(|(_, text)| code(text).iter().any(|token| token == "unsafe")) {
                findings.push(format!("{package} has no unsafe: take it off the list `unsafe`"));
            }
            continue;
        }
        for (file, text) in tree.texts(".rs") {
            let is_root = file.strip_prefix(&source).is_some_and(is_root);
            if is_root && !text.lines().any(|line| FORBIDS.contains(&line)) {
                findings.push(format!("{file} does not say {}", FORBIDS[0]));
            }
        }
    }
    let gone = known.iter().filter(|package| !packages.contains(package.as_str()));
    findings.extend(gone.map(|package| format!("there is no package {package}: take it off the list `unsafe`")));
    findings
}
