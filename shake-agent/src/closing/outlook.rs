//! What a closing would do, and what it still waits for.

use crate::config::Config;
use crate::ledger::{self, LedgerError, Out, when};
use crate::names::Names;
use crate::requests::EXPIRY_GRACE_MS;
use crate::seed_file::Tally;
use host::clock::monotonic_ms;
use serde::Serialize;
use shake_proto::handoff::topology::SILENT_MS_MAX;
use shake_rules::UnixMillis;
use shake_rules::money::money;
use shm_queue::{Mapping, Side};
use std::fmt;

/// What goes back to a sponsor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Returned {
    /// The sponsor; 0 is the event.
    pub sponsor: u16,
    /// Its name.
    pub name: String,
    /// How much, when nobody takes any more, in cents.
    pub cents: u64,
}

/// What stands between a ledger and its closing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// The event.
    pub event: u32,
    /// When the ledger was closed, in milliseconds since 1970 UTC. Then there is nothing left to do.
    pub closed_ms: Option<u64>,
    /// The process that serves the ledger, which has to end first.
    pub agent: Option<String>,
    /// Whether a gateway lives at the mapping: it has to be drained first.
    pub gateway: bool,
    /// In tickets that are not opened.
    pub tickets: Tally,
    /// Shares of sponsors' packets and of gifts that nobody has taken.
    pub shares: Tally,
    /// The same of what users sent; it goes back to them.
    pub sent: Tally,
    /// Released into a mapping that is gone; an authentic ticket opens it.
    pub lost: Tally,
    /// In the hands of shards, in no ticket.
    pub in_rings: Tally,
    /// Proved to be in no ticket.
    pub void: Tally,
    /// When the last of what can still be opened goes back, in milliseconds since 1970 UTC.
    pub waits_until_ms: Option<u64>,
    /// What goes back to each sponsor when nobody takes any more.
    pub back: Vec<Returned>,
    /// How many users have something.
    pub users_owed: u64,
    /// What they have together, in cents.
    pub owed_cents: u64,
}

/// Looks at a ledger that may be served meanwhile.
///
/// # Errors
/// When it cannot be read, or was never begun.
pub fn outlook(config: &Config, now: UnixMillis) -> Result<Outlook, LedgerError> {
    let path = &config.ledger;
    let sqlite = |source| LedgerError::sqlite("read", path, source);
    let connection = ledger::open_read_only(path)?;
    connection.execute_batch("BEGIN").map_err(sqlite)?;
    let bound = ledger::bound_seed(&connection).map_err(sqlite)?;
    let bound = bound.ok_or_else(|| LedgerError::NotBegun(path.clone()))?;
    let names = Names::read(config, bound.header.event);
    let out = ledger::still_out(&connection, names.ticket_lifetime_ms, now).map_err(sqlite)?;
    let beside = Mapping::open(&config.queue).ok();
    let gateway = beside.is_some_and(|mapping| mapping.peer(Side::Front).is_alive(monotonic_ms(), SILENT_MS_MAX));
    Ok(Outlook {
        agent: ledger::holder(path)?,
        gateway,
        ..of(&out, &names, bound.header.event.0)
    })
}

fn of(out: &Out, names: &Names, event: u32) -> Outlook {
    let back = out.back.iter().filter(|(_, cents)| **cents > 0);
    Outlook {
        event,
        closed_ms: out.closed.map(|at| at.0),
        agent: None,
        gateway: false,
        tickets: out.issued,
        shares: out.open,
        sent: out.sent,
        lost: out.lost,
        in_rings: out.released,
        void: out.void,
        waits_until_ms: out.ends.map(|at| at.plus_ms(EXPIRY_GRACE_MS).0),
        back: back
            .map(|(sponsor, &cents)| Returned {
                sponsor: sponsor.0,
                name: names.sponsor(sponsor.0),
                cents,
            })
            .collect(),
        users_owed: out.users_owed,
        owed_cents: out.owed_cents,
    }
}

impl Outlook {
    /// Whether the ledger can be closed at once: nobody serves it, and nothing can be opened any more.
    #[must_use]
    pub fn is_clear(&self, now: UnixMillis) -> bool {
        self.agent.is_none() && !self.gateway && self.waits_until_ms.is_none_or(|until| until <= now.0)
    }

    /// What is waited for, in one line; `None` for nothing but a gateway.
    #[must_use]
    pub fn waiting(&self) -> Option<String> {
        let until = UnixMillis(self.waits_until_ms?);
        let kinds = [
            (self.tickets, "tickets"),
            (self.shares, "shared packets"),
            (self.sent, "packets that users sent"),
            (self.lost, "lost packets"),
        ];
        let told: Vec<String> = kinds
            .into_iter()
            .filter(|(tally, _)| tally.packets > 0)
            .map(|(tally, name)| format!("{} {name} of {}", tally.packets, money(tally.cents)))
            .collect();
        Some(format!("until {}: {}", when(until), told.join(", ")))
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.closed_ms {
            return write!(f, "closed at {}; nothing is left to do", when(UnixMillis(at)));
        }
        if let Some(process) = &self.agent {
            writeln!(
                f,
                "in the way: the agent serves the ledger (process {process}); stop it"
            )?;
        }
        if self.gateway {
            f.write_str("in the way: the gateway runs; drain it (`gateway drain`), claims are served until it ends\n")?;
        }
        match self.waiting() {
            Some(waiting) => writeln!(f, "waits {waiting}")?,
            None => f.write_str("waits for nothing\n")?,
        }
        for (Tally { packets, cents }, place) in [(self.in_rings, "with shards"), (self.void, "void")] {
            writeln!(f, "{packets} packets of {} are {place}, in no ticket", money(cents))?;
        }
        f.write_str("goes back, when nobody takes any more of it:\n")?;
        for Returned { sponsor, name, cents } in &self.back {
            writeln!(f, "  {:>16}  {name} ({sponsor})", money(*cents))?;
        }
        write!(
            f,
            "{} users are owed {}; nothing was changed",
            self.users_owed,
            money(self.owed_cents)
        )
    }
}
