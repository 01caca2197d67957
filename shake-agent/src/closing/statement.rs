//! The closing statement, of one ledger or of a whole fleet: where each sponsor's money is, what users got of it in which phase,
//! and what is owed.

use crate::audit::{self, AuditError, GrantRow, SentTotals, SponsorRow, SponsorTotals, fleet};
use crate::config::Config;
use crate::ledger::{LedgerError, Machine, when};
use crate::names::Names;
use crate::seed_file::Tally;
use crate::seed_fleet::file_name;
use crate::settlement::{self, SettlementError};
use serde::Serialize;
use shake_rules::{EventId, PacketId, UnixMillis};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why there is no statement.
#[derive(Debug, Error)]
pub enum StatementError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger cannot be audited.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The settlement file cannot be read.
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    /// The books have differences.
    #[error("the books do not balance: {count} differences, the first is {first}; `shake-agent audit` names them all")]
    NotBalanced {
        /// How many.
        count: u64,
        /// The first one.
        first: String,
    },
    /// The settlement file has differences.
    #[error(
        "the settlement file {file} does not agree with the ledger: {count} differences, the first is {first}; \
         `shake-agent settlement verify` names them"
    )]
    Disagrees {
        /// The file.
        file: String,
        /// How many.
        count: u64,
        /// The first one.
        first: String,
    },
    /// Lines wait.
    #[error("{lines} lines wait to be written to the settlement file {file}; look at its disk, and close again")]
    Unsettled {
        /// The file.
        file: String,
        /// How many.
        lines: u64,
    },
    /// The ledger is open.
    #[error("the ledger is not closed: `shake-agent close` closes it")]
    Open,
    /// Parts of a fleet have no closed ledger here.
    #[error("there is no statement of all {parts} parts yet: {}", .wanting.join("; "))]
    Parts {
        /// How many parts the seed has.
        parts: usize,
        /// Which are missing or open, and what to do.
        wanting: Vec<String>,
    },
}

/// One sponsor: funded = users + back + void.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SponsorLine {
    /// The sponsor; 0 is the event with its gifts.
    pub sponsor: u16,
    /// Its name.
    pub name: String,
    /// What it funded, in cents.
    pub funded_cents: u64,
    /// What users got of it.
    pub users_cents: u64,
    /// What is its own again.
    pub back_cents: u64,
    /// What lies in the void for good: opened by commits that are lost. The packets are named below.
    pub void_cents: u64,
}

/// What users got in one phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PhaseLine {
    /// Index of the phase.
    pub stage: Option<u16>,
    /// Its name.
    pub name: String,
    /// How many credits.
    pub credits: u64,
    /// Their sum.
    pub cents: u64,
    /// In cents by sponsor.
    pub sponsors: BTreeMap<u16, u64>,
}

/// One ledger, closed and proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerLine {
    /// Which part of the fleet's seed, from 0 on.
    pub part: u16,
    /// Which ledger.
    pub ledger: Option<String>,
    /// The machines that wrote it.
    pub machines: Vec<Machine>,
    /// When it was closed, in milliseconds since 1970 UTC.
    pub closed_ms: u64,
    /// The same for people, in UTC.
    pub closed: String,
    /// The settlement file with the closing line, which agrees with the ledger.
    pub settlement: Option<String>,
    /// Lines in it, the closing line included.
    pub settled_lines: u64,
    /// How many users it owes something.
    pub users_owed: u64,
    /// What it owes them together: each user's last balance, once.
    pub owed_cents: u64,
}

/// A closing statement. It is made of ledgers that are closed, and proved to balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// The event.
    pub event: u32,
    /// Its name; empty when no show tells.
    pub event_name: String,
    /// How many parts the fleet's seed has.
    pub parts: u16,
    /// The ledgers that it is about: one, or all of a fleet.
    pub ledgers: Vec<LedgerLine>,
    /// Parts that no agent ever served. All of them is back.
    pub unused: Vec<u16>,
    /// Each sponsor.
    pub sponsors: Vec<SponsorLine>,
    /// All of them.
    pub total: SponsorLine,
    /// What users got, by phase.
    pub phases: Vec<PhaseLine>,
    /// What users sent each other. It changes nothing about what sponsors paid.
    pub sent: SentTotals,
    /// What the ledgers owe together, in cents.
    pub owed_cents: u64,
    /// Of what is back, that which lay in the void before: in no ticket, or lost.
    pub back_from_void: Tally,
    /// The packets that lie in the void for good.
    pub void_packets: Vec<PacketId>,
}

/// What a statement is made of.
struct Figures<'a> {
    event: u32,
    parts: u16,
    ledgers: Vec<LedgerLine>,
    unused: Vec<u16>,
    sponsors: &'a [SponsorRow],
    total: &'a SponsorTotals,
    grants: &'a [GrantRow],
    sent: SentTotals,
    void_packets: Vec<PacketId>,
}

impl Figures<'_> {
    fn told(self, names: &Names) -> Statement {
        let sponsor = |id, totals: &SponsorTotals| SponsorLine {
            sponsor: id,
            name: names.sponsor(id),
            funded_cents: totals.seed.cents + totals.gifts.cents,
            users_cents: totals.opened.cents,
            // Of parts that nobody served nothing was ever released.
            back_cents: totals.refunded.cents + totals.unreleased.cents,
            void_cents: totals.void.cents + totals.paid.cents,
        };
        let lines = self.sponsors.iter();
        Statement {
            event: self.event,
            event_name: names.event.clone(),
            parts: self.parts,
            owed_cents: self.ledgers.iter().map(|ledger| ledger.owed_cents).sum(),
            ledgers: self.ledgers,
            unused: self.unused,
            sponsors: lines.map(|row| sponsor(row.sponsor, &row.totals)).collect(),
            total: SponsorLine {
                name: "all".to_owned(),
                ..sponsor(0, self.total)
            },
            phases: phases(self.grants, names),
            sent: self.sent,
            back_from_void: self.total.refunded_from_void,
            void_packets: self.void_packets,
        }
    }
}

/// Proves what is in a ledger against its seed, and the settlement file against the ledger. What waits to be settled is no
/// difference here.
///
/// # Errors
/// [`StatementError`], also for any difference.
pub fn prove(config: &Config) -> Result<(audit::Report, Option<settlement::Report>), StatementError> {
    let report = audit::audit(&config.ledger, &config.seed, |_, _| {})?;
    if let Some(first) = report.differences.first() {
        return Err(StatementError::NotBalanced {
            count: report.difference_count,
            first: first.to_string(),
        });
    }
    let Some(file) = &config.settlement else {
        return Ok((report, None));
    };
    let settled = settlement::verify(file, &config.ledger, |_| {})?;
    if let Some(first) = settled.differences.named.first() {
        return Err(StatementError::Disagrees {
            file: file.display().to_string(),
            count: settled.differences.count,
            first: first.to_string(),
        });
    }
    Ok((report, Some(settled)))
}

/// The statement of a closed ledger, with everything proved again.
///
/// # Errors
/// [`StatementError`].
pub fn statement(config: &Config) -> Result<Statement, StatementError> {
    let (report, settled) = prove(config)?;
    let closed_ms = report.closed_ms.ok_or(StatementError::Open)?;
    let file = config.settlement.as_ref().map(|file| file.display().to_string());
    if let (Some(settled), Some(file)) = (&settled, &file)
        && settled.backlog.count > 0
    {
        return Err(StatementError::Unsettled {
            file: file.clone(),
            lines: settled.backlog.count,
        });
    }
    let ledger = LedgerLine {
        part: report.part,
        ledger: report.ledger,
        machines: report.machines,
        closed_ms,
        closed: when(UnixMillis(closed_ms)),
        settlement: file,
        settled_lines: settled.map_or(0, |settled| settled.settled.count),
        users_owed: report.users_owed,
        owed_cents: report.users.cents,
    };
    let figures = Figures {
        event: report.event,
        parts: report.parts,
        ledgers: vec![ledger],
        unused: Vec::new(),
        sponsors: &report.sponsors,
        total: &report.total,
        grants: &report.grants,
        sent: report.sent,
        void_packets: report.paid_packets,
    };
    Ok(figures.told(&Names::read(config, EventId(report.event))))
}

/// The statement of a whole fleet, by what its audit found.
///
/// # Errors
/// [`StatementError::Parts`] when a part has no ledger or an open one, [`StatementError::NotBalanced`] for any difference.
pub fn of_fleet(report: &fleet::Report, names: &Names) -> Result<Statement, StatementError> {
    let parts = report.parts.len();
    let name = |part: u16| format!("part {} of {parts} ({})", part + 1, file_name(part));
    let wanting = report
        .parts
        .iter()
        .filter_map(|row| match (&row.ledger, row.closed_ms) {
            (None, _) if row.balanced => None,
            (None, _) => Some(format!("{} has no ledger; give its copy", name(row.part))),
            // Not one of a part of this seed, or of a version that has no closing.
            (Some(ledger), None) if row.identity.is_none() => Some(format!(
                "{} cannot be read from {ledger}; the audit without --statement says why",
                name(row.part)
            )),
            (Some(ledger), None) => Some(format!(
                "{} is not closed in {ledger}; run `shake-agent close` on its machine, and copy the ledger again",
                name(row.part)
            )),
            (Some(_), Some(_)) => None,
        });
    let wanting: Vec<String> = wanting.collect();
    if !wanting.is_empty() {
        return Err(StatementError::Parts { parts, wanting });
    }
    if let Some(first) = report.differences.first() {
        return Err(StatementError::NotBalanced {
            count: report.difference_count,
            first: first.to_string(),
        });
    }
    let ledger = |row: &fleet::PartRow| {
        row.closed_ms.map(|closed_ms| LedgerLine {
            part: row.part,
            ledger: row.identity.clone(),
            machines: row.machines.clone(),
            closed_ms,
            closed: when(UnixMillis(closed_ms)),
            settlement: row.settlement.clone(),
            settled_lines: row.settled_lines,
            users_owed: row.users_owed,
            owed_cents: row.owed_cents,
        })
    };
    let unused = report.parts.iter().filter(|row| row.ledger.is_none());
    let figures = Figures {
        event: report.event,
        parts: parts as u16,
        ledgers: report.parts.iter().filter_map(ledger).collect(),
        unused: unused.map(|row| row.part).collect(),
        sponsors: &report.sponsors,
        total: &report.total,
        grants: &report.grants,
        sent: report.sent,
        void_packets: report.paid_packets.clone(),
    };
    Ok(figures.told(names))
}

fn phases(grants: &[GrantRow], names: &Names) -> Vec<PhaseLine> {
    let mut phases: BTreeMap<Option<u16>, PhaseLine> = BTreeMap::new();
    for row in grants {
        let line = phases.entry(row.stage).or_insert_with(|| PhaseLine {
            stage: row.stage,
            name: names.phase(row.stage),
            ..PhaseLine::default()
        });
        line.credits += row.credits.credits;
        line.cents += row.credits.cents;
        *line.sponsors.entry(row.sponsor).or_default() += row.credits.cents;
    }
    phases.into_values().collect()
}
