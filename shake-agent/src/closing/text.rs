//! The statement as tables: once for the terminal, once as rows of cells for the page.

use super::{SponsorLine, Statement, money};
use std::fmt;

/// A table: the names of its columns, then its rows. The first column is text, the others are money.
pub(super) type Table = Vec<Vec<String>>;

impl Statement {
    /// Whose statement it is.
    pub(super) fn title(&self) -> String {
        let event = match self.event_name.as_str() {
            "" => format!("event {}", self.event),
            name => format!("{name} (event {})", self.event),
        };
        if self.parts > 1 {
            return format!("Closing statement of {event}, part {} of {}", self.part + 1, self.parts);
        }
        format!("Closing statement of {event}")
    }

    /// What was proved, and what is owed.
    pub(super) fn facts(&self) -> Vec<String> {
        let ledger = self.ledger.as_deref().unwrap_or("without identity");
        let mut facts = vec![
            format!(
                "Ledger {ledger}, closed at {}. The audit against the seed balances.",
                self.closed
            ),
            match &self.settlement {
                Some(file) => format!(
                    "The settlement file {file} agrees line by line: {} lines, the last one is the closing line.",
                    self.settled_lines
                ),
                None => "There is no settlement file.".to_owned(),
            },
            format!(
                "{} users are owed {}: each user's last balance, once.",
                self.users_owed,
                money(self.owed_cents)
            ),
        ];
        if self.sent.sent.packets > 0 {
            facts.push(format!(
                "Users sent each other {} packets of {}: {} were grabbed, {} went back to who sent it.",
                self.sent.sent.packets,
                money(self.sent.sent.cents),
                money(self.sent.grabbed.cents),
                money(self.sent.refunded.cents)
            ));
        }
        if !self.void_packets.is_empty() {
            let names: Vec<String> = self.void_packets.iter().map(|packet| packet.lettered()).collect();
            facts.push(format!(
                "In the void, for a person to decide about: packets {}.",
                names.join(" ")
            ));
        }
        facts
    }

    /// Where each sponsor's money is.
    pub(super) fn by_sponsor(&self) -> Table {
        let row = |line: &SponsorLine| {
            let money = [line.funded_cents, line.users_cents, line.back_cents, line.void_cents].map(money);
            std::iter::once(line.name.clone()).chain(money).collect()
        };
        let names = ["sponsor", "funded", "to users", "back", "void"];
        std::iter::once(names.map(str::to_owned).to_vec())
            .chain(self.sponsors.iter().map(row))
            .chain([row(&self.total)])
            .collect()
    }

    /// What users got of whom in which phase.
    pub(super) fn by_phase(&self) -> Table {
        let sponsors = || self.sponsors.iter();
        let head = std::iter::once("phase".to_owned())
            .chain(sponsors().map(|line| line.name.clone()))
            .chain(["all".to_owned()])
            .collect();
        let mut table: Table = vec![head];
        for phase in &self.phases {
            let cents = sponsors().map(|line| phase.sponsors.get(&line.sponsor).copied().unwrap_or(0));
            let cells = cents.chain([phase.cents]).map(money);
            table.push(std::iter::once(phase.name.clone()).chain(cells).collect());
        }
        let totals = sponsors().map(|line| line.users_cents).chain([self.total.users_cents]);
        table.push(std::iter::once("all".to_owned()).chain(totals.map(money)).collect());
        table
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title())?;
        for fact in self.facts() {
            writeln!(f, "{fact}")?;
        }
        for (title, table) in [
            ("By sponsor", self.by_sponsor()),
            ("To users, by phase", self.by_phase()),
        ] {
            writeln!(f, "\n{title}")?;
            write_table(f, &table)?;
        }
        Ok(())
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, table: &Table) -> fmt::Result {
    let columns = table.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|at| table.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    for row in table {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if at == 0 {
                write!(f, "  {cell:<width$}")?;
            } else {
                write!(f, "  {cell:>width$}")?;
            }
        }
        writeln!(f)?;
    }
    Ok(())
}
