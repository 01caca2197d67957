//! What documents name between backticks: paths, and commands with their flags.

use super::Findings;
use super::tree::Tree;
use std::collections::BTreeSet;

/// A document's code: spans in a line, and lines of fenced blocks, continued ones as one.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Between single backticks.
    pub spans: Vec<String>,
    /// Of fenced blocks.
    pub lines: Vec<String>,
}

impl Code {
    /// Takes a document apart.
    pub fn of(document: &str) -> Self {
        let (mut prose, mut lines) = (String::new(), Vec::<String>::new());
        let (mut is_fenced, mut goes_on) = (false, false);
        for line in document.lines() {
            if line.trim_start().starts_with("```") {
                is_fenced = !is_fenced;
                // A span does not go on beyond a block.
                prose.push_str("\n\n");
            } else if is_fenced {
                let (part, continues) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
                match lines.last_mut().filter(|_| goes_on) {
                    Some(last) => last.push_str(part),
                    None => lines.push(part.to_owned()),
                }
                goes_on = continues;
            } else {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        // By paragraphs, so that a tick without its other shifts no others.
        let paragraphs = prose.split("\n\n");
        let spans = paragraphs.flat_map(|paragraph| {
            let closed = paragraph.matches('`').count() / 2;
            paragraph.split('`').skip(1).step_by(2).take(closed)
        });
        let spans = spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
        Self {
            spans: spans.filter(|span| !span.is_empty()).collect(),
            lines,
        }
    }
}

/// That every path between backticks is that of a file or folder, in whole or in its last parts. What begins with one of
/// `made` is made when a program runs.
pub fn check_paths(tree: &Tree, made: &BTreeSet<String>) -> Findings {
    let mut findings = Findings::new();
    let mut unused: BTreeSet<&String> = made.iter().collect();
    for (document, text) in tree.texts(".md") {
        for span in Code::of(text).spans.iter().filter(|span| is_path(span)) {
            let first = span.split('/').next().unwrap_or_default();
            if let Some(first) = made.get(first) {
                unused.remove(first);
            } else if !tree.has(span) {
                findings.push(format!("{document} names `{span}`, which is not there"));
            }
        }
    }
    findings.extend(
        unused
            .iter()
            .map(|first| format!("no document names `{first}/…`: take it off the list `made`")),
    );
    findings
}

/// Whether it reads as a path of this tree: with a slash, or the name of a source or document; not one of the whole
/// machine's.
fn is_path(span: &str) -> bool {
    const ENDS: [&str; 6] = [".rs", ".md", ".proto", ".py", ".c", ".sh"];
    let is_plain = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c))
    };
    let whole = span.trim_end_matches('/');
    (span.contains('/') || ENDS.iter().any(|end| span.ends_with(end))) && whole.split('/').all(is_plain)
}
