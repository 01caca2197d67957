//! `cargo xtask fuzz`: libFuzzer over every target of `fuzz/`, and a table of what it did.
//!
//! It works with the stable toolchain and without `cargo-fuzz`: the coverage that libFuzzer needs comes from flags that
//! every rustc takes, and libFuzzer itself from the crate `libfuzzer-sys`, which needs a C++ compiler.

mod report;

use anyhow::{Context, bail, ensure};
use clap::Args;
use host::console;
use report::{Outcome, Totals};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;
use xtask::workspace::{cargo, root, target};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  cargo xtask fuzz                        every target for 10 s
  cargo xtask fuzz --seconds 600 frames   one target for ten minutes
  cargo xtask fuzz --list                 the targets

Coverage-guided, with what earlier runs found: corpora grow in target/fuzz/corpus, beside the seeds in fuzz/corpus.
An input that crashes a target is kept in target/fuzz/crashes; what reproduces it is printed.
`cargo test -p fuzz` replays the seeds and mutations of them without libFuzzer.")]
pub struct Options {
    /// Only this target
    target: Option<String>,
    /// For how long each target runs
    #[arg(long, default_value_t = 10, value_name = "N")]
    seconds: u32,
    /// Prints the targets' names
    #[arg(long)]
    list: bool,
}

/// What makes rustc count branches and comparisons for libFuzzer (LLVM's SanitizerCoverage).
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// The longest input; every decoder's limit lies below or is reached by what a short one says.
const INPUT_BYTES_MAX: u32 = 4_096;
/// A single input may take so long, in seconds.
const INPUT_SECONDS_MAX: u32 = 5;
/// A target may use so much memory, in MiB.
const MEMORY_MIB_MAX: u32 = 1_024;
/// How much longer than asked a target may run, before it is taken for hung.
const GRACE: Duration = Duration::from_secs(60);

/// Runs the targets one after the other.
///
/// # Errors
/// When there is no C++ compiler, a target does not build, or one crashed.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    let names = names()?;
    if options.list {
        console::line(&names.join("\n"))?;
        return Ok(());
    }
    let chosen: Vec<&String> = match &options.target {
        Some(wanted) => names.iter().filter(|name| *name == wanted).collect(),
        None => names.iter().collect(),
    };
    ensure!(
        !chosen.is_empty(),
        "there is no such target; there are: {}",
        names.join(", ")
    );
    let place = Place::new()?;
    let programs = build(&place, interrupt)?;
    let mut totals = Totals::read(&place.directory.join("executions.csv"))?;
    let mut crashed = 0;
    console::line(Outcome::HEADER)?;
    for name in chosen {
        let outcome = fuzz(&place, &programs, name, options.seconds, interrupt)?;
        totals.add(name, outcome.executions)?;
        console::line(&outcome.line(name, totals.of(name)))?;
        crashed += usize::from(outcome.crash.is_some());
        if let Some(crash) = &outcome.crash {
            console::line(&format!("  {crash}"))?;
        }
        interrupt.check()?;
    }
    console::line(&format!("{} executions in all runs over all targets", totals.sum()))?;
    ensure!(crashed == 0, "{crashed} targets crashed");
    Ok(())
}

/// Where everything of a run lies.
struct Place {
    /// `target/fuzz`.
    directory: PathBuf,
    /// For the files that some targets write, in memory if there is such a place; removed at the end.
    scratch: PathBuf,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let directory = target().join("fuzz");
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory } else { &directory };
        let scratch = base.join(format!("shake-fuzz-{}", std::process::id()));
        for needed in [
            &directory,
            &scratch,
            &directory.join("crashes"),
            &directory.join("logs"),
        ] {
            fs::create_dir_all(needed).with_context(|| format!("cannot make {}", needed.display()))?;
        }
        Ok(Self { directory, scratch })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // At worst some kilobytes stay behind.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// The targets' names, by their programs.
fn names() -> anyhow::Result<Vec<String>> {
    let directory = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        if let Some(name) = entry?.path().file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets; gives the folder of their programs.
fn build(place: &Place, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let found = Command::new(&compiler).arg("--version").stdout(Stdio::null()).status();
    ensure!(
        found.is_ok_and(|status| status.success()),
        "libFuzzer is C++, and there is no C++ compiler `{compiler}`: install g++ or clang++, or name one in CXX. \
         `cargo test -p fuzz` needs none"
    );
    let host = host()?;
    let arguments = [
        "build",
        "--profile",
        "fuzz",
        "--package",
        "fuzz",
        "--features",
        "fuzz/libfuzzer",
        "--target",
    ];
    let mut command = cargo(arguments);
    // A target is named so that the flags are not those of build scripts, which would not link with them.
    command
        .arg(&host)
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", &place.directory);
    let status = command.status().context("cannot run cargo build")?;
    interrupt.check()?;
    ensure!(status.success(), "the fuzz targets do not build");
    Ok(place.directory.join(host).join("fuzz"))
}

fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Runs one target for so many seconds.
fn fuzz(place: &Place, programs: &Path, name: &str, seconds: u32, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let log = place.directory.join("logs").join(name);
    let crashes = place.directory.join("crashes").join(format!("{name}-"));
    let mut child = Command::new(programs.join(name))
        .arg(place.directory.join("corpus").join(name))
        .arg(root().join("fuzz/corpus").join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}", crashes.display()))
        .arg("-print_final_stats=1")
        .env("TMPDIR", &place.scratch)
        .stdout(Stdio::null())
        .stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?)
        .spawn()
        .with_context(|| format!("cannot run the target {name}"))?;
    let deadline = Instant::now() + Duration::from_secs(seconds.into()) + GRACE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupt.came() || Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            interrupt.check()?;
            bail!("{name} did not end in time; see {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut outcome = Outcome::of(&text);
    if !status.success() {
        outcome.crash = Some(format!(
            "{status}; the log is {}, its last lines name the input",
            log.display()
        ));
    }
    Ok(outcome)
}
