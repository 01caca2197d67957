//! The networks of the run, each with figures of its own.

use super::build::ratio;
use super::html::table;
use super::text::{Table, milliseconds, named};
use super::{Percentiles, Report};
use crate::network::{Counts, Networks};
use crate::scenario::Scenario;
use crate::tally::{NetworkTally, Tally};
use serde::{Deserialize, Serialize};
use shake_rules::money::grouped;
use std::collections::BTreeMap;

/// What the phones of one network met.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkReport {
    /// The scenario's name for it; `direct` are the phones outside of every network's share.
    pub name: String,
    /// Phones on it.
    pub phones: u64,
    /// The longest round trip that the scenario gives it, jitter included.
    pub round_trip_max_ms: u64,
    /// Hellos of new connections that were answered.
    pub hellos: u64,
    /// Of these, over a path that was dead for a part of the time.
    pub hellos_over_dead_paths: u64,
    /// Failed tries to connect, by the name of the reason.
    pub connect_failures: BTreeMap<String, u64>,
    /// Failed Hellos, by the name of the reason.
    pub hello_failures: BTreeMap<String, u64>,
    /// Connections lost after their Hello.
    pub lost: u64,
    /// From the first packet of a connection to the answer to its Hello, without those over dead paths; right to 1 %.
    pub hello_latency: Percentiles,
    /// Shakes sent.
    pub sent: u64,
    /// Of these, not answered in time.
    pub unanswered: u64,
    /// Unanswered of sent.
    pub unanswered_share: f64,
    /// From the first try of a claim to its open packet; right to 1 %.
    pub claim_latency: Percentiles,
    /// What became of the datagrams, both ways together.
    pub datagrams: Counts,
}

/// Every network that has a phone or was asked for.
pub(super) fn networks(scenario: &Scenario, tally: &Tally) -> Vec<NetworkReport> {
    let networks = &scenario.habits.networks;
    let mut phones = vec![0; networks.names().count()];
    (0..scenario.sessions)
        .filter_map(|index| networks.of(index))
        .for_each(|place| phones[place] += 1);
    let nothing = NetworkTally::default();
    let all = networks.names().zip(phones).enumerate();
    all.filter(|(place, (_, phones))| *phones > 0 || *place < networks.profiles.len())
        .map(|(place, (name, phones))| {
            let counts = tally.networks.counts().get(place).unwrap_or(&nothing);
            let unanswered = counts.sent.saturating_sub(counts.answered);
            NetworkReport {
                name: name.to_owned(),
                phones,
                round_trip_max_ms: round_trip_max_ms(networks, place),
                hellos: counts.hellos,
                hellos_over_dead_paths: counts.hellos_over_dead_paths,
                connect_failures: counts.connect_failures.clone(),
                hello_failures: counts.hello_failures.clone(),
                lost: counts.lost,
                hello_latency: Percentiles::of(&counts.hello_latency),
                sent: counts.sent,
                unanswered,
                unanswered_share: ratio(unanswered as f64, counts.sent as f64),
                claim_latency: Percentiles::of(&counts.claim_latency),
                datagrams: counts.datagrams,
            }
        })
        .collect()
}

fn round_trip_max_ms(networks: &Networks, place: usize) -> u64 {
    let profile = networks.profiles.get(place);
    profile.map_or(0, |profile| profile.round_trip_max().0.div_ceil(1_000))
}

/// What the phones of each network met, and what the network did to their datagrams.
pub(super) fn lines(table: &mut Table, report: &Report) {
    for network in &report.networks {
        table.line(
            "network",
            format_args!(
                "{}: {} phones · {} hellos · {} lost · {} of {} shakes unanswered ({:.3} %)",
                network.name,
                grouped(network.phones),
                grouped(network.hellos),
                grouped(network.lost),
                grouped(network.unanswered),
                grouped(network.sent),
                network.unanswered_share * 100.0
            ),
        );
        table.percentiles("  to its hello", &network.hello_latency);
        table.percentiles("  claims", &network.claim_latency);
        table.counts("  connect fail", named(&network.connect_failures));
        table.counts("  hello fail", named(&network.hello_failures));
        let datagrams = &network.datagrams;
        let done = [
            ("in all", datagrams.datagrams),
            ("lost", datagrams.lost),
            ("on a dead path", datagrams.dead),
            ("to an old address", datagrams.strayed),
            ("lost for want of room here", datagrams.overflowed),
            ("overtaken", datagrams.reordered),
            ("doubled", datagrams.duplicated),
        ];
        table.counts("  datagrams", done.into_iter().filter(|(_, count)| *count > 0));
        let happened = [
            ("new addresses", datagrams.rebinds),
            ("paths died", datagrams.deaths),
            ("hellos over dead paths", network.hellos_over_dead_paths),
        ];
        table.counts("  phones", happened.into_iter().filter(|(_, count)| *count > 0));
    }
}

/// The same as a table of the page.
pub(super) fn rows(report: &Report) -> String {
    let rows: Vec<_> = report
        .networks
        .iter()
        .map(|network| {
            let Percentiles {
                p50_us, p99_us, max_us, ..
            } = network.hello_latency;
            vec![
                network.name.clone(),
                grouped(network.phones),
                grouped(network.hellos),
                milliseconds(p50_us),
                milliseconds(p99_us),
                milliseconds(max_us),
                format!("{:.3} %", network.unanswered_share * 100.0),
                milliseconds(network.claim_latency.p50_us),
                milliseconds(network.claim_latency.p99_us),
                grouped(network.lost),
            ]
        })
        .collect();
    let header = [
        "network",
        "phones",
        "hellos",
        "to the hello's answer, p50",
        "p99",
        "max",
        "unanswered",
        "claims, p50",
        "p99",
        "connections lost",
    ];
    table("Networks", &header, &rows)
}
