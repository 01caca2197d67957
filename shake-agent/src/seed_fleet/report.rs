//! What a verification of a fleet's seed found.

use super::manifest::{Origin, Proof, SponsorSum};
use crate::differences::Differences;
use serde::Serialize;
use shake_rules::money::{grouped, money};
use std::fmt;

/// What was found in a directory of seed files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no difference at all.
    pub whole: bool,
    /// The event.
    pub event: u32,
    /// The sum that the manifest promises.
    pub budget_cents: u64,
    /// Intact packets found in all files.
    pub packets: u64,
    /// How many of them are split packets.
    pub split_packets: u64,
    /// Their sum.
    pub cents: u64,
    /// Packets that occur once more than they may, over all files.
    pub repeated: u64,
    /// What is known of the manifest's origin.
    pub origin: Origin,
    /// What that comes to.
    pub proof: Proof,
    /// Found per sponsor.
    pub sponsors: Vec<SponsorSum>,
    /// Found per file.
    pub files: Vec<FileReport>,
    /// What is not as it ought to be.
    pub differences: Differences,
}

/// What was found in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// Intact packets.
    pub packets: u64,
    /// How many of them are split packets.
    pub split_packets: u64,
    /// Their sum.
    pub cents: u64,
    /// Found per sponsor; the audit of a fleet merges them.
    #[serde(skip)]
    pub sponsors: Vec<SponsorSum>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: the manifest is {}", self.proof, self.origin)?;
        writeln!(f, "event {}: {} files\n", self.event, self.files.len())?;
        let name_width = self.files.iter().map(|file| file.name.len()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "  {:<name_width$}  {:>12}  {:>12}  {:>16}",
            "file", "packets", "split", "money"
        )?;
        let total = FileReport {
            name: "total".into(),
            packets: self.packets,
            split_packets: self.split_packets,
            cents: self.cents,
            sponsors: Vec::new(),
        };
        for FileReport {
            name,
            packets,
            split_packets,
            cents,
            ..
        } in self.files.iter().chain([&total])
        {
            writeln!(
                f,
                "  {name:<name_width$}  {:>12}  {:>12}  {:>16}",
                grouped(*packets),
                grouped(*split_packets),
                money(*cents)
            )?;
        }
        writeln!(f)?;
        for SponsorSum {
            sponsor,
            packets,
            cents,
        } in &self.sponsors
        {
            writeln!(
                f,
                "  sponsor {sponsor}: {} packets, {}",
                grouped(*packets),
                money(*cents)
            )?;
        }
        self.differences.fmt(f)?;
        if self.whole {
            f.write_str("whole: every file is as the manifest says, no packet occurs twice, the sum is the budget")
        } else {
            write!(f, "NOT whole: {} differences", self.differences.count)
        }
    }
}
