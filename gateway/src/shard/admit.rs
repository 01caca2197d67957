//! Who gets in: what the grade of load and the limits of one user, one address prefix and one shard admit, and what is
//! said to those who are refused. Nothing here allocates on a shake's path, and nothing but the load is shared.
//!
//! A refusal must be far cheaper than a service. So a user over the limit is told once, and then dropped; and most of
//! such a user's packets are dropped before they are decrypted, which is where the cost of a packet lies. One of some is
//! let through, so that what rides on streams arrives by QUIC's own retransmission; and a user with a fresh win is
//! not shut out for that, so that the claim comes through at once.
//!
//! Every packet that is opened has a price, whatever it holds, and every session a budget ([`budget`]).

mod budget;

use budget::STANDS_FOR;
pub use budget::Spending;

use super::spent::Spent;
use crate::config_store::Live;
use crate::counters::{Busy, Counters, Shed, SlowDown, Turned};
use crate::load::prefixes::{Over, Prefixes};
use crate::load::state::LoadState;
use crate::tls::MAX_ACK_DELAY;
use rand::Rng;
use rand::rngs::StdRng;
use shake_proto::request_kind::RequestKind;
use shake_rules::grade::{GRADES, Grade};
use shake_rules::limit::{Level, Limit, Shared};
use shake_rules::throttle::GradeRules;
use shake_rules::throttle::pace::{UserLimit, fair_pace_ms, spread_ms};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

/// How long a user with a fresh win is not shut out, in moments: a claim and some repeats of it.
const WIN_GRACE: u32 = 1_500;
/// A gate's moments are this long, in milliseconds, so that 32 bits last for 497 days.
const MOMENT_MS: u32 = 10;
/// Of a shut-out user's packets every so many is let through, by grade: one that is costs several times what one that is
/// dropped does, and the higher the grade the less there is to spend on who does not obey.
const PASS_EVERY: [u8; GRADES] = [4, 8, 16, 32, 64];
/// For so many answers a user counts as unruly who was told to slow down, or was told a pace with an answer and sent more than
/// the acknowledgement before it was time.
const UNRULY_ANSWERS: u8 = 32;
/// When packets wait for so long, in nanoseconds, nobody need be known as unruly for the kernel to drop what is over the rate.
const CROWDED_NS: u64 = 10_000_000;
/// How long a blocked user who shakes on is not told again, in milliseconds.
const TOLD_BLOCKED_MS: u32 = 10_000;
/// Clients that have not proved their address and are let in without, of each shard: each costs a handshake, a fifth of a
/// millisecond. The others are asked for the proof, which costs a twentieth.
const UNPROVEN_PER_SECOND: f64 = 500.0;
const UNPROVEN_AT_ONCE: u32 = 1_000;
/// No packet waits in a socket for longer, in milliseconds.
const SOCKET_MS_MAX: i32 = 60_000;
/// How long a user who shook counts among those who shake, in milliseconds: the longest pace.
const SHAKER_MS: u64 = 10_000;

/// What a session has used up of what one user may.
#[derive(Default)]
pub struct Gate {
    shakes: Level,
    /// Its packets that were opened.
    budget: Level,
    /// Not shut out before this moment since the shard began.
    open_until: u32,
    /// Not told again to slow down before this one.
    told_until: u32,
    /// The span in which this user last counted as one who shakes. Modulo 2^16: it comes round in a week. (In eight bits it did
    /// in 43 minutes, a usual time from one phase to the next.)
    span: u16,
    /// Blocked, and told so, until this one; 0 for never.
    shut_until: u32,
    /// Packets that came too early after the last answer to a shake.
    packets: u8,
    /// When that was given, in milliseconds since the shard began, modulo 2^32; zero before the first.
    answered_ms: u32,
    /// For so many answers still this user counts as unruly.
    unruly: u8,
    /// Said Hello: before that nothing is shed.
    pub is_named: bool,
    /// Was asked to delay acknowledgements, so that they ride on shakes.
    pub delays_acks: bool,
    /// Datagrams before Hello; after it packets over the rate at ease, of which every fourth is looked at.
    unread: u8,
    /// Came without a proof of its address: its network is charged once the handshake has proved it.
    pub is_uncharged: bool,
}

const _: () = assert!(size_of::<Gate>() <= 40, "one stands beside every session");

impl Gate {
    /// Notes whether its user is known.
    pub fn name(&mut self, is_named: bool) {
        if self.is_named != is_named {
            (self.is_named, self.unread) = (is_named, 0);
        }
    }
}

/// What becomes of a shake.
pub enum Verdict {
    /// Serve it, and tell this pace, which the next one is judged by.
    Serve { pace_ms: u32 },
    /// Answer "slow down".
    Refuse { retry_after_ms: u32 },
    /// The user was told a moment ago: no answer.
    Drop,
}

/// One shard's admission.
pub struct Admission {
    grade: Grade,
    version: u64,
    shards: u16,
    shakes: Shared,
    claims: Shared,
    sends: Shared,
    connections: Shared,
    unproven: Shared,
    /// Packets of one session, and how many it may be over them.
    packets: Limit,
    packets_over: Limit,
    /// Those of a blocked user.
    trickle: Limit,
    /// Shakes of one user.
    user: UserLimit,
    user_asks: Limit,
    prefix: Limit,
    prefixes: Prefixes,
    /// The same for shakes. Looked at only where there is such a limit, for each shake costs a look into a large table then.
    prefix_shakes: Limit,
    shaking_prefixes: Prefixes,
    /// The pace that is told now, before spreading; zero for the show's.
    pace_ms: u32,
    shed_after_ns: u64,
    /// How long the batch at hand waited.
    queue_wait_ns: u64,
    span: u16,
    shakers: u32,
    shakers_before: u32,
    now_ns: u64,
}

impl Admission {
    pub fn new(shards: u16) -> Self {
        let all = || Limit::new(f64::INFINITY, 1);
        Self {
            grade: Grade::default(),
            version: 0,
            shards,
            shakes: Shared::new(all()),
            claims: Shared::new(all()),
            sends: Shared::new(all()),
            connections: Shared::new(all()),
            unproven: Shared::new(Limit::new(UNPROVEN_PER_SECOND, UNPROVEN_AT_ONCE)),
            packets: all(),
            packets_over: all(),
            trickle: budget::trickle(),
            user: UserLimit::Rules(all()),
            user_asks: all(),
            prefix: all(),
            prefixes: Prefixes::default(),
            prefix_shakes: all(),
            shaking_prefixes: Prefixes::default(),
            pace_ms: 0,
            shed_after_ns: u64::MAX,
            queue_wait_ns: 0,
            span: 0,
            shakers: 0,
            shakers_before: 0,
            now_ns: 0,
        }
    }

    /// Takes the grade and what is live for this turn, and makes the pace and the limits from them. `show_pace_ms` is the
    /// phase's, `now_ns` since the shard began.
    pub fn begin_turn(&mut self, live: &Live, load: &LoadState, show_pace_ms: u32, now_ns: u64) {
        self.now_ns = now_ns;
        let grade = load.grade();
        let rules = live.throttle.at(grade);
        if grade != self.grade || live.version != self.version {
            self.grade = grade;
            self.version = live.version;
            self.shakes.limit = rules.shakes.part(self.shards);
            self.claims.limit = rules.claims.part(self.shards);
            self.sends.limit = rules.sends.part(self.shards);
            self.connections.limit = rules.connections.part(self.shards);
            self.prefix = rules.prefix.part(self.shards);
            self.prefix_shakes = rules.prefix_shakes.part(self.shards);
            self.shed_after_ns = u64::from(rules.shed_after_ms) * 1_000_000;
            self.user_asks = rules.user_requests.part(1);
            self.packets = rules.user_packets.part(1);
            self.packets_over = budget::over(rules.user_packets);
        }
        if grade > Grade::default() {
            let (shakers, invited) = (load.shakers.load(Relaxed), load.invited_per_second.value());
            self.pace_ms = fair_pace_ms(rules, show_pace_ms, shakers, invited);
        } else {
            self.pace_ms = 0;
        }
        self.user = UserLimit::new(rules.user, self.pace_ms);
        let span = (now_ns / 1_000_000 / SHAKER_MS) as u16;
        if span != self.span {
            // A gate says 0 for never, and the number of its span plus one.
            self.span = span;
            self.shakers_before = std::mem::take(&mut self.shakers);
        }
    }

    /// Users who shook lately.
    pub fn shakers(&self) -> u32 {
        self.shakers.max(self.shakers_before)
    }

    /// How long the packets that come next waited in the socket.
    pub fn begin_batch(&mut self, queue_wait_ns: u64) {
        self.queue_wait_ns = queue_wait_ns;
    }

    /// Whether a packet that seems to be a session's is not worth decrypting; `None` if it is. Nothing is charged for it yet:
    /// whose it is may be an old belief.
    pub fn shed(&mut self, gate: &mut Gate) -> Option<Shed> {
        if let Some((why, _)) = self.spent(gate) {
            return Some(why);
        }
        if !gate.is_named || self.has_grace(gate) {
            return None;
        }
        let why = if self.over_rate_ns(gate) > 0 {
            Shed::OverRate
        } else if self.queue_wait_ns > self.shed_after_ns {
            Shed::TooLate
        } else {
            return None;
        };
        // What stood in the socket when we answered cannot acknowledge the answer.
        let came_ns = self.now_ns.saturating_sub(self.queue_wait_ns);
        let since_ms = ((came_ns / 1_000_000) as u32)
            .wrapping_sub(gate.answered_ms)
            .cast_signed();
        // Modulo 2^32 what was answered 25 days ago and more seems to be still to come.
        if gate.answered_ms != 0 && (-SOCKET_MS_MAX..=0).contains(&since_ms) {
            return Some(why);
        }
        gate.packets = gate.packets.wrapping_add(1);
        // The first is the acknowledgement of what we sent last, without which we would have to ask for it.
        let is_acknowledgement = gate.packets == 1 && self.acknowledges_apart(gate);
        let passes = match self.grade == Grade::default() {
            // Whatever is served between: else nothing of a flood of a hundred shakes a second would ever be seen.
            true => {
                gate.unread = gate.unread.wrapping_add(1);
                gate.unread.is_multiple_of(PASS_EVERY[0])
            }
            false => gate.packets.is_multiple_of(PASS_EVERY[self.grade.index()]),
        };
        (!passes && !is_acknowledgement).then_some(why)
    }

    /// How many shakes one stands for, if it is refused. In a phase all of a flood is looked at where a fresh win keeps the
    /// gate open; between phases nobody wins, one of four is looked at, and it is the same flood. Under load a thumb is over the
    /// rate too, and each stands for itself.
    pub fn stands_for(&self, gate: &Gate) -> u16 {
        if self.is_over_budget(gate) {
            return STANDS_FOR;
        }
        let is_one_of_four = gate.unread > 0 && gate.unread.is_multiple_of(PASS_EVERY[0]);
        let is_at_ease = self.grade == Grade::default() && gate.is_named;
        match is_at_ease && is_one_of_four && !self.has_grace(gate) && self.over_rate_ns(gate) > 0 {
            true => PASS_EVERY[0].into(),
            false => 1,
        }
    }

    /// Whether an answer is acknowledged before the next shake is due, a third later than the pace at the most.
    fn acknowledges_apart(&self, gate: &Gate) -> bool {
        !gate.delays_acks || u128::from(self.pace_ms) * 4 > MAX_ACK_DELAY.as_millis() * 3
    }

    /// For how long the kernel may drop a session's packets from now on, in nanoseconds: until its budget has one more; and
    /// as long as its user is over the rate, if they are known not to do as told, or packets wait.
    pub fn hold_ns(&self, gate: &Gate) -> u64 {
        let is_wanted = gate.unruly > 0 || self.queue_wait_ns > CROWDED_NS;
        let over_rate_ns = if gate.is_named && is_wanted && !self.has_grace(gate) {
            self.over_rate_ns(gate)
        } else {
            0
        };
        self.spent(gate)
            .map_or(over_rate_ns, |(_, wait_ns)| wait_ns.max(over_rate_ns))
    }

    /// Whether a fresh win keeps the gate open. It lifts rate, lateness and block, never the budget.
    fn has_grace(&self, gate: &Gate) -> bool {
        self.moment() < gate.open_until
    }

    fn over_rate_ns(&self, gate: &Gate) -> u64 {
        self.user.wait_ns(&gate.shakes, self.now_ns)
    }

    /// Judges a shake that came from `address`. `show_pace_ms` is the phase's.
    pub fn shake(
        &mut self,
        gate: &mut Gate,
        address: IpAddr,
        live: &Live,
        show_pace_ms: u32,
        counters: &Counters,
        rng: &mut StdRng,
    ) -> Verdict {
        self.count_shaker(gate);
        let pace_ms = self.pace_ms(show_pace_ms, rng);
        let by_user = self.over_rate_ns(gate);
        let (why, wait_ns) = if by_user > 0 {
            (SlowDown::UserRate, by_user)
        } else if let Err(why) = self.prefix_shakes(address, live) {
            // When the others of the prefix let it, nobody knows.
            (why, 0)
        } else {
            match self.shakes.take(self.now_ns) {
                Ok(()) => {
                    let taken = self.user.take(&mut gate.shakes, pace_ms, self.now_ns);
                    debug_assert!(taken.is_ok(), "no wait was told above");
                    self.answered(gate);
                    return Verdict::Serve { pace_ms };
                }
                Err(wait_ns) => (SlowDown::GradeRate, wait_ns),
            }
        };
        if self.moment() < gate.told_until {
            return Verdict::Drop;
        }
        counters.slowed(why).inc();
        let wait_ms = u32::try_from(wait_ns / 1_000_000).unwrap_or(u32::MAX);
        let rules = live.throttle.at(self.grade);
        let retry_after_ms = self.retry_ms(rules, rng).max(wait_ms.min(rules.retry_ms[1]));
        gate.told_until = self.moment().saturating_add(retry_after_ms / MOMENT_MS);
        self.answered(gate);
        gate.unruly = UNRULY_ANSWERS;
        Verdict::Refuse { retry_after_ms }
    }

    /// Counts a user among those who shake, once a span. Gives whether it did.
    fn count_shaker(&mut self, gate: &mut Gate) -> bool {
        let span = self.span.wrapping_add(1);
        let is_new = gate.span != span;
        gate.span = span;
        self.shakers += u32::from(is_new);
        is_new
    }

    /// An answer goes out, which is to be acknowledged.
    fn answered(&self, gate: &mut Gate) {
        gate.unruly = if gate.packets > u8::from(self.acknowledges_apart(gate)) {
            UNRULY_ANSWERS
        } else {
            gate.unruly.saturating_sub(1)
        };
        gate.packets = 0;
        gate.answered_ms = (self.now_ns / 1_000_000) as u32;
    }

    fn prefix_shakes(&mut self, address: IpAddr, live: &Live) -> Result<(), SlowDown> {
        if self.prefix_shakes.is_unlimited() {
            return Ok(());
        }
        let limits = &live.throttle.prefixes;
        let max = limits.max.div_ceil(self.shards.into());
        self.shaking_prefixes
            .take(address, &self.prefix_shakes, limits, max, self.now_ns)
            .map_err(|over| match over {
                Over::Rate => SlowDown::PrefixRate,
                Over::Full => SlowDown::PrefixesFull,
            })
    }

    /// Judges a request to the ledger.
    ///
    /// # Errors
    /// Why it is to be answered busy.
    pub fn ask(&mut self, gate: &Gate, spent: &mut Spent, kind: RequestKind, rules: &GradeRules) -> Result<(), Busy> {
        if kind.service().is_some_and(|service| rules.is_off(service)) {
            return Err(Busy::SwitchedOff);
        }
        let is_fresh_claim = kind == RequestKind::Claim && self.has_grace(gate);
        if !is_fresh_claim {
            self.user_asks
                .take(&mut spent.asks, self.now_ns)
                .map_err(|_| Busy::UserRate)?;
        }
        let shared = match kind {
            RequestKind::Claim => &mut self.claims,
            RequestKind::Send | RequestKind::Grab => &mut self.sends,
            _ => return Ok(()),
        };
        shared.take(self.now_ns).map_err(|_| Busy::GradeRate)
    }

    /// Judges a new connection, apart from how many sessions and handshakes there are. Nothing is charged: its address may
    /// be false, and something else may refuse it.
    ///
    /// # Errors
    /// Why it is to be refused, if the address is proven.
    pub fn connection(&mut self, address: IpAddr, live: &Live) -> Result<(), Turned> {
        let limits = &live.throttle.prefixes;
        let max = limits.max.div_ceil(self.shards.into());
        self.prefixes
            .look(address, &self.prefix, limits, max, self.now_ns)
            .map_err(|over| match over {
                Over::Rate => Turned::PrefixRate,
                Over::Full => Turned::PrefixesFull,
            })?;
        match self.connections.wait_ns(self.now_ns) {
            0 => Ok(()),
            _ => Err(Turned::GradeRate),
        }
    }

    /// Whether one more client is let in that has not proved its address. Takes it, if so.
    pub fn unproven(&mut self) -> bool {
        self.unproven.take(self.now_ns).is_ok()
    }

    /// A connection was let in whose address is proven: by a Retry, or by its handshake, in which case the limit may have been
    /// reached meanwhile.
    pub fn charge_connection(&mut self, address: IpAddr, live: &Live) {
        let limits = &live.throttle.prefixes;
        let max = limits.max.div_ceil(self.shards.into());
        // What is over the limit by then is in, and who comes next finds it reached.
        let _ = self.prefixes.take(address, &self.prefix, limits, max, self.now_ns);
        let _ = self.connections.take(self.now_ns);
    }

    /// Shuts out a blocked user for the rest of the block. It is told now and then, because what tells it may get lost.
    pub fn block(&self, gate: &mut Gate, rest_ms: u32, counters: &Counters) -> Verdict {
        let now = self.moment();
        let is_told = self.is_shut(gate) && now < gate.told_until;
        self.shut(gate, rest_ms);
        if is_told {
            return Verdict::Drop;
        }
        gate.told_until = now.saturating_add(rest_ms.min(TOLD_BLOCKED_MS) / MOMENT_MS);
        counters.slowed(SlowDown::Blocked).inc();
        Verdict::Refuse {
            retry_after_ms: rest_ms,
        }
    }

    /// Shuts the gate of a blocked user for so long.
    pub fn shut(&self, gate: &mut Gate, rest_ms: u32) {
        if !self.is_shut(gate) {
            // What was used up of a larger budget says nothing of what the blocked have.
            gate.budget = Level::default();
        }
        gate.shut_until = self.moment().saturating_add(rest_ms.div_ceil(MOMENT_MS));
    }

    fn is_shut(&self, gate: &Gate) -> bool {
        gate.shut_until != 0 && self.moment() < gate.shut_until
    }

    /// Opens the gate of who is blocked no more.
    pub fn readmit(&self, gate: &mut Gate) {
        if gate.shut_until != 0 {
            (gate.shut_until, gate.told_until) = (0, 0);
        }
    }

    /// A user won: the gate stays open for the claim.
    pub fn won(&self, gate: &mut Gate) {
        gate.open_until = self.moment().saturating_add(WIN_GRACE);
    }

    /// Whether a user has just won, and may be opening the packet.
    pub fn has_won(&self, gate: &Gate) -> bool {
        self.moment() < gate.open_until
    }

    /// The grade of this turn.
    pub fn grade(&self) -> Grade {
        self.grade
    }

    /// The pace to tell a user: the show's at grade 0, else the grade's, spread.
    pub fn pace_ms(&self, show_pace_ms: u32, rng: &mut StdRng) -> u32 {
        if self.pace_ms == 0 {
            show_pace_ms
        } else {
            spread_ms(self.pace_ms, rng.next_u32())
        }
    }

    /// When who was refused may ask again: a random time within the grade's bounds.
    pub fn retry_ms(&self, rules: &GradeRules, rng: &mut StdRng) -> u32 {
        let [min, max] = rules.retry_ms;
        min + ((u64::from(max - min) * u64::from(rng.next_u32())) >> 32) as u32
    }

    fn moment(&self) -> u32 {
        u32::try_from(self.now_ns / (u64::from(MOMENT_MS) * 1_000_000)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
