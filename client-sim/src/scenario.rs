//! What to simulate: a checked scenario, made from a TOML file and the flags that override it.
//!
//! [`Scenario::parse`] reports every unknown key, value out of bounds and contradiction with its line. It opens no
//! file and resolves no name; a scenario that was made is consistent.

mod file;

use crate::backoff::Backoff;
use crate::schedule::{Micros, Schedule};
use crate::user::Habits;
use file::{At, File, Share, is_placed, unplaced};
use rustls_pki_types::ServerName;
use shake_rules::document::{self, Problems};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

/// The built-in scenario: the same file as `deploy/scenarios/default.toml`.
pub const DEFAULT: &str = include_str!("../../deploy/scenarios/default.toml");

/// The most sessions of one process.
pub const SESSIONS_MAX: u32 = 1_000_000;
/// The highest rate, in shakes per second.
pub const SHAKES_PER_SECOND_MAX: u32 = 1_000_000;
/// The longest run, in seconds.
pub const SECONDS_MAX: u32 = 86_400;

/// A checked scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Where the gateway listens, as `host:port`.
    pub address: String,
    /// The name that its certificate must carry.
    pub server_name: String,
    /// PEM file of the authority that its certificate must come from.
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
    /// Shakes per second over all sessions; zero to connect and hold.
    pub shakes_per_second: u32,
    /// How long the shaking lasts, in seconds.
    pub seconds: u32,
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
}

/// What carries the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// The `quinn` crate, one of its connections per session.
    Quinn,
}

impl EngineKind {
    /// The name in scenario files and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quinn => "quinn",
        }
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
    /// Instead of `target.address`.
    pub target: Option<String>,
    /// A directory that `certs generate` made, instead of `target.ca` and `users.token_key`.
    pub certs: Option<PathBuf>,
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
        let scenario = check.scenario(file);
        check.contradictions(&scenario);
        check.problems.or_value(scenario)
    }

    /// When each shake is due.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule::new(self.sessions, self.shakes_per_second, self.seconds, self.seed)
    }
}

impl Overrides {
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
        }
        if let Some(certs) = &self.certs {
            let path = |name: &str| unplaced(certs.join(name).display().to_string());
            file.target.ca = path("ca.pem");
            file.users.token_key = path(shake_rules::keys::Purpose::UserToken.file_name());
        }
    }
}

/// Checks the parts of a scenario, and gathers what is wrong.
struct Check<'a> {
    text: &'a str,
    problems: Problems,
}

impl Check<'_> {
    fn scenario(&mut self, file: File) -> Scenario {
        let File {
            target,
            users,
            load,
            behaviour,
            engine,
            limits,
        } = file;
        self.address(&target.address);
        self.server_name(&target.server_name);
        self.kind(&engine.kind);
        let timeout = 1..=600_000;
        let claim_delay_ms = self.range("claim_delay_ms", &behaviour.claim_delay_ms, 0);
        let backoff_ms = self.range("backoff_ms", &limits.backoff_ms, 1);
        Scenario {
            ca: self.path("ca", target.ca),
            address: target.address.into_inner(),
            server_name: target.server_name.into_inner(),
            first_id: self.first_id(&users.first_id, *load.sessions.as_ref()),
            token_key: self.path("token_key", users.token_key),
            token_lifetime_s: self.number("token_lifetime_s", &users.token_lifetime_s, 1..=u32::MAX),
            sessions: self.number("sessions", &load.sessions, 1..=SESSIONS_MAX),
            connects_per_second: self.number("connects_per_second", &load.connects_per_second, 1..=1_000_000),
            connects_at_once: self.number("connects_at_once", &load.connects_at_once, 1..=10_000),
            shakes_per_second: self.number("shakes_per_second", &load.shakes_per_second, 0..=SHAKES_PER_SECOND_MAX),
            seconds: self.number("seconds", &load.seconds, 1..=SECONDS_MAX),
            settle_s: self.number("settle_s", &load.settle_s, 0..=SECONDS_MAX),
            seed: load.seed,
            engine: EngineKind::Quinn,
            sockets: self.number("sockets", &engine.sockets, 1..=256),
            threads: self.number("threads", &engine.threads, 1..=64),
            idle_timeout_s: self.number("idle_timeout_s", &engine.idle_timeout_s, 1..=SECONDS_MAX),
            keep_alive_s: self.number("keep_alive_s", &engine.keep_alive_s, 0..=SECONDS_MAX),
            request_timeout_ms: self.number("request_timeout_ms", &limits.request_timeout_ms, timeout.clone()),
            connect_timeout_ms: self.number("connect_timeout_ms", &limits.connect_timeout_ms, timeout.clone()),
            habits: Habits {
                seed: load.seed,
                obey_pace: self.share("obey_pace", &behaviour.obey_pace),
                use_streams: self.share("use_streams_for_shakes", &behaviour.use_streams_for_shakes),
                claim_delay_ms,
                shake_timeout: Micros::from_ms(
                    self.number("shake_timeout_ms", &limits.shake_timeout_ms, timeout)
                        .into(),
                ),
                connect_tries_max: self.number("connect_tries_max", &limits.connect_tries_max, 1..=1_000),
                claim_tries_max: self.number("claim_tries_max", &limits.claim_tries_max, 1..=10_000),
                backoff: Backoff {
                    first_ms: backoff_ms[0],
                    max_ms: backoff_ms[1],
                },
            },
        }
    }

    /// What is wrong between values that are each within their bounds.
    fn contradictions(&mut self, scenario: &Scenario) {
        let shake_timeout_s = scenario.habits.shake_timeout.as_seconds();
        if f64::from(scenario.settle_s) < shake_timeout_s {
            self.problems.add_whole(format!(
                "settle_s = {} is shorter than shake_timeout_ms = {}: the last shakes would be called lost before their time; raise settle_s",
                scenario.settle_s,
                shake_timeout_s * 1e3
            ));
        }
        let ramp_s = scenario.sessions / scenario.connects_per_second.max(1);
        let run_s = u64::from(ramp_s) + u64::from(scenario.seconds) + u64::from(scenario.settle_s);
        if u64::from(scenario.token_lifetime_s) <= run_s {
            self.problems.add_whole(format!(
                "token_lifetime_s = {} ends before the run does, which takes about {run_s} s; raise it",
                scenario.token_lifetime_s
            ));
        }
        if scenario.keep_alive_s >= scenario.idle_timeout_s {
            self.problems.add_whole(format!(
                "keep_alive_s = {} must be shorter than idle_timeout_s = {}, or it comes too late",
                scenario.keep_alive_s, scenario.idle_timeout_s
            ));
        }
        if scenario.keep_alive_s == 0 && u64::from(scenario.idle_timeout_s) < run_s {
            self.problems.add_whole(format!(
                "keep_alive_s = 0 and idle_timeout_s = {} may end idle sessions within the run of about {run_s} s; set keep_alive_s or a longer timeout",
                scenario.idle_timeout_s
            ));
        }
        let shakes = u64::from(scenario.shakes_per_second) * u64::from(scenario.seconds);
        if shakes / u64::from(scenario.sessions.max(1)) > u64::from(u32::MAX) {
            self.problems
                .add_whole("more shakes for one session than the 32-bit sequence counts; add sessions");
        }
    }

    fn wrong(&mut self, span: Range<usize>, message: String) {
        if is_placed(&span) {
            self.problems.add(self.text, span, message);
        } else {
            self.problems.add_whole(message);
        }
    }

    fn number(&mut self, name: &str, value: &At<u32>, bounds: RangeInclusive<u32>) -> u32 {
        let found = *value.as_ref();
        if !bounds.contains(&found) {
            let message = format!("{name} = {found} must be {} to {}", bounds.start(), bounds.end());
            self.wrong(value.span(), message);
        }
        found
    }

    fn first_id(&mut self, value: &At<u64>, sessions: u32) -> u64 {
        let found = *value.as_ref();
        if found == 0 || found.checked_add(sessions.into()).is_none() {
            let message = format!("first_id = {found} must be 1 or more, with room for {sessions} users after it");
            self.wrong(value.span(), message);
        }
        found
    }

    fn share(&mut self, name: &str, value: &At<Share>) -> f64 {
        match *value.as_ref() {
            Share::All(all) => f64::from(u8::from(all)),
            Share::Some(share) => {
                if !(0.0..=1.0).contains(&share) {
                    let message = format!("{name} = {share} must be true, false or a share from 0.0 to 1.0");
                    self.wrong(value.span(), message);
                }
                share
            }
        }
    }

    fn range(&mut self, name: &str, value: &At<[u32; 2]>, least: u32) -> [u32; 2] {
        let [low, high] = *value.as_ref();
        if low > high || low < least || high > 3_600_000 {
            let message = format!("{name} = [{low}, {high}] must be [least, most] between {least} and 3600000");
            self.wrong(value.span(), message);
        }
        [low, high]
    }

    fn address(&mut self, value: &At<String>) {
        let address = value.as_ref();
        let good = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !good {
            let message = format!("address = {address:?} must be host:port, such as \"127.0.0.1:4433\"");
            self.wrong(value.span(), message);
        }
    }

    fn server_name(&mut self, value: &At<String>) {
        let name = value.as_ref();
        if ServerName::try_from(name.as_str()).is_err() {
            let message = format!("server_name = {name:?} must be a DNS name or an IP address of the certificate");
            self.wrong(value.span(), message);
        }
    }

    fn kind(&mut self, value: &At<String>) {
        let kind = value.as_ref();
        if kind != EngineKind::Quinn.name() {
            self.wrong(
                value.span(),
                format!("kind = {kind:?} is no engine; this version has \"quinn\""),
            );
        }
    }

    fn path(&mut self, name: &str, value: At<String>) -> PathBuf {
        if value.as_ref().is_empty() {
            self.wrong(
                value.span(),
                format!("{name} is empty; it must name a file that `certs generate` made"),
            );
        }
        value.into_inner().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, Problems> {
        Scenario::parse(text, &Overrides::default())
    }

    #[test]
    fn the_built_in_file_says_what_the_defaults_are() {
        assert_eq!(parse(DEFAULT).expect("good"), parse("").expect("good"));
        for key in [
            "seed",
            "obey_pace",
            "claim_tries_max",
            "keep_alive_s",
            "connects_at_once",
            "token_lifetime_s",
        ] {
            assert!(DEFAULT.contains(&format!("\n{key} = ")), "{key} is missing");
        }
    }

    #[test]
    fn every_shipped_scenario_is_good() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/scenarios");
        for entry in std::fs::read_dir(folder).expect("the folder is part of the project") {
            let path = entry.expect("a file of it").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            parse(&text).unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()));
        }
    }

    /// Each edit of the built-in file must be refused with that word, at the line where the edit stands.
    #[test]
    fn contradictions_have_a_line_and_a_reason() {
        let placed = [
            ("sessions = 1000", "sessions = 0", "1 to 1000000"),
            ("sessions = 1000", "sesions = 5", "sesions"),
            ("seconds = 20", "seconds = \"20\"", "invalid type"),
            ("address = \"127.0.0.1:4433\"", "address = \"127.0.0.1\"", "host:port"),
            ("server_name = \"localhost\"", "server_name = \"a b\"", "DNS name"),
            ("kind = \"quinn\"", "kind = \"lean\"", "no engine"),
            ("obey_pace = true", "obey_pace = 1.5", "share"),
            ("obey_pace = true", "obey_pace = \"yes\"", "share"),
            (
                "claim_delay_ms = [200, 1500]",
                "claim_delay_ms = [9, 1]",
                "[least, most]",
            ),
            ("first_id = 1", "first_id = 0", "1 or more"),
            ("ca = \"certs/ca.pem\"", "ca = \"\"", "empty"),
        ];
        for (from, to, word) in placed {
            let text = DEFAULT.replacen(&format!("\n{from}"), &format!("\n{to}"), 1);
            assert_ne!(text, DEFAULT, "{from} stands in the built-in file");
            let wanted = text.lines().position(|line| line.starts_with(to)).map(|at| at + 1);
            let problems = parse(&text).expect_err(to);
            assert!(
                problems
                    .0
                    .iter()
                    .any(|p| Some(p.line) == wanted && p.message.contains(word)),
                "{to}: wanted line {wanted:?} with {word:?}, got:\n{problems}"
            );
        }
        let between = [
            ("[load]\nsettle_s = 1", "raise settle_s"),
            ("[users]\ntoken_lifetime_s = 30", "raise it"),
            ("[engine]\nkeep_alive_s = 60", "comes too late"),
            ("[engine]\nkeep_alive_s = 0\nidle_timeout_s = 10", "set keep_alive_s"),
        ];
        for (text, word) in between {
            let problems = parse(text).expect_err(text);
            assert!(problems.to_string().contains(word), "{text}: {problems}");
        }
    }

    #[test]
    fn flags_win_and_are_checked_too() {
        let overrides = Overrides {
            sessions: Some(7),
            shakes_per_second: Some(0),
            seconds: Some(3),
            target: Some("[::1]:9".into()),
            certs: Some("made".into()),
        };
        let scenario = Scenario::parse(DEFAULT, &overrides).expect("good");
        assert_eq!(
            (scenario.sessions, scenario.shakes_per_second, scenario.seconds),
            (7, 0, 3)
        );
        assert_eq!(scenario.address, "[::1]:9");
        assert_eq!(scenario.ca, PathBuf::from("made/ca.pem"));
        assert_eq!(scenario.token_key, PathBuf::from("made/user-token.key.toml"));
        let bad = Overrides {
            sessions: Some(0),
            ..Overrides::default()
        };
        let problems = Scenario::parse(DEFAULT, &bad).expect_err("no sessions");
        assert_eq!(problems.0[0].line, 0);
    }
}
