//! The part that an agent writes for: where it is, and what is known of it. It is more than a connection, which comes and goes.

use super::access::Access;
use super::link::{Failure, Link};
use super::standing::Fence;
use super::{rows, server_name, standing};
use crate::ledger::LedgerError;
use std::path::PathBuf;
use tokio_postgres::Config;

/// A part, as its agent knows it.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) access: Access,
    pub(super) part: i32,
    /// Server, database and part, for messages.
    pub(super) place: PathBuf,
    pub(super) epoch: i64,
    /// Of the last commit that is known to be there.
    pub(super) stamp: u64,
    /// Of a commit that was sent and never answered.
    pub(super) in_doubt: Option<u64>,
}

impl Home {
    pub(super) fn failed(&self, action: &'static str) -> impl FnOnce(Failure) -> LedgerError {
        let place = self.place.clone();
        move |source| LedgerError::Postgres { action, place, source }
    }

    /// Locks the part's row of a transaction that begins.
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
        if fence.epoch != self.epoch {
            return Err(LedgerError::TakenOver(self.place.clone()));
        }
        Ok(fence)
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
