//! The part that an agent writes for: where it is, and what is known of it. It is more than a connection, which comes and goes.

use super::access::Access;
use super::halt::{self, Halt, Known};
use super::link::{Failure, Link};
use super::standing::Fence;
use super::{rows, server_name, standing};
use crate::ledger::LedgerError;
use shake_rules::{LedgerId, SponsorId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio_postgres::Config;

/// A part, as its agent knows it.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) access: Access,
    pub(super) part: i32,
    /// Server, database and part, for messages.
    pub(super) place: PathBuf,
    pub(super) identity: LedgerId,
    pub(super) epoch: i64,
    /// Of the last commit that is known to be there.
    pub(super) stamp: u64,
    /// Of a commit that was sent and never answered.
    pub(super) in_doubt: Option<u64>,
    /// How many packets of each sponsor are released, with those of a commit in doubt.
    pub(super) released: BTreeMap<SponsorId, u64>,
    /// This is no agent, but who decides what becomes of a ledger that is halted.
    pub(super) accepts_loss: bool,
}

impl Home {
    pub(super) fn failed(&self, action: &'static str) -> impl FnOnce(Failure) -> LedgerError {
        let place = self.place.clone();
        move |source| LedgerError::Postgres { action, place, source }
    }

    /// Locks the part's row of a transaction that begins. A server that is older than what is known here is halted for all.
    pub(super) fn lock(&self, link: &Link) -> Result<Fence, LedgerError> {
        let fence = link.wait(async {
            let (_, fence) = tokio::try_join!(
                biased;
                async { Ok::<_, Failure>(link.client.batch_execute("BEGIN").await?) },
                standing::fence(link, self.part),
            )?;
            Ok(fence)
        });
        let fence = fence.map_err(self.failed("begin a transaction in"))?;
        let fence = fence.ok_or_else(|| LedgerError::NoPart(self.place.clone()))?;
        if fence.epoch > self.epoch {
            return Err(LedgerError::TakenOver(self.place.clone()));
        }
        if self.accepts_loss {
            return Ok(fence);
        }
        let is_older = fence.epoch < self.epoch || fence.stamp < self.stamp;
        if is_older || fence.halted.is_some() {
            return Err(self.end(link, &fence, is_older));
        }
        Ok(fence)
    }

    /// Halts the ledger if it is older and not halted yet, says what is known here of the part, and gives why nothing is written any
    /// more. While that cannot be said, the server is away.
    fn end(&self, link: &Link, fence: &Fence, is_older: bool) -> LedgerError {
        let stamp = self.in_doubt.unwrap_or(self.stamp);
        let known = Known {
            stamp,
            released: self.released.clone(),
        };
        let told = link.wait(async {
            let halted = match fence.halted {
                None if is_older => halt::halt(link, self.identity, self.part, [stamp, fence.stamp]).await?,
                halted => halted,
            };
            halt::tell(link, self.identity, self.part, &known).await?;
            Ok(halted)
        });
        let told = told.and_then(|halted: Option<Halt>| link.commit().map(|()| halted));
        match told {
            Ok(Some(halt)) => LedgerError::Halted {
                place: self.place.clone(),
                halt,
            },
            Ok(None) => self.other_state(fence.stamp),
            Err(failure) => self.failed("write to")(failure),
        }
    }

    pub(super) fn other_state(&self, found: u64) -> LedgerError {
        LedgerError::OtherState {
            place: self.place.clone(),
            known: self.in_doubt.unwrap_or(self.stamp),
            found,
        }
    }

    /// Connects, finds out whether the commit in doubt took effect, and makes one. Each answer has the time that a server may
    /// be silent.
    pub(super) fn reach(&mut self) -> Result<Link, LedgerError> {
        let link = Link::connect(&self.access).map_err(self.failed("connect to"))?;
        let found = self.lock(&link)?.stamp;
        if found != self.stamp && Some(found) != self.in_doubt {
            return Err(self.other_state(found));
        }
        // Before anything that was seen is told, a commit of one's own: then it is on every standby that this one is on.
        let raised = link.wait(async {
            let row = link
                .client
                .query_one(&link.statements.raise_stamp, &[&self.part])
                .await?;
            rows::id(&row, 0)
        });
        let raised = raised.map_err(self.failed("write to"))?;
        // Until it is answered, one of the three is there.
        (self.stamp, self.in_doubt) = (found, Some(raised));
        link.commit().map_err(self.failed("commit to"))?;
        (self.stamp, self.in_doubt) = (raised, None);
        Ok(link)
    }
}

/// Server, database and part.
pub(super) fn place(config: &Config, part: u16) -> PathBuf {
    format!("{} (part {part})", server_name(config)).into()
}
