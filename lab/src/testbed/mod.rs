//! Where runs of the whole path take place: the built programs, a directory, and gateway and agent as processes. The demo,
//! the million and the benches differ in what they configure, what they offer, and what they look at.

mod deployed;
mod ground;
mod latency;
mod metrics;
mod phones;
mod programs;
mod run_dir;
mod service;
mod usage;

pub use deployed::deployed;
pub use ground::{Ground, machine};
pub use latency::Latency;
pub use metrics::metrics;
pub use phones::{phones, phones_of_scenario, phones_with_credits, with_credits, with_page};
pub use programs::{Build, Programs, Tuned};
pub use run_dir::{Place, remove};
pub use service::{Ended, Patience, Service, run_to_file};
pub use usage::{Sampler, Samples, Usage, stolen, unix_ms};

use std::time::Duration;
use xtask::interrupt::Interrupt;

/// How long a program may take to be ready, or to make its files.
pub const START: Duration = Duration::from_secs(30);
/// How long the gateway may take to close all connections, and the agent to finish what is in the rings.
pub const END: Duration = Duration::from_secs(60);

/// Names of the files in a run's directory.
pub mod files {
    pub const CERTS: &str = "certs";
    pub const SEED: &str = "seed.bin";
    pub const SHOW: &str = "show.toml";
    pub const THROTTLE: &str = "throttle.toml";
    pub const GATEWAY: &str = "gateway.toml";
    pub const AGENT: &str = "agent.toml";
    pub const SCENARIO: &str = "scenario.toml";
    /// Where phones are steered while they play.
    pub const CONTROL: &str = "control.sock";
    pub const LEDGER: &str = "ledger.db";
    pub const REPORT: &str = "report.json";
    pub const CREDITS: &str = "credits.csv";
    pub const AUDIT: &str = "audit.json";
    pub const OUTBOX: &str = "outbox.csv";
    pub const PACKETS: &str = "packets.csv";
    pub const USERS: &str = "users.csv";
    pub const SETTLEMENT: &str = "settlement.log";
    pub const BLOCKS: &str = "blocks.json";
    /// The state directory of gateway and agent, as they are configured.
    pub const STATE: &str = "state";
}

/// Makes certificates, keys and a seed in the place.
///
/// # Errors
/// When a program failed.
pub fn make_certs_and_seed(
    place: &Place,
    programs: &Programs,
    seed_flags: &[String],
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    make_certs(place, programs, interrupt)?;
    make_seed(place, files::SEED, programs, seed_flags, interrupt)
}

/// Makes certificates and keys in the place.
///
/// # Errors
/// When the program failed.
pub fn make_certs(place: &Place, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let mut certs = programs.command("certs");
    certs.arg("generate").arg("--out").arg(place.file(files::CERTS));
    let patience = Patience {
        at_most: START,
        interrupt,
    };
    run_to_file("certs generate", certs, &place.file("certs.log"), &patience, || Ok(()))?.success()
}

/// Makes a seed of this name in the place; of several parts when the flags say so, and `name` is their directory.
///
/// # Errors
/// When the program failed.
pub fn make_seed(
    place: &Place,
    name: &str,
    programs: &Programs,
    flags: &[String],
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let mut seed = programs.command("shake-agent");
    seed.args(["seed", "generate"])
        .args(flags)
        .arg("--out")
        .arg(place.file(name));
    let patience = Patience {
        at_most: START,
        interrupt,
    };
    let what = "shake-agent seed generate";
    run_to_file(what, seed, &place.file("seed.log"), &patience, || Ok(()))?.success()
}

/// A gateway and its agent at work. On an error both are dropped, and so killed.
pub struct Stage {
    pub gateway: Service,
    pub agent: Service,
}

impl Stage {
    /// Starts both with the configurations that stand in the place.
    ///
    /// # Errors
    /// When one is not ready in time.
    pub fn start(place: &Place, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let start = |name: &'static str, config: &str| {
            let mut command = programs.command(name);
            command.args(["run", "--config"]).arg(place.file(config));
            let mut service = Service::start(name, command, place.file(&format!("{name}.log")))?;
            service.wait_ready(&Patience {
                at_most: START,
                interrupt,
            })?;
            anyhow::Ok(service)
        };
        // In the order of the service units: the agent is ready first and waits for the gateway's mapping.
        let agent = start("shake-agent", files::AGENT)?;
        let gateway = start("gateway", files::GATEWAY)?;
        Ok(Self { gateway, agent })
    }

    /// An error when one of them has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.gateway.check()?;
        self.agent.check()
    }

    /// Ends the gateway, then the agent, which so sees all that the gateway left.
    ///
    /// # Errors
    /// When one had to be killed or did not exit with 0.
    pub fn end(self) -> anyhow::Result<()> {
        let gateway_ended = self.gateway.end(END);
        let agent_ended = self.agent.end(END);
        gateway_ended?;
        agent_ended
    }
}
