//! Whether the commands that documents name are there: program, subcommands, flags. The programs' own help says.

use super::Findings;
use super::documents::Code;
use super::tree::Tree;
use crate::Cli;
use anyhow::{Context, ensure};
use clap::CommandFactory as _;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use xtask::workspace::{dev, target};

/// How each is typed.
const TYPED: [&str; 5] = ["cargo xtask", "gateway", "shake-agent", "client-sim", "certs"];

/// Something that tells the help of a command line such as `gateway push`.
pub trait Help {
    /// The long help, or none when it fails.
    ///
    /// # Errors
    /// When the program cannot be run at all.
    fn help(&mut self, command: &[&str]) -> anyhow::Result<Option<String>>;
}

/// The programs as the tests build them.
pub struct Programs {
    helps: BTreeMap<String, Option<String>>,
}

impl Programs {
    /// Builds them.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn build() -> anyhow::Result<Self> {
        let built = dev().status().context("cannot run cargo")?;
        ensure!(built.success(), "cargo build: {built}");
        Ok(Self { helps: BTreeMap::new() })
    }
}

impl Help for Programs {
    fn help(&mut self, command: &[&str]) -> anyhow::Result<Option<String>> {
        let key = command.join(" ");
        if let Some(help) = self.helps.get(&key) {
            return Ok(help.clone());
        }
        let program: PathBuf = match command {
            ["cargo xtask", name, ..] if Cli::command().find_subcommand(name).is_some() => built("lab"),
            // Built for its own tests.
            ["cargo xtask", ..] => built("xtask"),
            _ => built(command[0]),
        };
        let mut run = Command::new(&program);
        let output = run.args(&command[1..]).arg("--help").output();
        let output = output.with_context(|| format!("cannot run {}", program.display()))?;
        let help = output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned());
        self.helps.insert(key, help.clone());
        Ok(help)
    }
}

fn built(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// That every command between backticks and in blocks is one.
///
/// # Errors
/// When a program cannot be run.
pub fn check(tree: &Tree, programs: &mut impl Help) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    for (document, text) in tree.texts(".md") {
        let code = Code::of(text);
        for line in code.spans.iter().chain(&code.lines) {
            if let Some(wrong) = wrong(line, programs)? {
                findings.push(format!("{document} names `{}`: {wrong}", line.trim()));
            }
        }
    }
    Ok(findings)
}

/// What is wrong with a line, if it is a command of ours at all.
fn wrong(line: &str, programs: &mut impl Help) -> anyhow::Result<Option<String>> {
    let line = line.trim();
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let typed = TYPED
        .iter()
        .find_map(|typed| Some((*typed, line.strip_prefix(typed)?.strip_prefix(' ')?)));
    let Some((program, rest)) = typed else {
        return Ok(None);
    };
    let ends = ["|", "#", ">", "&", "&&", ";"];
    let words: Vec<&str> = rest
        .split_whitespace()
        .take_while(|word| !ends.contains(word))
        .collect();
    let is_name = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
    // A picture or a sentence is no command.
    if words
        .first()
        .is_none_or(|word| !is_name(word) && !word.starts_with("--"))
    {
        return Ok(None);
    }
    let mut command = vec![program];
    for word in &words {
        let help = programs.help(&command)?;
        let help = help.with_context(|| format!("`{} --help` fails", command.join(" ")))?;
        let below = subcommands(&help);
        if below.contains(word) {
            command.push(word);
        } else if is_name(word) && !below.is_empty() && !help.contains("\nArguments:") {
            return Ok(Some(format!("{} has no {word}", command.join(" "))));
        } else {
            break;
        }
    }
    let help = programs.help(&command)?;
    let help = help.with_context(|| format!("`{} --help` fails", command.join(" ")))?;
    let flags = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
    let mut flags = flags.map(|flag| flag.split_once('=').map_or(*flag, |(flag, _)| flag));
    let is_known = |flag: &str| {
        help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .any(|word| word == flag)
    };
    let unknown = flags.find(|flag| !is_known(flag));
    Ok(unknown.map(|flag| format!("{} has no {flag}", command.join(" "))))
}

/// The names in the part of a help that lists commands.
fn subcommands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    // Names stand two in; their description stands below and further in, when it is long.
    let listed = listed.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    listed.filter_map(|line| line.split_whitespace().next()).collect()
}
