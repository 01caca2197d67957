//! The command line of the simulator: reads flags and files, runs, prints.

#![forbid(unsafe_code)]

mod cli;

use anyhow::{Context, Result, bail};
use cli::{Cli, Command, Compare, Ctl, Request, Run};
use client_sim::control::{self, Status};
use client_sim::engine::Stop;
use client_sim::progress::Progress;
use client_sim::report::{Comparison, Report, page, write_credits, write_opened};
use client_sim::run::{self, Verdict, Watch};
use client_sim::scenario::{DEFAULT, Overrides, Scenario};
use host::console;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match host::cli::parse::<Cli>().command {
        Command::Run(flags) => simulate(&flags),
        Command::Report(flags) => compare(&flags),
        Command::Hostile(options) => client_sim::hostile::run(&options).map_err(Into::into),
        Command::Ctl(flags) => steer(&flags),
        Command::Check { scenario } => check(&scenario),
        Command::Scenario => print(DEFAULT).map(|()| 0),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            console::tell(&format!("client-sim: {error:#}"));
            ExitCode::from(1)
        }
    }
}

fn simulate(flags: &Run) -> Result<u8> {
    let overrides = Overrides {
        sessions: flags.sessions,
        shakes_per_second: flags.shakes_per_second,
        seconds: flags.seconds,
        users: flags.users.clone(),
        start: flags.start_at.unwrap_or_default(),
        control: flags.control.clone().or_else(usual_control),
        journal: flags.journal.clone(),
        target: flags.target.clone(),
        server_name: flags.server_name.clone(),
        certs: flags.certs.clone(),
        engine: flags.engine.clone(),
    };
    let scenario = read_scenario(flags.scenario.as_deref(), &overrides)?;
    let server_name = scenario.server_name.clone();
    let mut opened = flags.opened.as_deref().map(create).transpose()?;
    let mut html = flags.html.as_deref().map(create).transpose()?;
    let mut credits = flags.credits.as_deref().map(create).transpose()?;

    let watch = Watch {
        processes: flags.watch_pid.clone(),
        metrics: flags.metrics.clone(),
    };
    let stop = Arc::new(Stop::default());
    run::stop_on_signals(stop.clone()).context("cannot wait for signals")?;
    let mut progress = (!flags.quiet).then(|| Progress::new(scenario.sessions, scenario.seconds()));
    let outcome = run::run(scenario, &watch, &stop, &mut |snapshot| {
        if let Some(progress) = &mut progress {
            progress.show(snapshot);
        }
    })?;

    if let Some(out) = &mut opened {
        write_opened(&outcome.opened, out).context("cannot write the opened packets")?;
    }
    if let Some(out) = &mut credits {
        write_credits(&outcome.opened, &outcome.credits, out).context("cannot write the credits")?;
    }
    if let Some(out) = &mut html {
        out.write_all(page(&outcome.report).as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write the page")?;
    }
    if flags.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&outcome.report)?))?;
    } else {
        print(&outcome.report.to_text())?;
    }
    if outcome.verdict == Verdict::NobodyConnected {
        let target = &outcome.report.scenario.target;
        let server_name = &server_name;
        console::tell(&format!(
            "client-sim: no session got through to {target}; is the gateway up, with a certificate of the same CA for {server_name:?}? \
             (--server-name NAME when it has another one)"
        ));
    }
    Ok(outcome.verdict.exit_code())
}

fn compare(flags: &Compare) -> Result<u8> {
    let read = |path: &Path| -> Result<serde_json::Value> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what `client-sim run --json` prints", path.display()))
    };
    let a = read(&flags.a)?;
    let mut differs = false;
    let (html, json, text) = match &flags.b {
        Some(path) => {
            let b = read(path)?;
            let mut comparison = Comparison::of(&a, &b);
            let (first, second) = (report(a, &flags.a)?, report(b, path)?);
            let mut verdict = String::new();
            if let Some(within) = flags.within {
                comparison = comparison.drawn();
                let beyond: Vec<_> = comparison.beyond(within).map(|(name, _)| name).collect();
                differs = !beyond.is_empty();
                verdict = match &beyond[..] {
                    [] => format!("every count agrees within {within} standard deviations\n"),
                    names => format!(
                        "further apart than {within} standard deviations: {}\n",
                        names.join(", ")
                    ),
                };
            }
            let names = [&flags.a, path].map(|path| path.display().to_string());
            let html = comparison.to_html([&names[0], &names[1]], [&first, &second]);
            let text = comparison.to_text() + &verdict;
            (html, serde_json::to_string_pretty(&comparison)?, text)
        }
        None => {
            let report = report(a, &flags.a)?;
            (page(&report), serde_json::to_string_pretty(&report)?, report.to_text())
        }
    };
    if let Some(path) = &flags.html {
        std::fs::write(path, html).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&if flags.json { format!("{json}\n") } else { text })?;
    Ok(if differs { 2 } else { 0 })
}

fn report(value: serde_json::Value, path: &Path) -> Result<Report> {
    serde_json::from_value(value).with_context(|| format!("{} is not a report of `client-sim run`", path.display()))
}

/// The usual socket; none when another run has it, which is told.
fn usual_control() -> Option<PathBuf> {
    let path = control::default_path();
    if control::is_taken(&path) {
        console::tell(&format!(
            "client-sim: another run listens at {}; `client-sim ctl` will not reach this one without a --control of its own",
            path.display()
        ));
        return None;
    }
    Some(path)
}

fn steer(flags: &Ctl) -> Result<u8> {
    let path = flags.control.clone().unwrap_or_else(control::default_path);
    let (request, is_table) = match &flags.request {
        Request::Rate { shakes_per_second } => (format!("rate {shakes_per_second}"), false),
        Request::Status { json } => ("status".to_owned(), !json),
        Request::Stop => ("stop".to_owned(), false),
    };
    let mut answer = control::ask(&path, &request)?;
    if is_table {
        let status: Status = serde_json::from_str(&answer).context("the run speaks another version's language")?;
        answer = format!(
            "{} for {} s · step {} at {} shakes/s · {} online · {} sent, {} answered, {} unanswered, p99 {:.1} ms · {} packets opened",
            status.stage,
            status.stage_ms / 1_000,
            status.step,
            status.shakes_per_second,
            status.online,
            status.sent,
            status.answered,
            status.unanswered,
            status.p99_us as f64 / 1e3,
            status.opened
        );
    }
    print(&format!("{answer}\n")).map(|()| 0)
}

fn check(path: &Path) -> Result<u8> {
    let scenario = read_scenario(Some(path), &Overrides::default())?;
    print(&format!(
        "{}: good: {} sessions to {}, up to {} shakes/s for {} s in {}\n",
        path.display(),
        scenario.sessions,
        scenario.addresses(),
        scenario.shakes_per_second(),
        scenario.seconds(),
        if scenario.steps.len() == 1 {
            "one step".to_owned()
        } else {
            format!("{} steps", scenario.steps.len())
        }
    ))?;
    Ok(0)
}

fn read_scenario(path: Option<&Path>, overrides: &Overrides) -> Result<Scenario> {
    let (name, text) = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the scenario {}", path.display()))?;
            (path.display().to_string(), text)
        }
        None => ("the built-in scenario".to_owned(), DEFAULT.to_owned()),
    };
    match Scenario::parse(&text, overrides) {
        Ok(scenario) => Ok(scenario),
        Err(problems) => bail!("{name} has errors:\n{problems}"),
    }
}

/// Opened before the run, so that a bad path does not cost a run's figures.
fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

fn print(text: &str) -> Result<()> {
    console::print(text)?;
    Ok(())
}
