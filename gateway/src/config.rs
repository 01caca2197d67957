//! The gateway's configuration: a TOML file becomes a checked [`Config`] before anything is bound or opened.
//! `deploy/gateway.toml` documents each key and is built in as the default.

// By its path, because the fuzz targets take this file by its own.
#[path = "config/file.rs"]
mod file;

use anyhow::Context as _;
use file::ConfigFile;
use shake_proto::admin::{ALTERNATIVES_MAX, is_host_and_port};
use shake_proto::handoff::topology::{Ring, SHARDS_MAX};
use shake_rules::document::{self, Kind, Problems};
use shake_rules::throttle;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// The commented default configuration.
pub const DEFAULT: &str = include_str!("../../deploy/gateway.toml");
/// The show that plays when the configuration names no file.
pub const DEFAULT_SHOW: &str = include_str!("../../deploy/show.toml");

/// The key of the configuration that names the certificate directory, as errors of its files begin.
pub const CERTS_KEY: &str = "[certs] directory";

/// How much of the operators' audit log is kept.
#[derive(Clone, Copy, Debug)]
pub struct AuditFiles {
    /// The longest that one file becomes, unless a single line is longer.
    pub file_bytes_max: u64,
    /// Files in all, the one that is written among them; at least 2.
    pub files_max: u32,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where phones are served.
    pub address: SocketAddr,
    /// How many shards there are.
    pub shards: u16,
    /// Not the number of cores.
    pub shards_by_hand: bool,
    /// What the kernel is asked for, for each direction of each shard's socket.
    pub socket_buffer_bytes: usize,
    /// Limits on sessions.
    pub sessions: Sessions,
    /// Of all shards together; 0 for as many as the memory holds, until that is known.
    pub sessions_in_all: u64,
    handshakes_in_all: u64,
    /// Limits on claims.
    pub claims: Claims,
    /// Users who may win, in all.
    pub winners_max: usize,
    /// Where certificates and keys are.
    pub certs_directory: PathBuf,
    /// `None`: the built-in show.
    pub show_file: Option<PathBuf>,
    /// `None`: the built-in throttle.
    pub throttle_file: Option<PathBuf>,
    /// The file that is mapped for the rings.
    pub queue_path: PathBuf,
    /// `None`: no metrics.
    pub metrics_address: Option<SocketAddr>,
    /// `None`: no control port.
    pub admin_address: Option<SocketAddr>,
    /// When phones are sent to other gateways without an operator.
    pub leave: Leave,
    /// Where pushed changes and the audit log are kept. `None`: nowhere.
    pub state_directory: Option<PathBuf>,
    /// How much of the operators' audit log is kept.
    pub audit: AuditFiles,
    /// The least level that is logged, as `RUST_LOG` has it.
    pub log_level: String,
}

/// When phones are sent to other gateways without an operator.
#[derive(Clone, Debug)]
pub struct Leave {
    /// Where they may go, each a `host:port`. None: they stay.
    pub to: Vec<String>,
    /// The window in which they are sent.
    pub over: Duration,
    /// How long the ledger is away before. `None`: they stay for that.
    pub ledger_away: Option<Duration>,
}

/// Limits on sessions. Numbers are per shard.
#[derive(Clone, Copy, Debug)]
pub struct Sessions {
    /// Sessions, handshaking ones among them.
    pub max: usize,
    /// Handshakes under way.
    pub handshakes_max: usize,
    /// A session that is silent for so long ends.
    pub idle_timeout: Duration,
    /// A session that has not said Hello after so long is closed.
    pub hello_timeout: Duration,
    /// Requests of one session that may be under way.
    pub requests_at_once: u8,
}

/// Limits on claims. Numbers are per shard.
#[derive(Clone, Copy, Debug)]
pub struct Claims {
    /// Requests that the agent has.
    pub under_way_max: usize,
    /// A request that is not answered after so long is answered "ask again".
    pub timeout: Duration,
    /// When to ask again, in milliseconds.
    pub busy_retry_ms: u32,
}

impl Config {
    /// Reads a configuration; relative paths in it start at `directory`.
    ///
    /// # Errors
    /// Every problem, with its line.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, Problems> {
        let (config, problems) = Self::parse_what_can_be(text, directory);
        problems.or_value(config)
    }

    /// The same, with the default in the place of what is wrong.
    pub fn parse_what_can_be(text: &str, directory: &Path) -> (Self, Problems) {
        let (file, mut problems) = document::parse::<ConfigFile>(text);
        let mut check = Check {
            text,
            problems: &mut problems,
        };
        let shards_wanted = check.number("shards", &file.listen.shards, 0, SHARDS_MAX.into()) as u16;
        let shards = match shards_wanted {
            0 => default_shards(),
            shards => shards,
        };
        let sessions_in_all = check.number("max", &file.sessions.max, 0, 1 << 28);
        let handshakes_in_all = check.number("handshakes_max", &file.sessions.handshakes_max, 1, 1 << 20);
        let seconds = |value: u64| Duration::from_secs(value);
        let sessions = &file.sessions;
        let claims = &file.claims;
        let (queue_path, admin_address) = (file.queue.path, file.admin.address);
        let config = Self {
            address: check.address("address", &file.listen.address, "0.0.0.0:4433"),
            shards,
            shards_by_hand: shards_wanted > 0,
            socket_buffer_bytes: check.number("buffer_bytes", &file.listen.buffer_bytes, 1 << 16, 1 << 30) as usize,
            sessions: Sessions {
                max: per_shard(sessions_in_all, shards),
                handshakes_max: per_shard(handshakes_in_all, shards),
                idle_timeout: seconds(check.number("idle_timeout_s", &sessions.idle_timeout_s, 1, 3_600)),
                hello_timeout: seconds(check.number("hello_timeout_s", &sessions.hello_timeout_s, 1, 3_600)),
                requests_at_once: check.number("requests_at_once", &sessions.requests_at_once, 1, 64) as u8,
            },
            sessions_in_all,
            handshakes_in_all,
            claims: Claims {
                // Every claim under way may be answered at once, and the reply ring must take it.
                under_way_max: check.number("under_way_max", &claims.under_way_max, 1, Ring::Reply.slots().into())
                    as usize,
                timeout: Duration::from_millis(check.number("timeout_ms", &claims.timeout_ms, 10, 60_000)),
                busy_retry_ms: check.number("busy_retry_ms", &claims.busy_retry_ms, 1, 3_600_000) as u32,
            },
            winners_max: check.number("winners_max", &file.users.winners_max, 1, 1 << 30) as usize,
            certs_directory: directory.join(file.certs.directory),
            show_file: (!file.show.file.as_os_str().is_empty()).then(|| directory.join(&file.show.file)),
            throttle_file: (!file.throttle.file.as_os_str().is_empty()).then(|| directory.join(&file.throttle.file)),
            queue_path: directory.join(queue_path.as_ref()),
            metrics_address: match file.metrics.address.as_ref().as_str() {
                "" => None,
                _ => Some(check.address("address", &file.metrics.address, "127.0.0.1:9433")),
            },
            admin_address: match admin_address.as_ref().as_str() {
                "" => None,
                _ => Some(check.address("address", &admin_address, "127.0.0.1:4434")),
            },
            leave: Leave {
                to: check.gateways("to", &file.leave.to),
                over: seconds(check.number("over_s", &file.leave.over_s, 1, 3_600)),
                ledger_away: match check.number("ledger_away_s", &file.leave.ledger_away_s, 0, 3_600) {
                    0 => None,
                    after => Some(seconds(after)),
                },
            },
            state_directory: (!file.state.directory.as_os_str().is_empty())
                .then(|| directory.join(&file.state.directory)),
            audit: AuditFiles {
                file_bytes_max: check.number("audit_file_bytes", &file.state.audit_file_bytes, 4_096, 1 << 40),
                files_max: check.number("audit_files", &file.state.audit_files, 2, 1_000) as u32,
            },
            log_level: check.log_level(&file.log.level),
        };
        check.queue_and_ports(&queue_path, &admin_address, &config);
        (config, problems.of(text, Kind::Gateway))
    }

    /// Has all shards together take so many sessions.
    pub fn set_sessions(&mut self, in_all: u64) {
        self.sessions_in_all = in_all;
        self.sessions.max = per_shard(in_all, self.shards);
    }

    /// Has so many shards serve.
    pub fn set_shards(&mut self, shards: u16) {
        self.shards = shards;
        self.sessions.max = per_shard(self.sessions_in_all, shards);
        self.sessions.handshakes_max = per_shard(self.handshakes_in_all, shards);
    }

    /// The show file, as messages name it.
    pub fn show_name(&self) -> String {
        name(self.show_file.as_deref(), "the built-in show")
    }

    /// The throttle file, as messages name it.
    pub fn throttle_name(&self) -> String {
        name(self.throttle_file.as_deref(), "the built-in throttle")
    }

    /// The text of the show that the configuration names.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn show_text(&self) -> anyhow::Result<String> {
        text("[show] file", self.show_file.as_deref(), DEFAULT_SHOW)
    }

    /// The text of the throttle that the configuration names.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn throttle_text(&self) -> anyhow::Result<String> {
        text("[throttle] file", self.throttle_file.as_deref(), throttle::DEFAULT)
    }
}

/// The text of a configuration, and where relative paths in it start: in a file at its own directory, in the built-in one
/// where we are.
///
/// # Errors
/// When the file cannot be read.
pub fn text_of(path: Option<&Path>) -> anyhow::Result<(String, PathBuf)> {
    let Some(path) = path else {
        return Ok((DEFAULT.to_owned(), PathBuf::new()));
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("--config: cannot read {}", path.display()))?;
    Ok((text, path.parent().unwrap_or(Path::new("")).to_owned()))
}

/// What messages call a configuration.
pub fn name_of(path: Option<&Path>) -> String {
    name(path, "the built-in configuration")
}

fn name(path: Option<&Path>, built_in: &str) -> String {
    path.map_or_else(|| built_in.to_owned(), |path| path.display().to_string())
}

fn text(key: &str, path: Option<&Path>, built_in: &str) -> anyhow::Result<String> {
    match path {
        None => Ok(built_in.to_owned()),
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{key}: cannot read {}", path.display())),
    }
}

fn per_shard(in_all: u64, shards: u16) -> usize {
    in_all.div_ceil(shards.into()) as usize
}

fn default_shards() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() as u16).min(SHARDS_MAX))
}

struct Check<'a> {
    text: &'a str,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn number(&mut self, key: &str, value: &Spanned<u64>, min: u64, max: u64) -> u64 {
        let found = *value.as_ref();
        if found < min || found > max {
            self.problems.add(
                self.text,
                value.span(),
                format!("{key} = {found} must be {min} to {max}"),
            );
        }
        found.clamp(min, max)
    }

    fn gateways(&mut self, key: &str, value: &Spanned<Vec<String>>) -> Vec<String> {
        let found = value.as_ref();
        if found.len() > ALTERNATIVES_MAX {
            let message = format!("{key} has {} gateways; {ALTERNATIVES_MAX} at most", found.len());
            self.problems.add(self.text, value.span(), message);
        }
        for strange in found.iter().filter(|host| !is_host_and_port(host)) {
            let message = format!("{key} = {strange:?}: a gateway is written like \"gw2.example:4433\"");
            self.problems.add(self.text, value.span(), message);
        }
        found.clone()
    }

    fn queue_and_ports(&mut self, queue: &Spanned<String>, admin: &Spanned<String>, config: &Config) {
        if queue.as_ref().is_empty() {
            self.problems.add(
                self.text,
                queue.span(),
                "[queue] path is empty; give it a file's path, in /dev/shm",
            );
        }
        if config
            .admin_address
            .is_some_and(|admin| admin.port() != 0 && admin == config.address)
        {
            let message = "address is [listen] address too; operators have a port of their own";
            self.problems.add(self.text, admin.span(), message);
        }
    }

    fn address(&mut self, key: &str, value: &Spanned<String>, example: &str) -> SocketAddr {
        value.as_ref().parse().unwrap_or_else(|_| {
            let message = format!(
                "{key} = {:?} is not an address and port such as {example:?}",
                value.as_ref()
            );
            self.problems.add(self.text, value.span(), message);
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn log_level(&mut self, value: &Spanned<String>) -> String {
        const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
        if !LEVELS.contains(&value.as_ref().as_str()) {
            let message = format!("level = {:?} must be one of {}", value.as_ref(), LEVELS.join(", "));
            self.problems.add(self.text, value.span(), message);
        }
        value.as_ref().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::UnixMillis;
    use shake_rules::show::Show;

    #[test]
    fn the_default_files_are_good_and_say_the_defaults() {
        let directory = Path::new("/etc/shake");
        let commented = Config::parse(DEFAULT, directory).expect("deploy/gateway.toml");
        let empty = Config::parse("", directory).expect("no keys at all");
        assert_eq!(format!("{commented:?}"), format!("{empty:?}"));
        assert_eq!(commented.certs_directory, Path::new("/etc/shake/certs"));
        Show::parse(DEFAULT_SHOW, UnixMillis(0)).expect("deploy/show.toml");
    }

    /// The unit may write in its state directory and in /dev/shm, and nowhere else.
    #[test]
    fn the_unit_and_its_configuration_agree_on_where_things_lie() {
        const UNIT: &str = include_str!("../../deploy/systemd/gateway.service");
        let value = |key: &str| UNIT.lines().find_map(|line| line.strip_prefix(key));
        let start = value("ExecStart=").expect("a unit starts something");
        let (_, file) = start.rsplit_once("--config ").expect("with a configuration");
        let own = Path::new("/var/lib").join(value("StateDirectory=").expect("it writes"));
        let directory = Path::new(file).parent().expect("an absolute path");
        let config = Config::parse(include_str!("../../deploy/systemd/gateway.toml"), directory).expect("a good file");
        assert_eq!(config.state_directory, Some(own));
        assert_eq!(config.certs_directory, directory.join("certs"));
        assert!(config.queue_path.starts_with("/dev/shm"));
    }

    #[test]
    fn every_error_is_told_with_its_line() {
        let text = "[listen]\naddress = \"here\"\nshards = 65\nport = 1\n[sessions]\nmax = -1\n[log]\nlevel = \"loud\"\n[leave]\nto = [\"gw2\"]\n";
        let problems = Config::parse(text, Path::new("")).expect_err("six errors");
        let lines: Vec<_> = problems.0.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 4, 6, 8, 10], "{problems}");
        let pairs =
            "[listen]\naddress = \"127.0.0.1:4434\"\n[queue]\npath = \"\"\n[admin]\naddress = \"127.0.0.1:4434\"\n";
        let problems = Config::parse(pairs, Path::new("")).expect_err("one port for two, and no file");
        let lines: Vec<_> = problems.0.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [4, 6], "{problems}");
    }
}
