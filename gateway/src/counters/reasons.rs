//! Why things are refused, dropped or put off: enums whose variants have the names that the metrics show.

use enum_map::Enum;
use strum::IntoStaticStr;

/// Why a drawn red packet was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Missed {
    /// The phase's release rate allows none yet.
    NotDue,
    /// The user has won as much as one user may, in all or of this sponsor.
    UserLimit,
    /// No packet in hand.
    NoGrant,
    /// The packets in hand are of another event than the show's.
    OtherEvent,
    /// The request ring is full, or the agent has not been told of this shard's start yet.
    RingFull,
    /// The table of winners is full.
    WinnersFull,
    /// The agent has not said yet which ledger this is.
    LedgerUnknown,
    /// Another agent has the part of the ledger.
    PartLost,
    /// The client gives no room for the reply that would tell it.
    Untold,
}

/// Why a datagram got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Dropped {
    /// Not a `Shake`.
    Malformed,
    /// Longer than a `Shake` may be.
    Oversized,
    /// Before the connection said Hello.
    BeforeHello,
    /// The client takes no datagrams, so its shakes must come on streams.
    NoReturn,
    /// The user was told to slow down a moment ago, and did not.
    ToldBefore,
    /// So many answers wait for the client's connection to take them that there is no room for this one.
    NoRoom,
}

/// Why a session's packet was dropped unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Shed {
    /// Its user has used up what one user may shake.
    OverRate,
    /// It waited in the socket for longer than the grade lets pass.
    TooLate,
    /// Its user or device is blocked, and sends more than the blocked may.
    Blocked,
    /// Its session sends more packets than one may.
    OverBudget,
    /// Its session sent more than one may before Hello, and is closed.
    BeforeHello,
}

/// Why a shake was answered "slow down".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum SlowDown {
    /// The user shook more often than one user may in this grade.
    UserRate,
    /// More shakes come from the user's address prefix than may in this grade.
    PrefixRate,
    /// So many address prefixes shake that no more are remembered.
    PrefixesFull,
    /// The grade admits no more shakes in all.
    GradeRate,
    /// The user or device is blocked.
    Blocked,
}

/// Why a new connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RejectReason {
    /// The gateway is going away.
    Going,
    /// There are as many sessions as there may be.
    SessionsFull,
    /// There is no memory for it.
    MemoryFull,
    /// There are as many handshakes as there may be in this grade.
    HandshakesFull,
    /// Too many of its address prefix.
    PrefixRate,
    /// Its address prefix is blocked.
    Blocked,
    /// Too many address prefixes to remember.
    PrefixesFull,
    /// The grade admits no more new connections.
    GradeRate,
}

/// Why the gateway closed a session, apart from its own end, protocol errors and idle time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Ended {
    /// The user's token is over.
    TokenOver,
    /// The key that signed the user's token was retired.
    KeyRetired,
    /// A newer session of the user took its place, because it was silent for the longest.
    Displaced,
    /// Blocked, when a newcomer needed the place.
    Blocked,
    /// Without a Hello, when a newcomer needed the place.
    Nameless,
}

/// Why a request was answered "ask again".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Busy {
    /// The agent is away.
    AgentAway,
    /// The agent cannot reach its ledger.
    LedgerAway,
    /// The request ring is full, or too many requests are under way.
    RingFull,
    /// The agent did not answer in time.
    Timeout,
    /// The agent said busy.
    Agent,
    /// The grade switches this service off.
    SwitchedOff,
    /// The grade admits no more of this.
    GradeRate,
    /// The user asks more often than one user may in this grade.
    UserRate,
    /// The user or device is blocked.
    Blocked,
    /// The agent has not said yet which ledger this is: nothing can be checked, and nothing is refused.
    LedgerUnknown,
}
