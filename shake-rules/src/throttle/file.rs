//! The tables of a throttle file, as TOML has them. `deploy/throttle.toml` documents each key.

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ThrottleFile {
    pub(super) signals: SignalsTable,
    pub(super) pace: PaceTable,
    pub(super) prefixes: PrefixesTable,
    pub(super) modes: ModesTable,
    pub(super) grades: Vec<Spanned<GradeTable>>,
}

fn plain<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SignalsTable {
    pub(super) smooth_ms: Spanned<u32>,
    pub(super) dwell_ms: Spanned<u32>,
}

impl Default for SignalsTable {
    fn default() -> Self {
        Self {
            smooth_ms: plain(500),
            dwell_ms: plain(1_000),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PaceTable {
    pub(super) queue_wait_ms: Spanned<u32>,
}

impl Default for PaceTable {
    fn default() -> Self {
        Self {
            queue_wait_ms: plain(6),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PrefixesTable {
    pub(super) max: Spanned<u32>,
    pub(super) exempt: Vec<Spanned<String>>,
}

impl Default for PrefixesTable {
    fn default() -> Self {
        Self {
            max: plain(262_144),
            exempt: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ModesTable {
    pub(super) clock_step_ms: Spanned<u32>,
    pub(super) clock_jumped_hold_s: Spanned<u32>,
    pub(super) operator_silent_s_max: u32,
}

impl Default for ModesTable {
    fn default() -> Self {
        Self {
            clock_step_ms: plain(500),
            clock_jumped_hold_s: plain(60),
            operator_silent_s_max: 0,
        }
    }
}

/// Thresholds of a grade; a signal that is left out never reaches its own.
#[derive(Deserialize, Clone, Copy)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ThresholdsTable {
    pub(super) process_cpu: f64,
    pub(super) cgroup_cpu: f64,
    pub(super) queue_wait_ms: f64,
    pub(super) ring_fill: f64,
}

impl Default for ThresholdsTable {
    fn default() -> Self {
        Self {
            process_cpu: f64::INFINITY,
            cgroup_cpu: f64::INFINITY,
            queue_wait_ms: f64::INFINITY,
            ring_fill: f64::INFINITY,
        }
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateTable {
    pub(super) per_second: f64,
    pub(super) burst: u32,
}

impl Default for RateTable {
    fn default() -> Self {
        Self {
            per_second: f64::INFINITY,
            burst: 1_000,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GradeTable {
    pub(super) enter: Option<Spanned<ThresholdsTable>>,
    pub(super) leave: Option<Spanned<ThresholdsTable>>,
    pub(super) pace_ms: Spanned<[u32; 2]>,
    pub(super) shakes: Spanned<RateTable>,
    pub(super) claims: Spanned<RateTable>,
    pub(super) sends: Spanned<RateTable>,
    pub(super) connections: Spanned<RateTable>,
    pub(super) user: Spanned<RateTable>,
    pub(super) user_requests: Spanned<RateTable>,
    pub(super) user_packets: Spanned<RateTable>,
    pub(super) prefix: Spanned<RateTable>,
    pub(super) prefix_shakes: Spanned<RateTable>,
    pub(super) handshakes_share: Spanned<f64>,
    pub(super) prove_address: bool,
    pub(super) shed_after_ms: Spanned<u32>,
    pub(super) retry_ms: Spanned<[u32; 2]>,
    pub(super) off: Vec<Spanned<String>>,
}

impl Default for GradeTable {
    fn default() -> Self {
        let unlimited = plain(RateTable::default());
        Self {
            enter: None,
            leave: None,
            pace_ms: plain([0, 0]),
            shakes: unlimited.clone(),
            claims: unlimited.clone(),
            sends: unlimited.clone(),
            connections: unlimited.clone(),
            user: unlimited.clone(),
            user_requests: unlimited.clone(),
            user_packets: plain(RateTable {
                per_second: 100.0,
                burst: 250,
            }),
            prefix: unlimited.clone(),
            prefix_shakes: unlimited,
            handshakes_share: plain(1.0),
            prove_address: false,
            // About when a phone takes a shake for lost: below grade 3 nothing is dropped that somebody still waits for.
            shed_after_ms: plain(2_000),
            retry_ms: plain([1_000, 2_000]),
            off: Vec::new(),
        }
    }
}
