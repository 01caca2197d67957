//! What a shard of the gateway is made of, apart from the connections themselves. The parts are named for what they are;
//! handlers get those that they use.

use crate::abuse::Reports;
use crate::agent_link::AgentLink;
use crate::blocklist::{Blocklist, Taken};
use crate::conditions::Conditions;
use crate::config;
use crate::cookies::Seals;
use crate::counters::{Busy, Counters};
use crate::credentials::{Credential, Credentials, Proof};
use crate::elsewhere::Elsewhere;
use crate::in_flight::Ledger;
use crate::in_hand::InHand;
use crate::limits::{Applicant, Decision, Limits};
use crate::presence::SessionRef;
use crate::put_off::PutOff;
use crate::room::Room;
use crate::rounds::Rounds;
use crate::state::Shared;
use bytes::{Bytes, BytesMut};
use quic_shard::io::Now;
use quic_shard::memory::huge_pages::Prefaulter;
use quic_shard::memory::stall_timer::StallTimer;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rate_limit::Shared as Limited;
use shake_proto::handoff::abuse::Block;
use shake_proto::handoff::record::{Notice, Reply};
use shake_proto::request_kind::RequestKind;
use shake_proto::wire::v1::{self, reply::Kind};
use shake_rules::grade::Grade;
use shake_rules::throttle::GradeRules;
use shake_rules::{DeviceId, UnixMillis, UserId};
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

/// What a shard's part of the gateway is made of.
pub struct GatewayParts {
    pub shared: Arc<Shared>,
    pub shard: u16,
    pub counters: Arc<Counters>,
    pub link: AgentLink,
    pub sessions: config::Sessions,
    /// For draws and nonces.
    pub rng: StdRng,
}

pub struct Gateway {
    pub shared: Arc<Shared>,
    pub shard: u16,
    pub counters: Arc<Counters>,
    pub conditions: Conditions,
    /// Clients are to be told of a phase that began or ended, or of another show.
    pub is_new_phase: bool,
    pub is_draining: bool,
    /// The drain of which sessions were told, and of which they are closed, by its number; 0 before the first.
    pub drain_told: u64,
    pub drain_closed: u64,
    /// What is told of the phase, once it was made in this turn.
    pub phase_notice: Option<Bytes>,
    /// The release rate of the phase, for this shard.
    pub release: Limited,
    /// Its gifts, as many as this shard has of all users.
    pub gifts: Limited,
    pub limits: Limits,
    pub blocklist: Blocklist,
    pub ledger: Ledger,
    pub in_hand: InHand,
    pub seals: Seals,
    /// Until when each session may stay.
    pub credentials: Credentials,
    pub rounds: Rounds,
    pub room: Room,
    /// The limits of the configuration.
    pub sessions: config::Sessions,
    /// How long tables of the gateway's own took to grow.
    stalls: StallTimer,
    pub reports: Reports,
    pub put_off: PutOff,
    pub elsewhere: Elsewhere,
    /// Where replies are encoded: cut off piece by piece, refilled when used up.
    pub arena: BytesMut,
    // What comes from the agent and from other shards, used again.
    pub replies: Vec<Reply>,
    pub notices: Vec<Notice>,
    blocks: Vec<Block>,
    pub displaced: Vec<SessionRef>,
}

impl Gateway {
    pub fn new(parts: GatewayParts, prefaulter: Prefaulter, now: Now) -> Self {
        let GatewayParts {
            shared,
            shard,
            counters,
            link,
            sessions,
            rng,
        } = parts;
        let snapshot = shared.current.snapshot();
        shared.current.runs(shard, &snapshot);
        Self {
            conditions: Conditions::new(now, unix(&shared, &now), snapshot),
            is_new_phase: false,
            is_draining: false,
            drain_told: 0,
            drain_closed: 0,
            phase_notice: None,
            release: Limited::evenly(0.0),
            gifts: Limited::evenly(0.0),
            limits: Limits::new(shared.shards),
            blocklist: Blocklist::default(),
            ledger: Ledger::new(link, shared.claims),
            in_hand: InHand::default(),
            seals: Seals::new(rng, Arc::clone(&shared), shard),
            credentials: Credentials::new(shard, prefaulter),
            rounds: Rounds::default(),
            room: Room::default(),
            sessions,
            stalls: StallTimer::default(),
            reports: Reports::new(Arc::clone(&counters)),
            put_off: PutOff::default(),
            elsewhere: Elsewhere::new(shared.shards),
            arena: BytesMut::new(),
            replies: Vec::new(),
            notices: Vec::new(),
            blocks: Vec::new(),
            displaced: Vec::new(),
            shared,
            shard,
            counters,
        }
    }

    /// Begins a turn: takes the time and what operators pushed, finds the phase, and makes its release rate this shard's.
    /// A gateway that drains gives nothing more out, so that who holds a ticket has all of the window to open it.
    /// Says whether what operators pushed has changed.
    pub fn begin_turn(&mut self, now: Now) -> bool {
        self.phase_notice = None;
        let conditions = &mut self.conditions;
        conditions.now = now;
        conditions.unix = unix(&self.shared, &now);
        let (mut is_changed, mut is_new_show) = (false, false);
        if let Some(next) = self.shared.current.newer_than(conditions.change) {
            self.shared.current.runs(self.shard, &next);
            self.rounds
                .take_keys(&conditions.secrets.tokens, &next.secrets.tokens, now.elapsed_ns);
            is_changed = true;
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
            self.in_hand.change(&self.ledger.link, is_draining, now.elapsed_ns);
        }
        let show_pace_ms = conditions.show_pace_ms();
        self.limits
            .begin_turn(&conditions.live, &self.shared.board, show_pace_ms, now.elapsed_ns);
        self.ledger.begin_turn(&self.conditions.now);
        self.in_hand.sort_out(&self.conditions, &mut self.ledger.link);
        is_changed
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
    pub fn decide(&mut self, applicant: &Applicant) -> Decision {
        let Limits {
            connections, present, ..
        } = &mut self.limits;
        let (blocklist, now_ns) = (&self.blocklist, self.conditions.now.elapsed_ns);
        connections.decide(present, &self.conditions.live, applicant, |address| {
            blocklist.is_blocked_address(address, now_ns)
        })
    }

    /// Charges a connection that was let in to its address, which is proven.
    pub fn charge_connection(&mut self, address: IpAddr) {
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
    pub fn busy(&mut self, kind: RequestKind, why: Busy) -> Answer {
        self.counters.busy[why].inc();
        let retry_ms = self.shared.claims.busy_retry_ms;
        let retry_ms = match why {
            // It comes back at one moment for everybody.
            Busy::LedgerAway => self.seals.rng.random_range(retry_ms..=retry_ms.saturating_mul(2)),
            _ => retry_ms,
        };
        Answer::busy(kind, retry_ms, false)
    }

    /// Takes the blocks that the agent sent, and forgets those that are over.
    pub fn take_blocks(&mut self) {
        let (unix, now_ns) = (self.conditions.unix, self.conditions.now.elapsed_ns);
        self.ledger.link.blocks(&mut self.blocks);
        for block in self.blocks.drain(..) {
            match self.blocklist.take(&block, unix, now_ns) {
                Taken::Holds => self.counters.blocked[block.rule].inc(),
                Taken::Lifted => self.counters.blocks_lifted.inc(),
                Taken::Full => self.counters.blocks_dropped.inc(),
            }
        }
        let holding = self.blocklist.sweep(now_ns);
        self.counters.blocks.set(holding as u64);
    }

    /// Notes who a session proved to be by Hello.
    pub fn authenticate(&mut self, proof: Proof, session: usize) {
        if let Some(credential) = self.credentials.get_mut(session) {
            let before = credential.signer();
            credential.prove(proof, &self.conditions.secrets.tokens);
            let after = credential.signer().map(|key| (key, credential.ends_at()));
            self.shared.key_uses.moved(self.shard, before, after);
        }
        if let Some((user, session)) = self.credentials.session(session) {
            let (presence, now) = (&self.shared.presence, self.conditions.now.instant);
            self.stalls.of_tables(|| presence.join(user, session, now));
            let longest_ns = self.stalls.longest().as_nanos() as u64;
            self.counters.quic.growth_ns_max.raise(longest_ns);
        }
    }

    /// Forgets until when a session might stay.
    pub fn forget_credential(&mut self, session: usize) {
        let signer = self.credentials.get(session).and_then(Credential::signer);
        self.shared.key_uses.moved(self.shard, signer, None);
        self.credentials.remove(session);
    }

    /// A session ended.
    pub fn leave(&mut self, session: usize) {
        if let Some((user, session)) = self.credentials.session(session) {
            self.shared.presence.leave(user, session);
        }
    }
}

/// The time of day by the steady clock.
fn unix(shared: &Shared, now: &Now) -> UnixMillis {
    shared.clock.at(now.boot_ns / 1_000_000)
}
