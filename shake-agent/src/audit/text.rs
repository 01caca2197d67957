//! What an audit found, for people: in money, with sponsors and phases by name. Differences name rows as the ledger has them.

use super::report::{CreditTally, EQUATION, Report, SponsorRow, SponsorTotals};
use crate::ledger::{told_machines, when};
use crate::names::Names;
use crate::seed_file::Tally;
use crate::table::{self, Table};
use shake_rules::UnixMillis;
use shake_rules::money::{grouped, money};
use std::fmt;

/// Without a show: sponsors and phases by number.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &Names::default())
    }
}

impl Report {
    /// Two aligned tables (packets, money), the differences, then the verdict.
    #[must_use]
    pub fn told(&self, names: &Names) -> String {
        let mut text = String::new();
        self.write(&mut text, names).expect("a String grows as needed");
        text
    }

    fn write(&self, f: &mut impl fmt::Write, names: &Names) -> fmt::Result {
        write!(f, "event {}, part {} of {}", self.event, self.part + 1, self.parts)?;
        if let Some(at_ms) = self.closed_ms {
            write!(f, ", closed at {}", when(UnixMillis(at_ms)))?;
        }
        writeln!(f, "\nwritten by {}", told_machines(&self.machines))?;
        write_totals(f, &self.sponsors, &self.total, names)?;
        let sent = &self.sent;
        writeln!(
            f,
            "users sent {} packets of {}: {} open, {} grabbed, {} gone back",
            grouped(sent.sent.packets),
            money(sent.sent.cents),
            money(sent.open.cents),
            money(sent.grabbed.cents),
            money(sent.refunded.cents)
        )?;
        for (kind, tally) in &self.outbox {
            let (lines, cents) = (grouped(tally.credits), money(tally.cents));
            writeln!(f, "outbox: {lines} lines of kind {kind}, {cents}")?;
        }
        writeln!(
            f,
            "{} users opened {} packets and have {}; the sum of all balances is {}",
            grouped(self.user_accounts),
            grouped(self.users.packets),
            money(self.users.cents),
            match self.balance_sum_cents {
                0 => "zero".to_owned(),
                cents => format!("{cents} cents and not zero"),
            }
        )?;
        for difference in &self.differences {
            writeln!(f, "  {difference}")?;
        }
        let unnamed = self.difference_count - self.differences.len() as u64;
        if unnamed > 0 {
            writeln!(f, "  and {unnamed} more")?;
        }
        write_verdict(f, self.difference_count)
    }

    /// The credits by phase, as a table.
    #[must_use]
    pub fn by_phase(&self, names: &Names) -> String {
        let name = |stage: Option<u16>| stage.map_or("sent by users".to_owned(), |stage| names.phase(Some(stage)));
        let rows = self.phases.iter().map(|row| (name(row.stage), row.credits));
        credit_table("phase", rows)
    }

    /// The credits by day, as a table.
    #[must_use]
    pub fn by_day(&self) -> String {
        let title = format!("day ({})", self.time_zone);
        credit_table(&title, self.days.iter().map(|row| (row.day.clone(), row.credits)))
    }
}

/// Where the packets of each sponsor are, and the money of each.
pub(super) fn write_totals(
    f: &mut impl fmt::Write,
    sponsors: &[SponsorRow],
    total: &SponsorTotals,
    names: &Names,
) -> fmt::Result {
    writeln!(f, "\npackets")?;
    table::write(f, &totals(sponsors, total, names, |tally| grouped(tally.packets)))?;
    writeln!(f, "\nmoney")?;
    table::write(f, &totals(sponsors, total, names, |tally| money(tally.cents)))?;
    writeln!(f, "\nheld = released + issued + open; {EQUATION}")
}

/// One figure: a line for each sponsor, and the total.
fn totals(sponsors: &[SponsorRow], total: &SponsorTotals, names: &Names, figure: impl Fn(Tally) -> String) -> Table {
    let line = |name: String, totals: &SponsorTotals| {
        let figures = totals.columns().map(|(_, tally)| figure(tally));
        std::iter::once(name).chain(figures).collect()
    };
    let columns = SponsorTotals::default().columns().map(|(name, _)| name.to_owned());
    let head = std::iter::once("sponsor".to_owned()).chain(columns).collect();
    let rows = sponsors.iter().map(|row| line(names.sponsor(row.sponsor), &row.totals));
    [head]
        .into_iter()
        .chain(rows)
        .chain([line("all".to_owned(), total)])
        .collect()
}

/// The last line.
pub(super) fn write_verdict(f: &mut impl fmt::Write, differences: u64) -> fmt::Result {
    match differences {
        0 => f.write_str("balanced"),
        count => write!(f, "NOT balanced: {count} differences"),
    }
}

fn credit_table(title: &str, rows: impl Iterator<Item = (String, CreditTally)>) -> String {
    let head = [title, "credits", "money"].map(str::to_owned).to_vec();
    let rows = rows.map(|(name, tally)| vec![name, grouped(tally.credits), money(tally.cents)]);
    let mut text = String::new();
    table::write(&mut text, &[head].into_iter().chain(rows).collect()).expect("a String grows as needed");
    text.trim_end().to_owned()
}
