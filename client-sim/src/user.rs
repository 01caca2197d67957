//! What a simulated user knows and does: a pure state machine, fed with events and their time, that answers with what
//! to do next. One user is one session; whoever carries it (an engine) does the sending, the waiting and the locking.
//!
//! Invariant: no I/O, no clock, no global state. Time is [`Micros`] since the start of the run. Whatever comes from
//! the gateway is checked here, and what a correct gateway never sends is counted as a violation.

mod errand;
mod purse;
mod resources;
mod roles;

pub use errand::{Action, ErrandId, ErrandNext, ErrandStart, SEND_SHARES};
pub use resources::Fetch;
pub use roles::{PackageHabits, PacketHabits};

use crate::backoff::{self, Backoff, Jitter};
use crate::schedule::Micros;
use crate::tally::{Tally, code_name};
use bytes::Bytes;
use errand::Errand;
use purse::Purse;
use roles::Roles;
use shake_proto::code::Code;
use shake_proto::wire::v1;
use shake_rules::cookie::COOKIE_BYTES_MAX;
use shake_rules::ticket::TICKET_BYTES;
use std::collections::VecDeque;

/// How users behave; the same for all of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Habits {
    /// Seed of what users draw.
    pub seed: u64,
    /// How many users the run has.
    pub sessions: u32,
    /// The share of users who obey the gateway's pace, 0 to 1.
    pub obey_pace: f64,
    /// The share of users who shake on streams, 0 to 1.
    pub use_streams: f64,
    /// How long a winner waits before the claim, in milliseconds: least and most.
    pub claim_delay_ms: [u32; 2],
    /// A shake unanswered for so long is lost.
    pub shake_timeout: Micros,
    /// Failed tries in a row after which a session gives up.
    pub connect_tries_max: u32,
    /// Tries after which a claim, or any other errand, gives up.
    pub claim_tries_max: u32,
    /// Waits after tries that failed.
    pub backoff: Backoff,
    /// What users do with packets among themselves.
    pub packets: PacketHabits,
    /// What users fetch.
    pub packages: PackageHabits,
}

/// Why a request on a stream got no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// No answer in time.
    Timeout,
    /// The gateway ended the stream with this error code.
    Reset(u64),
    /// The gateway closed the connection with this error code.
    Closed(u64),
    /// The reply does not decode.
    Malformed(Code),
    /// The connection ended under it.
    ConnectionLost,
    /// There is no connection.
    Offline,
}

impl RequestFailure {
    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Timeout => "timeout".into(),
            Self::Reset(number) | Self::Closed(number) => code_name(*number),
            Self::Malformed(code) => format!("reply_{code}"),
            Self::ConnectionLost => "connection_lost".into(),
            Self::Offline => "offline".into(),
        }
    }

    /// Whether the gateway would say the same again.
    fn is_final(&self) -> bool {
        let number = match self {
            Self::Reset(number) | Self::Closed(number) => number,
            Self::Malformed(_) => return true,
            Self::Timeout | Self::ConnectionLost | Self::Offline => return false,
        };
        matches!(
            Code::from_number(*number),
            Some(
                Code::Malformed
                    | Code::Oversized
                    | Code::Unknown
                    | Code::Unsupported
                    | Code::TokenForged
                    | Code::TokenExpired
                    | Code::UserChanged
                    | Code::Abuse
            )
        )
    }
}

/// What a session without a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectNext {
    /// Connect anew at this time.
    At(Micros),
    /// The session is over.
    GiveUp,
}

/// A shake under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    sequence: u32,
    due: Micros,
}

/// One simulated user.
#[derive(Debug)]
pub struct User {
    id: u64,
    index: u32,
    roles: Roles,
    online: bool,
    greeted: bool,
    failed_tries: u32,
    jitter: Jitter,
    cookie: Bytes,
    /// Shakes under way, oldest first.
    pending: VecDeque<Pending>,
    /// Every sequence below has been answered, given up or left out.
    settled_below: u32,
    pace: Micros,
    last_due: Option<Micros>,
    slow_until: Micros,
    reconnect_at: Option<Micros>,
    /// Version of the resource manifest that the user has.
    resource_version: u64,
    errands: Vec<Errand>,
    errands_begun: u32,
    purse: Purse,
    /// Nothing new is begun any more.
    is_winding_up: bool,
}

impl User {
    /// The user of the session with this index.
    #[must_use]
    pub fn new(index: u32, id: u64, habits: &Habits) -> Self {
        Self {
            id,
            index,
            roles: Roles::of(index, habits),
            online: false,
            greeted: false,
            failed_tries: 0,
            jitter: Jitter::new(habits.seed, index.into()),
            cookie: Bytes::new(),
            pending: VecDeque::new(),
            settled_below: 0,
            pace: Micros::ZERO,
            last_due: None,
            slow_until: Micros::ZERO,
            reconnect_at: None,
            resource_version: 0,
            errands: Vec::new(),
            errands_begun: 0,
            purse: Purse::default(),
            is_winding_up: false,
        }
    }

    /// The user's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether this user's phone has no datagrams.
    #[must_use]
    pub fn shakes_on_streams(&self) -> bool {
        self.roles.is_on_streams
    }

    /// Whether an answer to a shake or errand is still awaited.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty() || !self.errands.is_empty()
    }

    // ---- connection ----------------------------------------------------------------------------------------

    /// The Hello for a new connection.
    #[must_use]
    pub fn hello(&self, token: Bytes) -> v1::Hello {
        v1::Hello {
            token,
            cookie: self.cookie.clone(),
            resource_version: self.resource_version,
            capabilities: CAPABLE_OF_NOTICES,
        }
    }

    /// A connection could not be made.
    pub fn on_connect_failed(&mut self, now: Micros, reason: &str, habits: &Habits, tally: &mut Tally) -> ConnectNext {
        *tally.sessions.connect_failures.entry(reason.to_owned()).or_default() += 1;
        self.try_again(now, habits, tally)
    }

    /// The Hello was answered, or not. Gives what the user does because of it.
    ///
    /// # Errors
    /// What to do instead of shaking; the engine closes the connection.
    pub fn on_hello(
        &mut self,
        now: Micros,
        answer: Result<v1::Reply, RequestFailure>,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Result<Vec<Action>, ConnectNext> {
        let failure = match answer.map(|reply| reply.kind) {
            Ok(Some(v1::reply::Kind::Hello(reply))) if reply.cookie.len() <= COOKIE_BYTES_MAX => {
                return Ok(self.welcome(now, reply, habits, tally));
            }
            Ok(_) => RequestFailure::Malformed(Code::Unknown),
            Err(failure) => failure,
        };
        if matches!(failure, RequestFailure::Malformed(_)) {
            tally.violations.malformed_replies += 1;
        }
        *tally.sessions.hello_failures.entry(failure.name()).or_default() += 1;
        if failure.is_final() {
            tally.sessions.failed += 1;
            return Err(ConnectNext::GiveUp);
        }
        Err(self.try_again(now, habits, tally))
    }

    fn welcome(&mut self, now: Micros, reply: v1::HelloReply, habits: &Habits, tally: &mut Tally) -> Vec<Action> {
        self.online = true;
        self.failed_tries = 0;
        self.reconnect_at = None;
        self.pace = Micros::from_ms(reply.pace_ms.into());
        self.keep_cookie(&reply.cookie);
        if std::mem::replace(&mut self.greeted, true) {
            tally.sessions.reconnected += 1;
        } else {
            tally.sessions.connected += 1;
        }
        match reply.manifest {
            Some(manifest) => self.take_manifest(now, manifest, reply.server_time_ms, habits, tally),
            None => Vec::new(),
        }
    }

    /// The connection ended after its Hello. Shakes under way are lost; errands go on over the next connection.
    pub fn on_connection_lost(&mut self, now: Micros, reason: &str, habits: &Habits, tally: &mut Tally) -> ConnectNext {
        self.online = false;
        tally.sessions.lost += 1;
        tally.error(&format!("connection_{reason}"), "");
        self.give_up_shakes(tally);
        match self.reconnect_at.take() {
            Some(at) => ConnectNext::At(at.max(now)),
            None => self.try_again(now, habits, tally),
        }
    }

    fn try_again(&mut self, now: Micros, habits: &Habits, tally: &mut Tally) -> ConnectNext {
        self.failed_tries += 1;
        if self.failed_tries >= habits.connect_tries_max {
            tally.sessions.failed += 1;
            return ConnectNext::GiveUp;
        }
        ConnectNext::At(now.plus(habits.backoff.wait(self.failed_tries, &mut self.jitter)))
    }

    /// The gateway said something unasked. Gives what the user does because of it.
    pub fn on_notice(
        &mut self,
        now: Micros,
        notice: &v1::Notice,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        match &notice.kind {
            Some(v1::notice::Kind::GoAway(go_away)) => {
                tally.sessions.told_to_go_away += 1;
                let at = now.plus(backoff::told_to_reconnect(go_away.reconnect_after_ms, &mut self.jitter));
                Some(Action::Leave(*self.reconnect_at.get_or_insert(at)))
            }
            Some(v1::notice::Kind::PacketOffered(offer)) => self.on_offer(now, offer, habits, tally),
            Some(v1::notice::Kind::PhaseChanged(_)) | None => None,
        }
    }

    // ---- shakes --------------------------------------------------------------------------------------------

    /// A shake is due. Gives the message to send, or nothing when this shake is left out.
    pub fn on_shake_due(
        &mut self,
        now: Micros,
        due: Micros,
        sequence: u32,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<v1::Shake> {
        self.expire(now, habits, tally);
        if !self.online {
            tally.shakes.skipped_offline += 1;
            tally.steps.skipped(due);
            return None;
        }
        // Intended times are compared, not those at which a busy engine came round to it.
        let allowed = self
            .last_due
            .map_or(Micros::ZERO, |last| last.plus(self.pace))
            .max(self.slow_until);
        if self.roles.obeys && due < allowed {
            tally.shakes.skipped_by_pace += 1;
            tally.steps.skipped(due);
            return None;
        }
        self.last_due = Some(due);
        self.pending.push_back(Pending { sequence, due });
        tally.shakes.sent += 1;
        tally.steps.sent(due);
        tally.shakes.sent_on_streams += u64::from(self.roles.is_on_streams);
        Some(v1::Shake { sequence })
    }

    /// The transport did not take a shake, or its stream failed.
    pub fn on_shake_failed(&mut self, sequence: u32, reason: &str, tally: &mut Tally) {
        tally.error(&format!("shake_{reason}"), "");
        if let Some(at) = self.pending.iter().position(|pending| pending.sequence == sequence) {
            let pending = self.pending.remove(at).expect("`position` found it");
            tally.shakes.unanswered += 1;
            tally.steps.unanswered(pending.due);
        }
    }

    /// A shake was answered. Gives the claim of what it won.
    pub fn on_shake_reply(
        &mut self,
        now: Micros,
        reply: v1::ShakeReply,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        self.expire(now, habits, tally);
        match self
            .pending
            .iter()
            .position(|pending| pending.sequence == reply.sequence)
        {
            Some(at) => {
                let pending = self.pending.remove(at).expect("`position` found it");
                tally.shakes.answered += 1;
                tally.latency.saturating_record(now.since(pending.due).0.max(1));
                tally.steps.answered(pending.due, now.since(pending.due));
            }
            // A phone shows a late answer all the same, and a late win is claimed.
            None if reply.sequence < self.settled_below => tally.shakes.late += 1,
            None => {
                tally.shakes.unexpected += 1;
                return None;
            }
        }
        tally.outcome(reply.outcome);
        tally.resource(reply.resource_id);
        self.pace = Micros::from_ms(reply.pace_ms.into());
        match v1::Outcome::try_from(reply.outcome) {
            Ok(v1::Outcome::SlowDown) => self.slow_down(now, &reply, tally),
            Ok(v1::Outcome::RedPacket) => return self.win(now, reply.red_packet, habits, tally),
            _ => {}
        }
        None
    }

    /// A datagram arrived that is no reply.
    pub fn on_malformed_datagram(&mut self, tally: &mut Tally) {
        tally.violations.malformed_replies += 1;
        tally.error("datagram_malformed", "");
    }

    fn slow_down(&mut self, now: Micros, reply: &v1::ShakeReply, tally: &mut Tally) {
        let Some(slow_down) = reply.slow_down else {
            tally.violations.malformed_replies += 1;
            return;
        };
        let wait = backoff::told(slow_down.retry_after_ms, &mut self.jitter);
        self.slow_until = self.slow_until.max(now.plus(wait));
    }

    fn win(
        &mut self,
        now: Micros,
        packet: Option<v1::RedPacket>,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        let complete = packet.filter(|packet| {
            (1..=TICKET_BYTES).contains(&packet.ticket.len()) && packet.cookie.len() <= COOKIE_BYTES_MAX
        });
        let Some(packet) = complete else {
            tally.violations.malformed_replies += 1;
            return None;
        };
        self.keep_cookie(&packet.cookie);
        tally.claims.wins += 1;
        if self.roles.hoards {
            tally.claims.hoarded += 1;
            return None;
        }
        Some(self.begin_claim(now, &packet, habits, tally))
    }

    fn keep_cookie(&mut self, cookie: &Bytes) {
        if !cookie.is_empty() {
            // A copy: a slice would keep the whole datagram's buffer alive for as long as the user lives.
            self.cookie = Bytes::copy_from_slice(cookie);
        }
    }

    /// Counts the shakes whose time is over.
    pub fn expire(&mut self, now: Micros, habits: &Habits, tally: &mut Tally) {
        while let Some(oldest) = self.pending.front()
            && oldest.due.plus(habits.shake_timeout) <= now
        {
            self.settled_below = oldest.sequence + 1;
            tally.steps.unanswered(oldest.due);
            self.pending.pop_front();
            tally.shakes.unanswered += 1;
        }
    }

    fn give_up_shakes(&mut self, tally: &mut Tally) {
        if let Some(newest) = self.pending.back() {
            self.settled_below = newest.sequence + 1;
        }
        tally.shakes.unanswered += self.pending.len() as u64;
        self.pending
            .iter()
            .for_each(|pending| tally.steps.unanswered(pending.due));
        self.pending.clear();
    }

    /// The run is over: what is still open is counted as unanswered and unfinished.
    pub fn finish(&mut self, tally: &mut Tally) {
        self.give_up_shakes(tally);
        self.give_up_errands(tally);
    }
}

/// Bit 0 of `Hello.capabilities`: takes Notices.
const CAPABLE_OF_NOTICES: u64 = 1;

#[cfg(test)]
mod tests;
