//! The shake application on a shard, top-down in the order of a turn: each step is a call into one of the modules below.

use crate::abuse::AbuseCounters;
use crate::broadcasts::{self, Broadcast};
use crate::counters::{RejectReason, Shed as ShedReason};
use crate::deliveries::deliver;
use crate::evict::{close_with, go_round, make_place};
use crate::gateway::Gateway;
use crate::handlers::{ask_elsewhere, ask_put_off, has_gifts, mind_block, on_datagram, on_request, send_gifts};
use crate::limits::{Applicant, Decision, Limits, Spending, UserLimits};
use crate::phone::{Phone, PhoneCx, Phones};
use bytes::Bytes;
use quic_shard::Close;
use quic_shard::app::{Admission, App, Charge, Control, Doorbell, Peer, QueueDelay, Shed, TooLong, Turn};
use quic_shard::io::Now;
use quic_shard::session_id::SessionId;
use quic_shard::tls::MAX_ACK_DELAY;
use quinn_proto::{ServerConfig, StreamId};
use shake_proto::code::Code;
use shake_rules::prefix::Prefix;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The longest sleep of a shard: how late it may see the stop flag or a new phase.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// The same while gifts are due by the clock alone.
const GIFTS_SLEEP_MAX: Duration = Duration::from_millis(2);
/// Of a shard with more sessions none is asked to delay acknowledgements: it cannot serve each so often that they ride on shakes.
const DELAYED_ACK_SESSIONS_MAX: usize = 32_768;

impl App for Gateway {
    type Hot = UserLimits;
    type Session = Phone;
    type Broadcast = Broadcast;

    fn has_work(&mut self) -> bool {
        self.ledger.link.has_deliveries()
    }

    fn doorbell(&self) -> Option<&dyn Doorbell> {
        Some(&self.ledger.link)
    }

    fn sleep_max(&self) -> Duration {
        if has_gifts(self) { GIFTS_SLEEP_MAX } else { SLEEP_MAX }
    }

    fn begin_turn(&mut self, now: &Now, control: &mut Control<Broadcast>) {
        if Gateway::begin_turn(self, *now) {
            control.serve_by(&self.conditions.secrets.servers.default);
        }
        // Before what arrives: who says Hello in this turn hears of the phase by the reply.
        broadcasts::begin(self, control);
    }

    fn on_broadcast(&mut self, cx: &mut PhoneCx<'_>, what: Broadcast) {
        broadcasts::tell(self, cx, what);
    }

    fn begin_batch(&mut self, delay: QueueDelay) {
        self.limits.packets.begin_batch(delay.waited_ns);
        let gauges = &self.shared.board.shards[usize::from(self.shard)];
        gauges.queue_wait.add((delay.queued_ns / 1_000) as u32);
    }

    fn shed(&mut self, hot: &mut UserLimits) -> Shed {
        let Limits { packets, present, .. } = &self.limits;
        let why = packets.shed(present, hot);
        if let Some(why) = why {
            self.counters.shed[why].inc();
        }
        Shed {
            is_dropped: why.is_some(),
            hold_ns: packets.hold_ns(present, hot),
        }
    }

    fn charge(&mut self, hot: &mut UserLimits) -> Charge {
        let Limits { packets, present, .. } = &self.limits;
        match packets.spend(present, hot) {
            Spending::Open => Charge::Open,
            Spending::Shed(why) => {
                self.counters.shed[why].inc();
                Charge::Drop
            }
            Spending::Close => {
                self.counters.shed[ShedReason::BeforeHello].inc();
                self.counters.streams_refused[Code::Abuse].inc();
                Charge::Close(close_with(Code::Abuse))
            }
        }
    }

    fn on_packet(&mut self, id: SessionId) {
        let now = self.conditions.now.instant;
        self.shared.presence.hear(self.shard, id.index as usize, now);
    }

    fn admit(&mut self, peer: &Peer, phones: &mut Phones<'_>) -> Admission {
        let leaving = self.room.leaving(self.conditions.now.instant);
        let applicant = Applicant {
            address: peer.address.ip(),
            is_proven: peer.is_validated,
            is_going: peer.is_stopping || self.shared.current.is_draining(),
            is_memory_full: self.shared.board.is_memory_full(),
            is_full: peer.sessions.saturating_sub(leaving) >= self.sessions.max,
            handshakes: peer.handshakes,
            handshakes_max: self.sessions.handshakes_max,
        };
        let refused = match self.decide(&applicant) {
            Decision::Accept => return Admission::Accept(server_for(self, peer)),
            Decision::AcceptInPlace if make_place(self, phones) => return Admission::Accept(server_for(self, peer)),
            Decision::AcceptInPlace => RejectReason::SessionsFull,
            Decision::Retry => return Admission::Retry,
            Decision::Refuse(why) => why,
        };
        self.counters.rejected[refused].inc();
        Admission::Refuse
    }

    fn open(&mut self, id: SessionId, peer: &Peer, hot: &mut UserLimits) -> (Phone, Option<Instant>) {
        let (address, now) = (peer.address.ip(), self.conditions.now.instant);
        hot.is_uncharged = !peer.is_validated;
        if peer.is_validated {
            self.charge_connection(address);
        }
        let index = self.credentials.insert(id.serial);
        assert_eq!(
            index, id.index as usize,
            "a session and its credential come and go together"
        );
        self.room.note(index, id.serial, now, &self.credentials);
        let phone = Phone::new(AbuseCounters::new(Prefix::of(address)));
        (phone, Some(now + self.sessions.hello_timeout))
    }

    fn on_established(&mut self, cx: &mut PhoneCx<'_>) {
        cx.session.behaviour.established();
        if std::mem::take(&mut cx.hot.is_uncharged) {
            self.charge_connection(cx.peer().ip());
        }
    }

    fn on_migrated(&mut self, cx: &mut PhoneCx<'_>) {
        cx.session.behaviour.moved();
    }

    fn on_datagram(&mut self, cx: &mut PhoneCx<'_>, bytes: Bytes) {
        on_datagram(self, cx, bytes);
    }

    fn on_request(&mut self, cx: &mut PhoneCx<'_>, stream: StreamId, whole: Result<Bytes, TooLong>) {
        on_request(self, cx, stream, whole);
    }

    /// No Hello has come.
    fn on_deadline(&mut self, cx: &mut PhoneCx<'_>) {
        if !cx.is_closed() {
            self.counters.streams_refused[Code::HelloTimeout].inc();
            cx.close(close_with(Code::HelloTimeout));
        }
    }

    fn after_events(&mut self, cx: &mut PhoneCx<'_>) {
        let Some(user) = cx.session.user else {
            return;
        };
        let (packets, present) = (&self.limits.packets, &self.limits.present);
        if packets.is_over_trickle(present, cx.hot) {
            let who = (user, cx.session.behaviour.device());
            mind_block(&self.conditions, &self.blocklist, &self.limits, who, cx.hot);
        }
        let (link, now_ns) = (&mut self.ledger.link, self.conditions.now.elapsed_ns);
        let behaviour = &mut cx.session.behaviour;
        self.reports.tell(link, behaviour, Some(user), cx.id, now_ns);
    }

    fn on_closing(&mut self, id: SessionId, _phone: &mut Phone) {
        self.leave(id.index as usize);
    }

    fn on_closed(&mut self, id: SessionId, mut phone: Phone) {
        let (link, now_ns) = (&mut self.ledger.link, self.conditions.now.elapsed_ns);
        self.reports.tell_end(link, &mut phone.behaviour, phone.user, now_ns);
        self.forget_credential(id.index as usize);
    }

    fn poll(&mut self, phones: &mut Phones<'_>) {
        deliver(self, phones);
        self.take_blocks();
        go_round(self, phones);
        send_gifts(self, phones);
    }

    fn may_ping(&self) -> bool {
        self.is_calm()
    }

    fn end_turn(&mut self, turn: &Turn, phones: &mut Phones<'_>) {
        let gauges = &self.shared.board.shards[usize::from(self.shard)];
        let (ring_fill, was_full) = self.ledger.link.fill();
        gauges.ring_fill_permille.store(ring_fill, Relaxed);
        gauges.shakers.store(self.limits.shakes.shakers(), Relaxed);
        if was_full {
            gauges.was_ring_full.store(true, Relaxed);
        }
        if turn.batches > 0 {
            gauges.turn_us_max.fetch_max(turn.took.as_micros() as u32, Relaxed);
        }
        tell_late(self, phones);
        ask_put_off(self, phones);
        ask_elsewhere(self, phones);
        let now_ns = self.conditions.now.elapsed_ns;
        self.reports.tell_of_strangers(&mut self.ledger.link, now_ns);
        self.ledger.link.wake_agent();
    }

    fn served(&self) -> u64 {
        self.counters.shakes_served()
    }

    fn is_busy(&self) -> bool {
        self.ledger.in_flight() > 0
    }

    fn farewell(&self) -> Close {
        close_with(Code::GoingAway)
    }
}

/// How a new connection is served.
fn server_for(app: &Gateway, peer: &Peer) -> Arc<ServerConfig> {
    let servers = &app.conditions.secrets.servers;
    // An acknowledgement that waits in vain comes to a session that has left the caches, or would sleep by then.
    let may_delay = peer.sessions < DELAYED_ACK_SESSIONS_MAX && app.conditions.may_shake_within(MAX_ACK_DELAY);
    Arc::clone(if may_delay {
        &servers.delayed_ack
    } else {
        &servers.default
    })
}

/// Tells of the sessions whose misdeeds came too soon after the last to be told at once.
fn tell_late(app: &mut Gateway, phones: &mut Phones<'_>) {
    let now_ns = app.conditions.now.elapsed_ns;
    while let Some(id) = app.reports.take_late(now_ns) {
        if let Some(phone) = phones.peek(id) {
            let (link, user) = (&mut app.ledger.link, phone.user);
            app.reports.tell_late(link, &mut phone.behaviour, user, id, now_ns);
        }
    }
}
