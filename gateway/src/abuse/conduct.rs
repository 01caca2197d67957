//! What a session did since it was last told of.

use shake_proto::handoff::abuse::{Conduct, Counts, Event};
use shake_proto::reply::Reason;
use shake_proto::request_kind::LedgerAnswer;
use shake_proto::wire::v1;
use shake_proto::wire::v1::reply::Kind;
use shake_rules::prefix::Prefix;
use shake_rules::{DeviceId, UserId};

/// Shakes of one record at the most.
const SHAKES_AT_ONCE: u16 = 1_000;
/// The weight of misdeeds that is told before the session ends.
const WEIGHT_AT_ONCE: u16 = 64;
/// The weight of what no honest phone does; of what it may do a little too often, each has one.
const WEIGHT_OF_MISDEED: u16 = 16;
/// The least time between two records for misdeeds of one session, in nanoseconds: a session costs at most four a second.
pub(super) const BETWEEN_NS: u64 = 250_000_000;
/// The same in the moments that a session remembers.
const MOMENT_NS: u64 = 10_000_000;

/// What a session did since it was last told of.
#[derive(Debug)]
pub struct AbuseCounters {
    /// Where it was accepted from. Not where it moved to: that address may be another's.
    pub(super) prefix: Prefix,
    /// The number of the app's installation; 0 for none.
    device: u64,
    /// Misdeeds are not told before this moment since the shard began.
    not_before: u32,
    weight: u16,
    shakes: u16,
    refused: u16,
    requests: u16,
    wins: u8,
    forged: u8,
    foreign: u8,
    malformed: u8,
    moves: u8,
    /// Its Hello is to be told.
    opened: bool,
    /// Its handshake was completed, so the address is its own.
    is_established: bool,
    /// Its misdeeds are to be told soon.
    pub(super) is_late: bool,
    /// It failed before its Hello, and was counted for that: once, however often it failed, but for forged tokens.
    pub(super) has_failed: bool,
    /// It said Hello with a token that is over, or whose key is retired: no stranger, and to be held against nobody.
    is_late_comer: bool,
}

const _: () = assert!(size_of::<AbuseCounters>() <= 40, "one stands in every session");

impl AbuseCounters {
    pub fn new(prefix: Prefix) -> Self {
        Self {
            prefix,
            device: 0,
            not_before: 0,
            weight: 0,
            shakes: 0,
            refused: 0,
            requests: 0,
            wins: 0,
            forged: 0,
            foreign: 0,
            malformed: 0,
            moves: 0,
            opened: false,
            is_established: false,
            is_late: false,
            has_failed: false,
            is_late_comer: false,
        }
    }

    /// The app's installation, if its Hello named one.
    pub fn device(&self) -> Option<DeviceId> {
        DeviceId::from_wire(self.device)
    }

    /// The handshake is complete.
    pub fn established(&mut self) {
        self.is_established = true;
    }

    /// A Hello was good.
    pub fn said_hello(&mut self, device: Option<DeviceId>, is_first: bool) {
        self.device = DeviceId::to_wire(device);
        self.opened |= is_first;
    }

    /// A shake was answered so, or not at all. One that was refused stands for so many: the others were dropped unread.
    pub fn shook(&mut self, reply: Option<&v1::ShakeReply>, stands_for: u16) {
        match reply {
            Some(reply) if reply.slow_down.is_none() => {
                self.shakes = self.shakes.saturating_add(1);
                self.wins = self.wins.saturating_add(u8::from(reply.red_packet.is_some()));
            }
            _ => {
                self.refused = self.refused.saturating_add(stands_for);
                self.weight = self.weight.saturating_add(stands_for);
            }
        }
    }

    /// A request to the ledger was made, and answered so if it was answered at once.
    pub fn asked(&mut self, answer: Option<&Kind>) {
        self.requests = self.requests.saturating_add(1);
        self.weight = self.weight.saturating_add(1);
        // The gateway refuses by itself what is another's; what the ledger refuses is no ill will.
        if answer.and_then(LedgerAnswer::of) == Some(LedgerAnswer::Refused(Reason::TicketForeign)) {
            self.foreign = self.foreign.saturating_add(1);
            self.misdeed();
        }
    }

    /// It showed something that is not authentic.
    pub fn forged(&mut self) {
        self.forged = self.forged.saturating_add(1);
        self.misdeed();
    }

    /// It said Hello with a token that is good no more.
    pub fn came_late(&mut self) {
        self.is_late_comer = true;
    }

    /// Whether it is one of those who connect and say nothing.
    pub(super) fn is_silent(&self) -> bool {
        self.is_established && !self.has_failed && !self.is_late_comer
    }

    /// It sent what is no message.
    pub fn malformed(&mut self) {
        self.malformed = self.malformed.saturating_add(1);
        self.misdeed();
    }

    /// It moved to another address.
    pub fn moved(&mut self) {
        self.moves = self.moves.saturating_add(1);
        self.misdeed();
    }

    fn misdeed(&mut self) {
        self.weight = self.weight.saturating_add(WEIGHT_OF_MISDEED);
    }

    /// Whether there is something to tell before the session ends.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.opened || self.shakes >= SHAKES_AT_ONCE || (self.is_bad() && moment(now_ns) >= self.not_before)
    }

    pub(super) fn is_bad(&self) -> bool {
        self.weight >= WEIGHT_AT_ONCE
    }

    /// What is to be told of it, which is then forgotten; nothing when there is nothing.
    pub(super) fn take(&mut self, user: UserId, now_ns: u64) -> Option<Event> {
        let counts = Counts {
            shakes: self.shakes.into(),
            refused: self.refused.into(),
            wins: self.wins.into(),
            requests: self.requests.into(),
            forged: self.forged.into(),
            foreign: self.foreign.into(),
            malformed: self.malformed.into(),
            moves: self.moves.into(),
        };
        if !self.opened && counts == Counts::default() {
            return None;
        }
        let event = Event::Conduct(Conduct {
            user,
            device: self.device(),
            prefix: self.prefix,
            opened: self.opened,
            counts,
        });
        *self = Self {
            device: self.device,
            not_before: moment(now_ns + BETWEEN_NS),
            is_established: self.is_established,
            is_late: self.is_late,
            has_failed: self.has_failed,
            is_late_comer: self.is_late_comer,
            ..Self::new(self.prefix)
        };
        Some(event)
    }
}

fn moment(now_ns: u64) -> u32 {
    u32::try_from(now_ns / MOMENT_NS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
