//! `cargo xtask guide`: follows docs/evening.md word for word, from an empty directory to closed books.

mod audience;
mod desk;
mod machine;
mod page;

use crate::testbed::{Build, Programs};
use anyhow::{Context, anyhow};
use audience::Audience;
use clap::Args;
use desk::Desk;
use host::console;
use machine::Machine;
use page::Part;
use std::fs;
use std::time::Instant;
use xtask::interrupt::Interrupt;
use xtask::workspace;

/// The page, from the root of the project.
const PAGE: &str = "docs/evening.md";

#[derive(Args)]
#[command(after_long_help = "\
Runs each command of docs/evening.md as it stands, and fails at the first that does not exit with 0. Two directories stand for
the machines of the page, 100 phones each for its audience. Replaced are names, ports, the machines' paths, and the lifetimes of
tickets and shares, which are an hour on the page. `ssh`, `scp`, `systemctl`, `systemd-run`, `install`, `useradd` and `setpriv`
are played. What was made stays in target/guide and target/guide-gw1, target/guide-gw2.")]
pub struct Options {
    /// Use the programs that the tests have built.
    #[arg(long)]
    pub dev: bool,
}

/// Follows the page.
///
/// # Errors
/// When a command, a machine or the audience fails; the message names the line of the page.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    let build = if options.dev { Build::Dev } else { Build::Release };
    let programs = Programs::build(build, interrupt)?;
    let text = fs::read_to_string(workspace::root().join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let parts = page::parts(&text).map_err(|why| anyhow!("{PAGE}: {why}"))?;
    let mut evening = Evening {
        machines: [Machine::fresh("gw1")?, Machine::fresh("gw2")?],
        audience: None,
        programs: &programs,
        interrupt,
    };
    let desk = Desk::fresh(&evening.machines, &programs)?;
    let (began, mut commands) = (Instant::now(), 0);
    for part in parts {
        match part {
            Part::Section(title) => console::tell(&format!("guide: {title}")),
            Part::Command { line, text } => {
                console::tell(&format!("guide: {PAGE}:{line}: {text}"));
                evening
                    .follow(&desk, &text)
                    .with_context(|| format!("{PAGE}:{line}: {text}"))?;
                commands += 1;
            }
        }
    }
    console::line(&format!(
        "guide: {commands} commands of {PAGE} ran as they stand, in {:.1} s",
        began.elapsed().as_secs_f64()
    ))?;
    Ok(())
}

/// What goes on while the page is followed.
struct Evening<'a> {
    machines: [Machine; 2],
    audience: Option<Audience>,
    programs: &'a Programs,
    interrupt: &'a Interrupt,
}

impl Evening<'_> {
    fn machine(&mut self, host: &str) -> anyhow::Result<&mut Machine> {
        let machine = self.machines.iter_mut().find(|machine| machine.is(host));
        machine.with_context(|| format!("no machine {host}"))
    }

    fn follow(&mut self, desk: &Desk, command: &str) -> anyhow::Result<()> {
        self.interrupt.check()?;
        if command.starts_with("gateway drain")
            && let Some(audience) = self.audience.take()
        {
            audience.wait_end(self.interrupt)?;
        }
        let remote = desk::remote(command);
        match remote.as_ref().map(|(host, words)| (*host, &words[..])) {
            Some((host, ["systemctl", verb, unit])) => {
                let (programs, interrupt) = (self.programs, self.interrupt);
                self.machine(host)?.systemctl(verb, unit, programs, interrupt)?;
            }
            Some((host, ["systemd-run", words @ ..])) => {
                let (programs, interrupt) = (self.programs, self.interrupt);
                self.machine(host)?.systemd_run(words, programs, interrupt)?;
            }
            _ => desk.run(command, self.interrupt)?,
        }
        for machine in &mut self.machines {
            machine.settle()?;
        }
        if self.audience.is_none() && self.machines.iter().all(Machine::is_up) && !command.starts_with("gateway drain")
        {
            self.audience = Some(Audience::start(&self.machines, desk, self.programs)?);
        }
        Ok(())
    }
}
