//! `shake-agent check-config`: everything that a start needs and that can be looked at without starting, in one pass. Writes
//! nothing, and takes no lock: an agent may be running with these very files.

use crate::config::{Config, Server};
use crate::lanes::shards_of;
use crate::ledger::{self, FileCommits, Installation, LedgerError, Postgres, bound_seed, open_read_only, schema};
use crate::run::{self, RunError};
use crate::seed_file::SeedFile;
use crate::settlement;
use crate::witness::{self, Witness, WitnessError};
use host::user;
use nix::unistd::{AccessFlags, access};
use rusqlite::Connection;
use shake_rules::document::Problems;
use shake_rules::seed::SeedHeader;
use shake_rules::{LedgerId, UnixMillis};
use shm_queue::Mapping;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// All that keeps the agent from starting with this configuration, whose file `name` has this text, a line each; nothing when
/// it would start. Of a table with an error only that is told, because nobody knows what it ought to say.
#[must_use]
pub fn check(name: &str, text: &str, directory: &Path, now: UnixMillis) -> Vec<String> {
    let (config, problems) = Config::parse_what_can_be(text, directory);
    let wrong = problems.tables(text);
    let mut found = Found {
        config: &config,
        wrong: wrong.as_ref(),
        faults: told(name, problems),
    };
    let header = found.seed(now);
    found.keys();
    let ledger = found.ledger(header);
    found.settlement();
    found.state(header, ledger);
    found.mapping(ledger);
    found.directories();
    found.faults
}

/// A line for each problem of a file.
fn told(name: &str, problems: Problems) -> Vec<String> {
    let problems = problems.or_value(()).err().unwrap_or_default();
    problems.0.iter().map(|problem| format!("{name}: {problem}")).collect()
}

struct Found<'a> {
    config: &'a Config,
    /// The tables with an error; `None` when that is of the file as a whole.
    wrong: Option<&'a BTreeSet<&'a str>>,
    faults: Vec<String>,
}

impl Found<'_> {
    /// Whether the configuration tells what stands in these tables.
    fn is_told(&self, tables: &[&str]) -> bool {
        self.wrong
            .is_some_and(|wrong| tables.iter().all(|table| !wrong.contains(table)))
    }

    fn fault(&mut self, fault: impl ToString) {
        self.faults.push(fault.to_string());
    }

    /// What a start refuses. Of a file with many errors each is one.
    fn refused(&mut self, error: RunError) {
        match error {
            RunError::Show { path, problems } | RunError::Keys { path, problems } => {
                self.faults.extend(told(&path.display().to_string(), problems));
            }
            error => self.fault(error),
        }
    }

    /// Seed and show, and that they are of one event.
    fn seed(&mut self, now: UnixMillis) -> Option<SeedHeader> {
        let seed = self.is_told(&["seed"]).then(|| SeedFile::open(&self.config.seed));
        let show = self.is_told(&["show"]).then(|| run::read_show(self.config, now));
        let (seed, show) = match (seed.transpose(), show.transpose()) {
            (Ok(Some(seed)), Ok(Some(show))) => (seed, show),
            (seed, show) => {
                let header = match seed {
                    Ok(seed) => seed.map(|seed| *seed.header()),
                    Err(fault) => {
                        self.refused(fault.into());
                        None
                    }
                };
                if let Err(fault) = show {
                    self.refused(fault);
                }
                return header;
            }
        };
        if let Err(fault) = run::check_event(self.config, &show, seed.header()) {
            self.fault(fault);
        }
        // The first run reads all of it; a later one only what is not released.
        let is_begun = self.config.server.is_none() && matches!(bound(&self.config.ledger), Ok(Some(_)));
        let fits = if is_begun {
            ledger::check_total(seed.header(), show.gift_budget)
        } else {
            ledger::survey_for_a_new_ledger(&seed, show.gift_budget).map(drop)
        };
        if let Err(fault) = fits {
            self.fault(format!("[seed] file: {fault}"));
        }
        Some(*seed.header())
    }

    fn keys(&mut self) {
        if self.is_told(&["certs"])
            && let Err(fault) = run::read_ticket_keys(&self.config.certs)
        {
            self.refused(fault);
        }
    }

    /// A ledger that is there must be of this version and of this seed, and open. Gives which it is.
    fn ledger(&mut self, header: Option<SeedHeader>) -> Option<LedgerId> {
        let path = &self.config.ledger;
        if !self.is_told(&["ledger"]) {
            return None;
        }
        if let Some(server) = &self.config.server {
            return self.on_server(server, header);
        }
        if let Err(fault) = user::owns(path) {
            self.fault(format!("[ledger] path: {fault}"));
        }
        if !path.exists() {
            return None;
        }
        // What cannot be read is told below.
        if let Ok(Some(at)) = ledger::closed_at(path) {
            self.fault(LedgerError::Closed { path: path.clone(), at });
        }
        match bound(path) {
            Ok(Some((bound, identity))) => {
                if let Some(found) = header.filter(|header| *header != bound) {
                    self.fault(LedgerError::OtherSeed {
                        ledger: path.clone(),
                        seed: self.config.seed.clone(),
                        bound: Box::new(bound),
                        found: Box::new(found),
                    });
                }
                identity
            }
            Ok(None) => None,
            Err(fault) => {
                self.fault(format!("[ledger] path: {fault}"));
                None
            }
        }
    }

    /// A ledger on a server must have a part for this seed, which is nobody else's. Gives which it is.
    fn on_server(&mut self, server: &Server, header: Option<SeedHeader>) -> Option<LedgerId> {
        let access = match server.access() {
            Ok(access) => access,
            Err(fault) => {
                self.fault(format!("[ledger] {fault}"));
                return None;
            }
        };
        let installation = self.config.state.as_deref().filter(|state| state.exists());
        let installation = installation.and_then(|state| Installation::there(state).ok().flatten());
        match Postgres::survey(access, &header?, installation) {
            Ok(identity) => Some(identity),
            Err(fault) => {
                self.fault(format!("[ledger] url: {fault}"));
                None
            }
        }
    }

    fn settlement(&mut self) {
        let Some(file) = self.config.settlement.as_deref() else {
            return;
        };
        if !self.is_told(&["settlement", "ledger"]) {
            return;
        }
        // A ledger that cannot be read was told above.
        let asked = match bound(&self.config.ledger) {
            Ok(Some(_)) => settlement::ask(file, &self.config.ledger),
            Ok(None) | Err(LedgerError::Missing(_)) => settlement::ask_for_new_ledger(file, &self.config.ledger),
            Err(_) => return,
        };
        if let Err(fault) = asked {
            self.fault(format!("[settlement] file: {fault}"));
        }
    }

    /// The witness that is there must know of no other ledger, and of no commit that this one has not.
    fn state(&mut self, header: Option<SeedHeader>, own: Option<LedgerId>) {
        let Some(state) = self.config.state.as_deref() else {
            return;
        };
        if !self.is_told(&["state", "ledger", "seed"]) {
            return;
        }
        let (ledger, path) = (&self.config.ledger, state.join(witness::FILE));
        let compared = match (Witness::read(&path), header, served(ledger)) {
            (Ok(Some(_)), Some(header), Some(connection)) => {
                run::witness_vouches(Some(state), &FileCommits::of(&connection, ledger), &header).map(drop)
            }
            (Ok(Some(witness)), Some(header), None) => witness.allows(&path, ledger, own, &header),
            (read, _, _) => read.map(drop),
        };
        if let Err(fault) = compared {
            self.behind("[state] directory", fault);
        }
    }

    /// That the ledger cannot be read was told before.
    fn behind(&mut self, key: &str, fault: WitnessError) {
        if !matches!(fault, WitnessError::Ledger(_)) {
            self.fault(format!("{key}: {fault}"));
        }
    }

    /// The mapping that is there, if one is, must be a gateway's, and this ledger's.
    fn mapping(&mut self, ledger: Option<LedgerId>) {
        let path = &self.config.queue;
        if !self.is_told(&["queue"]) {
            return;
        }
        let mapping = match Mapping::open(path) {
            Ok(mapping) => mapping,
            Err(shm_queue::Error::NotFound(_)) => return,
            Err(fault) => return self.fault(format!("[queue] path: {fault}")),
        };
        if let Err(fault) = shards_of(&mapping) {
            self.fault(format!("[queue] path: {fault}"));
        }
        let owner = mapping.owner().map(|owner| LedgerId(owner.identity));
        if let (Some(owner), Some(ledger)) = (owner, ledger)
            && owner != ledger
        {
            let (path, own) = (path.display(), self.config.ledger.display());
            self.fault(format!(
                "[queue] path: {path} is the mapping of ledger {owner}, and {own} is {ledger}; give each its own path"
            ));
        }
        if self.is_told(&["ledger"])
            && let Some(connection) = served(&self.config.ledger)
        {
            let seen = run::mapping_vouches(path, &FileCommits::of(&connection, &self.config.ledger));
            if let Err(fault) = seen {
                self.behind("[queue] path", fault);
            }
        }
    }

    /// Where the agent writes.
    fn directories(&mut self) {
        let config = self.config;
        let places = [
            (
                "[ledger] path",
                "ledger",
                config.ledger.parent().filter(|_| config.server.is_none()),
            ),
            (
                "[settlement] file",
                "settlement",
                config.settlement.as_deref().and_then(Path::parent),
            ),
            ("[abuse] file", "abuse", config.blocks.as_deref().and_then(Path::parent)),
            ("[state] directory", "state", config.state.as_deref()),
        ];
        for (key, table, directory) in places {
            let Some(directory) = directory.filter(|_| self.is_told(&[table])) else {
                continue;
            };
            let place = if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                directory
            };
            // The gateway makes its state directory at its first start.
            if table == "state" && !place.exists() {
                continue;
            }
            if let Err(fault) = access(place, AccessFlags::W_OK | AccessFlags::X_OK) {
                let place = place.display();
                self.fault(format!("{key}: this user may not write in {place}: {fault}"));
            }
        }
        for (key, table, file) in self.written() {
            if self.is_told(&[table])
                && file.exists()
                && let Err(fault) = access(&file, AccessFlags::R_OK | AccessFlags::W_OK)
            {
                self.fault(format!("{key}: this user may not write {}: {fault}", file.display()));
            }
        }
    }

    /// The files that the agent writes, where they are there already.
    fn written(&self) -> Vec<(&'static str, &'static str, PathBuf)> {
        let config = self.config;
        let beside = ["", "-wal", "-shm", ".lock"].map(|end| {
            let mut name = OsString::from(&config.ledger);
            name.push(end);
            ("[ledger] path", "ledger", PathBuf::from(name))
        });
        let settlement = config
            .settlement
            .iter()
            .map(|file| ("[settlement] file", "settlement", file.clone()));
        let blocks = config.blocks.iter().map(|file| ("[abuse] file", "abuse", file.clone()));
        let beside = beside.into_iter().filter(|_| config.server.is_none());
        beside.chain(settlement).chain(blocks).collect()
    }
}

/// A ledger that can be served, to compare with what others have seen of it; none while there is nothing to compare.
fn served(path: &Path) -> Option<Connection> {
    let is_begun = matches!(bound(path), Ok(Some(_)));
    is_begun.then(|| open_read_only(path).ok()).flatten()
}

/// The seed of a ledger that can be served, and which ledger it is; nothing of one that has none yet.
fn bound(path: &Path) -> Result<Option<(SeedHeader, Option<LedgerId>)>, LedgerError> {
    let connection = open_read_only(path)?;
    let sqlite = |source| LedgerError::sqlite("read", path, source);
    let found = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(sqlite)?;
    if found != schema::VERSION {
        return Err(LedgerError::Older {
            path: path.to_owned(),
            found,
        });
    }
    let bound = bound_seed(&connection).map_err(sqlite)?;
    Ok(bound.map(|bound| (bound.header, bound.identity)))
}
