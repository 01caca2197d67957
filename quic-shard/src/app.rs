//! What a shard serves: the trait of an application, and what the two tell each other.

use crate::close::Close;
use crate::cx::SessionCx;
use crate::io::Now;
use crate::session_id::SessionId;
use crate::state::AllSessions;
use bytes::Bytes;
use quinn_proto::{ServerConfig, StreamId};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One session, as the application sees it.
pub type Cx<'a, A> = SessionCx<'a, <A as App>::Session, <A as App>::Hot>;
/// All of a shard's sessions.
pub type Sessions<'a, A> = AllSessions<'a, <A as App>::Session, <A as App>::Hot>;

/// What a shard serves; one value a shard, on its thread; the methods in the order of a turn. Nothing here may wait. Only
/// [`App::admit`], [`App::poll`] and [`App::end_turn`] see sessions other than their own: what concerns others is queued for
/// them.
pub trait App: Sized {
    /// Stands in a cache line beside every session, and is looked at before it is fetched: at most 40 bytes.
    type Hot: Default;
    /// The application's part of a session; packed with it while it is idle.
    type Session;
    /// What all sessions are told, at a pace.
    type Broadcast: Copy + PartialEq;

    /// Whether something waits that comes by no packet: asked before the shard sleeps, and again once the doorbell is armed.
    fn has_work(&mut self) -> bool;

    /// What rings when there is work.
    fn doorbell(&self) -> Option<&dyn Doorbell>;

    /// The longest that a shard may sleep.
    fn sleep_max(&self) -> Duration;

    /// A turn begins. May give new handshakes another server configuration, and begin a broadcast.
    fn begin_turn(&mut self, now: &Now, control: &mut Control<Self::Broadcast>);

    /// A broadcast came to this session.
    fn on_broadcast(&mut self, cx: &mut Cx<'_, Self>, what: Self::Broadcast);

    /// Packets are about to be handled.
    fn begin_batch(&mut self, delay: QueueDelay);

    /// A packet came that seems to be this session's, still encrypted. Nothing may be charged for it: its connection ID may be
    /// of an earlier session in the same place.
    fn shed(&mut self, hot: &mut Self::Hot) -> Shed;

    /// A packet of this session that was not shed: whether it is opened. Up to eight are judged before the first of them is
    /// opened.
    fn charge(&mut self, hot: &mut Self::Hot) -> Charge;

    /// A packet of this session is opened.
    fn on_packet(&mut self, id: SessionId);

    /// Whether a new connection is let in.
    fn admit(&mut self, peer: &Peer, sessions: &mut Sessions<'_, Self>) -> Admission;

    /// One was: makes the application's part of the session. The moment is its first deadline.
    fn open(&mut self, id: SessionId, peer: &Peer, hot: &mut Self::Hot) -> (Self::Session, Option<Instant>);

    /// The handshake is complete.
    fn on_established(&mut self, cx: &mut Cx<'_, Self>);

    /// The session's address changed.
    fn on_migrated(&mut self, cx: &mut Cx<'_, Self>);

    /// A datagram came.
    fn on_datagram(&mut self, cx: &mut Cx<'_, Self>, bytes: Bytes);

    /// A request came, whole: answered by [`SessionCx::reply`] or [`SessionCx::refuse`] now, or later by its id.
    fn on_request(&mut self, cx: &mut Cx<'_, Self>, stream: StreamId, whole: Result<Bytes, TooLong>);

    /// The deadline that the application set has passed.
    fn on_deadline(&mut self, cx: &mut Cx<'_, Self>);

    /// Once for each session that something happened to, behind its events.
    fn after_events(&mut self, cx: &mut Cx<'_, Self>);

    /// The connection was closed, by either side, or is lost. It stays a while, to answer what still comes.
    fn on_closing(&mut self, id: SessionId, session: &mut Self::Session);

    /// The session is gone. [`Self::on_closing`] came before.
    fn on_closed(&mut self, id: SessionId, session: Self::Session);

    /// What the application has for its sessions: replies, notices, evictions.
    fn poll(&mut self, sessions: &mut Sessions<'_, Self>);

    /// Whether sessions are pinged whose acknowledgements are late. Under load there is no CPU time for it, and the answer
    /// would be late too.
    fn may_ping(&self) -> bool {
        true
    }

    /// The turn is over, and its packets are out.
    fn end_turn(&mut self, turn: &Turn, sessions: &mut Sessions<'_, Self>);

    /// What was answered so far: weighs the latencies of a turn.
    fn served(&self) -> u64;

    /// Whether a stopping shard should wait for it, for some seconds at the most.
    fn is_busy(&self) -> bool;

    /// What a stopping shard closes its connections with.
    fn farewell(&self) -> Close;
}

/// Rings when there is work.
pub trait Doorbell {
    /// From now on it rings.
    fn arm(&self);

    /// Readable while it rings.
    fn fd(&self) -> BorrowedFd<'_>;

    /// It rings no more.
    fn disarm(&self);
}

/// What an application may change at the beginning of a turn.
pub struct Control<B> {
    pub(super) server: Option<Arc<ServerConfig>>,
    pub(super) broadcast: Option<(B, Pace)>,
    pub(super) is_cancelled: Option<fn(B) -> bool>,
}

impl<B> Control<B> {
    pub(super) fn new() -> Self {
        Self {
            server: None,
            broadcast: None,
            is_cancelled: None,
        }
    }

    /// Has handshakes that begin from now on go by this configuration.
    pub fn serve_by(&mut self, server: &Arc<ServerConfig>) {
        self.server = Some(Arc::clone(server));
    }

    /// Tells all sessions something. It takes the place of the one under way, and begins where that stood.
    pub fn broadcast(&mut self, what: B, pace: Pace) {
        self.broadcast = Some((what, pace));
    }

    /// Ends the broadcast under way if it is such a one.
    pub fn cancel_if(&mut self, is_such: fn(B) -> bool) {
        self.is_cancelled = Some(is_such);
    }
}

/// How fast all sessions are told.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many sessions a second.
    PerSecond(f64),
    /// All of them over so long.
    Over(Duration),
}

/// Who asks to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// A Retry has shown that the address is its own.
    pub is_validated: bool,
    /// Sessions of this shard.
    pub sessions: usize,
    /// Of them those whose handshake is under way.
    pub handshakes: usize,
    /// The shard is stopping.
    pub is_stopping: bool,
}

/// What becomes of a new connection.
pub enum Admission {
    /// It is served so.
    Accept(Arc<ServerConfig>),
    /// It is to prove its address first.
    Retry,
    /// It is told that it is not let in.
    Refuse,
}

/// What becomes of a packet that is still encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// It is dropped unopened.
    pub is_dropped: bool,
    /// For so many nanoseconds the kernel may drop what the session sends.
    pub hold_ns: u64,
}

/// What becomes of a packet that is to be opened.
#[derive(Clone, Copy, Debug)]
pub enum Charge {
    /// It is opened.
    Open,
    /// It is dropped.
    Drop,
    /// It is dropped, and the session closed.
    Close(Close),
}

/// How long a batch of packets waited.
#[derive(Clone, Copy, Debug)]
pub struct QueueDelay {
    /// Since the kernel received its first packet.
    pub waited_ns: u64,
    /// How much of it was not by the shard's own pacing.
    pub queued_ns: u64,
}

/// A turn that is over.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// From its beginning until its packets were out.
    pub took: Duration,
    /// Batches of packets that it handled.
    pub batches: usize,
}

/// A request longer than the shard takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;
