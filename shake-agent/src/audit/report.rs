//! What an audit found: the figures per sponsor, and the differences.

use crate::seed_file::Tally;
use serde::Serialize;
use std::fmt;

/// Something that is not as the seed and the transfers say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What kind of difference, one word for programs: `packet_amount`, `transfer_missing`, ….
    pub kind: &'static str,
    /// What it is about: a packet, an account, a transfer, a sponsor.
    pub subject: String,
    /// The packet, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<u64>,
    /// What ought to be.
    pub expected: String,
    /// What is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: expected {}, found {}",
            self.kind, self.subject, self.expected, self.found
        )
    }
}

/// Where a sponsor's packets are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SponsorTotals {
    /// In the seed file.
    pub seed: Tally,
    /// Not released yet.
    pub unreleased: Tally,
    /// Released and not issued: in the hands of a shard.
    pub released: Tally,
    /// In a ticket, not opened.
    pub issued: Tally,
    /// Released or issued.
    pub held: Tally,
    /// Opened.
    pub opened: Tally,
    /// Void.
    pub void: Tally,
}

impl SponsorTotals {
    /// Name and tally of each column, in order.
    #[must_use]
    pub fn columns(&self) -> [(&'static str, Tally); 7] {
        [
            ("seed", self.seed),
            ("unreleased", self.unreleased),
            ("released", self.released),
            ("issued", self.issued),
            ("held", self.held),
            ("opened", self.opened),
            ("void", self.void),
        ]
    }

    /// Takes another sponsor's figures into account.
    pub(super) fn merge(&mut self, other: &Self) {
        self.seed.merge(other.seed);
        self.unreleased.merge(other.unreleased);
        self.released.merge(other.released);
        self.issued.merge(other.issued);
        self.held.merge(other.held);
        self.opened.merge(other.opened);
        self.void.merge(other.void);
    }

    /// seed = unreleased + held + opened + void, in packets and in cents.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let mut sum = self.unreleased;
        sum.merge(self.held);
        sum.merge(self.opened);
        sum.merge(self.void);
        sum == self.seed
    }
}

/// One sponsor's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SponsorRow {
    /// The sponsor's number.
    pub sponsor: u16,
    /// Its figures.
    #[serde(flatten)]
    pub totals: SponsorTotals,
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no difference at all.
    pub balanced: bool,
    /// The event.
    pub event: u32,
    /// Which part of the fleet's seed, of how many.
    pub part: u16,
    /// How many parts the fleet's seed has.
    pub parts: u16,
    /// All sponsors together.
    pub total: SponsorTotals,
    /// Each sponsor.
    pub sponsors: Vec<SponsorRow>,
    /// What users have: how many packets they opened, and the sum of their balances.
    pub users: Tally,
    /// How many users have an account.
    pub user_accounts: u64,
    /// The sum of all stored balances; zero when all is well.
    pub balance_sum_cents: i128,
    /// How many differences there are.
    pub difference_count: u64,
    /// The differences, at most [`super::book::DIFFERENCES_MAX`] of them.
    pub differences: Vec<Difference>,
    /// The void packets, by id.
    pub void_packets: Vec<u64>,
}

impl fmt::Display for Report {
    /// Two aligned tables (packets, cents), then the verdict.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "event {}, part {} of {}", self.event, self.part + 1, self.parts)?;
        writeln!(f, "\npackets")?;
        self.table(f, |tally| tally.packets)?;
        writeln!(f, "\ncents")?;
        self.table(f, |tally| tally.cents)?;
        writeln!(
            f,
            "\nheld = released + issued; seed = unreleased + held + opened + void"
        )?;
        writeln!(
            f,
            "{} users opened {} packets of {} cents; the sum of all balances is {}",
            self.user_accounts, self.users.packets, self.users.cents, self.balance_sum_cents
        )?;
        for difference in &self.differences {
            writeln!(f, "  {difference}")?;
        }
        let unnamed = self.difference_count - self.differences.len() as u64;
        if unnamed > 0 {
            writeln!(f, "  and {unnamed} more")?;
        }
        if self.balanced {
            f.write_str("balanced")
        } else {
            write!(f, "NOT balanced: {} differences", self.difference_count)
        }
    }
}

impl Report {
    fn table(&self, f: &mut fmt::Formatter<'_>, figure: impl Fn(Tally) -> u64) -> fmt::Result {
        let line = |name: String, totals: &SponsorTotals| {
            let figures = totals.columns().map(|(_, tally)| figure(tally).to_string());
            std::iter::once(name).chain(figures).collect::<Vec<_>>()
        };
        let names = SponsorTotals::default().columns().map(|(name, _)| name.to_owned());
        let mut lines = vec![std::iter::once("sponsor".to_owned()).chain(names).collect::<Vec<_>>()];
        lines.extend(
            self.sponsors
                .iter()
                .map(|row| line(row.sponsor.to_string(), &row.totals)),
        );
        lines.push(line("total".into(), &self.total));
        let widths: Vec<usize> = (0..lines[0].len())
            .map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or(0))
            .collect();
        for line in lines {
            for (cell, width) in line.iter().zip(&widths) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
