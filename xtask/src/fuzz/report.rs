//! What libFuzzer says of a run, as a line of the table, and the executions of all runs added up.

use anyhow::Context;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// One run of one target.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Inputs that were run.
    pub executions: u64,
    /// The same per second, on average.
    per_second: u64,
    /// Edges of the program that were reached.
    coverage: u64,
    /// Inputs in the corpus.
    corpus: u64,
    /// What went wrong, if anything.
    pub crash: Option<String>,
}

impl Outcome {
    /// Stands over the lines.
    pub const HEADER: &str = "target            executions   per s  coverage  corpus  crash   executions in all runs";

    /// Reads libFuzzer's log: its last status line, and its final statistics.
    pub fn of(log: &str) -> Self {
        let mut outcome = Self::default();
        let number = |text: &str| text.parse().unwrap_or(0);
        for line in log.lines() {
            if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
                outcome.executions = number(count.trim());
            } else if let Some(rate) = line.strip_prefix("stat::average_exec_per_sec:") {
                outcome.per_second = number(rate.trim());
            } else if line.starts_with('#') {
                let mut words = line.split_whitespace();
                while let Some(word) = words.next() {
                    match word {
                        "cov:" => outcome.coverage = words.next().map_or(0, number),
                        // Inputs and their bytes: 120/34Kb.
                        "corp:" => {
                            outcome.corpus = words.next().and_then(|both| both.split('/').next()).map_or(0, number)
                        }
                        _ => {}
                    }
                }
            }
        }
        outcome
    }

    /// The line of the table.
    pub fn line(&self, name: &str, in_all_runs: u64) -> String {
        let crash = if self.crash.is_some() { "CRASH" } else { "none" };
        let Self {
            executions,
            per_second,
            coverage,
            corpus,
            ..
        } = self;
        format!("{name:<15} {executions:>12} {per_second:>7} {coverage:>9} {corpus:>7}  {crash:<5} {in_all_runs:>25}")
    }
}

/// Executions per target over all runs, kept in a file of lines `target,executions`.
pub struct Totals {
    path: PathBuf,
    counts: BTreeMap<String, u64>,
}

impl Totals {
    /// Reads what earlier runs left.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or is not what this writes.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let count = |line: &str| {
            let (name, count) = line.split_once(',')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let counts: Option<_> = text.lines().map(count).collect();
        Ok(Self {
            path: path.to_owned(),
            counts: counts.with_context(|| format!("{} has a line that is not target,executions", path.display()))?,
        })
    }

    /// Adds a run and writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, name: &str, executions: u64) -> anyhow::Result<()> {
        *self.counts.entry(name.to_owned()).or_default() += executions;
        let mut text = String::new();
        for (name, count) in &self.counts {
            writeln!(text, "{name},{count}").expect("writing to a String cannot fail");
        }
        fs::write(&self.path, text).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Executions of one target.
    pub fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Executions of all targets.
    pub fn sum(&self) -> u64 {
        self.counts.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_libfuzzer_prints() {
        let log = "INFO: seed corpus: files: 8\n#9\tINITED cov: 101 ft: 140 corp: 8/200b exec/s: 0 rss: 30Mb\n\
                   #4096\tpulse  cov: 120 ft: 300 corp: 31/9Kb lim: 4096 exec/s: 2048 rss: 31Mb\n\
                   #8000\tDONE   cov: 125 ft: 310 corp: 33/9Kb lim: 4096 exec/s: 2000 rss: 31Mb\n\
                   stat::number_of_executed_units: 8000\nstat::average_exec_per_sec:     2000\n";
        let outcome = Outcome::of(log);
        assert_eq!(
            outcome.line("frames", 9_000).split_whitespace().collect::<Vec<_>>(),
            ["frames", "8000", "2000", "125", "33", "none", "9000"]
        );
        assert_eq!(Outcome::of(""), Outcome::default());
    }
}
