//! The gateway's side of the rings.

use super::{Event, PATIENCE, Tickets, geometry};
use shake_proto::handoff::record::{Grant, Notice, Reply, Request, Returned};
use shake_proto::handoff::status::{AgentStatus, GatewayStatus};
use shake_proto::handoff::topology::{Ring, SILENT_MS_MAX};
use shake_rules::LedgerId;
use shm_queue::{Attachment, Consumer, Mapping, Producer, Side, Sleeper};
use std::time::{Duration, Instant};

struct FrontLane {
    requests: Producer,
    replies: Consumer,
    grants: Consumer,
    notices: Consumer,
}

/// The gateway's side of the rings.
pub struct Front {
    lanes: Vec<FrontLane>,
    sleeper: Sleeper,
    pub attachment: Attachment,
    pub keys: Tickets,
}

impl Front {
    pub fn new(event: &Event, shards: u16) -> Self {
        Self::on(
            &Mapping::open_or_create(&event.path("rings"), &geometry(shards)).unwrap(),
            shards,
        )
    }

    /// On rings that are there.
    pub fn on(mapping: &Mapping, shards: u16) -> Self {
        let attachment = mapping.attach(Side::Front, 1).unwrap();
        let lane = |shard| FrontLane {
            requests: attachment.producer(Ring::Request.index(shard)).unwrap(),
            replies: attachment.consumer(Ring::Reply.index(shard)).unwrap(),
            grants: attachment.consumer(Ring::Grant.index(shard)).unwrap(),
            notices: attachment.consumer(Ring::Notice.index(shard)).unwrap(),
        };
        let mut front = Self {
            lanes: (0..shards).map(lane).collect(),
            sleeper: attachment.sleeper(0).unwrap(),
            attachment,
            keys: Tickets::of_mapping(mapping.clone()),
        };
        for shard in 0..front.lanes.len() {
            let grants_taken = front.lanes[shard].grants.position();
            front.push(shard, &Request::ShardStarted { epoch: 1, grants_taken });
        }
        front
    }

    /// Which ledger the agent keeps, once it has named it.
    pub fn ledger(&self) -> Option<LedgerId> {
        self.attachment.mapping().owner().map(|owner| LedgerId(owner.identity))
    }

    /// What the agent says of itself.
    pub fn agent_status(&self) -> AgentStatus {
        AgentStatus::decode(self.attachment.mapping().peer(Side::Back).status)
    }

    /// Whether its heartbeat is fresh.
    pub fn agent_is_alive(&self) -> bool {
        let peer = self.attachment.mapping().peer(Side::Back);
        peer.is_alive(host::clock::monotonic_ms(), SILENT_MS_MAX)
    }

    pub fn shards(&self) -> usize {
        self.lanes.len()
    }

    pub fn push(&mut self, shard: usize, request: &Request) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        self.push_bytes(shard, &bytes);
    }

    pub fn push_bytes(&mut self, shard: usize, bytes: &[u8]) {
        self.lanes[shard].requests.push(bytes).unwrap();
        self.sleeper.notify();
    }

    /// The next grant, left in the ring.
    pub fn next_grant(&mut self, shard: usize) -> Option<Grant> {
        let next = self.lanes[shard].grants.peek().unwrap();
        next.map(|(_, bytes)| Grant::decode(bytes).unwrap())
    }

    /// All grants that there are, left in the ring.
    pub fn grants(&mut self, shard: usize) -> Vec<Grant> {
        let ring = &mut self.lanes[shard].grants;
        let mut grants = Vec::new();
        ring.read_batch(usize::MAX, |_, bytes| grants.push(Grant::decode(bytes).unwrap()))
            .unwrap();
        ring.rewind();
        grants
    }

    /// Takes the grant out that [`Front::next_grant`] showed.
    pub fn take_grant(&mut self, shard: usize) {
        let ring = &mut self.lanes[shard].grants;
        ring.commit(ring.read_position() + 1).unwrap();
    }

    /// Gives the next grant back.
    pub fn give_back(&mut self, shard: usize) -> Option<Returned> {
        let packet = self.next_grant(shard)?.packet;
        let position = self.lanes[shard].grants.read_position();
        self.take_grant(shard);
        let returned = Returned { packet, position };
        self.push(shard, &Request::Returned(returned));
        Some(returned)
    }

    /// Says whether the gateway drains.
    pub fn say_draining(&self, is_draining: bool) {
        self.attachment.set_status(GatewayStatus { is_draining }.encode());
    }

    /// Takes every grant there is, as a shard does before it issues them.
    pub fn take_grants(&mut self, shard: usize) -> Vec<Grant> {
        let ring = &mut self.lanes[shard].grants;
        let mut grants = Vec::new();
        ring.read_batch(usize::MAX, |_, bytes| grants.push(Grant::decode(bytes).unwrap()))
            .unwrap();
        ring.commit(ring.read_position()).unwrap();
        grants
    }

    pub fn replies(&mut self, shard: usize) -> Vec<Reply> {
        let ring = &mut self.lanes[shard].replies;
        let mut replies = Vec::new();
        ring.read_batch(usize::MAX, |_, bytes| replies.push(Reply::decode(bytes).unwrap()))
            .unwrap();
        ring.commit(ring.read_position()).unwrap();
        replies
    }

    pub fn notices(&mut self, shard: usize) -> Vec<Notice> {
        let ring = &mut self.lanes[shard].notices;
        let mut notices = Vec::new();
        ring.read_batch(usize::MAX, |_, bytes| notices.push(Notice::decode(bytes).unwrap()))
            .unwrap();
        ring.commit(ring.read_position()).unwrap();
        notices
    }

    /// The next reply to come; more may wait behind it.
    pub fn reply_one(&mut self, shard: usize) -> Reply {
        let begun = Instant::now();
        loop {
            let ring = &mut self.lanes[shard].replies;
            let next = ring.peek().unwrap();
            let next = next.map(|(_, bytes)| Reply::decode(bytes).unwrap());
            if let Some(reply) = next {
                ring.commit(ring.read_position() + 1).unwrap();
                return reply;
            }
            assert!(begun.elapsed() < PATIENCE, "no reply");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The one reply to come.
    pub fn reply(&mut self, shard: usize) -> Reply {
        let begun = Instant::now();
        loop {
            if let Some(reply) = self.replies(shard).pop() {
                return reply;
            }
            assert!(begun.elapsed() < PATIENCE, "no reply");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
