//! What a session has used up of what one user may: looked at for every packet, before its session is fetched.

use super::present::{MOMENT_MS, Present};
use quic_shard::tls::MAX_ACK_DELAY;
use rate_limit::Level;

/// How long a user with a fresh win is not shut out, in moments: a claim and some repeats of it.
const WIN_GRACE: u32 = 1_500;
/// For so many answers a user counts as unruly who was told to slow down, or was told a pace with an answer and sent more than
/// the acknowledgement before it was time.
pub(super) const UNRULY_ANSWERS: u8 = 32;

/// One stands beside every session.
#[derive(Default)]
pub struct UserLimits {
    pub(super) shakes: Level,
    /// Its packets that were opened.
    pub(super) budget: Level,
    /// Not shut out before this moment since the shard began.
    pub(super) open_until: u32,
    /// Not told again to slow down before this one.
    pub(super) told_until: u32,
    /// The span in which this user last counted as one who shakes. Modulo 2^16: it comes round in a week. (In eight bits it did
    /// in 43 minutes, a usual time from one phase to the next.)
    pub(super) span: u16,
    /// Blocked, and told so, until this one; 0 for never.
    pub(super) shut_until: u32,
    /// Packets that came too early after the last answer to a shake.
    pub(super) packets: u8,
    /// When that was given, in milliseconds since the shard began, modulo 2^32; zero before the first.
    pub(super) answered_ms: u32,
    /// For so many answers still this user counts as unruly.
    pub(super) unruly: u8,
    /// Said Hello: before that nothing is shed.
    pub(super) is_named: bool,
    /// Was asked to delay acknowledgements, so that they ride on shakes.
    pub delays_acks: bool,
    /// Datagrams before Hello; after it packets over the rate at ease, of which every fourth is looked at.
    pub(super) unread: u8,
    /// Came without a proof of its address: its network is charged once the handshake has proved it.
    pub is_uncharged: bool,
}

const _: () = assert!(size_of::<UserLimits>() <= 40, "one stands beside every session");

impl UserLimits {
    /// Notes whether its user is known.
    pub fn name(&mut self, is_named: bool) {
        if self.is_named != is_named {
            (self.is_named, self.unread) = (is_named, 0);
        }
    }

    /// The user won: nobody is shut out before the claim.
    pub fn won(&mut self, present: &Present) {
        self.open_until = present.moment().saturating_add(WIN_GRACE);
    }

    /// Whether the user has just won, and may be opening the packet. It lifts rate, lateness and block, never the budget.
    pub fn has_won(&self, present: &Present) -> bool {
        present.moment() < self.open_until
    }

    /// Shuts out a blocked user for so long.
    pub fn shut(&mut self, present: &Present, rest_ms: u32) {
        if !self.is_shut(present) {
            // What was used up of a larger budget says nothing of what the blocked have.
            self.budget = Level::default();
        }
        self.shut_until = present.moment().saturating_add(rest_ms.div_ceil(MOMENT_MS));
    }

    pub(super) fn is_shut(&self, present: &Present) -> bool {
        self.shut_until != 0 && present.moment() < self.shut_until
    }

    /// Lets in who is blocked no more.
    pub fn readmit(&mut self) {
        if self.shut_until != 0 {
            (self.shut_until, self.told_until) = (0, 0);
        }
    }

    /// How long the next shake is too early, in nanoseconds.
    pub(super) fn over_rate_ns(&self, present: &Present) -> u64 {
        present.user.wait_ns(&self.shakes, present.now_ns)
    }

    /// Whether an answer is acknowledged before the next shake is due, a third later than the pace at the most.
    pub(super) fn acknowledges_apart(&self, present: &Present) -> bool {
        !self.delays_acks || u128::from(present.pace_ms) * 4 > MAX_ACK_DELAY.as_millis() * 3
    }

    /// An answer goes out, which is to be acknowledged.
    pub(super) fn answered(&mut self, present: &Present) {
        self.unruly = if self.packets > u8::from(self.acknowledges_apart(present)) {
            UNRULY_ANSWERS
        } else {
            self.unruly.saturating_sub(1)
        };
        self.packets = 0;
        self.answered_ms = (present.now_ns / 1_000_000) as u32;
    }
}
