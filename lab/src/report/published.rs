//! The last run of each bench, as a file of `bench-results/`: `NAME.json`.

use super::{Bench, Report};
use anyhow::{Context, bail, ensure};
use procfs::{CpuInfo, Current, Meminfo};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use xtask::workspace;

/// Where the files are.
pub fn directory() -> PathBuf {
    workspace::root().join("bench-results")
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The bench.
    pub name: String,
    /// The day, in UTC: 2026-11-30.
    pub date: String,
    /// What was measured: the commit, with `-dirty` when the sources differed from it.
    pub commit: String,
    /// On what.
    pub machine: Machine,
    /// The whole command line, without `--publish`.
    pub command: String,
    /// How many lines hold, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Figures and lines.
    pub report: Report,
}

/// The machine that a run took place on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// As the kernel names it.
    pub cpu: String,
    pub memory_gib: u64,
    /// Version of the kernel, without what a distribution adds.
    pub kernel: String,
}

impl Machine {
    fn here() -> anyhow::Result<Self> {
        let cpus = CpuInfo::current().context("cannot read /proc/cpuinfo")?;
        let memory = Meminfo::current().context("cannot read /proc/meminfo")?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot tell the kernel's release")?;
        Ok(Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: cpus.model_name(0).unwrap_or("an unnamed processor").to_owned(),
            memory_gib: (memory.mem_total + (1 << 29)) >> 30,
            kernel: kernel.trim().split('-').next().unwrap_or_default().to_owned(),
        })
    }
}

impl Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cores,
            cpu,
            memory_gib,
            kernel,
        } = self;
        write!(f, "{cores} cores of {cpu}, {memory_gib} GiB, Linux {kernel}")
    }
}

impl Published {
    /// A run that has just ended in this process.
    ///
    /// # Errors
    /// When the programs are not optimised; when git or the kernel does not answer.
    pub fn here(bench: &Bench, report: Report) -> anyhow::Result<Self> {
        // The lab is built as the programs are.
        ensure!(
            !cfg!(debug_assertions),
            "with --dev nothing is measured that is worth publishing"
        );
        Ok(Self {
            name: bench.name.to_owned(),
            date: jiff::Timestamp::now().strftime("%F").to_string(),
            commit: commit()?,
            machine: Machine::here()?,
            command: command_line(std::env::args().skip(1)),
            verdict: report.verdict(),
            report,
        })
    }

    /// Writes its file, over that of the run before; gives its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> anyhow::Result<PathBuf> {
        let directory = directory();
        let path = directory.join(format!("{}.json", self.name));
        let text = serde_json::to_string_pretty(self)? + "\n";
        let write = || {
            fs::create_dir_all(&directory)?;
            fs::write(&path, text)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not what [`write`](Self::write) writes; the message names it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no run of a bench", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let run: Self = serde_json::from_str(text)?;
        if !run.report.tables.iter().all(super::Table::is_whole) {
            bail!("a row has not a cell for each column");
        }
        let verdict = run.report.verdict();
        ensure!(
            run.verdict == verdict,
            "its verdict is not that of its lines: {verdict:?}"
        );
        Ok(run)
    }
}

fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let words = arguments.filter(|word| word != "--publish");
    ["cargo".to_owned(), "xtask".to_owned()]
        .into_iter()
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The commit that was measured. What benches write themselves does not count as a change.
fn commit() -> anyhow::Result<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let output = git.current_dir(workspace::root()).args(arguments).output();
        output.context("cannot run git")
    };
    let head = git(&["rev-parse", "--short=7", "HEAD"])?;
    ensure!(head.status.success(), "git rev-parse: {}", head.status);
    let changed = git(&["diff", "--quiet", "HEAD", "--", ".", ":!bench-results", ":!docs"])?;
    let mark = if changed.status.success() { "" } else { "-dirty" };
    Ok(String::from_utf8(head.stdout)?.trim().to_owned() + mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Line, Table};

    /// A run with a table and two lines, one of which does not hold.
    fn run() -> Published {
        let mut table = Table::new("", ["step", "p99 ms"]);
        table.row(["1x", "7.1"].map(str::to_owned));
        let line = |holds| Line {
            what: "p99".to_owned(),
            figure: "7.1 ms".to_owned(),
            bound: "7 ms at most".to_owned(),
            holds,
        };
        let report = Report {
            tables: vec![table],
            lines: vec![line(true), line(false)],
        };
        Published {
            name: "cost".to_owned(),
            date: "2026-11-30".to_owned(),
            commit: "c6eb073".to_owned(),
            machine: Machine::here().expect("a machine"),
            command: command_line(["bench", "cost", "--publish", "--tuned"].map(str::to_owned).into_iter()),
            verdict: report.verdict(),
            report,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let run = run();
        assert_eq!(run.command, "cargo xtask bench cost --tuned");
        let text = serde_json::to_string_pretty(&run).expect("JSON");
        assert_eq!(Published::parse(&text).expect("the same"), run);
        for (from, to, why) in [
            (
                "1 of 2 lines hold",
                "all 2 lines hold",
                "its verdict is not that of its lines",
            ),
            ("\"7.1\"\n", "\"7.1\", \"8\"\n", "a cell for each column"),
            ("\"date\"", "\"day\"", "unknown field"),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            let error = Published::parse(&text.replacen(from, to, 1)).expect_err(why);
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
    }

    #[test]
    fn this_machine_has_a_name() {
        let machine = Machine::here().expect("Linux");
        assert!(
            machine.cores > 0 && !machine.cpu.is_empty() && !machine.kernel.is_empty(),
            "{machine}"
        );
    }
}
