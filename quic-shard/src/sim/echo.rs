//! An application that says back what it hears: for tests of the shard, and to measure it without shakes.

use crate::app::{
    Admission, App, Charge, Control, Cx, Doorbell, Pace, Peer, QueueDelay, Sessions, Shed, TooLong, Turn,
};
use crate::close::Close;
use crate::io::Now;
use crate::session_id::SessionId;
use bytes::Bytes;
use quinn_proto::{ServerConfig, StreamId};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What it closes connections with that say nothing.
const SILENT: Close = Close {
    code: 7,
    reason: "silent",
};
/// What it closes those with that are here at the end.
const FAREWELL: Close = Close {
    code: 9,
    reason: "farewell",
};

/// What it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Echoed {
    /// Datagrams and requests that were said back.
    pub answers: u64,
    /// Sessions whose address changed.
    pub migrations: u64,
    /// Broadcasts that reached a session.
    pub told: u64,
    /// Connections that ended, and sessions that were forgotten.
    pub closing: u64,
    /// The latter.
    pub closed: u64,
    /// Packets that were not opened.
    pub shed: u64,
}

/// How it behaves.
pub struct EchoConfig {
    /// How connections are served.
    pub server: Arc<ServerConfig>,
    /// A session that has said nothing after so long is closed.
    pub silent_max: Duration,
    /// When all sessions are told something, and over how long.
    pub broadcast: Option<(Duration, Duration)>,
    /// Packets of a session that are opened; none after them.
    pub packets_max: u32,
    /// Handshakes at one time from which on addresses are to be proved.
    pub prove_from: usize,
}

impl EchoConfig {
    /// One that refuses nobody anything.
    pub fn new(server: Arc<ServerConfig>) -> Self {
        Self {
            server,
            silent_max: Duration::from_secs(10),
            broadcast: None,
            packets_max: u32::MAX,
            prove_from: usize::MAX,
        }
    }
}

/// Stands beside every session.
#[derive(Default)]
pub struct EchoHot {
    packets: u32,
    has_spoken: bool,
}

/// The application.
pub struct Echo {
    config: EchoConfig,
    echoed: Rc<RefCell<Echoed>>,
}

impl Echo {
    /// One that behaves so, and counts there.
    pub fn new(config: EchoConfig, echoed: &Rc<RefCell<Echoed>>) -> Self {
        Self {
            config,
            echoed: Rc::clone(echoed),
        }
    }

    fn speaks(&self, cx: &mut Cx<'_, Self>) {
        cx.hot.has_spoken = true;
        cx.set_deadline(None);
        *cx.session += 1;
        self.echoed.borrow_mut().answers += 1;
    }
}

impl App for Echo {
    type Hot = EchoHot;
    type Session = u64;
    type Broadcast = ();

    fn has_work(&mut self) -> bool {
        false
    }

    fn doorbell(&self) -> Option<&dyn Doorbell> {
        None
    }

    fn sleep_max(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn begin_turn(&mut self, now: &Now, control: &mut Control<()>) {
        let now = Duration::from_nanos(now.elapsed_ns);
        if let Some((_, over)) = self.config.broadcast.take_if(|(at, _)| *at <= now) {
            control.broadcast((), Pace::Over(over));
        }
    }

    fn on_broadcast(&mut self, cx: &mut Cx<'_, Self>, (): ()) {
        if cx.notify(Bytes::from_static(b"all")) {
            self.echoed.borrow_mut().told += 1;
        }
    }

    fn begin_batch(&mut self, _delay: QueueDelay) {}

    fn shed(&mut self, hot: &mut EchoHot) -> Shed {
        let is_dropped = hot.packets >= self.config.packets_max;
        self.echoed.borrow_mut().shed += u64::from(is_dropped);
        Shed { is_dropped, hold_ns: 0 }
    }

    fn charge(&mut self, hot: &mut EchoHot) -> Charge {
        hot.packets += 1;
        Charge::Open
    }

    fn on_packet(&mut self, _id: SessionId) {}

    fn admit(&mut self, peer: &Peer, _sessions: &mut Sessions<'_, Self>) -> Admission {
        if peer.is_stopping {
            Admission::Refuse
        } else if peer.handshakes >= self.config.prove_from && !peer.is_validated {
            Admission::Retry
        } else {
            Admission::Accept(Arc::clone(&self.config.server))
        }
    }

    fn open(&mut self, _id: SessionId, _peer: &Peer, _hot: &mut EchoHot) -> (u64, Option<Instant>) {
        (0, None)
    }

    fn on_established(&mut self, cx: &mut Cx<'_, Self>) {
        cx.set_deadline(Some(cx.now.instant + self.config.silent_max));
    }

    fn on_migrated(&mut self, _cx: &mut Cx<'_, Self>) {
        self.echoed.borrow_mut().migrations += 1;
    }

    fn on_datagram(&mut self, cx: &mut Cx<'_, Self>, bytes: Bytes) {
        self.speaks(cx);
        // What finds no room is lost, as datagrams are.
        let _ = cx.send_datagram(bytes);
    }

    fn on_request(&mut self, cx: &mut Cx<'_, Self>, stream: StreamId, whole: Result<Bytes, TooLong>) {
        let answered = whole.map(|bytes| cx.reply(stream, bytes));
        match answered {
            Ok(Ok(())) => self.speaks(cx),
            Ok(Err(_)) | Err(TooLong) => cx.refuse(stream, SILENT.code),
        }
    }

    fn on_deadline(&mut self, cx: &mut Cx<'_, Self>) {
        cx.close(SILENT);
    }

    fn after_events(&mut self, _cx: &mut Cx<'_, Self>) {}

    fn on_closing(&mut self, _id: SessionId, _session: &mut u64) {
        self.echoed.borrow_mut().closing += 1;
    }

    fn on_closed(&mut self, _id: SessionId, _session: u64) {
        self.echoed.borrow_mut().closed += 1;
    }

    fn poll(&mut self, _sessions: &mut Sessions<'_, Self>) {}

    fn end_turn(&mut self, _turn: &Turn, _sessions: &mut Sessions<'_, Self>) {}

    fn served(&self) -> u64 {
        self.echoed.borrow().answers
    }

    fn is_busy(&self) -> bool {
        false
    }

    fn farewell(&self) -> Close {
        FAREWELL
    }
}
