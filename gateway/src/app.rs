//! The shake application of a shard: what it needs to answer requests, apart from the connections themselves. Its parts are
//! named for what they are; handlers get those that they use.

use crate::abuse::Reports;
use crate::agent_link::AgentLink;
use crate::blocklist::{Blocklist, Taken};
use crate::conditions::Conditions;
use crate::cookies::Seals;
use crate::counters::{Busy, Counters};
use crate::handlers::PutOff;
use crate::huge_pages::Ahead;
use crate::in_flight::{Ledger, ReturnAddress};
use crate::limits::{Applicant, Decision, Limits};
use crate::shard::growth::Growth;
use crate::shard::io::Now;
use crate::shard::rounds::Rounds;
use crate::shard::terms::{Proof, Term, Terms};
use crate::state::Shared;
use bytes::BytesMut;
use shake_proto::handoff::abuse::Block;
use shake_proto::handoff::record::{Notice, Reply};
use shake_proto::request_kind::{LedgerAnswer, RequestKind};
use shake_proto::wire::v1::{self, reply::Kind};
use shake_rules::grade::Grade;
use shake_rules::limit::Shared as Limited;
use shake_rules::throttle::GradeRules;
use shake_rules::{DeviceId, UserId};
use std::net::IpAddr;
use std::sync::Arc;

/// What becomes of a request.
pub enum Answer {
    Now(Kind),
    /// The agent has it, or nobody waits for an answer.
    Pending,
}

impl Answer {
    /// "Ask again", for the load or for the user being blocked; nothing where nobody waits for it.
    pub fn busy(kind: RequestKind, retry_after_ms: u32, blocked: bool) -> Self {
        let reply = kind.busy(v1::Busy {
            retry_after_ms,
            blocked,
        });
        reply.map_or(Self::Pending, Self::Now)
    }

    /// What is answered at once.
    pub fn at_once(&self) -> Option<&Kind> {
        match self {
            Self::Now(kind) => Some(kind),
            Self::Pending => None,
        }
    }
}

/// What to do for a session, outside of its own events.
pub enum Delivery {
    /// The answer to a request.
    Reply(ReturnAddress, Kind),
    /// A notice for a user who is here, by the session's index.
    Notice(usize, v1::notice::Kind),
}

pub struct Gateway {
    pub shared: Arc<Shared>,
    pub shard: u16,
    pub counters: Arc<Counters>,
    pub conditions: Conditions,
    /// Clients are to be told of a phase that began or ended, or of another show.
    pub is_new_phase: bool,
    is_draining: bool,
    /// The release rate of the phase, for this shard.
    pub release: Limited,
    /// Its gifts, as many as this shard has of all users.
    pub gifts: Limited,
    pub limits: Limits,
    pub blocklist: Blocklist,
    pub ledger: Ledger,
    pub seals: Seals,
    /// Until when each session may stay.
    pub terms: Terms,
    pub rounds: Rounds,
    pub growth: Growth,
    pub reports: Reports,
    pub put_off: PutOff,
    /// Where replies are encoded: cut off piece by piece, refilled when used up.
    pub arena: BytesMut,
    // What comes from the agent, used again.
    replies: Vec<Reply>,
    notices: Vec<Notice>,
    blocks: Vec<Block>,
}

impl Gateway {
    pub fn new(
        shared: Arc<Shared>,
        shard: u16,
        counters: Arc<Counters>,
        link: AgentLink,
        ahead: Ahead,
        now: Now,
    ) -> Self {
        let snapshot = shared.current.snapshot();
        shared.current.runs(shard, &snapshot);
        Self {
            conditions: Conditions::new(now, shared.clock.now(), snapshot),
            is_new_phase: false,
            is_draining: false,
            release: Limited::evenly(0.0),
            gifts: Limited::evenly(0.0),
            limits: Limits::new(shared.shards),
            blocklist: Blocklist::default(),
            ledger: Ledger::new(link, shared.claims),
            seals: Seals::new(rand::make_rng(), Arc::clone(&shared), shard),
            terms: Terms::new(shard, ahead),
            rounds: Rounds::default(),
            growth: Growth::default(),
            reports: Reports::new(Arc::clone(&counters)),
            put_off: PutOff::new(),
            arena: BytesMut::new(),
            replies: Vec::new(),
            notices: Vec::new(),
            blocks: Vec::new(),
            shared,
            shard,
            counters,
        }
    }

    /// Begins a turn: takes the time and what operators pushed, finds the phase, and makes its release rate this shard's.
    /// A gateway that drains gives nothing more out, so that who holds a ticket has all of the window to open it.
    pub fn begin_turn(&mut self, now: Now) {
        let conditions = &mut self.conditions;
        conditions.now = now;
        conditions.unix = self.shared.clock.now();
        let mut is_new_show = false;
        if let Some(next) = self.shared.current.newer_than(conditions.change) {
            self.shared.current.runs(self.shard, &next);
            self.rounds
                .take_keys(&conditions.secrets.tokens, &next.secrets.tokens, now.elapsed_ns);
            is_new_show = !Arc::ptr_eq(&next.live.show, &conditions.live.show);
            (conditions.live, conditions.secrets, conditions.change) = (next.live, next.secrets, next.change);
        }
        let is_draining = self.shared.current.is_draining();
        let phase = conditions.live.show.phase_at(conditions.unix);
        if phase != conditions.phase || is_new_show || is_draining != self.is_draining {
            conditions.phase = phase;
            self.is_draining = is_draining;
            self.is_new_phase = true;
            let phase = phase
                .filter(|_| !is_draining)
                .map(|index| &conditions.live.show.phases[index]);
            let shards = f64::from(self.shared.shards);
            self.release = Limited::evenly(phase.map_or(0.0, |phase| phase.releases_per_second) / shards);
            self.gifts = Limited::evenly(0.0);
        }
        let show_pace_ms = conditions.show_pace_ms();
        self.limits
            .begin_turn(&conditions.live, &self.shared.board, show_pace_ms, now.elapsed_ns);
        self.ledger.begin_turn();
    }

    /// What the grade of this turn says.
    pub fn rules(&self) -> &GradeRules {
        self.conditions.live.throttle.at(self.limits.present.grade())
    }

    /// Whether the load is of no grade.
    pub fn is_calm(&self) -> bool {
        self.limits.present.grade() == Grade::default()
    }

    /// Decides whether a new connection is let in.
    pub fn admit(&mut self, applicant: &Applicant) -> Decision {
        let Limits {
            connections, present, ..
        } = &mut self.limits;
        let (blocklist, now_ns) = (&self.blocklist, self.conditions.now.elapsed_ns);
        connections.decide(present, &self.conditions.live, applicant, |address| {
            blocklist.is_blocked_address(address, now_ns)
        })
    }

    /// Charges a connection that was let in to its address, which is proven.
    pub fn charge(&mut self, address: IpAddr) {
        let limits = &mut self.limits;
        limits
            .connections
            .charge(&limits.present, &self.conditions.live, address);
    }

    /// How long who asks is still blocked, in milliseconds.
    pub fn blocked_ms(&self, user: UserId, device: Option<DeviceId>) -> Option<u32> {
        self.blocklist.blocked_ms(user, device, self.conditions.now.elapsed_ns)
    }

    /// Says "ask again" to a request that the ledger cannot be asked now.
    pub fn busy(&self, kind: RequestKind, why: Busy) -> Answer {
        self.counters.busy(why).inc();
        Answer::busy(kind, self.shared.claims.busy_retry_ms, false)
    }

    /// Takes what the agent sent, and gives up on requests that waited too long.
    pub fn take_deliveries(&mut self, into: &mut Vec<Delivery>) {
        let mut replies = std::mem::take(&mut self.replies);
        self.ledger.link.replies(&mut replies);
        for reply in replies.drain(..) {
            let Some(waiting) = self.ledger.take_waiting(&reply) else {
                self.counters.replies_late.inc();
                continue;
            };
            match reply.kind {
                Some(kind) if RequestKind::of_reply(&kind) == waiting.kind => {
                    self.count(&kind);
                    into.push(Delivery::Reply(waiting.to, kind));
                }
                None if waiting.kind == RequestKind::Offers => {}
                // The other process's bytes are input: an answer of another kind is no answer.
                _ => self.counters.ring_errors.inc(),
            }
        }
        self.replies = replies;
        while let Some(waiting) = self.ledger.take_overdue(&self.conditions.now) {
            if let Answer::Now(reply) = self.busy(waiting.kind, Busy::Timeout) {
                into.push(Delivery::Reply(waiting.to, reply));
            }
        }
        self.take_notices(into);
        self.counters.asks_under_way.set(self.ledger.in_flight() as u64);
    }

    /// Every shard gets every notice; those of users who are elsewhere are passed over.
    fn take_notices(&mut self, into: &mut Vec<Delivery>) {
        let mut notices = std::mem::take(&mut self.notices);
        self.ledger.link.notices(&mut notices);
        for notice in notices.drain(..) {
            let Some(newest) = self.shared.presence.newest_in(self.shard, notice.user) else {
                continue;
            };
            let offered = v1::PacketOffered {
                code: notice.code,
                from_user_id: notice.from.map_or(0, |user| user.0),
            };
            let kind = v1::notice::Kind::PacketOffered(offered);
            into.push(Delivery::Notice(newest.session as usize, kind));
        }
        self.notices = notices;
    }

    /// Counts how a request ended that the agent answered.
    fn count(&self, kind: &Kind) {
        match LedgerAnswer::of(kind) {
            Some(LedgerAnswer::Answered { is_repeat: false }) => self.counters.answered.inc(),
            Some(LedgerAnswer::Answered { is_repeat: true }) => self.counters.repeated.inc(),
            Some(LedgerAnswer::Refused(reason)) => self.counters.refused(reason).inc(),
            Some(LedgerAnswer::Busy) => self.counters.busy(Busy::Agent).inc(),
            None => self.counters.ring_errors.inc(),
        }
    }

    /// Takes the blocks that the agent sent, and forgets those that are over.
    pub fn take_blocks(&mut self) {
        let (unix, now_ns) = (self.conditions.unix, self.conditions.now.elapsed_ns);
        self.ledger.link.blocks(&mut self.blocks);
        for block in self.blocks.drain(..) {
            match self.blocklist.take(&block, unix, now_ns) {
                Taken::Holds => self.counters.blocked(block.rule).inc(),
                Taken::Lifted => self.counters.blocks_lifted.inc(),
                Taken::Full => self.counters.blocks_dropped.inc(),
            }
        }
        let holding = self.blocklist.sweep(now_ns);
        self.counters.blocks.set(holding as u64);
    }

    /// Gives a session that said Hello a seat among its user's.
    pub fn seat(&mut self, proof: Proof, session: usize) {
        if let Some(term) = self.terms.get_mut(session) {
            let before = term.signer();
            term.prove(proof, &self.conditions.secrets.tokens);
            let after = term.signer().map(|key| (key, term.ends_at()));
            self.shared.key_uses.moved(self.shard, before, after);
        }
        if let Some((user, seat)) = self.terms.seat(session) {
            let (presence, now) = (&self.shared.presence, self.conditions.now.instant);
            self.growth.of_tables(|| presence.sit(user, seat, now));
        }
    }

    /// Forgets until when a session might stay.
    pub fn forget_term(&mut self, session: usize) {
        let signer = self.terms.get(session).and_then(Term::signer);
        self.shared.key_uses.moved(self.shard, signer, None);
        self.terms.remove(session);
    }

    /// A session ended: it has no seat any more.
    pub fn leave(&mut self, session: usize) {
        if let Some((user, seat)) = self.terms.seat(session) {
            self.shared.presence.leave(user, seat);
        }
    }
}
