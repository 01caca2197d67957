//! The statement as tables: once for the terminal, once as rows of cells for the page.

use super::{LedgerLine, SponsorLine, Statement};
use crate::ledger::told_machines;
use crate::table::{self, Table};
use shake_rules::money::{grouped, money};
use std::fmt;

impl Statement {
    /// Whose statement it is.
    pub(super) fn title(&self) -> String {
        let event = match self.event_name.as_str() {
            "" => format!("event {}", self.event),
            name => format!("{name} (event {})", self.event),
        };
        match (self.parts, self.ledgers.as_slice()) {
            (..=1, _) => format!("Closing statement of {event}"),
            (parts, [only]) if self.unused.is_empty() => {
                format!("Closing statement of {event}, part {} of {parts}", only.part + 1)
            }
            (parts, _) => format!("Closing statement of {event}, all {parts} parts"),
        }
    }

    /// What was proved, and what is owed.
    pub(super) fn facts(&self) -> Vec<String> {
        let mut facts: Vec<String> = self.ledgers.iter().map(|ledger| self.of_ledger(ledger)).collect();
        facts.push("The audit against the seed balances.".to_owned());
        let parts = self.parts;
        facts.extend(self.unused.iter().map(|part| {
            let part = part + 1;
            format!("Part {part} of {parts} was never served: all of it is back.")
        }));
        let (of_each, owed) = match self.ledgers.as_slice() {
            [only] => (String::new(), format!("{} users are owed", grouped(only.users_owed))),
            all => (
                " in each ledger".to_owned(),
                format!("By {} ledgers users are owed", all.len()),
            ),
        };
        facts.push(format!(
            "{owed} {}: each user's last balance{of_each}, once.",
            money(self.owed_cents)
        ));
        if self.sent.sent.packets > 0 {
            facts.push(format!(
                "Users sent each other {} packets of {}: {} were grabbed, {} went back to who sent it.",
                grouped(self.sent.sent.packets),
                money(self.sent.sent.cents),
                money(self.sent.grabbed.cents),
                money(self.sent.refunded.cents)
            ));
        }
        if self.back_from_void.packets > 0 {
            facts.push(format!(
                "Of what is back, {} packets of {} were in no ticket or lost.",
                grouped(self.back_from_void.packets),
                money(self.back_from_void.cents)
            ));
        }
        if !self.void_packets.is_empty() {
            let names: Vec<String> = self.void_packets.iter().map(|packet| packet.lettered()).collect();
            facts.push(format!(
                "In the void, for a person to decide about: opened by commits that were lost, and named in a settlement file that was \
                 put aside: packets {}.",
                names.join(" ")
            ));
        }
        facts
    }

    fn of_ledger(&self, line: &LedgerLine) -> String {
        let which = match self.parts {
            ..=1 => "Ledger".to_owned(),
            parts => format!("Part {} of {parts}: ledger", line.part + 1),
        };
        let ledger = line.ledger.as_deref().unwrap_or("without identity");
        let (machines, closed) = (told_machines(&line.machines), &line.closed);
        let settled = match &line.settlement {
            Some(file) => format!(
                "The settlement file {file} agrees line by line: {} lines, the last one is the closing line.",
                grouped(line.settled_lines)
            ),
            None => "No settlement file was compared.".to_owned(),
        };
        format!("{which} {ledger}, written by {machines}, closed at {closed}. {settled}")
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
            table::write(f, &table)?;
        }
        Ok(())
    }
}
