//! One agent of the bench: a ledger, a judge, and claims that are sealed before the clock starts.

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use shake_agent::counters::Counters;
use shake_agent::ledger::{Ledger, Release, Store};
use shake_agent::requests::{Answer, Judge, Origin, Rules};
use shake_agent::seed_file::SeedFile;
use shake_agent::seed_generate::packet_id;
use shake_proto::handoff::record::{Ask, Issued, ReplyTo, Request, What};
use shake_proto::request::{Claim, Grab};
use shake_rules::code::CodeKeys;
use shake_rules::keys::{Key, KeyRing};
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::ticket::{Ticket, TicketKeys};
use shake_rules::winnings::WinLimits;
use shake_rules::{Cents, EventId, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub const EVENT: EventId = EventId(1);
pub const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const SPONSOR: SponsorId = SponsorId(1);
/// Packets that are released and issued in one commit before the clock starts.
const PREPARED_AT_ONCE: u64 = 2_048;
/// How often a commit is tried when another agent stands in the way, as the agent does.
const TRIES_MAX: u32 = 4;
/// So long a request may wait for what another agent has, as at the agent.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What came of one batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch {
    /// Claims that were opened.
    pub opened: u64,
    /// How often it was tried anew.
    pub again: u64,
    /// Asks that waited for too long.
    pub busy: u64,
}

/// A writer of one part.
pub struct Agent<S> {
    ledger: Ledger<S>,
    judge: Judge,
    counters: Arc<Counters>,
    origin: Origin,
    part: u16,
    next: u64,
    users: u64,
    random: StdRng,
    begun: Instant,
    claims: VecDeque<Request>,
    /// What waits for rows that another agent has, and since when.
    waiting: Vec<(Instant, Request)>,
    answers: Vec<(usize, Answer)>,
}

fn ring() -> KeyRing {
    KeyRing::of(Key::new(1, [7; 32]))
}

impl<S: Store> Agent<S> {
    /// Binds the part of this seed. Winners are drawn from so many users.
    pub fn new(mut ledger: Ledger<S>, seed: &SeedFile, users: u64) -> anyhow::Result<Self> {
        ledger.bind_seed(seed, Cents(0), NOW)?;
        let lane = ledger.transaction(NOW, |batch| batch.load_lane(1, 0))?.lane;
        let part = seed.header().part;
        let rules = Rules {
            event: EVENT,
            part,
            limits: WinLimits {
                packets_per_user: 64,
                packets_per_sponsor: 64,
            },
            ticket_lifetime_ms: 86_400_000,
            share_lifetime_ms: 86_400_000,
        };
        let identity = ledger.identity().context("a ledger that is bound has an identity")?;
        let counters = Arc::new(Counters::default());
        let mut random = StdRng::seed_from_u64(part.into());
        let of_judge = StdRng::from_rng(&mut random);
        Ok(Self {
            judge: Judge::new(rules, identity, &ring(), of_judge, Arc::clone(&counters)),
            ledger,
            counters,
            origin: Origin {
                lane,
                grants_pushed: 0,
                is_whole: true,
            },
            part,
            next: 0,
            users,
            random,
            begun: Instant::now(),
            claims: VecDeque::new(),
            waiting: Vec::new(),
            answers: Vec::new(),
        })
    }

    /// Releases and issues so many packets, and seals a ticket for each: claims as a shard sends them.
    pub fn prepare(&mut self, count: u64) -> anyhow::Result<()> {
        let until = self.next + count;
        while self.next < until {
            let some = PREPARED_AT_ONCE.min(until - self.next);
            let (releases, issued) = self.issue(some)?;
            self.commit(&releases, issued.iter())?;
        }
        Ok(())
    }

    fn issue(&mut self, count: u64) -> anyhow::Result<(Vec<Release>, Vec<Request>)> {
        let keys = TicketKeys::new(&ring());
        let identity = self.ledger.identity().context("it is bound")?;
        let (mut releases, mut requests) = (Vec::new(), Vec::new());
        for index in self.next..self.next + count {
            let packet = packet_id(EVENT, self.part, index);
            let user = UserId(self.random.next_u64() % self.users);
            releases.push(Release {
                seed_index: index,
                record: SeedRecord {
                    packet,
                    amount: Cents(100),
                    sponsor: SPONSOR,
                    kind: PacketKind::Plain,
                },
                lane: self.origin.lane,
                grant_position: index,
            });
            requests.push(Request::Issued(Issued {
                packet,
                user,
                stage: 1,
                at: NOW,
                ends: Some(NOW.plus_ms(86_400_000)),
            }));
            let ticket = Ticket {
                event: EVENT,
                packet,
                user,
                sponsor: SPONSOR,
                stage: 1,
                issued_at: NOW,
                expires_at: NOW.plus_ms(86_400_000),
            };
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&packet.0.to_le_bytes());
            let mut sealed = Vec::new();
            keys.seal(&identity, &ticket, nonce, &mut sealed);
            let claim = Claim {
                ticket: sealed.into(),
                cookie: Default::default(),
            };
            self.claims.push_back(ask(user, What::Claim(claim)));
        }
        self.next += count;
        Ok((releases, requests))
    }

    /// How many claims are ready.
    pub fn ready(&self) -> u64 {
        self.claims.len() as u64
    }

    /// Commits the next claims, and a grab of the packet that everybody grabs, if there is one, with what waited before.
    pub fn open(&mut self, count: u64, everybodys: Option<PacketId>) -> anyhow::Result<Batch> {
        let now = Instant::now();
        let mut batch = mem::take(&mut self.waiting);
        if let Some(packet) = everybodys {
            let identity = self.ledger.identity().context("it is bound")?;
            let code = CodeKeys::new(&ring()).code(&identity, packet).to_vec().into();
            let user = UserId(self.random.next_u64() % self.users);
            batch.push((now, ask(user, What::Grab(Grab { code }))));
        }
        let count = usize::try_from(count.min(self.ready()))?;
        batch.extend(self.claims.drain(..count).map(|claim| (now, claim)));
        let (at, judge) = (self.at(), &self.judge);
        let may_wait = |(since, request): &mut (Instant, Request)| {
            now.duration_since(*since) < WAIT_MAX && judge.is_elsewhere(request, at)
        };
        self.waiting.extend(batch.extract_if(.., may_wait));
        let (again, waits) = self.commit(&[], batch.iter().map(|(_, request)| request))?;
        let is_claim = |at: usize| matches!(&batch[at].1, Request::Ask(ask) if matches!(ask.what, What::Claim(_)));
        let opened = self.answers.iter().filter(|(at, _)| is_claim(*at)).count() as u64;
        if let Some((reason, _)) = self.counters.refused.iter().find(|(_, refused)| refused.value() > 0) {
            bail!("an ask was refused: {}", reason.name());
        }
        let mut busy = 0;
        for at in waits {
            let (since, request) = batch[at].clone();
            if now.duration_since(since) < WAIT_MAX {
                self.waiting.push((since, request));
            } else {
                busy += 1;
            }
        }
        Ok(Batch { opened, again, busy })
    }

    /// The bench's time, as it passes.
    fn at(&self) -> UnixMillis {
        NOW.plus_ms(self.begun.elapsed().as_millis() as u64)
    }

    /// One commit. Gives how often it was tried anew, and which requests wait for another agent.
    fn commit<'r>(
        &mut self,
        releases: &[Release],
        requests: impl Iterator<Item = &'r Request> + Clone,
    ) -> anyhow::Result<(u64, Vec<usize>)> {
        let now = self.at();
        let mut tries = 1;
        loop {
            self.answers.clear();
            let (judge, answers, origin) = (&mut self.judge, &mut self.answers, self.origin);
            let heard = requests.clone().enumerate().map(|(at, request)| (at, origin, request));
            let done = self.ledger.transaction(now, |batch| {
                if !releases.is_empty() {
                    batch.release(releases);
                }
                judge.hear(batch, heard, now, answers)
            });
            match done {
                Ok(waits) => return Ok((u64::from(tries - 1), waits)),
                Err(fault) if fault.is_conflict() && tries < TRIES_MAX => {
                    tries += 1;
                    thread::sleep(Duration::from_millis(self.random.random_range(1..=10)));
                }
                Err(fault) => return Err(fault.into()),
            }
        }
    }
}

fn ask(user: UserId, what: What) -> Request {
    Request::Ask(Ask {
        reply_to: ReplyTo {
            request_id: 1,
            epoch: 1,
        },
        user,
        at: NOW,
        what,
    })
}
