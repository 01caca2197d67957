//! The life of a part besides its agent's: who has it, how it goes to another agent, and how it ends when its machine is gone. The
//! epoch makes each of it safe: whoever had the part before ends at its next transaction.

use super::halt::{self, Halt};
use super::link::{Failure, Link};
use super::read::Parameter;
use super::rows::{id, number, time};
use super::standing::Owner;
use super::{Access, Installation, LedgerError, Postgres};
use crate::ledger::{Ledger, Needed};
use shake_rules::seed::SeedHeader;
use shake_rules::{PacketId, UnixMillis};
use std::path::{Path, PathBuf};
use tokio_postgres::Row;

/// Whose agent made a commit within so long seems to run, in milliseconds.
pub const SEEN_MS: u64 = 10_000;
/// Packets in one transaction of a part that is retired: others wait for it as short as for any.
const RETIRE_MAX: usize = 256;

/// Who takes a part over.
pub(super) enum Taking {
    /// Its agent, which is started.
    Run(Installation),
    /// Another agent, whoever had it.
    Adopt { by: Installation, forced: bool },
    /// Nobody.
    Retire { forced: bool },
    /// Who goes on with a ledger that lost commits, of which `known` was the last. One that is gone is nobody's afterwards.
    AcceptLoss { known: u64, is_gone: bool },
}

impl Taking {
    /// Takes it, and gives its epoch and stamp.
    pub(super) async fn take(&self, link: &Link, part: i32) -> Result<(i64, u64), Failure> {
        let installation = match self {
            Self::Run(by) | Self::Adopt { by, .. } => Some(by.0.as_slice()),
            Self::Retire { .. } => None,
            Self::AcceptLoss { known, is_gone } => return halt::skip_numbers(link, part, *known, *is_gone).await,
        };
        let with: [Parameter<'_>; 2] = [&part, &installation];
        let row = link.client.query_one(&link.statements.take_part, &with).await?;
        Ok((row.try_get(0)?, id(&row, 1)?))
    }

    /// Whether it may be taken. Of a ledger that is halted by nobody but who goes on with it.
    pub(super) fn is_allowed(&self, owner: &Owner, halted: Option<Halt>, place: &Path) -> Result<(), LedgerError> {
        self.is_owners(owner, place)?;
        let place = || place.to_owned();
        match (self, halted) {
            (Self::AcceptLoss { .. }, None) => Err(LedgerError::NotHalted(place())),
            (Self::AcceptLoss { .. }, Some(_)) | (_, None) => Ok(()),
            (_, Some(halt)) => Err(LedgerError::Halted { place: place(), halt }),
        }
    }

    fn is_owners(&self, owner: &Owner, place: &Path) -> Result<(), LedgerError> {
        match self {
            Self::Run(_) if owner.is_retired => Err(LedgerError::Retired(place.to_owned())),
            Self::Run(by) => match &owner.installation {
                Some(other) if other[..] != by.0 => Err(LedgerError::OthersPart(place.to_owned())),
                _ => Ok(()),
            },
            Self::Adopt { forced: true, .. } | Self::Retire { forced: true } | Self::AcceptLoss { .. } => Ok(()),
            Self::Adopt { forced: false, .. } | Self::Retire { forced: false } => match owner.seen_ms_ago {
                Some(ago_ms) if owner.installation.is_some() && ago_ms < SEEN_MS.cast_signed() => {
                    Err(LedgerError::PartSeen {
                        place: place.to_owned(),
                        ago_ms: ago_ms.max(0).cast_unsigned(),
                    })
                }
                _ => Ok(()),
            },
        }
    }
}

/// Gives the part of this seed to an installation, whose agent hands out from then on what is unreleased.
///
/// # Errors
/// As [`Postgres::survey`], and [`LedgerError::PartSeen`] unless it is forced.
pub fn adopt(access: impl Into<Access>, seed: &SeedHeader, by: Installation, forced: bool) -> Result<(), LedgerError> {
    let access = access.into();
    Postgres::survey(&access, seed, None)?;
    Postgres::take(access, seed.part, &Taking::Adopt { by, forced }).map(drop)
}

/// Ends a part whose machine is gone. What was released there and is in no ticket that the ledger knows of is lost: its money lies in
/// the void until a ticket is shown. What it has drawn for gifts goes back. May be done again. Gives the packets that it made lost.
///
/// # Errors
/// As [`Postgres::open`], and [`LedgerError::PartSeen`] unless it is forced.
pub fn retire(
    access: impl Into<Access>,
    part: u16,
    forced: bool,
    now: UnixMillis,
) -> Result<Vec<PacketId>, LedgerError> {
    let mut ledger = Ledger::on(Postgres::take(access.into(), part, &Taking::Retire { forced })?)?;
    ledger.lose_held(now)
}

impl Ledger<Postgres> {
    /// Of a part that no agent has any more: what it had released and is not issued is lost, and what it had drawn for gifts goes back.
    /// Gives the packets that are lost by it.
    ///
    /// # Errors
    /// A failed write.
    pub fn lose_held(&mut self, now: UnixMillis) -> Result<Vec<PacketId>, LedgerError> {
        let held = self.store().held()?;
        let mut lost = Vec::new();
        for packets in held.chunks(RETIRE_MAX) {
            let needed = Needed {
                packets: packets.to_vec(),
                ..Needed::default()
            };
            let now_lost = self.transaction(now, |batch| {
                batch.load(&needed)?;
                // What was opened meanwhile is released no more.
                let held = batch.held(packets);
                batch.lose_packets(&held);
                Ok(held)
            })?;
            lost.extend(now_lost.iter().map(|held| held.packet));
        }
        self.put_gifts_back(now)?;
        Ok(lost)
    }
}

impl Postgres {
    /// What is released and not issued, of this part.
    fn held(&self) -> Result<Vec<PacketId>, LedgerError> {
        let found = self.read(async {
            Ok(self
                .link
                .client
                .query(&self.link.statements.see_held, &[&self.home.part])
                .await?)
        })?;
        let ids = found.iter().map(|row| id(row, 0).map(PacketId));
        ids.collect::<Result<_, Failure>>().map_err(self.home.failed("read"))
    }
}

/// A part, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRow {
    /// Its number.
    pub part: u16,
    /// Packets of its seed.
    pub packets: u64,
    /// How many of them are released.
    pub released: u64,
    /// How many of those are with shards, and not issued.
    pub held: u64,
    /// How many are lost.
    pub lost: u64,
    /// How often an agent took it over.
    pub epoch: u64,
    /// How many commits it has.
    pub stamp: u64,
    /// Whose it is; `None` of one that no agent has had, and of one that is retired.
    pub installation: Option<Installation>,
    /// When its agent made a commit, by the server's clock; and how long ago that is, in milliseconds.
    pub seen: Option<(UnixMillis, u64)>,
    /// Since when it is retired.
    pub retired: Option<UnixMillis>,
    /// Since when its books are closed.
    pub closed: Option<UnixMillis>,
    /// What the machine is called that wrote it last.
    pub machine: Option<String>,
}

/// All parts of a ledger, in order.
///
/// # Errors
/// [`LedgerError::Postgres`].
pub fn parts(access: impl Into<Access>) -> Result<Vec<PartRow>, LedgerError> {
    let access = access.into();
    let place: PathBuf = access.to_string().into();
    let failed = |action| {
        let place = place.clone();
        move |source| LedgerError::Postgres { action, place, source }
    };
    let link = Link::connect(&access).map_err(failed("connect to"))?;
    let found = link.wait(async {
        let rows = link.client.query(&link.statements.parts, &[]).await?;
        rows.iter().map(row).collect::<Result<_, Failure>>()
    });
    found.map_err(failed("read"))
}

fn row(row: &Row) -> Result<PartRow, Failure> {
    let installation: Option<Vec<u8>> = row.try_get(7)?;
    let installation = installation.map(|bytes| bytes.try_into().map(Installation));
    let ago_ms: Option<i64> = row.try_get(9)?;
    Ok(PartRow {
        part: number(row, 0)?,
        packets: id(row, 1)?,
        released: id(row, 2)?,
        held: id(row, 3)?,
        lost: id(row, 4)?,
        epoch: id(row, 5)?,
        stamp: id(row, 6)?,
        installation: installation
            .transpose()
            .map_err(|_| Failure::strange("parts", "installation"))?,
        seen: time(row, 8)?.zip(ago_ms.map(|ago_ms| ago_ms.max(0).cast_unsigned())),
        retired: time(row, 10)?,
        closed: time(row, 11)?,
        machine: row.try_get(12)?,
    })
}
