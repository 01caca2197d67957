//! What the programs say about the run, as far as the demo looks at it: the simulator's report, the audit, and from each
//! side the list of opened packets. Field names are theirs; fields that they add are passed over.

use anyhow::{Context, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The simulator's report.
#[derive(Debug, Deserialize)]
pub struct Phones {
    /// The run was stopped before its end.
    pub stopped_early: bool,
    /// Sessions.
    pub sessions: Sessions,
    /// Shakes.
    pub shakes: Shakes,
    /// Answers by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// From the intended send time of a shake to its answer.
    pub latency: Percentiles,
    /// Wins and money.
    pub claims: Claims,
    /// What no correct gateway does.
    pub checks: Checks,
}

#[derive(Debug, Deserialize)]
pub struct Sessions {
    pub connected: u64,
    pub failed: u64,
    pub lost: u64,
    pub handshakes_per_second: f64,
}

#[derive(Debug, Deserialize)]
pub struct Shakes {
    pub sent: u64,
    pub answered: u64,
    pub unanswered: u64,
    pub skipped_by_pace: u64,
    pub skipped_offline: u64,
    pub answered_per_second: f64,
}

#[derive(Debug, Deserialize)]
pub struct Claims {
    pub wins: u64,
    pub opened: u64,
    pub busy: u64,
    pub refused: BTreeMap<String, u64>,
    pub gave_up: u64,
    pub failed: u64,
    pub unfinished: u64,
    pub cents: u64,
    pub cents_by_sponsor: BTreeMap<u32, u64>,
    pub latency: Percentiles,
}

/// Of a latency, in microseconds.
#[derive(Debug, Deserialize)]
pub struct Percentiles {
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

#[derive(Debug, Deserialize)]
pub struct Checks {
    pub passed: bool,
}

/// The agent's audit.
#[derive(Debug, Deserialize)]
pub struct Audit {
    /// Not one difference.
    pub balanced: bool,
    /// How many differences.
    pub difference_count: u64,
    /// The differences, or the first of them.
    pub differences: Vec<Difference>,
    /// All sponsors together.
    pub total: Totals,
    /// Each sponsor.
    pub sponsors: Vec<SponsorRow>,
}

#[derive(Debug, Deserialize)]
pub struct Difference {
    pub kind: String,
    pub subject: String,
    pub expected: String,
    pub found: String,
}

#[derive(Debug, Deserialize)]
pub struct SponsorRow {
    pub sponsor: u32,
    #[serde(flatten)]
    pub totals: Totals,
}

/// Where packets are.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Totals {
    pub seed: Tally,
    pub unreleased: Tally,
    pub held: Tally,
    pub opened: Tally,
    pub void: Tally,
}

/// A number of packets and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Tally {
    pub packets: u64,
    pub cents: u64,
}

/// Who opened a packet, and what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    pub user: u64,
    pub sponsor: u64,
    pub cents: u64,
}

/// The opened packets of a CSV file with a header line, by packet. A file with a column `state` has other packets as
/// well; those are passed over.
///
/// # Errors
/// When a column is missing, a field is no number, or a packet occurs twice.
pub fn opened_packets(csv: &str) -> anyhow::Result<BTreeMap<u64, Opened>> {
    let mut lines = csv.lines();
    let header: Vec<_> = lines.next().context("the file is empty")?.split(',').collect();
    let column = |name: &str| header.iter().position(|found| *found == name);
    let needed = |name: &str| column(name).with_context(|| format!("there is no column {name:?}"));
    let (packet, user) = (needed("packet")?, needed("user")?);
    let (sponsor, cents) = (needed("sponsor")?, needed("cents")?);
    let state = column("state");
    let mut packets = BTreeMap::new();
    for (at, line) in lines.enumerate() {
        let fields: Vec<_> = line.split(',').collect();
        if state.is_some_and(|state| fields.get(state) != Some(&"opened")) {
            continue;
        }
        let number = |column: usize| -> anyhow::Result<u64> {
            let field = fields.get(column).copied().unwrap_or_default();
            field
                .parse()
                .with_context(|| format!("line {}: {field:?} is no {}", at + 2, header[column]))
        };
        let opened = Opened {
            user: number(user)?,
            sponsor: number(sponsor)?,
            cents: number(cents)?,
        };
        ensure!(
            packets.insert(number(packet)?, opened).is_none(),
            "line {}: a packet occurs twice",
            at + 2
        );
    }
    Ok(packets)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn both_lists_read_alike() {
        let phones = "packet,user,sponsor,cents\n7,1,2,300\n9,4,1,1\n";
        let ledger = "packet,seed_index,sponsor,cents,state,user,stage\n7,0,2,300,opened,1,0\n8,1,2,5,released,,\n\
                      9,2,1,1,opened,4,0\n";
        assert_eq!(opened_packets(phones).unwrap(), opened_packets(ledger).unwrap());
        assert_eq!(
            opened_packets(phones).unwrap()[&7],
            Opened {
                user: 1,
                sponsor: 2,
                cents: 300
            }
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let check = |csv: &str, expected: &str| {
            let error = format!("{:#}", opened_packets(csv).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check("", "empty");
        check("packet,user,sponsor\n", "\"cents\"");
        check("packet,user,sponsor,cents\n1,2,3,x\n", "line 2: \"x\" is no cents");
        check("packet,user,sponsor,cents\n1,2,3\n", "line 2: \"\" is no cents");
        check(
            "packet,user,sponsor,cents\n1,2,3,4\n1,2,3,4\n",
            "line 3: a packet occurs twice",
        );
    }
}
