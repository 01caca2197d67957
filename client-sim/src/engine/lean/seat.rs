//! One session's place: its user, its connection while there is one, and what it waits for.

use super::super::gateways::Gateway;
use super::wheel::Tick;
use crate::schedule::Micros;
use crate::tally::code_name;
use crate::user::{ErrandId, RequestFailure, User};
use lean_quic::{CloseReason, Connection, Event, StreamId};
use prost::Message;
use shake_proto::wire::v1;

pub(super) struct Seat {
    pub(super) user: User,
    pub(super) connection: Option<Connection>,
    pub(super) standing: Standing,
    /// Where the next connection goes.
    pub(super) gateway: Gateway,
    /// What it waits for, and until when. Empty for most of the time.
    pub(super) todo: Vec<(Micros, Todo)>,
    pub(super) armed: Tick,
    /// Whether its first connection stands, or it gave up before.
    pub(super) has_settled: bool,
    /// Under which it stands in the map of reset tokens.
    pub(super) token: Option<u64>,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Without a connection: before its turn, between two tries, or for good.
    Offline,
    /// In the handshake or before the answer to its Hello, since then.
    Connecting(Micros),
    Online,
}

/// Something to do at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// Connect (again).
    Connect,
    /// The handshake has taken too long.
    GiveUpConnecting,
    /// The request has taken too long.
    GiveUp(StreamId, Asked),
    /// No stream was granted for the request; ask again until the time given.
    AskAgain(Asked, Vec<u8>, Micros),
    Errand(ErrandId),
    /// The shake of this number, which waited until the phone may shake.
    Shake(u32),
    /// Leave this connection, as told.
    Leave,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Hello,
    Errand(ErrandId),
    Shake(u32),
}

/// An event of a connection, kept until the connection is free for what follows from it.
#[derive(Debug)]
pub(super) enum Happened {
    Connected,
    ShakeReply(Option<v1::ShakeReply>),
    Response(StreamId, Result<Vec<u8>, RequestFailure>),
    Notice(Option<Vec<u8>>),
    ResetToken([u8; 16]),
    Closed(CloseReason),
}

impl Happened {
    pub(super) fn from_event(event: Event<'_>) -> Option<Self> {
        use shake_proto::code::Code;
        Some(match event {
            Event::Connected => Self::Connected,
            Event::Datagram(bytes) => Self::ShakeReply(v1::ShakeReply::decode(bytes).ok()),
            Event::Response { stream, bytes } => Self::Response(stream, Ok(bytes)),
            Event::StreamReset { stream, code } => Self::Response(stream, Err(RequestFailure::Reset(code))),
            Event::Oversized { stream } => Self::Response(stream, Err(RequestFailure::Malformed(Code::Oversized))),
            Event::StreamsAvailable => return None, // requests that wait for it ask again by the clock
            Event::Notice(bytes) => Self::Notice(Some(bytes)),
            Event::NoticeLost => Self::Notice(None),
            Event::ResetToken(token) => Self::ResetToken(token),
            Event::Closed(reason) => Self::Closed(reason),
        })
    }
}

impl Seat {
    pub(super) fn new(user: User, gateway: Gateway) -> Self {
        Self {
            user,
            connection: None,
            standing: Standing::Offline,
            gateway,
            todo: Vec::new(),
            armed: Tick::NONE,
            has_settled: false,
            token: None,
        }
    }

    /// When it is to be looked at.
    pub(super) fn deadline(&self) -> Option<Micros> {
        let timeout = self.connection.as_ref().and_then(Connection::next_timeout);
        self.todo.iter().map(|(at, _)| *at).chain(timeout).min()
    }

    /// Takes what is due.
    pub(super) fn take_due(&mut self, now: Micros) -> Option<(Micros, Todo)> {
        let at = self.todo.iter().position(|(at, _)| *at <= now)?;
        let due = self.todo.swap_remove(at);
        self.shrink();
        Some(due)
    }

    /// Takes the request that a stream was opened for.
    pub(super) fn take_asked(&mut self, stream: StreamId) -> Option<Asked> {
        let mut asked = None;
        self.todo.retain(|(_, todo)| match todo {
            Todo::GiveUp(own, what) if *own == stream => {
                asked = Some(*what);
                false
            }
            _ => true,
        });
        self.shrink();
        asked
    }

    /// Takes all that ends with the connection; gives the requests under way.
    pub(super) fn take_all_asked(&mut self) -> Vec<Asked> {
        let mut asked = Vec::new();
        self.todo.retain(|(_, todo)| match todo {
            Todo::GiveUp(_, what) | Todo::AskAgain(what, ..) => {
                asked.push(*what);
                false
            }
            Todo::GiveUpConnecting | Todo::Leave => false,
            Todo::Connect | Todo::Errand(_) | Todo::Shake(_) => true,
        });
        self.shrink();
        asked
    }

    /// The handshake is through, or not to be waited for any more.
    pub(super) fn stop_connecting(&mut self) {
        self.todo.retain(|(_, todo)| *todo != Todo::GiveUpConnecting);
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.todo.is_empty() {
            self.todo = Vec::new();
        }
    }
}

/// What a request under way gets when its connection ends. A code that the gateway closed with is the answer.
pub(super) fn failure_of(reason: &CloseReason) -> RequestFailure {
    match reason {
        CloseReason::Application(code) => RequestFailure::Closed(*code),
        _ => RequestFailure::ConnectionLost,
    }
}

/// The name of why a connection ended, the same as the other engine has.
pub(super) fn reason_name(reason: &CloseReason) -> String {
    match reason {
        CloseReason::VersionMismatch => "version_mismatch".into(),
        CloseReason::Local(error) => transport_name(error.code.0),
        CloseReason::Transport(code) => format!("closed_{}", transport_name(*code)),
        CloseReason::Application(code) => format!("closed_{}", code_name(*code)),
        CloseReason::Reset => "reset".into(),
        CloseReason::TimedOut => "timed_out".into(),
        CloseReason::Here => "left_as_told".into(),
    }
}

/// Codes from 0x100 to 0x1ff carry a TLS alert (RFC 9001, section 4.8).
fn transport_name(code: u64) -> String {
    match code {
        0x100..=0x1ff => format!("tls_alert_{}", code - 0x100),
        _ => format!("transport_{code:#x}"),
    }
}

/// What of a reset token the map keeps. Tokens are random, so half of one tells sessions apart; the connection itself
/// compares the whole.
pub(super) fn token_key(token: &[u8; 16]) -> u64 {
    let [half @ .., _, _, _, _, _, _, _, _] = *token;
    u64::from_be_bytes(half)
}
