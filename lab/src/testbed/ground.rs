//! What a fleet stands on, on this machine: one PostgreSQL that keeps the ledger, a seed with a part for each machine, and a place
//! for each: a directory for its disk, and a mapping for its memory.

use super::{Patience, Place, Programs, START, files, make_certs, make_seed, run_to_file};
use anyhow::Context;
use local_postgres::{AGENT, Server};
use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use xtask::interrupt::Interrupt;

/// The seed's parts, in the fleet's own place.
const SEEDS: &str = "seeds";
const DATABASE: &str = "event";

/// See the module.
pub struct Ground {
    /// Certificates, seeds, what the phones do, and what was said of it in the end.
    pub base: Rc<Place>,
    /// Of each machine, by its part.
    pub places: Vec<Rc<Place>>,
    pub database: Server,
}

impl Ground {
    /// So many places, which hold what [`furnish`](Self::furnish) brings, and a ledger with a part for each; nothing runs but the
    /// database.
    ///
    /// # Errors
    /// When there is no PostgreSQL, a program failed, or another run is at work.
    pub fn prepare(
        name: &str,
        machines: usize,
        programs: &Programs,
        seed_flags: &[String],
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let base = Place::fresh(name)?;
        make_certs(&base, programs, interrupt)?;
        let parts = [
            "--parts".into(),
            machines.to_string(),
            "--certs".into(),
            base.file(files::CERTS).display().to_string(),
        ];
        let flags: Vec<String> = seed_flags.iter().cloned().chain(parts).collect();
        make_seed(&base, SEEDS, programs, &flags, interrupt)?;
        // Where root runs this, the server is another user's, who cannot read the place.
        let database = Server::start(&std::env::temp_dir(), &[])?;
        database.database(DATABASE)?;
        let places = (0..machines).map(|part| Ok(Rc::new(Place::fresh(&format!("{name}/{}", machine(part)))?)));
        let ground = Self {
            base: Rc::new(base),
            places: places.collect::<anyhow::Result<_>>()?,
            database,
        };
        for (part, place) in ground.places.iter().enumerate() {
            ground.furnish(part, &place.directory)?;
        }
        ground.make_ledger(programs, interrupt)?;
        Ok(ground)
    }

    /// Makes a directory for a machine of this part, if there is none: with certificates, the seed, and a state directory.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn furnish(&self, part: usize, directory: &Path) -> anyhow::Result<()> {
        let make = |path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.with_context(|| format!("cannot make {}", path.display()))
        };
        make(directory)?;
        symlink(self.base.file(files::CERTS), directory.join(files::CERTS)).context("cannot link the certificates")?;
        let seed = self.seed(part);
        fs::copy(&seed, directory.join(files::SEED)).with_context(|| format!("cannot copy {}", seed.display()))?;
        // The agent begins before the gateway, and keeps in it what says that the part is its own.
        make(&directory.join(files::STATE))
    }

    /// The seed file of a part.
    pub fn seed(&self, part: usize) -> PathBuf {
        self.base.file(SEEDS).join(format!("seed-{part}.bin"))
    }

    /// Where the ledger is, for an agent.
    pub fn agent_url(&self) -> String {
        self.database.agent_url(DATABASE)
    }

    /// The same, by way of another address.
    pub fn agent_url_at(&self, address: SocketAddr) -> String {
        format!("postgres://{AGENT}@{address}/{DATABASE}")
    }

    /// Where the server listens.
    pub fn server(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.database.port()).into()
    }

    /// How many commits each part has.
    ///
    /// # Errors
    /// When the server does not say.
    pub fn commits(&self) -> anyhow::Result<Vec<i64>> {
        let of = |part| {
            let question = format!("SELECT stamp FROM parts WHERE part = {part}");
            Ok(self.database.number(DATABASE, &question)?)
        };
        (0..self.places.len()).map(of).collect()
    }

    /// A question to the ledger as it is at one moment, for its owner.
    pub fn question(&self, programs: &Programs, args: &[&str]) -> Command {
        let mut command = programs.command("shake-agent");
        command
            .args(args)
            .args(["--ledger", &self.database.url(DATABASE), "--on-primary"]);
        command
    }

    /// The audit of the ledger against all parts of the seed.
    pub fn audit(&self, programs: &Programs) -> Command {
        let mut audit = self.question(programs, &["audit", "--json"]);
        audit.arg("--fleet").arg(self.base.file(SEEDS));
        audit.arg("--certs").arg(self.base.file(files::CERTS));
        audit
    }

    fn make_ledger(&self, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<()> {
        let mut init = programs.command("shake-agent");
        init.args([
            "ledger",
            "init",
            "--url",
            &self.database.url(DATABASE),
            "--agents",
            AGENT,
        ])
        .args((0..self.places.len()).map(|part| self.seed(part)));
        let patience = Patience {
            at_most: START,
            interrupt,
        };
        let log = self.base.file("ledger-init.log");
        run_to_file("shake-agent ledger init", init, &log, &patience, || Ok(()))?.success()
    }
}

/// What the machine of a part is called.
pub fn machine(part: usize) -> String {
    format!("machine-{part}")
}
