//! `cargo xtask guide`: follows docs/evening.md and docs/operator.md word for word, each from an empty directory to closed
//! books.

mod act;
mod audience;
mod desk;
mod machine;
mod page;

use crate::testbed::{Build, Programs};
use act::{ACTS, Act, EVENING, Line, OPERATOR};
use anyhow::{Context, anyhow};
use audience::Audience;
use clap::Args;
use desk::Desk;
use host::console;
use machine::Machine;
use page::{Part, Typed};
use std::fs;
use std::time::Instant;
use xtask::interrupt::Interrupt;
use xtask::workspace;

#[derive(Args)]
#[command(after_long_help = "\
Runs each command of docs/evening.md and docs/operator.md as it stands, and fails at the first that does not exit with 0. Two
directories stand for the machines of each page, 100 phones each for its audience. Replaced are names, ports, the machines' paths,
and the lifetimes of tickets and shares, which are an hour on the page. `ssh`, `scp`, `systemctl`, `systemd-run`, `install`,
`useradd` and `setpriv` are played. The sections of docs/operator.md stand by subject, and are followed in another order; where
it points to docs/evening.md for a machine's files, those are followed there. A block marked `sh not-run` is listed and left out.
What was made stays in target/guide and target/guide-operator, and beside them for each machine.")]
pub struct Options {
    /// Use the programs that the tests have built.
    #[arg(long)]
    pub dev: bool,
}

/// Follows the pages.
///
/// # Errors
/// When a command, a machine or the audience fails; the message names the line of the page.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    let build = if options.dev { Build::Dev } else { Build::Release };
    let programs = Programs::build(build, interrupt)?;
    let (evening, operator) = (parts(EVENING)?, parts(OPERATOR)?);
    let of = |page: &str| if page == OPERATOR { &operator[..] } else { &evening[..] };
    for act in &ACTS {
        let lines = act.lines(of).map_err(|why| anyhow!(why))?;
        follow(act, &lines, &programs, interrupt)?;
    }
    Ok(())
}

fn parts(page: &str) -> anyhow::Result<Vec<Part>> {
    let text = fs::read_to_string(workspace::root().join(page)).with_context(|| format!("cannot read {page}"))?;
    page::parts(&text).map_err(|why| anyhow!("{page}: {why}"))
}

/// Follows one act, and tells how much of it ran.
fn follow(act: &Act, lines: &[Line<'_>], programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let mut evening = Evening {
        act,
        machines: [Machine::fresh("gw1", act.desk)?, Machine::fresh("gw2", act.desk)?],
        audience: Phones::NotYet,
        programs,
        interrupt,
    };
    let desk = Desk::fresh(act.desk, &evening.machines, programs)?;
    let (began, mut section) = (Instant::now(), "");
    let (mut ran, mut left_out) = (0, Vec::new());
    for line in lines {
        if section != line.section {
            section = line.section;
            console::tell(&format!("guide: {section}"));
        }
        let named = format!("{}:{}: {}", line.page, line.number, line.text);
        if line.typed == Typed::Nowhere {
            left_out.push(named);
            continue;
        }
        console::tell(&format!("guide: {named}"));
        evening.follow(&desk, line).context(named)?;
        ran += 1;
    }
    console::line(&format!(
        "guide: {ran} commands of {} ran as they stand, in {:.1} s",
        act.page,
        began.elapsed().as_secs_f64()
    ))?;
    for named in left_out {
        console::line(&format!("guide: not run: {named}"))?;
    }
    Ok(())
}

/// Where the audience is.
enum Phones {
    NotYet,
    Here(Audience),
    Gone,
}

/// What goes on while an act is followed.
struct Evening<'a> {
    act: &'a Act,
    machines: [Machine; 2],
    audience: Phones,
    programs: &'a Programs,
    interrupt: &'a Interrupt,
}

impl Evening<'_> {
    fn machine(&mut self, host: &str) -> anyhow::Result<&mut Machine> {
        let machine = self.machines.iter_mut().find(|machine| machine.is(host));
        machine.with_context(|| format!("no machine {host}"))
    }

    fn follow(&mut self, desk: &Desk, line: &Line<'_>) -> anyhow::Result<()> {
        self.interrupt.check()?;
        self.send_away_before(line)?;
        let remote = desk::remote(line.text);
        match (line.typed, remote.as_ref().map(|(host, words)| (*host, &words[..]))) {
            (Typed::OnEachMachine, _) => {
                for machine in &self.machines {
                    desk.run_on(machine, line.text, self.interrupt)
                        .with_context(|| format!("on {}", machine.name))?;
                }
            }
            (_, Some((host, ["systemctl", verb, unit]))) => {
                let (programs, interrupt) = (self.programs, self.interrupt);
                self.machine(host)?.systemctl(verb, unit, programs, interrupt)?;
            }
            (_, Some((host, ["systemd-run", words @ ..]))) => {
                let (programs, interrupt) = (self.programs, self.interrupt);
                self.machine(host)?.systemd_run(words, programs, interrupt)?;
            }
            _ => desk.run(line.text, self.interrupt)?,
        }
        for machine in &mut self.machines {
            machine.settle()?;
        }
        self.let_in_after(desk, line)
    }

    /// A drain waits for those who are here: they have shaken and opened what they won.
    fn send_away_before(&mut self, line: &Line<'_>) -> anyhow::Result<()> {
        if !line.text.starts_with("gateway drain") {
            return Ok(());
        }
        match std::mem::replace(&mut self.audience, Phones::Gone) {
            Phones::Here(audience) => audience.wait_end(self.interrupt),
            Phones::NotYet | Phones::Gone => Ok(()),
        }
    }

    /// They come when both machines are up.
    fn let_in_after(&mut self, desk: &Desk, line: &Line<'_>) -> anyhow::Result<()> {
        let is_time = (line.page, line.section) == (self.act.page, self.act.audience_from);
        if matches!(self.audience, Phones::NotYet) && is_time && self.machines.iter().all(Machine::is_up) {
            let audience = Audience::start(&self.machines, desk, self.programs, self.act.audience_s)?;
            self.audience = Phones::Here(audience);
        }
        Ok(())
    }
}
