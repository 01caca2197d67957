//! The tables of a show file, as TOML has them. `deploy/show.toml` documents each key.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ShowFile {
    pub(super) event: EventTable,
    pub(super) cues: BTreeMap<Spanned<String>, Spanned<Moment>>,
    pub(super) limits: LimitsTable,
    pub(super) gifts: GiftsBudgetTable,
    pub(super) resources: ResourcesTable,
    pub(super) sponsors: Vec<Spanned<SponsorTable>>,
    pub(super) phases: Vec<Spanned<PhaseTable>>,
}

/// A time as text, or as TOML writes times: without quotes.
#[derive(Deserialize)]
#[serde(from = "TextOrTime")]
pub(super) struct Moment(pub(super) String);

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrTime {
    Text(String),
    Time(toml::value::Datetime),
}

impl From<TextOrTime> for Moment {
    fn from(value: TextOrTime) -> Self {
        Self(match value {
            TextOrTime::Text(text) => text,
            TextOrTime::Time(time) => time.to_string(),
        })
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventTable {
    pub(super) id: u32,
    pub(super) name: Spanned<String>,
    pub(super) starts: Option<Spanned<Moment>>,
    pub(super) rest_pace_ms: Spanned<u32>,
}

fn plain<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

impl Default for EventTable {
    fn default() -> Self {
        Self {
            id: 1,
            name: plain("show".into()),
            starts: None,
            rest_pace_ms: plain(5_000),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub(super) packets_per_user: Spanned<u8>,
    pub(super) packets_per_sponsor: Spanned<u8>,
    pub(super) ticket_lifetime_s: Spanned<u32>,
    pub(super) share_lifetime_s: Spanned<u32>,
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self {
            packets_per_user: plain(3),
            packets_per_sponsor: plain(1),
            ticket_lifetime_s: plain(86_400),
            share_lifetime_s: plain(86_400),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SponsorTable {
    pub(super) id: u16,
    pub(super) name: String,
    pub(super) resource: u32,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PhaseTable {
    pub(super) name: String,
    pub(super) cue: Option<Spanned<String>>,
    pub(super) start_s: f64,
    pub(super) end_s: f64,
    pub(super) pace_ms: u32,
    pub(super) releases_per_second: f64,
    pub(super) without_packet: Option<Spanned<String>>,
    pub(super) weights: BTreeMap<Spanned<String>, u32>,
    pub(super) resources: BTreeMap<Spanned<String>, u32>,
    pub(super) sponsors: BTreeMap<Spanned<String>, u32>,
    pub(super) gifts: Option<Spanned<GiftsTable>>,
}

impl Default for PhaseTable {
    fn default() -> Self {
        Self {
            name: String::new(),
            cue: None,
            start_s: 0.0,
            end_s: 0.0,
            pace_ms: 1_000,
            releases_per_second: 0.0,
            without_packet: None,
            weights: BTreeMap::new(),
            resources: BTreeMap::new(),
            sponsors: BTreeMap::new(),
            gifts: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GiftsBudgetTable {
    pub(super) budget_cents: Spanned<u64>,
}

impl Default for GiftsBudgetTable {
    fn default() -> Self {
        Self { budget_cents: plain(0) }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GiftsTable {
    pub(super) per_second: f64,
    pub(super) recipients: u16,
    pub(super) min_cents: u64,
    pub(super) max_cents: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ResourcesTable {
    pub(super) version: Spanned<u64>,
    pub(super) packages: Vec<Spanned<PackageTable>>,
}

impl Default for ResourcesTable {
    fn default() -> Self {
        Self {
            version: plain(0),
            packages: Vec::new(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PackageTable {
    pub(super) id: u32,
    pub(super) address: String,
    pub(super) size_bytes: u64,
    pub(super) sha256: String,
    pub(super) fetch_after: String,
    pub(super) fetch_before: String,
}
