//! What a simulated user knows and does: a pure state machine, fed with events and their time, that answers with what
//! to do next. One user is one session; whoever carries it (an engine) does the sending, the waiting and the locking.
//!
//! Invariant: no I/O, no clock, no global state. Time is [`Micros`] since the start of the run. Whatever comes from
//! the gateway is checked here, and what a correct gateway never sends is counted as a violation.

mod connection;
mod errand;
mod manners;
mod purse;
mod resources;
mod roles;
mod shaking;
mod show;

pub use errand::{Action, ErrandId, ErrandNext, ErrandStart, SEND_SHARES};
pub use resources::Fetch;
pub use roles::{PackageHabits, PacketHabits};

use crate::backoff::{Backoff, Jitter};
use crate::network::Networks;
use crate::schedule::Micros;
use crate::tally::{Tally, code_name};
use bytes::Bytes;
use errand::Errand;
use manners::Manners;
use purse::Purse;
use roles::Roles;
use shake_proto::code::Code;
use shake_proto::wire::v1;
use show::Countdown;
use std::collections::VecDeque;
use std::sync::Arc;

/// How users behave; the same for all of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Habits {
    /// Seed of what users draw.
    pub seed: u64,
    /// Another number in each run: what must never repeat comes from it, however often one seed is played.
    pub run: u64,
    /// How many users the run has.
    pub sessions: u32,
    /// The share of users who obey the gateway, 0 to 1: its pace, its slow downs, its waits, its silence. The others
    /// are selfish.
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
    /// How long nothing is shaken after a shake stayed unanswered.
    pub silence: Backoff,
    /// Shakes and requests unanswered in a row after which a user goes to another gateway; 0 when there is no other.
    pub silences_max: u32,
    /// How long a user takes to say Hello again when the show has changed, in milliseconds: least and most.
    pub hello_delay_ms: [u32; 2],
    /// What users do with packets among themselves.
    pub packets: PacketHabits,
    /// What users fetch.
    pub packages: PackageHabits,
    /// What stands between the phones and the gateway.
    pub networks: Arc<Networks>,
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
            Self::Malformed(_) => return true,
            // A newer session has the place. On a stream the same code asks for patience.
            Self::Closed(number) if *number == u64::from(Code::TooMany.number()) => return true,
            Self::Reset(number) | Self::Closed(number) => number,
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
    /// Connect to another of the scenario's gateways, at this time.
    Elsewhere(Micros),
    /// The session is over.
    GiveUp,
}

/// What becomes of a shake that is due.
#[derive(Clone, Debug, PartialEq)]
pub enum ShakeNext {
    /// Send this now.
    Send(v1::Shake),
    /// The phone may not shake yet: the shake is due again at this time.
    At(Micros),
    /// It is not sent, and counted as such.
    LeftOut,
    /// The same, because the user does this.
    Instead(Action),
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
    /// The shake that waits until the phone may shake again.
    held: Option<u32>,
    manners: Manners,
    countdown: Countdown,
    /// The latest version of the gateway's configuration that was heard of; zero for none.
    config_version: u64,
    reconnect_at: Option<Micros>,
    /// Shakes and requests in a row that stayed unanswered, while nothing else was heard.
    unheard: u8,
    /// Whether it leaves a gateway that is silent.
    forsakes: bool,
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
        let roles = Roles::of(index, habits);
        Self {
            id,
            index,
            roles,
            manners: Manners::new(roles.obeys),
            countdown: Countdown::NONE,
            config_version: 0,
            online: false,
            greeted: false,
            failed_tries: 0,
            jitter: Jitter::new(habits.seed, index.into()),
            cookie: Bytes::new(),
            pending: VecDeque::new(),
            settled_below: 0,
            held: None,
            reconnect_at: None,
            unheard: 0,
            forsakes: false,
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

    /// The place of the network that this user's phone is on; nothing when there are no networks.
    #[must_use]
    pub fn network(&self, habits: &Habits) -> Option<usize> {
        habits.networks.of(self.index)
    }

    /// Random bits of this user's own, for what an engine chooses for it.
    pub fn draw(&mut self) -> u64 {
        self.jitter.next_u64()
    }

    /// Whether this user's phone has no datagrams.
    #[must_use]
    pub fn shakes_on_streams(&self) -> bool {
        self.roles.is_on_streams
    }

    /// Whether an answer to a shake or errand is still awaited; not to another Hello, which a run need not end with.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty() || self.has_errands()
    }

    /// The run is over: what is still open is counted as unanswered and unfinished.
    pub fn finish(&mut self, tally: &mut Tally) {
        self.give_up_shakes(tally);
        self.give_up_held_shake(tally);
        self.give_up_errands(tally);
    }
}

/// Bit 0 of `Hello.capabilities`: takes Notices.
const CAPABLE_OF_NOTICES: u64 = 1;

#[cfg(test)]
mod tests;
