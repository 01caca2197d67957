//! What the audit of a fleet found. All amounts are whole cents, but for people, who read money.

use crate::audit::report::{Difference, GrantRow, SentTotals, SponsorRow, SponsorTotals};
use crate::audit::text::{write_totals, write_verdict};
use crate::ledger::{Machine, told_machines, when};
use crate::names::Names;
use crate::seed_fleet::file_name;
use crate::seed_fleet::manifest::{Origin, Proof};
use serde::Serialize;
use shake_rules::money::money;
use shake_rules::{PacketId, UnixMillis};
use std::fmt;

/// A difference, with the ledger that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FleetDifference {
    /// The ledger; none when it is in the seed or in the sums.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
    /// The difference.
    #[serde(flatten)]
    pub difference: Difference,
}

/// What was found of one part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartRow {
    /// The part, from 0 on.
    pub part: u16,
    /// Its ledger, or the one on a server that the parts share and an agent of this one has begun. A part without one counts as unreleased, and so does one whose ledger cannot be compared with it. Either is a
    /// difference, unless the part is said to be unused.
    pub ledger: Option<String>,
    /// Whether there is no difference in its ledger. Of one that parts share, whether there is none at all.
    pub balanced: bool,
    /// How many differences there are in its ledger.
    pub difference_count: u64,
    /// When its ledger was closed, in milliseconds since 1970 UTC.
    pub closed_ms: Option<u64>,
    /// Which ledger it is, in all its copies.
    pub identity: Option<String>,
    /// The machines that wrote it.
    pub machines: Vec<Machine>,
    /// How many users it owes something; 0 of a ledger that parts share, whose users are the event's.
    pub users_owed: u64,
    /// What it owes them together, in cents; 0 likewise.
    pub owed_cents: u64,
    /// Its settlement file, when it was given.
    pub settlement: Option<String>,
    /// Lines in that.
    pub settled_lines: u64,
    /// All its sponsors together.
    pub total: SponsorTotals,
}

/// What the audit of a fleet found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no difference at all, in the seed, the ledgers and the sums.
    pub balanced: bool,
    /// What is known of the manifest's origin.
    pub origin: Origin,
    /// What that comes to. That it is unknown is no difference.
    pub proof: Proof,
    /// The event.
    pub event: u32,
    /// Every part of the seed, in order.
    pub parts: Vec<PartRow>,
    /// All sponsors of all parts together.
    pub total: SponsorTotals,
    /// Each sponsor, over all parts.
    pub sponsors: Vec<SponsorRow>,
    /// What users sent each other.
    pub sent: SentTotals,
    /// Credits by sponsor and phase, without what users sent.
    pub grants: Vec<GrantRow>,
    /// What users are owed together, in cents.
    pub owed_cents: u64,
    /// The packets that commits opened which are lost, and those that are void, by id.
    pub paid_packets: Vec<PacketId>,
    /// How many differences there are.
    pub difference_count: u64,
    /// The differences: those of the seed, and of each ledger at most [`NAMED_MAX`].
    pub differences: Vec<FleetDifference>,
}

impl fmt::Display for FleetDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ledger) = &self.ledger {
            write!(f, "{ledger}: ")?;
        }
        self.difference.fmt(f)
    }
}

/// Without a show: sponsors and phases by number.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &Names::default())
    }
}

impl Report {
    /// A line for each part, the merged tables (packets, money), the differences, then the verdict.
    #[must_use]
    pub fn told(&self, names: &Names) -> String {
        let mut text = String::new();
        self.write(&mut text, names).expect("a String grows as needed");
        text
    }

    fn write(&self, f: &mut impl fmt::Write, names: &Names) -> fmt::Result {
        let parts = self.parts.len();
        writeln!(f, "{}: the manifest is {}", self.proof, self.origin)?;
        writeln!(f, "event {}, {parts} parts\n", self.event)?;
        for row in &self.parts {
            write!(f, "  part {} of {parts} ({}): ", row.part + 1, file_name(row.part))?;
            row.write(f)?;
        }
        write_totals(f, &self.sponsors, &self.total, names)?;
        for difference in &self.differences {
            writeln!(f, "  {difference}")?;
        }
        let unnamed = self.difference_count - self.differences.len() as u64;
        if unnamed > 0 {
            writeln!(
                f,
                "  and {unnamed} more; audit a ledger alone to have more of them named"
            )?;
        }
        write_verdict(f, self.difference_count)
    }
}

impl PartRow {
    fn write(&self, f: &mut impl fmt::Write) -> fmt::Result {
        match (&self.ledger, self.balanced) {
            (None, true) => f.write_str("unused, all of it is unreleased")?,
            (None, false) => f.write_str("NO LEDGER")?,
            (Some(ledger), true) => write!(f, "{ledger}: balanced")?,
            (Some(ledger), false) => write!(f, "{ledger}: NOT balanced, {} differences", self.difference_count)?,
        }
        if self.ledger.is_some() {
            write!(f, ", written by {}", told_machines(&self.machines))?;
        }
        if let Some(at_ms) = self.closed_ms {
            write!(f, ", closed at {}", when(UnixMillis(at_ms)))?;
        }
        if let Some(file) = &self.settlement {
            write!(f, ", with {file}")?;
        }
        let (seed, left, opened) = (self.total.seed, self.total.unreleased, self.total.opened);
        writeln!(
            f,
            "; {}: {} unreleased, {} opened",
            money(seed.cents),
            money(left.cents),
            money(opened.cents)
        )
    }
}
