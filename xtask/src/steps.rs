//! Steps one after the other: each with a line before it, a line with its duration after it, and a summary of all.

use crate::interrupt::Interrupt;
use anyhow::{Context, bail};
use host::console;
use std::process::Command;
use std::time::{Duration, Instant};

/// The steps done so far.
pub struct Steps<'a> {
    interrupt: &'a Interrupt,
    started: Instant,
    done: Vec<Step>,
}

struct Step {
    name: String,
    took: Duration,
    failure: Option<String>,
}

impl<'a> Steps<'a> {
    /// No step yet.
    pub fn new(interrupt: &'a Interrupt) -> Self {
        Self {
            interrupt,
            started: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Runs a command as a step. Its output passes through.
    ///
    /// # Errors
    /// Only when interrupted: a failed step is for the summary, and the later ones still run.
    pub fn command(&mut self, name: &str, command: &mut Command) -> anyhow::Result<()> {
        let line = shown(command);
        self.step(name, &line, || {
            let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
            if !status.success() {
                bail!("{status}: {line}");
            }
            Ok(())
        })
    }

    /// Runs a function as a step; `line` says what it does.
    ///
    /// # Errors
    /// Only when interrupted.
    pub fn step(&mut self, name: &str, line: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.interrupt.check()?;
        console::tell(&format!("== {name}: {line}"));
        let started = Instant::now();
        let failure = work().err().map(|error| format!("{error:#}"));
        let step = Step {
            name: name.to_owned(),
            took: started.elapsed(),
            failure,
        };
        console::tell(&format!("== {}", step.line()));
        self.done.push(step);
        self.interrupt.check()
    }

    /// Prints the summary.
    ///
    /// # Errors
    /// When a step failed.
    pub fn finish(self) -> anyhow::Result<()> {
        console::line("")?;
        for step in &self.done {
            console::line(&step.line())?;
        }
        let failed = self.done.iter().filter(|step| step.failure.is_some()).count();
        let total = self.started.elapsed().as_secs_f64();
        if failed > 0 {
            bail!("{failed} of {} steps failed in {total:.1} s", self.done.len());
        }
        console::line(&format!("all {} steps passed in {total:.1} s", self.done.len()))?;
        Ok(())
    }
}

impl Step {
    fn line(&self) -> String {
        let outcome = self
            .failure
            .as_deref()
            .map_or_else(|| "ok".to_owned(), |why| format!("FAILED: {why}"));
        format!("{:<12} {:>7.1} s  {outcome}", self.name, self.took.as_secs_f64())
    }
}

/// The command as one would type it, with the variables set for it.
fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut words: Vec<String> = variables
        .map(|(name, value)| format!("{}={value:?}", name.to_string_lossy()))
        .collect();
    words.push(
        std::path::Path::new(command.get_program())
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into()),
    );
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}
