//! Clients that mean harm. Each attack is one file: what it does until its time is over, and what no correct gateway
//! lets it do (a *breach*). What it costs the honest is for the observer to measure: `cargo xtask bench hostile`.
//!
//! Two kinds of tools: [`phone`], a client of the `quinn` crate for what goes through streams, and [`raw`], a session of
//! the lean client that sends any frame, for what goes on below them.

mod findings;
mod phone;
mod raw;
mod stage;

mod cid_collisions;
mod cid_stuffing;
mod cookies;
mod corruption;
mod early_data;
mod foreign_claims;
mod forged_tokens;
mod garbage;
mod hello_flood;
mod initial_flood;
mod network_name;
mod one_user;
mod optimistic_acks;
mod path_challenges;
mod reset_flood;
mod shake_flood;
mod silent;
mod slow_readers;
mod slow_writers;
mod stream_stuffing;
mod transport_parameters;

pub use findings::Findings;
pub use stage::HostileError;

use stage::Stage;

use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// An attack by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Hello with tokens that are altered, expired, guessed, or cut.
    ForgedTokens,
    /// Claims with altered tickets, with tickets of others, the same ticket over and over; guessed codes.
    ForeignClaims,
    /// Users at their limit who drop, replay and forge their cookies and hop between connections.
    Cookies,
    /// One user on as many connections as the size says, shaking on all of them.
    OneUser,
    /// Few sessions that shake far faster than they are told to.
    ShakeFlood,
    /// Connections that never say Hello, or only half of it.
    Silent,
    /// Clients that ask and never read the answers.
    SlowReaders,
    /// Requests that come one byte at a time and never end.
    SlowWriters,
    /// Requests given up as soon as they are asked, over and over.
    StreamStuffing,
    /// NEW_CONNECTION_ID and RETIRE_CONNECTION_ID without end.
    CidStuffing,
    /// Acknowledgements of what has not been read, and of what was never sent.
    OptimisticAcks,
    /// PATH_CHALLENGE frames by the hundred, from addresses that change, and from addresses of others.
    PathChallenges,
    /// First packets whose connection IDs differ in their last bytes alone.
    CidCollisions,
    /// Transport parameters as large as the encoding allows, and thousands of unknown ones.
    TransportParameters,
    /// First packets from many addresses, whose handshakes nobody goes on with.
    InitialFlood,
    /// The same from addresses of one network, whose own phones want to connect meanwhile.
    NetworkName,
    /// Packets that mean nothing, on sessions that never say Hello.
    GarbageBeforeHello,
    /// The same after Hello, by users who are blocked for it and go on.
    GarbageAfterBlock,
    /// Hello over and over.
    HelloFlood,
    /// Packets of connections that do not exist, each of which could be answered by a stateless reset.
    ResetFlood,
    /// Early data, and a whole recorded session sent again.
    EarlyData,
    /// Altered, cut and doubled copies of a live session's packets, from its own address and from others.
    Corruption,
}

impl Attack {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn run(self, stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
        match self {
            Self::ForgedTokens => forged_tokens::run(stage, findings),
            Self::ForeignClaims => foreign_claims::run(stage, findings),
            Self::Cookies => cookies::run(stage, findings),
            Self::OneUser => one_user::run(stage, findings),
            Self::ShakeFlood => shake_flood::run(stage, findings),
            Self::Silent => silent::run(stage, findings),
            Self::SlowReaders => slow_readers::run(stage, findings),
            Self::SlowWriters => slow_writers::run(stage, findings),
            Self::StreamStuffing => stream_stuffing::run(stage, findings),
            Self::CidStuffing => cid_stuffing::run(stage, findings),
            Self::OptimisticAcks => optimistic_acks::run(stage, findings),
            Self::PathChallenges => path_challenges::run(stage, findings),
            Self::CidCollisions => cid_collisions::run(stage, findings),
            Self::TransportParameters => transport_parameters::run(stage, findings),
            Self::InitialFlood => initial_flood::run(stage, findings),
            Self::NetworkName => network_name::run(stage, findings),
            Self::GarbageBeforeHello => garbage::before_hello(stage, findings),
            Self::GarbageAfterBlock => garbage::after_block(stage, findings),
            Self::HelloFlood => hello_flood::run(stage, findings),
            Self::ResetFlood => reset_flood::run(stage, findings),
            Self::EarlyData => early_data::run(stage, findings),
            Self::Corruption => corruption::run(stage, findings),
        }
    }
}

/// The flags of `client-sim hostile`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = HELP)]
pub struct Options {
    /// What to do.
    pub attack: Attack,
    /// Where the gateway listens: host:port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4433")]
    pub target: String,
    /// A directory that `certs generate` made.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub certs: PathBuf,
    /// The name that the gateway's certificate carries.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    pub server_name: String,
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Packets or requests per second, at the most, over all connections.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Connections, where the attack has them.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub size: u32,
    /// The most packets of the event's that one user may win, as the show has it ([limits] packets_per_user).
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub packets_per_user: u32,
    /// Prints the findings as one JSON object.
    #[arg(long)]
    pub json: bool,
}

const HELP: &str = "\
Attack only what is yours. Users of these attacks have ids from 9,000,000,000,000 on.

Exit codes:
  0  the attack went through, and the gateway let nothing through that it must not
  1  no attack: a bad file, or no socket
  2  a breach: the gateway did what no correct one does (see `breaches`)

Examples:
  client-sim hostile forged-tokens --certs certs
  client-sim hostile initial-flood --rate 5000 --seconds 30 --json
  cargo xtask bench hostile              every attack, with honest phones beside it";

/// Attacks until the time is over.
///
/// # Errors
/// When it cannot begin.
pub fn attack(options: &Options) -> Result<Findings, HostileError> {
    let stage = Stage::new(options)?;
    let mut findings = Findings::new(options.attack.name());
    options.attack.run(&stage, &mut findings)?;
    findings.seconds = stage.elapsed().as_secs_f64();
    Ok(findings)
}

/// Runs the attack and prints what it found. Gives the exit code.
///
/// # Errors
/// When it cannot begin.
pub fn run(options: &Options) -> Result<u8, HostileError> {
    let findings = attack(options)?;
    let text = if options.json {
        serde_json::to_string_pretty(&findings).expect("counts and names are JSON") + "\n"
    } else {
        findings.to_text()
    };
    host::console::print(&text).map_err(HostileError::Output)?;
    Ok(if findings.breaches.is_empty() { 0 } else { 2 })
}

/// What the attack waits for at the most, one answer or one handshake.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first user id of the attackers.
const FIRST_USER: u64 = 9_000_000_000_000;
