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
    outcome: Outcome,
}

/// How a step went.
enum Outcome {
    Passed,
    /// It could not run here, which is no failure and no success.
    Skipped(String),
    Failed(String),
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
        let outcome = match work() {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        self.note(name, started.elapsed(), outcome);
        self.interrupt.check()
    }

    /// Notes a step that cannot run here. `why` says what is missing, and how it is had.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.note(name, Duration::ZERO, Outcome::Skipped(why.to_owned()));
    }

    fn note(&mut self, name: &str, took: Duration, outcome: Outcome) {
        let name = name.to_owned();
        let step = Step { name, took, outcome };
        console::tell(&format!("== {}", step.line()));
        self.done.push(step);
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
        console::line(&self.verdict(self.started.elapsed())?)?;
        Ok(())
    }

    /// The last line: how many passed. None is silently counted as passed that did not run.
    fn verdict(&self, total: Duration) -> anyhow::Result<String> {
        let count = |is: fn(&Outcome) -> bool| self.done.iter().filter(|step| is(&step.outcome)).count();
        let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        let (all, total) = (self.done.len(), total.as_secs_f64());
        if failed > 0 {
            bail!("{failed} of {all} steps failed in {total:.1} s");
        }
        Ok(match skipped {
            0 => format!("all {all} steps passed in {total:.1} s"),
            _ => format!(
                "{} of {all} steps passed, {skipped} SKIPPED, in {total:.1} s",
                all - skipped
            ),
        })
    }
}

impl Step {
    fn line(&self) -> String {
        let outcome = match &self.outcome {
            Outcome::Passed => "ok".to_owned(),
            Outcome::Skipped(why) => format!("skipped: {why}"),
            Outcome::Failed(why) => format!("FAILED: {why}"),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn what_did_not_run_is_not_counted_as_passed() {
        let interrupt = Interrupt::default();
        let mut steps = Steps::new(&interrupt);
        let total = Duration::from_millis(2_500);
        steps.step("one", "does one", || Ok(())).expect("not interrupted");
        assert_eq!(steps.verdict(total).expect("good"), "all 1 steps passed in 2.5 s");
        steps.skip("two", "no compiler; install it by `apt-get install it`");
        let skipped = "two              0.0 s  skipped: no compiler; install it by `apt-get install it`";
        assert_eq!(steps.done[1].line(), skipped);
        let told = steps.verdict(total).expect("good");
        assert_eq!(told, "1 of 2 steps passed, 1 SKIPPED, in 2.5 s");
        let failed = steps.step("three", "does three", || Err(anyhow!("it broke")));
        failed.expect("the later ones still run");
        assert!(steps.done[2].line().ends_with("FAILED: it broke"));
        let error = steps.verdict(total).expect_err("one failed").to_string();
        assert_eq!(error, "1 of 3 steps failed in 2.5 s");
    }
}
