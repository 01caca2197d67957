//! `docs/benchmarks.md`, made of the files of `bench-results/`.

use super::Bench;
use super::published::{Published, directory};
use anyhow::{Context, ensure};
use std::fs;
use std::path::PathBuf;
use xtask::workspace;

const INTRO: &str = "\
# Benchmarks

The last run of each bench, whose file is in `bench-results/`; `cargo xtask bench --publish` makes this page of them, and nobody
writes it by hand. `cargo xtask bench NAME --publish` writes the file of a bench. Earlier runs are in git's history of the files; those
before there were any are [a page of their own](benchmarks-earlier.md), and what was measured for a decision stands in its
[record](decisions).

Everything runs on one machine at the same time, over loopback: gateway, agent and phones. *Stolen* is the share of the machine's CPU
time that its host gave to others; with more than a few hundredths a run says little.
";

/// Where the page is.
fn path() -> PathBuf {
    workspace::root().join("docs/benchmarks.md")
}

/// Writes the page as the files give it, with the benches in this order.
///
/// # Errors
/// When a file is of no bench; when something cannot be read or written.
pub fn write(benches: &[Bench]) -> anyhow::Result<()> {
    fs::write(path(), page(benches, &runs(benches)?)).with_context(|| format!("cannot write {}", path().display()))
}

/// Whether the page is as the files give it.
///
/// # Errors
/// When a file is of no bench; when something cannot be read.
pub fn is_made_of_files(benches: &[Bench]) -> anyhow::Result<bool> {
    let page_now = fs::read_to_string(path()).with_context(|| format!("cannot read {}", path().display()))?;
    Ok(page_now == page(benches, &runs(benches)?))
}

/// All files.
fn runs(benches: &[Bench]) -> anyhow::Result<Vec<Published>> {
    let directory = directory();
    let mut runs = Vec::new();
    // Without a run there is no directory.
    let entries = fs::read_dir(&directory).into_iter().flatten();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read {}", directory.display()))?
            .path();
        let run = Published::read(&path)?;
        let is_named_so = path.file_stem().is_some_and(|name| name.to_str() == Some(&run.name));
        let is_known = benches.iter().any(|bench| bench.name == run.name);
        ensure!(
            is_named_so && is_known,
            "{} is of no bench of this name",
            path.display()
        );
        runs.push(run);
    }
    Ok(runs)
}

fn page(benches: &[Bench], runs: &[Published]) -> String {
    let mut page = INTRO.to_owned();
    for bench in benches {
        page += &format!("\n## {}\n\n{}\n\n", bench.title, bench.about.trim());
        let Some(run) = runs.iter().find(|run| run.name == bench.name) else {
            page += "No run is published.\n";
            continue;
        };
        let Published {
            date,
            commit,
            machine,
            command,
            verdict,
            report,
            ..
        } = run;
        let verdict = verdict
            .as_ref()
            .map_or(String::new(), |verdict| format!(" **{verdict}**."));
        page += &format!("`{command}`, {date}, commit `{commit}`, {machine}.{verdict}\n\n{report}");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::published::Machine;
    use crate::report::{Line, Report};

    const BENCHES: [Bench; 2] = [
        Bench {
            name: "one",
            title: "The first",
            about: "What it is.\n",
        },
        Bench {
            name: "two",
            title: "The second",
            about: "It is not run.",
        },
    ];

    #[test]
    fn each_bench_has_its_run_or_none() {
        let report = Report {
            tables: Vec::new(),
            lines: vec![Line::without("money", &[])],
        };
        let run = Published {
            name: "one".to_owned(),
            date: "2026-11-30".to_owned(),
            commit: "c6eb073".to_owned(),
            machine: Machine {
                cores: 2,
                cpu: "AMD EPYC".to_owned(),
                memory_gib: 24,
                kernel: "6.18".to_owned(),
            },
            command: "cargo xtask bench one".to_owned(),
            verdict: report.verdict(),
            report,
        };
        let page = page(&BENCHES, &[run]);
        let after = page.strip_prefix(INTRO).expect("it begins with it");
        let expected = "\n## The first\n\nWhat it is.\n\n`cargo xtask bench one`, 2026-11-30, commit `c6eb073`, \
                        2 cores of AMD EPYC, 24 GiB, Linux 6.18. **all 1 lines hold**.\n\n\
                        | what must hold | measured | wanted     | holds |\n\
                        |----------------|----------|------------|-------|\n\
                        | money          | none     | no failure | yes   |\n\n\
                        ## The second\n\nIt is not run.\n\nNo run is published.\n";
        assert_eq!(after, expected);
    }
}
