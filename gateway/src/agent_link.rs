//! A shard's end of its rings: grants come in, issued packets and claims go out, answers come back; what was seen goes out,
//! and blocks come back.
//!
//! The order of operations that makes a packet leave at most once (docs/architecture.md, "Money") is here:
//! [`AgentLink::issue`] moves the grant ring's cursor first and records the issue second; the caller makes the ticket third.

use crate::counters::Counters;
use quic_shard::app::Doorbell;
use shake_proto::handoff::abuse::{Block, Event};
use shake_proto::handoff::record::{Ask, BadRecord, Gift, Grant, Issued, Notice, Reply, Request, Returned};
use shake_proto::handoff::status::{AgentStatus, GatewayStatus};
use shake_proto::handoff::topology::{Ring, SILENT_MS_MAX};
use shake_rules::{LedgerId, PacketId};
use shm_queue::{Attachment, Bell, Consumer, Error, Producer, ReadError, Side, Sleeper};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Records taken in one go.
const RECORDS_AT_ONCE: usize = 256;

pub struct AgentLink {
    attachment: Attachment,
    requests: Producer,
    replies: Consumer,
    grants: Consumer,
    notices: Consumer,
    events: Producer,
    blocks: Consumer,
    sleeper: Sleeper,
    bell: Bell,
    /// Whether `ShardStarted` is in the request ring. Until then nothing else may be.
    is_announced: bool,
    has_pushed: bool,
    was_full: bool,
    record: Vec<u8>,
    counters: Arc<Counters>,
}

/// The request ring has no room, or the shard's start is not announced yet.
#[derive(Debug)]
pub struct Full;

impl AgentLink {
    /// Takes the rings of `shard`.
    pub fn open(attachment: &Attachment, shard: u16, counters: Arc<Counters>) -> Result<Self, Error> {
        Ok(Self {
            attachment: attachment.clone(),
            requests: attachment.producer(Ring::Request.index(shard))?,
            replies: attachment.consumer(Ring::Reply.index(shard))?,
            grants: attachment.consumer(Ring::Grant.index(shard))?,
            notices: attachment.consumer(Ring::Notice.index(shard))?,
            events: attachment.producer(Ring::Event.index(shard))?,
            blocks: attachment.consumer(Ring::Block.index(shard))?,
            sleeper: attachment.sleeper(0)?,
            bell: attachment.bell(shard.into())?,
            is_announced: false,
            has_pushed: false,
            was_full: false,
            record: Vec::with_capacity(Ring::Request.record_bytes_max() as usize),
            counters,
        })
    }

    pub fn epoch(&self) -> u32 {
        self.attachment.epoch()
    }

    /// Tells the agent that this shard began a new life, unless it has been told. To be called once a turn: the ring
    /// may have no room at first.
    pub fn announce(&mut self) {
        if !self.is_announced {
            let start = Request::ShardStarted {
                epoch: self.attachment.epoch(),
                grants_taken: self.grants.position(),
            };
            self.is_announced = self.push(&start).is_ok();
        }
    }

    /// What the agent says of itself, while its heartbeat is fresh. `now_ms` is CLOCK_MONOTONIC.
    pub fn agent(&self, now_ms: u64) -> Option<AgentStatus> {
        let peer = self.attachment.mapping().peer(Side::Back);
        peer.is_alive(now_ms, SILENT_MS_MAX)
            .then(|| AgentStatus::decode(peer.status))
    }

    /// Whether another agent has the part of the ledger: nobody writes down what is given out here, until an agent comes that has
    /// a part.
    pub fn is_part_lost(&self) -> bool {
        AgentStatus::decode(self.attachment.mapping().peer(Side::Back).status).part_lost
    }

    /// Which ledger the agent keeps, once it has said so.
    pub fn ledger(&self) -> Option<LedgerId> {
        self.attachment.mapping().owner().map(|owner| LedgerId(owner.identity))
    }

    /// Whether an issue can be recorded. Only this shard fills the ring, so a yes stays true until it pushes.
    pub fn can_issue(&mut self) -> bool {
        let has_room = self.requests.free() > 0;
        self.was_full |= !has_room;
        self.is_announced && has_room
    }

    /// How full the request ring is, in thousandths; and whether it had no room for something since the last call.
    pub fn fill(&mut self) -> (u32, bool) {
        let slots = Ring::Request.slots() as usize;
        let used = slots - self.requests.free().min(slots);
        ((used * 1_000 / slots) as u32, std::mem::take(&mut self.was_full))
    }

    /// Tells the agent whether the gateway drains, and so wants no grants.
    pub fn say_draining(&self, is_draining: bool) {
        self.attachment.set_status(GatewayStatus { is_draining }.encode());
    }

    /// The position behind the last packet that the agent released to this shard.
    pub fn grants_end(&mut self) -> u64 {
        self.grants.read_position() + self.grants.available() as u64
    }

    /// The next packet that the agent released to this shard, with its position. It stays in the ring.
    pub fn next_grant(&mut self) -> Option<(u64, Grant)> {
        loop {
            match self.grants.peek() {
                Ok(None) => return None,
                Ok(Some((position, bytes))) => {
                    if let Ok(grant) = Grant::decode(bytes) {
                        return Some((position, grant));
                    }
                    self.pass_over(position)?;
                }
                Err(ReadError::Slot(_)) => {
                    let position = self.grants.read_position();
                    self.pass_over(position)?;
                }
                Err(ReadError::Cursors(_)) => {
                    self.counters.ring_errors.inc();
                    return None;
                }
            }
        }
    }

    /// Leaves a grant that makes no sense behind. Its packet is found as void at the next start.
    fn pass_over(&mut self, position: u64) -> Option<()> {
        self.counters.ring_errors.inc();
        self.grants.commit(position + 1).ok()
    }

    /// Takes the packet that [`AgentLink::next_grant`] showed out of the grant ring, and then records who gets it. After a
    /// crash between the two the packet is void; it can never be issued twice.
    pub fn issue(&mut self, issued: &Issued) -> Result<(), Full> {
        let position = self.grants.read_position();
        self.grants.commit(position + 1).map_err(|_| Full)?;
        self.push(&Request::Issued(*issued))
    }

    /// Takes the packet that [`AgentLink::next_grant`] showed out of the grant ring, and then tells the agent that it goes
    /// back. Half of the request ring is kept for what is won. After a crash between the two the packet is void.
    pub fn give_back(&mut self, packet: PacketId) -> Result<(), Full> {
        if !self.is_announced || self.requests.free() <= Ring::Request.slots() as usize / 2 {
            return Err(Full);
        }
        let position = self.grants.read_position();
        self.grants.commit(position + 1).map_err(|_| Full)?;
        self.counters.grants_returned.inc();
        self.push(&Request::Returned(Returned { packet, position }))
    }

    /// Hands a user's request to the agent.
    pub fn ask(&mut self, ask: Ask) -> Result<(), Full> {
        self.push_announced(&Request::Ask(ask))
    }

    /// Has the agent send a gift.
    pub fn gift(&mut self, gift: Gift) -> Result<(), Full> {
        self.push_announced(&Request::Gift(gift))
    }

    fn push_announced(&mut self, request: &Request) -> Result<(), Full> {
        if self.is_announced {
            self.push(request)
        } else {
            Err(Full)
        }
    }

    /// Takes the answers that are there. One that is lost from here on was for a session of this life; the client asks
    /// again.
    pub fn replies(&mut self, into: &mut Vec<Reply>) {
        drain(&mut self.replies, &self.counters, into, |bytes| Reply::decode(bytes));
    }

    /// Takes the notices that are there.
    pub fn notices(&mut self, into: &mut Vec<Notice>) {
        drain(&mut self.notices, &self.counters, into, |bytes| Notice::decode(bytes));
    }

    /// Takes the blocks that are there.
    pub fn blocks(&mut self, into: &mut Vec<Block>) {
        drain(&mut self.blocks, &self.counters, into, |bytes| Block::decode(bytes));
    }

    /// Tells the agent's analysis something, which looks by itself and is not woken. False when there is no room.
    pub fn event(&mut self, event: &Event) -> bool {
        self.record.clear();
        event.encode(&mut self.record);
        self.events.push(&self.record).is_ok()
    }

    /// Whether answers, notices or blocks wait; the check between arming the bell and sleeping.
    pub fn has_deliveries(&mut self) -> bool {
        self.replies.available() > 0 || self.notices.available() > 0 || self.blocks.available() > 0
    }

    /// Wakes the agent if anything was pushed since the last call.
    pub fn wake_agent(&mut self) {
        if std::mem::take(&mut self.has_pushed) {
            self.sleeper.notify();
        }
    }

    fn push(&mut self, request: &Request) -> Result<(), Full> {
        self.record.clear();
        request.encode(&mut self.record);
        if self.requests.push(&self.record).is_err() {
            self.was_full = true;
            return Err(Full);
        }
        self.has_pushed = true;
        Ok(())
    }
}

/// Rings when the agent has something for this shard.
impl Doorbell for AgentLink {
    fn arm(&self) {
        self.bell.arm();
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn disarm(&self) {
        self.bell.disarm_and_drain();
    }
}

/// Takes and commits every record of a ring; those that make no sense are counted and passed over.
fn drain<T>(
    ring: &mut Consumer,
    counters: &Counters,
    into: &mut Vec<T>,
    decode: impl Fn(&[u8]) -> Result<T, BadRecord>,
) {
    loop {
        let read = ring.read_batch(RECORDS_AT_ONCE, |_, bytes| match decode(bytes) {
            Ok(record) => into.push(record),
            Err(BadRecord) => counters.ring_errors.inc(),
        });
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => {
                counters.ring_errors.inc();
                if !matches!(ring.skip_corrupt(), Ok(Some(_))) {
                    break;
                }
            }
        }
    }
    let read_position = ring.read_position();
    if read_position != ring.position() && ring.commit(read_position).is_err() {
        counters.ring_errors.inc();
    }
}
