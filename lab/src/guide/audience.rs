//! The audience: phones at both gateways, who stay for what is played.

use super::desk::Desk;
use super::machine::Machine;
use crate::testbed::{END, Patience, Programs, Service};
use anyhow::Context;
use std::fs;
use xtask::interrupt::Interrupt;

/// The phones of both machines.
pub struct Audience {
    phones: Vec<Service>,
}

impl Audience {
    /// Starts them; they shake for so many seconds.
    pub fn start(machines: &[Machine], desk: &Desk, programs: &Programs, seconds: u32) -> anyhow::Result<Self> {
        let mut phones = Vec::new();
        for (number, machine) in (0..).zip(machines) {
            let scenario = desk.file(&format!("audience-{}.toml", machine.name));
            fs::write(&scenario, self::scenario(machine.name, number * 1_000 + 1, seconds))
                .with_context(|| format!("cannot write {}", scenario.display()))?;
            let mut command = programs.command("client-sim");
            command.arg("run").arg(&scenario);
            command.args(["--target", &machine.place.gateway.to_string()]);
            command.arg("--certs").arg(desk.file("authority"));
            command.arg("--control").arg(scenario.with_extension("sock"));
            phones.push(Service::start("client-sim", command, scenario.with_extension("log"))?);
        }
        Ok(Self { phones })
    }

    /// Waits until they have shaken and opened what they won.
    ///
    /// # Errors
    /// When the gateway did what no correct one does, or they do not end.
    pub fn wait_end(self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let patience = Patience {
            at_most: END,
            interrupt,
        };
        for phones in self.phones {
            phones.wait_end(&patience)?;
        }
        Ok(())
    }
}

fn scenario(machine: &str, first_user: u32, seconds: u32) -> String {
    format!(
        "# Made by `cargo xtask guide`. Every key is explained in deploy/scenarios/default.toml.\n\
         [target]\nserver_name = \"{machine}.example\"\n[users]\nfirst_id = {first_user}\n\
         [load]\nsessions = 100\nconnects_per_second = 200\nshakes_per_second = 100\nseconds = {seconds}\nsettle_s = 10\n\
         [engine]\nkind = \"lean\"\n"
    )
}
