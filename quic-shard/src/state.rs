//! What a shard has of its sessions: the table and all that stands beside it, by the same index.

use crate::anti_amplification::AntiAmplification;
use crate::batch::SendBatch;
use crate::buffered_packets::BufferedPackets;
use crate::close::Close;
use crate::counters::Counters;
use crate::cx::SessionCx;
use crate::endpoints::Endpoints;
use crate::io::{Io, Now};
use crate::memory::hot_line::HotLine;
use crate::memory::huge_pages::Prefaulter;
use crate::memory::paged_slab::PagedSlab;
use crate::memory::session_table::SessionTable;
use crate::memory::stall_timer::StallTimer;
use crate::session::Session;
use crate::session_id::SessionId;
use crate::streams::StreamRules;
use crate::wheel::Wheel;
use quinn_proto::{ConnectionEvent, EndpointEvent};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Length of a timer tick. The timers that matter are acknowledgement delays (25 ms) and probe timeouts (from about a
/// second); firing one up to 2 ms late is harmless, and with many sessions each tick has one.
pub const TICK: Duration = Duration::from_millis(2);
/// How long before its deadline a timer may fire in vain. Within it the session is likely still in the caches; by the time
/// of a probe it would be fetched from memory only to be found well.
const EARLY_MAX: Duration = Duration::from_millis(200);

/// The sessions of a shard, of an application with such parts. Endpoints stay as long as the table, whose sessions share their
/// configurations.
pub struct State<S, H> {
    pub table: SessionTable<Session<S>>,
    /// Of each session what is looked at first.
    pub hot: PagedSlab<HotLine<H>>,
    pub wheel: Wheel,
    pub endpoints: Endpoints,
    pub buffered: BufferedPackets<ConnectionEvent>,
    pub anti_amplification: AntiAmplification,
    pub outgoing: SendBatch,
    /// Sessions that something happened to this turn.
    pub dirty: Vec<usize>,
    pub next_serial: u32,
    /// Sessions whose handshake is under way.
    pub handshaking: usize,
    pub now: Now,
    pub began: Instant,
    pub rules: StreamRules,
    pub stalls: StallTimer,
    pub counters: Arc<Counters>,
}

impl<S, H: Default> State<S, H> {
    pub fn new(
        endpoints: Endpoints,
        rules: StreamRules,
        prefaulter: &Prefaulter,
        sessions_max: usize,
        counters: Arc<Counters>,
        now: Now,
        began: Instant,
    ) -> Self {
        Self {
            table: SessionTable::new(prefaulter, sessions_max),
            hot: PagedSlab::new(prefaulter.clone()),
            wheel: Wheel::new(),
            endpoints,
            buffered: BufferedPackets::default(),
            anti_amplification: AntiAmplification::default(),
            outgoing: SendBatch::new(),
            dirty: Vec::new(),
            next_serial: 0,
            handshaking: 0,
            now,
            began,
            rules,
            stalls: StallTimer::default(),
            counters,
        }
    }
}

impl<S, H> State<S, H> {
    /// A session in the hands of its application, unpacked. Nothing is noted of it.
    pub fn cx(&mut self, index: usize) -> Option<SessionCx<'_, S, H>> {
        let Session { transport, app } = self.table.get_mut(index)?;
        Some(SessionCx {
            id: transport.id(index),
            now: &self.now,
            hot: &mut self.hot.get_mut(index)?.app,
            session: app,
            transport,
            rules: &self.rules,
            counters: &self.counters,
        })
    }

    /// Has a session driven in this turn.
    pub fn touch(&mut self, index: usize) {
        if let Some(session) = self.table.get_mut(index) {
            mark(session, index, &mut self.dirty);
        }
    }

    /// Closes a session, unless it is closed.
    pub fn close(&mut self, index: usize, close: Close) {
        let now = self.now.instant;
        if let Some(session) = self.table.get_mut(index)
            && !session.transport.connection.is_closed()
        {
            session.transport.close(now, close);
            mark(session, index, &mut self.dirty);
        }
    }

    /// Asks the processor for a session that is about to be needed.
    pub fn fetch(&self, index: usize) {
        self.table.prefetch(index);
        self.wheel.prefetch_neighbours(index);
        if let Some(line) = self.hot.get(index) {
            line.prefetch_outside();
        }
    }

    /// The tick of this turn.
    pub fn tick(&self) -> u64 {
        self.now.elapsed_ns / TICK.as_nanos() as u64
    }

    /// The tick in which something is due that is due at this moment.
    pub fn tick_of(&self, deadline: Instant) -> u64 {
        let after = deadline.saturating_duration_since(self.began);
        after.as_nanos().div_ceil(TICK.as_nanos()) as u64
    }

    /// Arms the session's timer, unless it is armed for a time that is a little earlier: then it is looked at again when
    /// that fires. So a deadline that moves back a little with each packet costs nothing.
    pub fn arm(&mut self, index: usize) {
        let Some(session) = self.table.get_mut(index) else {
            return;
        };
        let Some(deadline) = session.transport.deadline() else {
            return;
        };
        if session.transport.is_quiet(self.now.instant, deadline) {
            self.table.mark_idle(index);
        }
        let tick = self.tick_of(deadline);
        let early_max = (EARLY_MAX.as_nanos() / TICK.as_nanos()) as u64;
        let may_stay = |armed: u64| (armed..=armed + early_max).contains(&tick);
        if !self.wheel.armed(index).is_some_and(may_stay) {
            self.wheel.arm(index, tick);
        }
    }

    /// Takes a session out that its endpoint knows no more.
    pub fn remove(&mut self, index: usize) -> Option<Session<S>> {
        let session = self.table.remove(index)?;
        self.wheel.disarm(index);
        if session.transport.is_handshaking {
            self.handshaking -= 1;
            self.buffered.take(index);
        }
        self.hot.remove(index);
        self.counters.connections_closed.inc();
        Some(session)
    }

    /// Takes a closed session out before its connection would have it. What still comes for it is answered by a stateless
    /// reset.
    pub fn forget(&mut self, index: usize) -> Option<Session<S>> {
        let place = self.table.get_mut(index)?.transport.place;
        self.endpoints.handle_event(place, EndpointEvent::drained());
        self.remove(index)
    }

    /// Makes sure that the outgoing batch takes one more packet.
    pub fn make_room(&mut self, io: &mut impl Io) {
        if self.outgoing.is_full() {
            self.flush(io);
        }
    }

    /// Sends what the outgoing batch holds.
    pub fn flush(&mut self, io: &mut impl Io) {
        if self.outgoing.len() > 0 {
            self.counters.packets_sent.add(self.outgoing.len() as u64);
            let unsent = io.send(&mut self.outgoing);
            self.counters.packets_unsent.add(unsent as u64);
        }
    }
}

/// Has a session driven in this turn.
pub fn mark<S>(session: &mut Session<S>, index: usize, dirty: &mut Vec<usize>) {
    if !session.transport.is_dirty {
        session.transport.is_dirty = true;
        dirty.push(index);
    }
}

/// All sessions of a shard, in the hands of its application.
pub struct AllSessions<'a, S, H>(pub(super) &'a mut State<S, H>);

impl<S, H> AllSessions<'_, S, H> {
    /// A session, if it is still there. It is unpacked, and driven in this turn.
    pub fn get(&mut self, id: SessionId) -> Option<SessionCx<'_, S, H>> {
        let index = id.index as usize;
        let session = self.0.table.get_mut(index)?;
        if session.transport.serial != id.serial {
            return None;
        }
        mark(session, index, &mut self.0.dirty);
        self.0.cx(index)
    }

    /// The application's part of a session, if it is still there. It is unpacked, and not driven.
    pub fn peek(&mut self, id: SessionId) -> Option<&mut S> {
        let session = self.0.table.get_mut(id.index as usize)?;
        (session.transport.serial == id.serial).then_some(&mut session.app)
    }

    /// The same in this slot, whichever it is.
    pub fn at(&mut self, slot: usize) -> Option<&mut S> {
        Some(&mut self.0.table.get_mut(slot)?.app)
    }

    /// What stands beside the session in this slot. Nothing is unpacked.
    pub fn hot(&self, slot: usize) -> Option<&H> {
        Some(&self.0.hot.get(slot)?.app)
    }
}
