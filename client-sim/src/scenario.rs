//! What to simulate: a checked scenario, made from a TOML file and the flags that override it.
//!
//! [`Scenario::parse`] reports every unknown key, value out of bounds and contradiction with its line. It opens no
//! file and resolves no name; a scenario that was made is consistent.

mod check;
mod cues;
mod file;
mod network;
mod part;
mod targets;

pub use part::{Start, Users};

use crate::schedule::{Micros, Schedule, Step};
use crate::user::Habits;
use check::Check;
use file::{Addresses, At, File, unplaced};
use shake_rules::document::{self, Kind, Problems};
use std::net::IpAddr;
use std::path::PathBuf;
use strum::{EnumString, IntoStaticStr, VariantArray};

/// The built-in scenario: the same file as `deploy/scenarios/default.toml`.
pub const DEFAULT: &str = include_str!("../../deploy/scenarios/default.toml");

/// The most sessions of one process.
pub const SESSIONS_MAX: u32 = 1_000_000;
/// The highest rate, in shakes per second.
pub const SHAKES_PER_SECOND_MAX: u32 = 1_000_000;
/// The longest run, in seconds.
pub const SECONDS_MAX: u32 = 86_400;
/// The most steps; each has a histogram in the report.
pub const STEPS_MAX: usize = 64;

/// The most friends who hear of a code.
pub const FRIENDS_MAX: u32 = 100;
/// The most networks; each has histograms in the report.
pub const NETWORKS_MAX: usize = 16;
/// The most gateways.
pub const TARGETS_MAX: usize = 64;
/// The most that one gateway may weigh.
pub const WEIGHT_MAX: u32 = 1_000;
/// The most sessions that fetch packages; each keeps its plan in memory.
pub const SAMPLE_MAX: u32 = 10_000;

/// A checked scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The gateways; at least one.
    pub targets: Vec<Target>,
    /// The name that their certificates must carry.
    pub server_name: String,
    /// PEM file of the authority that their certificates must come from.
    pub ca: PathBuf,
    /// Id of the first user; the others follow.
    pub first_id: u64,
    /// Key file that user tokens are signed with.
    pub token_key: PathBuf,
    /// How long the tokens are valid, in seconds.
    pub token_lifetime_s: u32,
    /// How many sessions, one user each.
    pub sessions: u32,
    /// New connections begun per second, at the most.
    pub connects_per_second: u32,
    /// Handshakes under way at one time, at the most.
    pub connects_at_once: u32,
    /// The rates that follow each other once all are connected; at least one.
    pub steps: Vec<Step>,
    /// When the first step begins.
    pub start: Start,
    /// The Unix socket on which the run listens to `client-sim ctl`, if any.
    pub control: Option<PathBuf>,
    /// Where money is written down as the phones hear of it, if anywhere.
    pub journal: Option<PathBuf>,
    /// How long to wait for the last answers and claims afterwards, in seconds.
    pub settle_s: u32,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// What carries the sessions.
    pub engine: EngineKind,
    /// UDP sockets that the sessions share.
    pub sockets: u32,
    /// Threads of the engine.
    pub threads: u32,
    /// A connection that hears nothing for so long is lost, in seconds.
    pub idle_timeout_s: u32,
    /// A connection that has said nothing for so long says it is there, in seconds; zero for never.
    pub keep_alive_s: u32,
    /// A request on a stream without an answer after this time has failed, in milliseconds.
    pub request_timeout_ms: u32,
    /// A handshake that takes longer has failed, in milliseconds.
    pub connect_timeout_ms: u32,
    /// How each simulated user behaves.
    pub habits: Habits,
    /// What the operator does while the run shakes, in the order of time.
    pub cues: Vec<Cue>,
}

/// A gateway that phones know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens, as `host:port`.
    pub address: String,
    /// How many phones begin there, beside the weights of the others. Without weight, those who leave another come when
    /// nothing else is left.
    pub weight: u32,
}

/// A command line that is run at a moment of the shaking.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    /// Since the start of the shaking.
    pub at: Micros,
    /// The name in the report; of the gateway's cue, unless the command says otherwise.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// What carries the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum EngineKind {
    /// The `quinn` crate, one of its connections per session.
    Quinn,
    /// Our own client, which keeps under a kilobyte per session.
    Lean,
}

impl EngineKind {
    /// The name in scenario files and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What flags say instead of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Instead of `load.sessions`.
    pub sessions: Option<u32>,
    /// Instead of `load.shakes_per_second`.
    pub shakes_per_second: Option<u32>,
    /// Instead of `load.seconds`.
    pub seconds: Option<u32>,
    /// Only these of the scenario's users, with their share of its rates.
    pub users: Option<Users>,
    /// When the first step begins.
    pub start: Start,
    /// Where the run listens to `client-sim ctl`.
    pub control: Option<PathBuf>,
    /// Where money is written down as the phones hear of it.
    pub journal: Option<PathBuf>,
    /// Instead of `target.address`, for a scenario without `targets`. Its host, when it is a name, is also what the certificate must have; cues that would go to this
    /// machine go to that host.
    pub target: Option<String>,
    /// Instead of `target.server_name`.
    pub server_name: Option<String>,
    /// A directory that `certs generate` made, instead of `target.ca` and `users.token_key`.
    pub certs: Option<PathBuf>,
    /// Instead of `engine.kind`.
    pub engine: Option<String>,
}

impl Scenario {
    /// Reads a scenario; what it leaves out has the value of the built-in one.
    ///
    /// # Errors
    /// Every problem with its line. A problem with a flag has no line.
    pub fn parse(text: &str, overrides: &Overrides) -> Result<Self, Problems> {
        let (mut file, problems) = document::parse::<File>(text);
        overrides.apply(&mut file);
        let mut check = Check { text, problems };
        overrides.contradict(&file, &mut check.problems);
        let mut scenario = check.scenario(file);
        if let Some(users) = overrides.users.as_ref().filter(|_| check.problems.0.is_empty()) {
            check.part(&mut scenario, users);
        }
        scenario.start = overrides.start;
        scenario.control.clone_from(&overrides.control);
        scenario.journal.clone_from(&overrides.journal);
        check.contradictions(&scenario);
        check.problems.of(text, Kind::Scenario).or_value(scenario)
    }

    /// Where the gateways listen, with commas between.
    #[must_use]
    pub fn addresses(&self) -> String {
        let addresses: Vec<_> = self.targets.iter().map(|target| &target.address[..]).collect();
        addresses.join(", ")
    }

    /// When each shake is due.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule::new(self.sessions, &self.steps, self.seed)
    }

    /// How long the shaking lasts, in seconds.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        self.steps.iter().fold(0, |sum, step| sum.saturating_add(step.seconds))
    }

    /// How many sockets the sessions share: no more than there are sessions, unless these move from one to another.
    #[must_use]
    pub fn shared_sockets(&self) -> u32 {
        if self.habits.networks.moves_phones() {
            self.sockets
        } else {
            self.sockets.min(self.sessions)
        }
    }

    /// The highest rate of its steps.
    #[must_use]
    pub fn shakes_per_second(&self) -> u32 {
        self.steps.iter().map(|step| step.shakes_per_second).max().unwrap_or(0)
    }
}

impl Overrides {
    /// Flags that say something else than the file, and neither is surely meant.
    fn contradict(&self, file: &File, problems: &mut Problems) {
        let told = [
            ("--shakes-per-second", self.shakes_per_second),
            ("--seconds", self.seconds),
        ];
        for (flag, _) in told
            .into_iter()
            .filter(|(_, value)| value.is_some() && !file.steps.is_empty())
        {
            problems.add_whole(format!(
                "{flag} does not go with the scenario's [[steps]], which tell it for each step"
            ));
        }
        if self.target.is_some() && !file.targets.is_empty() {
            problems.add_whole("--target does not go with the scenario's [[targets]], which tell the address of each");
        }
    }

    fn apply(&self, file: &mut File) {
        let number = |place: &mut At<u32>, value: Option<u32>| {
            if let Some(value) = value {
                *place = unplaced(value);
            }
        };
        number(&mut file.load.sessions, self.sessions);
        number(&mut file.load.shakes_per_second, self.shakes_per_second);
        number(&mut file.load.seconds, self.seconds);
        if let Some(target) = &self.target {
            file.target.address = unplaced(target.clone());
            if let Some(host) = host_of(target) {
                if !is_loopback(host) && host.parse::<IpAddr>().is_err() {
                    file.target.server_name = unplaced(host.to_owned());
                }
                if let Addresses::One(operator) = file.operator.address.as_ref()
                    && let Some((there, port)) = operator.rsplit_once(':')
                    && is_loopback(bare(there))
                    && !is_loopback(host)
                {
                    let (host, _) = target.rsplit_once(':').unwrap_or((host, ""));
                    file.operator.address = unplaced(Addresses::One(format!("{host}:{port}")));
                }
            }
        }
        if let Some(name) = &self.server_name {
            file.target.server_name = unplaced(name.clone());
        }
        if let Some(engine) = &self.engine {
            file.engine.kind = unplaced(engine.clone());
        }
        if let Some(certs) = &self.certs {
            let path = |name: &str| unplaced(certs.join(name).display().to_string());
            file.target.ca = path("ca.pem");
            file.operator.certs = unplaced(certs.display().to_string());
            file.users.token_key = path(shake_rules::keys::Purpose::UserToken.file_name());
        }
    }
}

/// The host of host:port.
fn host_of(address: &str) -> Option<&str> {
    address.rsplit_once(':').map(|(host, _)| bare(host))
}

/// A host without the brackets of IPv6.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
