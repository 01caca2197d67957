//! The closing statement of one ledger: where each sponsor's money is, what users got of it in which phase, and what is owed.

use super::Names;
use crate::audit::{self, AuditError, GrantRow, SentTotals, SponsorTotals};
use crate::config::Config;
use crate::ledger::{self, LedgerError, when};
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
    /// What lies in the void: in no ticket, or closed by an accepted loss. The packets are named below.
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

/// A closing statement. It is made of a ledger that is closed, and proved to balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// The event.
    pub event: u32,
    /// Its name; empty when no show tells.
    pub event_name: String,
    /// Which part of the fleet's seed, from 0 on.
    pub part: u16,
    /// Of how many.
    pub parts: u16,
    /// Which ledger.
    pub ledger: Option<String>,
    /// When it was closed, in milliseconds since 1970 UTC.
    pub closed_ms: u64,
    /// The same for people, in UTC.
    pub closed: String,
    /// Each sponsor.
    pub sponsors: Vec<SponsorLine>,
    /// All of them.
    pub total: SponsorLine,
    /// What users got, by phase.
    pub phases: Vec<PhaseLine>,
    /// What users sent each other. It changes nothing about what sponsors paid.
    pub sent: SentTotals,
    /// How many users are owed something.
    pub users_owed: u64,
    /// What they are owed together: each user's last balance, once.
    pub owed_cents: u64,
    /// The settlement file with the closing line, which agrees with the ledger.
    pub settlement: Option<String>,
    /// Lines in it, the closing line included.
    pub settled_lines: u64,
    /// The void packets.
    pub void_packets: Vec<PacketId>,
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
    let names = Names::read(config, EventId(report.event));
    let (identity, owed) = read(config)?;
    let sponsor = |id, totals: &SponsorTotals| SponsorLine {
        sponsor: id,
        name: names.sponsor(id),
        funded_cents: totals.seed.cents + totals.gifts.cents,
        users_cents: totals.opened.cents,
        back_cents: totals.refunded.cents,
        void_cents: totals.void.cents,
    };
    Ok(Statement {
        event: report.event,
        event_name: names.event.clone(),
        part: report.part,
        parts: report.parts,
        ledger: identity,
        closed_ms,
        closed: when(UnixMillis(closed_ms)),
        sponsors: report
            .sponsors
            .iter()
            .map(|row| sponsor(row.sponsor, &row.totals))
            .collect(),
        total: SponsorLine {
            name: "all".to_owned(),
            ..sponsor(0, &report.total)
        },
        phases: phases(&report.grants, &names),
        sent: report.sent,
        users_owed: owed.0,
        owed_cents: owed.1,
        settlement: file,
        settled_lines: settled.map_or(0, |settled| settled.settled.count),
        void_packets: report.void_packets,
    })
}

/// The ledger's identity, and how many users are owed how much.
fn read(config: &Config) -> Result<(Option<String>, (u64, u64)), LedgerError> {
    let path = &config.ledger;
    let sqlite = |source| LedgerError::sqlite("read", path, source);
    let connection = ledger::open_read_only(path)?;
    let bound = ledger::bound_seed(&connection).map_err(sqlite)?;
    let out = ledger::still_out(&connection, 0, UnixMillis(0)).map_err(sqlite)?;
    let identity = bound
        .and_then(|bound| bound.identity)
        .map(|identity| identity.to_string());
    Ok((identity, (out.users_owed, out.owed_cents)))
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
