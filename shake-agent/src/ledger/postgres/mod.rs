//! The store of many machines: one PostgreSQL database for all parts of an event. Any agent may change any packet and any user,
//! under the lock of their rows; each writes what it does into the books of its own part.
//!
//! ```text
//! BEGIN, lock the part's row: epoch and stamp are those that are remembered
//!   ─▶ lock one's own packets; lock other packets, then users, and skip those that another has; make users that are not there
//!   ─▶ read shares, offers and send keys, by statements after those locks
//!   ─▶ judge, in memory ─▶ one statement a table ─▶ each met every row ─▶ COMMIT
//! ```
//! The *stamp* says whether a commit took effect of which nobody heard: [`Store::reopen`] locks the part's row, which waits
//! for the connection before, and finds the stamp that it knew, or the one after it. The *epoch* fences: whoever opens a part
//! raises it, and the agent before ends at its next transaction.
//!
//! Written after the interleavings that a simpler design does not survive: decision record 0025.

mod access;
mod gifts;
mod halt;
mod home;
mod init;
mod link;
mod list;
mod look;
mod part;
mod read;
mod rows;
mod schema;
mod snapshot;
mod standing;
mod statements;
mod write;

pub use access::Access;
pub use halt::{Halt, Known, Loss, SKIPPED};
pub use init::{Installation, init};
pub use link::Failure;
pub use part::{PartRow, SEEN_MS, adopt, parts, retire};
pub(super) use snapshot::{Fetched, Snapshot};

use super::differences::Differences;
use super::opening::Incarnation;
use super::spans::Spans;
use super::standing::Standing;
use super::store::{Listing, Look, Needed, Reached, Seen, Store};
use super::view::View;
use super::{LedgerError, packet::Packet};
use home::{Home, place};
use link::Link;
use part::Taking;
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, LedgerId, PacketId, UnixMillis};
use standing::Database;
use std::cell::Cell;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Instant;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// A part of a ledger in PostgreSQL, which this process alone writes for.
#[derive(Debug)]
pub struct Postgres {
    link: Link,
    home: Home,
    database: Database,
    header: SeedHeader,
    /// A thread that reaches the part anew.
    reaching: Option<JoinHandle<(Home, Result<Link, LedgerError>)>>,
    /// What the server's clock was, and when that was asked.
    clock: (UnixMillis, Instant),
    /// How many spans the server has, and how many of them are known.
    spans: i64,
    spans_known: Cell<i64>,
}

impl Postgres {
    /// Connects, and takes the part over from whoever had it in this installation.
    ///
    /// # Errors
    /// [`LedgerError::Postgres`] when the server does not do it, [`LedgerError::Version`], [`LedgerError::NoPart`],
    /// [`LedgerError::OthersPart`] when the part belongs to another installation, and [`LedgerError::Retired`].
    pub fn open(access: impl Into<Access>, part: u16, installation: Installation) -> Result<Self, LedgerError> {
        Self::take(access.into(), part, &Taking::Run(installation))
    }

    fn take(access: Access, part: u16, taking: &Taking) -> Result<Self, LedgerError> {
        let place = place(&access.config, part);
        let failed = |action| {
            let place = place.clone();
            move |source| LedgerError::Postgres { action, place, source }
        };
        let part = i32::from(part);
        let (link, database) = connect(&access, &place)?;
        let found = link.wait(async {
            link.client.batch_execute("BEGIN").await?;
            let fence = standing::fence(&link, part).await?;
            Ok(fence.zip(standing::owner(&link, part).await?))
        });
        let Some((fence, owner)) = found.map_err(failed("read"))? else {
            return Err(LedgerError::NoPart(place));
        };
        let clock = (fence.now, Instant::now());
        taking.is_allowed(&owner, fence.halted, &place)?;
        let taken = link.wait(taking.take(&link, part));
        let (epoch, stamp) = taken.map_err(failed("take over"))?;
        link.commit().map_err(failed("commit to"))?;
        // Of no opening: that is asked for later.
        let standing = standing::standing(&link, part, &database, Incarnation(0));
        let (standing, header) = link.wait(standing).map_err(failed("read"))?;
        Ok(Self {
            link,
            home: Home {
                access,
                part,
                place,
                identity: database.identity,
                epoch,
                stamp,
                in_doubt: None,
                released: standing.bound.map(|bound| bound.released).unwrap_or_default(),
                accepts_loss: matches!(taking, Taking::AcceptLoss { .. }),
            },
            database,
            header,
            reaching: None,
            clock,
            spans: 0,
            // Read when the first transaction begins.
            spans_known: Cell::new(-1),
        })
    }

    /// What would keep an agent from opening the part of this seed, where that can be seen without taking it over. Gives which
    /// ledger it is.
    ///
    /// # Errors
    /// As [`Postgres::open`], and [`LedgerError::OtherSeed`].
    pub fn survey(
        access: impl Into<Access>,
        seed: &SeedHeader,
        installation: Option<Installation>,
    ) -> Result<LedgerId, LedgerError> {
        let access = access.into();
        let place = place(&access.config, seed.part);
        let failed = |action| {
            let place = place.clone();
            move |source| LedgerError::Postgres { action, place, source }
        };
        let part = i32::from(seed.part);
        let (link, database) = connect(&access, &place)?;
        let owner = link.wait(standing::owner(&link, part)).map_err(failed("read"))?;
        let owner = owner.ok_or_else(|| LedgerError::NoPart(place.clone()))?;
        match (installation, database.halted) {
            (Some(installation), halted) => Taking::Run(installation).is_allowed(&owner, halted, &place)?,
            (None, Some(halt)) => return Err(LedgerError::Halted { place, halt }),
            (None, None) => {}
        }
        let standing = standing::standing(&link, part, &database, Incarnation(0));
        let (_, bound) = link.wait(standing).map_err(failed("read"))?;
        if bound != *seed {
            return Err(LedgerError::OtherSeed {
                ledger: place,
                seed: "the seed file of this agent".into(),
                bound: Box::new(bound),
                found: Box::new(*seed),
            });
        }
        Ok(database.identity)
    }

    fn read<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, LedgerError> {
        self.link.wait(work).map_err(self.home.failed("read"))
    }
}

impl Store for Postgres {
    fn place(&self) -> &Path {
        &self.home.place
    }

    fn identity(&self) -> Option<LedgerId> {
        Some(self.database.identity)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn standing(&self, incarnation: Incarnation) -> Result<Standing, LedgerError> {
        let standing = standing::standing(&self.link, self.home.part, &self.database, incarnation);
        Ok(self.read(standing)?.0)
    }

    fn reopen(&mut self) -> Result<Reached, LedgerError> {
        let Some(thread) = self.reaching.take() else {
            // What the server has begun there need not wait for its time-outs.
            self.link.hang_up();
            let mut home = self.home.clone();
            let thread = thread::Builder::new().name("reach".into()).spawn(move || {
                let link = home.reach();
                (home, link)
            });
            let thread = thread.map_err(|source| self.home.failed("connect to")(Failure::Io(source)))?;
            self.reaching = Some(thread);
            return Ok(Reached::NotYet);
        };
        if !thread.is_finished() {
            self.reaching = Some(thread);
            return Ok(Reached::NotYet);
        }
        let (home, link) = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        self.home = home;
        let link = link?;
        link.wait_until(self.link.end());
        self.link = link;
        Ok(Reached::Now)
    }

    fn wait_until(&self, end: Option<Instant>) {
        self.link.wait_until(end);
    }

    fn begin(&mut self) -> Result<(), LedgerError> {
        let fence = self.home.lock(&self.link)?;
        if fence.stamp != self.home.stamp {
            return Err(self.home.other_state(fence.stamp));
        }
        self.clock = (fence.now, Instant::now());
        self.spans = fence.spans;
        Ok(())
    }

    fn new_spans(&self) -> Result<Option<Spans>, LedgerError> {
        if self.spans == self.spans_known.get() {
            return Ok(None);
        }
        let (spans, count) = self.read(standing::spans(&self.link))?;
        self.spans_known.set(count);
        Ok(Some(spans))
    }

    fn now(&self) -> Option<UnixMillis> {
        let (at, asked) = self.clock;
        Some(at.plus_ms(asked.elapsed().as_millis() as u64))
    }

    fn least_answered(&self, counts_silence: bool) -> Result<Option<UnixMillis>, LedgerError> {
        self.read(look::least_answered(&self.link, counts_silence))
    }

    fn load(&self, needed: &Needed, view: &mut View) -> Result<(), LedgerError> {
        self.read(read::load(&self.link, self.home.part, needed, view))
    }

    fn list(&self, listing: &Listing, view: &mut View) -> Result<Vec<PacketId>, LedgerError> {
        let found = self.read(list::list(&self.link, self.home.part, listing))?;
        let put = |(id, packet): (PacketId, Packet)| {
            view.put_packet(id, Some(packet));
            id
        };
        Ok(found.into_iter().map(put).collect())
    }

    fn raise_gift_budget(&self, to: Cents) -> Result<Option<Cents>, LedgerError> {
        let before = self.link.wait(gifts::raise_budget(&self.link, to));
        before.map(Some).map_err(self.home.failed("write to"))
    }

    fn draw_gifts(&self, needed: i64, ahead: i64) -> Result<i64, LedgerError> {
        let drawn = self.link.wait(gifts::draw(&self.link, needed, ahead));
        drawn.map_err(self.home.failed("write to"))
    }

    fn commit(&mut self, differences: &Differences) -> Result<(), LedgerError> {
        if let Some(seed) = differences.seed.as_ref().filter(|seed| seed.header != self.header) {
            return Err(LedgerError::OtherSeed {
                ledger: self.home.place.clone(),
                seed: "the seed file of this agent".into(),
                bound: Box::new(self.header),
                found: Box::new(seed.header),
            });
        }
        let written = self.link.wait(write::write(&self.link, self.home.part, differences));
        written.map_err(self.home.failed("write to"))?;
        crate::crash::point("turn:before-commit");
        self.home.in_doubt = Some(differences.stamp);
        self.home.released.extend(differences.released.iter().copied());
        self.link.commit().map_err(self.home.failed("commit to"))?;
        (self.home.stamp, self.home.in_doubt) = (differences.stamp, None);
        Ok(())
    }

    fn roll_back(&mut self) {
        // A connection that cannot say it is given up, and with it the transaction.
        let _ = self
            .link
            .wait(async { Ok(self.link.client.batch_execute("ROLLBACK").await?) });
    }

    fn look(&self, look: &Look) -> Result<Seen, LedgerError> {
        self.read(look::look(&self.link, look))
    }

    fn are_out(&self) -> Result<bool, LedgerError> {
        self.read(look::are_out(&self.link))
    }

    fn first_due(&self) -> Result<Option<UnixMillis>, LedgerError> {
        self.read(look::time_of(
            &self.link,
            self.home.part,
            &self.link.statements.first_due,
        ))
    }

    fn last_lost(&self) -> Result<Option<UnixMillis>, LedgerError> {
        self.read(look::time_of(
            &self.link,
            self.home.part,
            &self.link.statements.last_lost,
        ))
    }
}

/// A connection to a ledger of a version that this program knows, and what that says of itself.
fn connect(access: &Access, place: &Path) -> Result<(Link, Database), LedgerError> {
    let failed = |action| {
        let place = place.to_owned();
        move |source| LedgerError::Postgres { action, place, source }
    };
    let link = Link::connect(access).map_err(failed("connect to"))?;
    let database = link.wait(standing::database(&link)).map_err(failed("read"))?;
    if database.version != schema::VERSION {
        return Err(LedgerError::Version {
            path: place.to_owned(),
            found: database.version,
            supported: schema::VERSION,
        });
    }
    Ok((link, database))
}

/// A server's database, for messages: without user and password.
#[must_use]
pub fn server_name(config: &Config) -> String {
    let host = config.get_hosts().first().map_or_else(String::new, |host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let database = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
    format!("postgres://{host}:{port}/{database}")
}
