//! Stories in words.

use super::{Event, Movement, PacketStory, Recipient, UserStory};
use crate::names::Names;
use jiff::Timestamp;
use shake_rules::PacketId;
use shake_rules::money::{money, signed};
use std::fmt;

/// A time of the ledger for people.
fn time(at_ms: u64) -> String {
    i64::try_from(at_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{at_ms} ms"), |time| format!("{time:.3}"))
}

/// Without a show: sponsor and phase by number.
impl fmt::Display for PacketStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &Names::default())
    }
}

impl PacketStory {
    /// The story, with sponsor and phase by name.
    #[must_use]
    pub fn told(&self, names: &Names) -> String {
        let mut text = String::new();
        self.write(&mut text, names).expect("a String grows as needed");
        text
    }

    fn write(&self, f: &mut impl fmt::Write, names: &Names) -> fmt::Result {
        write!(
            f,
            "packet {}: {}, {}, {}",
            self.packet,
            money(self.cents),
            self.origin,
            self.state
        )?;
        if self.shares > 1 {
            write!(f, ", {} of {} shares left", self.shares_left, self.shares)?;
        }
        writeln!(f, "\n  in it now        {}", signed(self.balance_cents))?;
        let mut line = |name: &str, value: Option<String>| match value {
            Some(value) => writeln!(f, "  {name:<15}  {value}"),
            None => Ok(()),
        };
        line("funded by", self.sponsor.map(|sponsor| names.sponsor(sponsor)))?;
        line("funded by", self.sender.map(|user| format!("user {user}")))?;
        line("seed record", self.seed_index.map(|index| index.to_string()))?;
        line("shard", self.shard.map(|shard| shard.to_string()))?;
        line("won in phase", self.stage.map(|stage| names.phase(Some(stage))))?;
        line("goes back at", self.due_ms.map(time))?;
        for Recipient { user, waits } in &self.recipients {
            line(
                "for user",
                Some(format!("{user}{}", if *waits { " (waits)" } else { "" })),
            )?;
        }
        for Event {
            at_ms,
            what,
            user,
            cents,
        } in &self.events
        {
            write!(f, "  {}  {what:<8}", time(*at_ms))?;
            if let Some(cents) = cents {
                write!(f, "  {}", money(*cents))?;
            }
            if let Some(user) = user {
                write!(f, "  user {user}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for UserStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "user {}: {}, {} packets opened",
            self.user,
            signed(self.balance_cents),
            self.packets_opened
        )?;
        let mut list = |name: &str, ids: Vec<String>| match ids.is_empty() {
            true => Ok(()),
            false => writeln!(f, "  {name:<15}  {}", ids.join(" ")),
        };
        let text = |ids: &[PacketId]| ids.iter().map(PacketId::to_string).collect();
        list("of sponsors", self.sponsors_opened.iter().map(u16::to_string).collect())?;
        list("to be opened", text(&self.issued))?;
        list("sent", text(&self.sent))?;
        list("wait for them", text(&self.offered))?;
        for Movement {
            transfer,
            at_ms,
            cents,
            packet,
        } in &self.transfers
        {
            let (at, moved) = (time(*at_ms), signed(*cents));
            write!(f, "  {at}  {moved:>12}  transfer {transfer}")?;
            match packet {
                Some(packet) => writeln!(f, "  packet {packet}")?,
                None => writeln!(f)?,
            }
        }
        if self.more_transfers {
            writeln!(
                f,
                "  and older ones (`shake-agent ledger export --what transfers` has all)"
            )?;
        }
        Ok(())
    }
}
