//! The agent's configuration: read from TOML, checked as a whole, and only then used.

mod file;
mod server;

pub use server::{Server, ServerFileError};

use crate::abuse::Rules;
use file::{AbuseTable, File};
use ipnet::IpNet;
use shake_proto::handoff::topology::Ring;
use shake_rules::document::{self, Kind, Problems};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use tracing::Level;

/// The commented default file; running with it is the same as running with none.
pub const DEFAULT: &str = include_str!("../../deploy/agent.toml");
/// The commented default show, the same as the gateway's.
pub const DEFAULT_SHOW: &str = include_str!("../../deploy/show.toml");

/// Most requests in one commit, whatever the configuration asks for: a request ring holds no more.
pub const BATCH_MAX_MAX: u32 = Ring::Request.slots();
/// Most grants in a shard's hands, whatever the configuration asks for: a grant ring holds no more.
pub const GRANTS_IN_HAND_MAX: u32 = Ring::Grant.slots();
/// The longest name of a machine: that of a host (RFC 1035, 2.3.4).
const MACHINE_BYTES_MAX: usize = 255;
const STATUS_EVERY_S_MAX: u32 = 3_600;
const COMMIT_EVERY_MS_MAX: u32 = 100;
/// The longest block: the gateway believes none that is longer.
const DAY_S: u32 = 86_400;
/// The most that a threshold may be, and a table may hold.
const MILLIONS: u32 = 10_000_000;
/// Each user of a device up to this threshold is remembered.
const FARM_MAX: u32 = 1_000;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The mapping that the gateway makes.
    pub queue: PathBuf,
    /// The ledger's file. Not used when there is a server.
    pub ledger: PathBuf,
    /// The server that the ledger is on; `None` for a file.
    pub server: Option<Server>,
    /// What the ledger calls this machine; `None` for its host name.
    pub machine: Option<String>,
    /// The seed file.
    pub seed: PathBuf,
    /// Where the key files lie.
    pub certs: PathBuf,
    /// The file that credits are settled to; `None` for none.
    pub settlement: Option<PathBuf>,
    /// The show file; empty for the built-in one.
    pub show: PathBuf,
    /// The gateway's state directory, whose show is followed; `None` for none.
    pub state: Option<PathBuf>,
    /// Most requests in one commit.
    pub batch_max: u32,
    /// The least time from the beginning of a commit to that of the next, unless a commit is full.
    pub commit_every: Duration,
    /// Packets that each shard holds in hand.
    pub grants_in_hand: u32,
    /// Where blocks are kept; `None` for nowhere.
    pub blocks: Option<PathBuf>,
    /// What counts as abuse.
    pub abuse: Rules,
    /// What is logged when RUST_LOG is not set.
    pub log_level: Level,
    /// Time between status lines.
    pub status_every: Duration,
}

impl Config {
    /// Reads and checks a configuration. Relative paths in it start at `directory`: that of its file.
    ///
    /// # Errors
    /// Every problem, with its line.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, Problems> {
        let (config, problems) = Self::parse_what_can_be(text, directory);
        problems.or_value(config)
    }

    /// The same, with the default in the place of what cannot be read.
    #[must_use]
    pub fn parse_what_can_be(text: &str, directory: &Path) -> (Self, Problems) {
        let (file, mut problems) = document::parse::<File>(text);
        let mut check = Check {
            text,
            directory,
            problems: &mut problems,
        };
        let config = Self {
            queue: check.path("[queue] path", &file.queue.path),
            ledger: check.path("[ledger] path", &file.ledger.path),
            server: check.server(&file),
            machine: check.machine(&file.ledger.machine),
            seed: check.path("[seed] file", &file.seed.file),
            certs: check.path("[certs] directory", &file.certs.directory),
            settlement: check.path_unless_empty(&file.settlement.file),
            show: check.path_unless_empty(&file.show.file).unwrap_or_default(),
            state: check.path_unless_empty(&file.state.directory),
            batch_max: check.within("batch_max", &file.commit.batch_max, BATCH_MAX_MAX),
            commit_every: Duration::from_millis(
                check
                    .at_most("every_ms", &file.commit.every_ms, COMMIT_EVERY_MS_MAX)
                    .into(),
            ),
            grants_in_hand: check.within("grants_in_hand", &file.feed.grants_in_hand, GRANTS_IN_HAND_MAX),
            blocks: check.path_unless_empty(&file.abuse.file),
            abuse: check.rules(&file.abuse),
            log_level: check.level(&file.log.level),
            status_every: Duration::from_secs(
                check
                    .within("status_every_s", &file.log.status_every_s, STATUS_EVERY_S_MAX)
                    .into(),
            ),
        };
        check.one_file_each(&file);
        (config, problems.of(text, Kind::Agent))
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[queue]  path           = {}", self.queue.display())?;
        match &self.server {
            Some(server) => writeln!(f, "[ledger] url            = {server}")?,
            None => writeln!(f, "[ledger] path           = {}", self.ledger.display())?,
        }
        let machine = self.machine.as_deref().unwrap_or("(the host name)");
        writeln!(f, "[ledger] machine        = {machine}")?;
        writeln!(f, "[seed]   file           = {}", self.seed.display())?;
        writeln!(f, "[certs]  directory      = {}", self.certs.display())?;
        let show = self.show.display().to_string();
        let show = if show.is_empty() { "(built in)" } else { &show };
        writeln!(f, "[show]   file           = {show}")?;
        let or_none = |path: &Option<PathBuf>| {
            path.as_ref()
                .map_or("(none)".to_owned(), |path| path.display().to_string())
        };
        writeln!(f, "[state]  directory      = {}", or_none(&self.state))?;
        writeln!(f, "[settlement] file       = {}", or_none(&self.settlement))?;
        writeln!(f, "[commit] batch_max      = {}", self.batch_max)?;
        writeln!(f, "[commit] every_ms       = {}", self.commit_every.as_millis())?;
        writeln!(f, "[feed]   grants_in_hand = {}", self.grants_in_hand)?;
        writeln!(f, "[abuse]  file           = {}", or_none(&self.blocks))?;
        writeln!(f, "[abuse]  dry_run        = {}", self.abuse.dry_run)?;
        writeln!(
            f,
            "[log]    level          = {}",
            self.log_level.as_str().to_lowercase()
        )?;
        write!(f, "[log]    status_every_s = {}", self.status_every.as_secs())
    }
}

struct Check<'a> {
    text: &'a str,
    directory: &'a Path,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn path(&mut self, name: &str, value: &Spanned<String>) -> PathBuf {
        if value.as_ref().is_empty() {
            let message = format!("{name} is empty; give it a file's path");
            self.problems.add(self.text, value.span(), message);
        }
        self.directory.join(value.as_ref())
    }

    /// A ledger in PostgreSQL.
    fn server(&mut self, file: &File) -> Option<Server> {
        let url = &file.ledger.url;
        if url.as_ref().is_empty() {
            return None;
        }
        if !file.settlement.file.as_ref().is_empty() {
            let message = "[settlement] file: a ledger in PostgreSQL has its outbox there, as a table; leave this empty, and have \
                 `shake-agent settlement run` write files where they are wanted";
            self.problems
                .add(self.text, file.settlement.file.span(), message.to_owned());
        }
        let password_file = self.path_unless_empty(&file.ledger.password_file);
        let ca_file = self.path_unless_empty(&file.ledger.ca_file);
        let server = Server::parse(url.as_ref(), password_file, ca_file);
        server
            .map_err(|fault| {
                self.problems
                    .add(self.text, url.span(), format!("[ledger] url: {fault}"))
            })
            .ok()
    }

    fn path_unless_empty(&self, value: &Spanned<String>) -> Option<PathBuf> {
        (!value.as_ref().is_empty()).then(|| self.directory.join(value.as_ref()))
    }

    fn machine(&mut self, value: &Spanned<String>) -> Option<String> {
        let name = value.as_ref();
        if name.len() > MACHINE_BYTES_MAX || name.chars().any(char::is_control) {
            let message = format!("[ledger] machine must be a name of at most {MACHINE_BYTES_MAX} bytes");
            self.problems.add(self.text, value.span(), message);
        }
        (!name.is_empty()).then(|| name.clone())
    }

    /// Files that are written over each other are lost: no two may be one.
    fn one_file_each(&mut self, file: &File) {
        let files = [
            ("[queue] path", &file.queue.path),
            ("[ledger] path", &file.ledger.path),
            ("[seed] file", &file.seed.file),
            ("[settlement] file", &file.settlement.file),
            ("[abuse] file", &file.abuse.file),
        ];
        for (at, (name, value)) in files.iter().enumerate() {
            let path = self.directory.join(value.as_ref());
            let same = files[..at]
                .iter()
                .find(|(_, before)| self.directory.join(before.as_ref()) == path);
            if let Some((before, _)) = same
                && !value.as_ref().is_empty()
            {
                let message = format!(
                    "{name} = {:?} is {before} too; give each a file of its own",
                    value.as_ref()
                );
                self.problems.add(self.text, value.span(), message);
            }
        }
    }

    fn within(&mut self, name: &str, value: &Spanned<u32>, max: u32) -> u32 {
        let found = *value.as_ref();
        if !(1..=max).contains(&found) {
            let message = format!("{name} = {found} must be 1 to {max}");
            self.problems.add(self.text, value.span(), message);
        }
        found
    }

    /// Like `within`, where 0 stands for off.
    fn at_most(&mut self, name: &str, value: &Spanned<u32>, max: u32) -> u32 {
        let found = *value.as_ref();
        if found > max {
            let message = format!("{name} = {found} must be 0 (off) to {max}");
            self.problems.add(self.text, value.span(), message);
        }
        found
    }

    fn rules(&mut self, table: &AbuseTable) -> Rules {
        let ms = |seconds: u32| u64::from(seconds) * 1_000;
        let (block_s, block_s_max) = (
            self.within("block_s", &table.block_s, DAY_S),
            self.within("block_s_max", &table.block_s_max, DAY_S),
        );
        if block_s > block_s_max {
            let message = format!("block_s_max = {block_s_max} is less than block_s = {block_s}");
            self.problems.add(self.text, table.block_s_max.span(), message);
        }
        let (window_s, memory_s) = (
            self.within("window_s", &table.window_s, 3_600),
            self.within("memory_s", &table.memory_s, DAY_S),
        );
        if memory_s < window_s {
            let message = format!("memory_s = {memory_s} is less than window_s = {window_s}, which it must outlast");
            self.problems.add(self.text, table.memory_s.span(), message);
        }
        Rules {
            dry_run: *table.dry_run.as_ref(),
            window_ms: ms(window_s),
            memory_ms: ms(memory_s),
            block_ms: ms(block_s),
            block_ms_max: ms(block_s_max),
            subjects_max: self.within("subjects_max", &table.subjects_max, MILLIONS) as usize,
            blocked_percent_max: self.at_most("blocked_percent_max", &table.blocked_percent_max, 100),
            blocked_free: self.at_most("blocked_free", &table.blocked_free, MILLIONS),
            exempt: self.networks(table.exempt.as_ref()),
            flood: self.at_most("flood", &table.flood, MILLIONS),
            requests: self.at_most("requests", &table.requests, MILLIONS),
            forgery: self.at_most("forgery", &table.forgery, MILLIONS),
            theft: self.at_most("theft", &table.theft, MILLIONS),
            malformed: self.at_most("malformed", &table.malformed, MILLIONS),
            churn: self.at_most("churn", &table.churn, MILLIONS),
            moves: self.at_most("moves", &table.moves, MILLIONS),
            farm: self.at_most("farm", &table.farm, FARM_MAX),
            harvest: self.at_most("harvest", &table.harvest, MILLIONS),
            strangers: self.at_most("strangers", &table.strangers, MILLIONS),
            strangers_ratio: self.within("strangers_ratio", &table.strangers_ratio, MILLIONS),
        }
    }

    fn networks(&mut self, values: &[Spanned<String>]) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for value in values {
            match value.as_ref().parse() {
                Ok(network) => networks.push(network),
                Err(_) => {
                    let message = format!("{:?} is no network such as \"10.0.0.0/8\"", value.as_ref());
                    self.problems.add(self.text, value.span(), message);
                }
            }
        }
        networks
    }

    fn level(&mut self, value: &Spanned<String>) -> Level {
        match value.as_ref().as_str() {
            "error" => Level::ERROR,
            "warn" => Level::WARN,
            "info" => Level::INFO,
            "debug" => Level::DEBUG,
            "trace" => Level::TRACE,
            found => {
                let message = format!("level = {found:?} must be error, warn, info, debug or trace");
                self.problems.add(self.text, value.span(), message);
                Level::INFO
            }
        }
    }
}

#[cfg(test)]
mod tests;
