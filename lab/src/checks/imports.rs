//! Who imports whom, and the circles in that.

use super::Findings;
use super::tree::Tree;
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// By name: what it imports.
pub type Graph = BTreeMap<String, BTreeSet<String>>;
/// Names that all import each other, directly or by way of others.
pub type Circle = BTreeSet<String>;

/// The circles of a graph: its strongly connected parts of more than one name.
pub fn circles(graph: &Graph) -> BTreeSet<Circle> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|name| (name.as_str(), reach(graph, name))).collect();
    let circle = |name: &&str| -> Circle {
        let both = reached[name]
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(name)));
        both.map(|other| (*other).to_owned()).collect()
    };
    reached.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

/// All that a name imports, directly or by way of others.
fn reach<'a>(graph: &'a Graph, name: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = graph.get(name).into_iter().flatten().map(String::as_str).collect();
    while let Some(one) = next.pop() {
        if reached.insert(one) {
            next.extend(graph.get(one).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

/// The circles that are there against those that are known. Both ways: a circle that is mended must leave the list.
pub fn compare(place: &str, now: &BTreeSet<Circle>, known: &BTreeSet<Circle>) -> Findings {
    let of = |circles: &BTreeSet<Circle>| -> Circle { circles.iter().flatten().cloned().collect() };
    let (names_now, names_known) = (of(now), of(known));
    let mut findings: Findings = names_now
        .difference(&names_known)
        .map(|name| format!("{place}: {name} is new in a circle of imports"))
        .collect();
    let mended = names_known.difference(&names_now);
    findings.extend(mended.map(|name| format!("{place}: {name} is in no circle any more: take it off `circles`")));
    if findings.is_empty() && now != known {
        findings.push(format!(
            "{place}: the circles are now {now:?}: write them so to `circles`"
        ));
    }
    findings
}

/// The modules of a package's library, or of its program when it has no library, each with those that it imports. Tests
/// are left out.
///
/// # Errors
/// When there is no such package, or a module that is declared has no file.
pub fn modules(tree: &Tree, package: &str) -> anyhow::Result<Graph> {
    let (folder, _) = tree
        .packages()
        .find(|(_, name)| *name == package)
        .with_context(|| format!("there is no package {package}"))?;
    let root = ["lib", "main"].map(|root| format!("{folder}/src/{root}.rs"));
    let root = root.iter().find(|file| tree.text(file).is_some());
    let root = root.with_context(|| format!("{package} has neither src/lib.rs nor src/main.rs"))?;
    let mut found: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    let mut next = vec![(Vec::new(), root.clone())];
    while let Some((path, file)) = next.pop() {
        let tokens = code(tree.text(&file).with_context(|| format!("there is no {file}"))?);
        // Where the files of its own modules are: beside a root or a mod.rs, else in a folder of its name.
        let beside = path.is_empty() || file.ends_with("/mod.rs");
        let below = if beside {
            file.rsplit_once('/').map(|(folder, _)| folder)
        } else {
            file.strip_suffix(".rs")
        };
        let below = below.context("a source is in a folder")?;
        for name in declared(&tokens) {
            let files = [format!("{below}/{name}.rs"), format!("{below}/{name}/mod.rs")];
            let own = files.into_iter().find(|file| tree.text(file).is_some());
            let own = own.with_context(|| format!("{file} declares {name}, which has no file"))?;
            next.push(([&path[..], &[name]].concat(), own));
        }
        ensure!(found.insert(path, tokens).is_none(), "{file} is declared twice");
    }
    let shown = |path: &[String]| {
        if path.is_empty() {
            "crate".to_owned()
        } else {
            path.join("::")
        }
    };
    let graph = found.iter().map(|(path, tokens)| {
        let imported = imported(path, tokens, &found.keys().collect());
        (shown(path), imported.iter().map(|path| shown(path)).collect())
    });
    Ok(graph.collect())
}

/// Names of the modules that a source declares in files of their own.
fn declared(tokens: &[String]) -> Vec<String> {
    let is_module = |three: &&[String]| three[0] == "mod" && three[2] == ";";
    tokens
        .windows(3)
        .filter(is_module)
        .map(|three| three[1].clone())
        .collect()
}

/// The modules that the module at `own` names by a path from the root, from above, or from itself.
fn imported(own: &[String], tokens: &[String], all: &BTreeSet<&Vec<String>>) -> BTreeSet<Vec<String>> {
    let mut named = Vec::new();
    for (at, first) in tokens.iter().enumerate() {
        let is_first = at == 0 || !["::", "."].contains(&tokens[at - 1].as_str());
        let leads_on = tokens.get(at + 1).is_some_and(|next| next == "::");
        let is_ours = ["crate", "super", "self"].contains(&first.as_str())
            || all.contains(&[own, std::slice::from_ref(first)].concat());
        if is_first && leads_on && is_ours {
            paths(tokens, &mut at.clone(), &[], &mut named);
        }
    }
    let resolved = named.iter().map(|path| resolve(own, path, all));
    resolved.filter(|path| path != own).collect()
}

/// Reads a path or a tree of paths from `at`, and leaves `at` behind it.
fn paths(tokens: &[String], at: &mut usize, before: &[String], named: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        if token == "{" {
            while tokens.get(*at).is_some_and(|token| token != "}") {
                paths(tokens, at, &path, named);
                while tokens.get(*at).is_some_and(|token| token != "," && token != "}") {
                    *at += 1; // `as other`, `*`
                }
                *at += usize::from(tokens.get(*at).is_some_and(|token| token == ","));
            }
            *at += 1;
            return;
        }
        if !token.starts_with(|first: char| first.is_alphabetic() || first == '_') {
            *at -= 1;
            break;
        }
        path.push(token.clone());
        if tokens.get(*at).is_none_or(|next| next != "::") {
            break;
        }
        *at += 1;
    }
    named.push(path);
}

/// The module that a path named in `own` leads into.
fn resolve(own: &[String], path: &[String], all: &BTreeSet<&Vec<String>>) -> Vec<String> {
    let mut module = own.to_vec();
    for part in path {
        match part.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => drop(module.pop()),
            name => {
                module.push(name.to_owned());
                if !all.contains(&module) {
                    module.pop();
                    break;
                }
            }
        }
    }
    module
}

/// A source's names and signs, without comments, texts, and what is only compiled for tests.
pub fn code(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = length(rest, first);
        let token = &rest[..length];
        let is_comment = token.starts_with("//") || token.starts_with("/*");
        if !first.is_whitespace() && !is_comment && !token.contains('"') {
            tokens.push(token.to_owned());
        }
        rest = &rest[length..];
    }
    without_tests(&tokens)
}

/// Bytes of the token at the start of `rest`.
fn length(rest: &str, first: char) -> usize {
    let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if rest.starts_with("//") {
        return until("\n", 2);
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    let raw = rest.trim_start_matches(['b', 'r']);
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if raw[hashes..].starts_with('"')
        && (hashes > 0 || rest.len() > raw.len())
        && rest[..rest.len() - raw.len()].contains('r')
    {
        let begin = rest.len() - raw.len() + hashes + 1;
        return until(&format!("\"{}", "#".repeat(hashes)), begin);
    }
    if first == '"' {
        return escaped(rest, '"');
    }
    if first == '\'' {
        // A character; else the tick of a lifetime.
        let is_character = rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'');
        return if is_character { escaped(rest, '\'') } else { 1 };
    }
    if is_name(first) {
        return rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    }
    if rest.starts_with("::") { 2 } else { first.len_utf8() }
}

/// Bytes of a text in quotes, with both.
fn escaped(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    rest.len()
}

/// Leaves out every item after `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].iter().take(TEST.len()).eq(TEST.iter()) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += TEST.len();
        // To the end of the item: its `;`, or the end of its braces, or of those around it.
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at).map(String::as_str) {
            let closes = ["}", ")", "]"].contains(&token);
            if closes && depth == 0 {
                break;
            }
            at += 1;
            depth = depth + usize::from(["{", "(", "["].contains(&token)) - usize::from(closes);
            if depth == 0 && [";", "}"].contains(&token) {
                break;
            }
        }
    }
    kept
}
