//! The tables of a scenario file as they are read, before any check. Each default here is the value that stands in
//! `deploy/scenarios/default.toml`; a test holds the two together.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// A value with the place where it stands, so that a complaint can name its line.
pub(super) type At<T> = Spanned<T>;

/// A default or a flag: it stands nowhere in the file.
pub(super) fn unplaced<T>(value: T) -> At<T> {
    Spanned::new(0..0, value)
}

/// Whether the value stands in the file at all.
pub(super) fn is_placed(span: &Range<usize>) -> bool {
    span.end > 0
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub target: Target,
    pub targets: Vec<Gateway>,
    pub users: Users,
    pub load: Load,
    pub steps: Vec<Step>,
    pub behaviour: Behaviour,
    pub phones: Phones,
    pub operator: Operator,
    pub cues: Vec<Cue>,
    pub packets: Packets,
    pub resources: Resources,
    pub network: BTreeMap<String, Network>,
    pub engine: Engine,
    pub limits: Limits,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Target {
    pub address: At<String>,
    pub server_name: At<String>,
    pub ca: At<String>,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            address: unplaced("127.0.0.1:4433".into()),
            server_name: unplaced("localhost".into()),
            ca: unplaced("certs/ca.pem".into()),
        }
    }
}

/// One of several gateways. Where it is has no default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub address: At<String>,
    #[serde(default = "one")]
    pub weight: At<u32>,
}

fn one() -> At<u32> {
    unplaced(1)
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Users {
    pub first_id: At<u64>,
    pub token_key: At<String>,
    pub token_lifetime_s: At<u32>,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            first_id: unplaced(1),
            token_key: unplaced("certs/user-token.key.toml".into()),
            token_lifetime_s: unplaced(86_400),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Load {
    pub sessions: At<u32>,
    pub connects_per_second: At<u32>,
    pub connects_at_once: At<u32>,
    pub shakes_per_second: At<u32>,
    pub seconds: At<u32>,
    pub settle_s: At<u32>,
    pub seed: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            sessions: unplaced(1_000),
            connects_per_second: unplaced(1_000),
            connects_at_once: unplaced(64),
            shakes_per_second: unplaced(1_000),
            seconds: unplaced(20),
            settle_s: unplaced(15),
            seed: 1,
        }
    }
}

/// Nothing of a step has a default but its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub name: Option<String>,
    pub shakes_per_second: At<u32>,
    pub seconds: At<u32>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Behaviour {
    pub obey_pace: At<Share>,
    pub use_streams_for_shakes: At<Share>,
    pub claim_delay_ms: At<[u32; 2]>,
}

/// `true`, `false` or a share from 0 to 1.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be true, false or a share from 0.0 to 1.0")]
pub(super) enum Share {
    All(bool),
    Some(f64),
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            obey_pace: unplaced(Share::All(true)),
            use_streams_for_shakes: unplaced(Share::Some(0.0)),
            claim_delay_ms: unplaced([200, 1_500]),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Phones {
    pub silence_backoff_ms: At<[u32; 2]>,
    pub silences_max: At<u32>,
    pub hello_delay_ms: At<[u32; 2]>,
}

impl Default for Phones {
    fn default() -> Self {
        Self {
            silence_backoff_ms: unplaced([2_000, 10_000]),
            silences_max: unplaced(2),
            hello_delay_ms: unplaced([0, 5_000]),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Operator {
    pub program: At<String>,
    pub address: At<Addresses>,
    pub certs: At<String>,
}

/// One `host:port`, or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be \"host:port\", or a list of such")]
pub(super) enum Addresses {
    One(String),
    Several(Vec<String>),
}

impl Addresses {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Several(addresses) => addresses,
        }
    }
}

impl Default for Operator {
    fn default() -> Self {
        Self {
            program: unplaced("gateway".into()),
            address: unplaced(Addresses::One("127.0.0.1:4434".into())),
            certs: unplaced("certs".into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cue {
    pub at_s: At<f64>,
    pub name: At<String>,
    #[serde(default)]
    pub in_s: Option<At<f64>>,
    #[serde(default)]
    pub command: Option<At<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Packets {
    pub share_split: At<Share>,
    pub friends_told: At<u32>,
    pub send_share: At<Share>,
    pub send_min_cents: At<u32>,
    pub view_share: At<Share>,
    pub wallet_share: At<Share>,
    pub hoard_share: At<Share>,
    pub grab_share: At<Share>,
    pub repeat_share: At<Share>,
    pub delay_ms: At<[u32; 2]>,
}

impl Default for Packets {
    fn default() -> Self {
        let nobody = || unplaced(Share::Some(0.0));
        Self {
            share_split: nobody(),
            friends_told: unplaced(3),
            send_share: nobody(),
            send_min_cents: unplaced(100),
            view_share: nobody(),
            wallet_share: nobody(),
            hoard_share: nobody(),
            grab_share: unplaced(Share::Some(1.0)),
            repeat_share: nobody(),
            delay_ms: unplaced([200, 2_000]),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Resources {
    pub fetch_share: At<Share>,
    pub sample: At<u32>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            fetch_share: unplaced(Share::Some(0.0)),
            sample: unplaced(100),
        }
    }
}

/// Who is on it and how far away they are has no default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub share: At<Share>,
    pub round_trip_ms: At<[u32; 2]>,
    #[serde(default = "zero")]
    pub jitter_ms: At<u32>,
    #[serde(default = "none")]
    pub loss: At<Share>,
    #[serde(default = "none")]
    pub reordering: At<Share>,
    #[serde(default = "reordered_by")]
    pub reordered_by_ms: At<[u32; 2]>,
    #[serde(default = "none")]
    pub duplication: At<Share>,
    #[serde(default = "zero")]
    pub rebinds_every_s: At<u32>,
    #[serde(default = "zero")]
    pub dies_every_s: At<u32>,
    #[serde(default = "dead")]
    pub dead_ms: At<[u32; 2]>,
}

fn zero() -> At<u32> {
    unplaced(0)
}

fn none() -> At<Share> {
    unplaced(Share::Some(0.0))
}

fn reordered_by() -> At<[u32; 2]> {
    unplaced([1, 20])
}

fn dead() -> At<[u32; 2]> {
    unplaced([2_000, 10_000])
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Engine {
    pub kind: At<String>,
    pub sockets: At<u32>,
    pub threads: At<u32>,
    pub idle_timeout_s: At<u32>,
    pub keep_alive_s: At<u32>,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            kind: unplaced("quinn".into()),
            sockets: unplaced(4),
            threads: unplaced(2),
            idle_timeout_s: unplaced(60),
            keep_alive_s: unplaced(20),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub shake_timeout_ms: At<u32>,
    pub request_timeout_ms: At<u32>,
    pub connect_timeout_ms: At<u32>,
    pub connect_tries_max: At<u32>,
    pub claim_tries_max: At<u32>,
    pub backoff_ms: At<[u32; 2]>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shake_timeout_ms: unplaced(5_000),
            request_timeout_ms: unplaced(5_000),
            connect_timeout_ms: unplaced(5_000),
            connect_tries_max: unplaced(4),
            claim_tries_max: unplaced(50),
            backoff_ms: unplaced([250, 8_000]),
        }
    }
}
