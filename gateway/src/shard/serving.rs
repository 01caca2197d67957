//! What a shard needs to answer requests, apart from the connections themselves: keys, show, rings, limits, counts.
//! Each kind of request has a file of its own that adds its handler here.

use super::behaviour::{Late, StrangersSeen};
use super::blocks::Blocks;
use super::growth::Growth;
use super::io::Now;
use super::offers::PutOff;
use super::rounds::Rounds;
use super::spent::Spent;
use super::terms::{Proof, Term, Terms};
use crate::agent_link::AgentLink;
use crate::config_store::Live;
use crate::counters::Counters;
use crate::huge_pages::Ahead;
use crate::in_flight::{Ledger, ReturnAddress};
use crate::limits::{Applicant, Decision, Limits, UserLimits};
use crate::secrets::Secrets;
use crate::state::Shared;
use bytes::BytesMut;
use rand::rngs::StdRng;
use shake_proto::code::Code;
use shake_proto::handoff::abuse::Block;
use shake_proto::handoff::record::{Notice, Reply};
use shake_proto::request::Request;
use shake_proto::wire::v1;
use shake_rules::grade::Grade;
use shake_rules::limit::Shared as Limited;
use shake_rules::throttle::GradeRules;
use shake_rules::{UnixMillis, UserId};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The client that a shake comes from.
#[derive(Clone, Copy, Debug)]
pub struct Shaker {
    pub address: IpAddr,
    /// It has room for the longest answer, which is a win's. Who has not wins nothing.
    pub can_be_told: bool,
}

/// What becomes of a request.
pub enum Answer {
    Now(v1::reply::Kind),
    /// The agent has it, or nobody waits for an answer.
    Pending,
}

pub struct Serving {
    pub shared: Arc<Shared>,
    pub(super) shard: u16,
    /// What holds for this turn of what operators push.
    pub(super) live: Arc<Live>,
    /// What holds for this turn of the certificate directory.
    pub(super) secrets: Arc<Secrets>,
    /// The number of the change that these two are of.
    pub(super) change: u64,
    pub counters: Arc<Counters>,
    pub ledger: Ledger,
    pub now: Now,
    /// The same by the steady clock.
    pub unix: UnixMillis,
    /// Index of the phase that holds now.
    pub phase: Option<usize>,
    /// Clients are to be told of a phase that began or ended, or of another show.
    pub(super) is_new_phase: bool,
    is_draining: bool,
    /// The release rate of that phase, for this shard.
    pub(super) release: Limited,
    /// Its gifts, as many as this shard has of all users.
    pub(super) gifts: Limited,
    /// Unpredictable, because draws and nonces come from it.
    pub(super) rng: StdRng,
    pub(super) limits: Limits,
    pub(super) replies: Vec<Reply>,
    pub(super) notices: Vec<Notice>,
    /// Until when each session may stay.
    pub(super) terms: Terms,
    pub(super) rounds: Rounds,
    pub(super) growth: Growth,
    pub(super) strangers: StrangersSeen,
    pub(super) late: Late,
    pub(super) put_off: PutOff,
    pub(super) blocks: Blocks,
    pub(super) blocks_told: Vec<Block>,
    /// The request at hand showed a ticket, cookie or code that is not authentic.
    pub(super) is_forged: bool,
    pub(super) ticket: Vec<u8>,
    pub(super) cookie: Vec<u8>,
    /// Where replies are encoded: cut off piece by piece, refilled when used up.
    pub arena: BytesMut,
}

impl Serving {
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
            live: snapshot.live,
            secrets: snapshot.secrets,
            change: snapshot.change,
            counters,
            ledger: Ledger::new(link, shared.claims),
            now,
            unix: shared.clock.now(),
            phase: None,
            is_new_phase: false,
            is_draining: false,
            release: Limited::evenly(0.0),
            gifts: Limited::evenly(0.0),
            rng: rand::make_rng(),
            limits: Limits::new(shared.shards),
            shared,
            shard,
            replies: Vec::new(),
            notices: Vec::new(),
            terms: Terms::new(shard, ahead),
            rounds: Rounds::default(),
            growth: Growth::default(),
            strangers: StrangersSeen::default(),
            late: Late::new(),
            put_off: PutOff::new(),
            blocks: Blocks::default(),
            blocks_told: Vec::new(),
            is_forged: false,
            ticket: Vec::new(),
            cookie: Vec::new(),
            arena: BytesMut::new(),
        }
    }

    /// Begins a turn: takes the time and what operators pushed, finds the phase, and makes its release rate this shard's.
    /// A gateway that drains gives nothing more out, so that who holds a ticket has all of the window to open it.
    pub fn begin_turn(&mut self, now: Now) {
        self.now = now;
        self.unix = self.shared.clock.now();
        let mut is_new_show = false;
        if let Some(next) = self.shared.current.newer_than(self.change) {
            self.shared.current.runs(self.shard, &next);
            self.rounds
                .take_keys(&self.secrets.tokens, &next.secrets.tokens, now.elapsed_ns);
            is_new_show = !Arc::ptr_eq(&next.live.show, &self.live.show);
            (self.live, self.secrets, self.change) = (next.live, next.secrets, next.change);
        }
        let is_draining = self.shared.current.is_draining();
        let phase = self.live.show.phase_at(self.unix);
        if phase != self.phase || is_new_show || is_draining != self.is_draining {
            self.phase = phase;
            self.is_draining = is_draining;
            self.is_new_phase = true;
            let phase = phase
                .filter(|_| !is_draining)
                .map(|index| &self.live.show.phases[index]);
            let shards = f64::from(self.shared.shards);
            self.release = Limited::evenly(phase.map_or(0.0, |phase| phase.releases_per_second) / shards);
            self.gifts = Limited::evenly(0.0);
        }
        let show_pace_ms = self.show_pace_ms();
        let board = &self.shared.board;
        self.limits.begin_turn(&self.live, board, show_pace_ms, now.elapsed_ns);
        self.ledger.begin_turn();
    }

    /// The pace of the show, whatever the load.
    pub(super) fn show_pace_ms(&self) -> u32 {
        let show = &self.live.show;
        self.phase.map_or(show.rest_pace_ms, |index| show.phases[index].pace_ms)
    }

    /// Whether the show lets a phone shake again within so long, in one phase of it at least.
    pub(super) fn may_shake_within(&self, span: Duration) -> bool {
        let phases = &self.live.show.phases;
        phases.iter().any(|phase| u128::from(phase.pace_ms) <= span.as_millis())
    }

    /// What the grade of this turn says.
    pub(super) fn rules(&self) -> &GradeRules {
        self.live.throttle.at(self.limits.present.grade())
    }

    /// Whether the load is of no grade.
    pub(super) fn is_calm(&self) -> bool {
        self.limits.present.grade() == Grade::default()
    }

    /// Decides whether a new connection is let in.
    pub(super) fn admit(&mut self, applicant: &Applicant) -> Decision {
        let Limits {
            connections, present, ..
        } = &mut self.limits;
        let (blocks, now_ns) = (&self.blocks, self.now.elapsed_ns);
        connections.decide(present, &self.live, applicant, |address| {
            blocks.is_blocked_address(address, now_ns)
        })
    }

    /// Serves one request of a session's stream. `user`, `limits` and `spent` are the session's; the user is set by Hello.
    pub fn serve(
        &mut self,
        request: Request,
        user: &mut Option<UserId>,
        limits: &mut UserLimits,
        spent: &mut Spent,
        shaker: Shaker,
        to: ReturnAddress,
    ) -> Result<Answer, Code> {
        if let Request::Hello(hello) = request {
            let (proof, mut reply) = self.hello(&hello, *user, spent)?;
            let known = proof.token.user;
            if let Some(retry_after_ms) = self.blocked_ms(known, hello.device) {
                self.counters.hellos_blocked.inc();
                reply.blocked = Some(v1::Blocked { retry_after_ms });
            }
            *user = Some(known);
            self.seat(proof, to.session.index as usize);
            if hello.takes_notices && reply.blocked.is_none() {
                self.offers(known, spent, to.session);
            }
            return Ok(Answer::Now(v1::reply::Kind::Hello(reply)));
        }
        let user = user.ok_or(Code::BeforeHello)?;
        if let Some(busy) = self.kept_out(&request, limits, spent) {
            return Ok(busy);
        }
        Ok(match request {
            Request::Hello(_) => unreachable!("served above"),
            Request::Shake(shake) => Answer::Now(v1::reply::Kind::Shake(
                self.shake_on_stream(user, shake, shaker, limits),
            )),
            Request::Claim(claim) => self.claim(user, claim, to),
            Request::Send(send) => self.send(user, send, to),
            Request::Grab(grab) => self.grab(user, grab, to),
            Request::PacketView(view) => self.packet_view(user, view, to),
            Request::Wallet => self.wallet(user, to),
        })
    }

    /// The stage of a phase: its number in tickets and in the ledger.
    pub(super) fn stage(&self, phase: usize) -> u16 {
        self.live.stages[phase]
    }

    /// Gives a session that said Hello a seat among its user's.
    fn seat(&mut self, proof: Proof, session: usize) {
        if let Some(term) = self.terms.get_mut(session) {
            let before = term.signer();
            term.prove(proof, &self.secrets.tokens);
            let after = term.signer().map(|key| (key, term.ends_at()));
            self.shared.key_uses.moved(self.shard, before, after);
        }
        if let Some((user, seat)) = self.terms.seat(session) {
            let (presence, now) = (&self.shared.presence, self.now.instant);
            self.growth.of_tables(|| presence.sit(user, seat, now));
        }
    }

    /// Forgets until when a session might stay.
    pub(super) fn forget_term(&mut self, session: usize) {
        let signer = self.terms.get(session).and_then(Term::signer);
        self.shared.key_uses.moved(self.shard, signer, None);
        self.terms.remove(session);
    }

    /// A session ended: it has no seat any more.
    pub(super) fn leave(&mut self, session: usize) {
        if let Some((user, seat)) = self.terms.seat(session) {
            self.shared.presence.leave(user, seat);
        }
    }
}
