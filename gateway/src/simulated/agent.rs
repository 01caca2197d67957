//! The agent at the other end of the rings: it keeps no ledger, opens every ticket that it is shown, and judges behaviour as
//! the real one does.

use super::house::{LEDGER, unix};
use lean_quic::Micros;
use shake_agent::abuse::{Analysis, Verdict};
use shake_proto::handoff::abuse::Event;
use shake_proto::handoff::record::{Ask, Gift, Grant, Reply, Request, Returned, What};
use shake_proto::handoff::status::{AgentStatus, GatewayStatus};
use shake_proto::handoff::topology::Ring;
use shake_proto::wire::v1::{self, reply::Kind};
use shake_rules::ticket::TicketKeys;
use shake_rules::winnings::Winnings;
use shake_rules::{EventId, PacketId, SponsorId, UserId};
use shm_queue::{Attachment, Consumer, Owner, Producer, Side};
use std::collections::{HashMap, HashSet};

/// Between two looks at the rings.
const LOOK: Micros = Micros::from_ms(10);
/// Packets that the shard has in hand.
const IN_HAND: u64 = 32;
/// Records that are taken in one go.
const AT_ONCE: usize = 4_096;

/// The agent.
pub struct Agent {
    attachment: Attachment,
    requests: Consumer,
    replies: Producer,
    grants: Producer,
    events: Consumer,
    blocks: Producer,
    tickets: TicketKeys,
    /// Whose packets it gives out, in turn.
    pub sponsors: Vec<SponsorId>,
    /// What it gave out, in the order of the ring, and what came back.
    pub given: Vec<Grant>,
    pub returned: Vec<Returned>,
    /// When it looks next.
    look_at: Micros,
    /// Whether it lives; while not, nobody reads and nobody answers.
    pub is_here: bool,
    /// Whether it reaches its ledger; while not, it says so, and does nothing.
    pub is_ledger_away: bool,
    /// Another agent has its part: it says so, and ends.
    pub has_lost_part: bool,
    /// Packets that may still be given out.
    pub packets: u64,
    pub analysis: Option<Analysis>,
    /// What users won at other gateways, where others have this ledger too; and how often that was asked.
    pub elsewhere: Option<fn(UserId) -> Winnings>,
    pub told_winnings: usize,
    /// What each user asked so often.
    pub asked: HashMap<UserId, u32>,
    pub opened: HashSet<PacketId>,
    pub gifts: Vec<Gift>,
}

impl Agent {
    /// One that is away.
    pub fn new(attachment: Attachment, tickets: TicketKeys, sponsors: Vec<SponsorId>) -> Self {
        let consumer = |ring: Ring| attachment.consumer(ring.index(0)).expect("nobody else's");
        let producer = |ring: Ring| attachment.producer(ring.index(0)).expect("nobody else's");
        Self {
            requests: consumer(Ring::Request),
            replies: producer(Ring::Reply),
            grants: producer(Ring::Grant),
            events: consumer(Ring::Event),
            blocks: producer(Ring::Block),
            attachment,
            tickets,
            sponsors,
            given: Vec::new(),
            returned: Vec::new(),
            look_at: Micros::ZERO,
            is_here: false,
            is_ledger_away: false,
            has_lost_part: false,
            packets: 0,
            analysis: None,
            elsewhere: None,
            told_winnings: 0,
            asked: HashMap::new(),
            opened: HashSet::new(),
            gifts: Vec::new(),
        }
    }

    /// It comes, and says whose ledger it keeps.
    pub fn come(&mut self) {
        self.name_ledger();
        self.is_here = true;
    }

    /// It says whose ledger this is.
    pub fn name_ledger(&mut self) {
        let (identity, part) = (LEDGER.0, 0);
        let named = self.attachment.name_owner(&Owner { identity, part });
        named.expect("it is ours, or nobody's yet");
    }

    /// Another life of the gateway begins, whose time begins anew.
    pub fn begin(&mut self) {
        self.look_at = Micros::ZERO;
        self.attachment.beat(0);
    }

    /// Does what is due. Gives when it looks next.
    pub fn look(&mut self, now: Micros) -> Micros {
        if now >= self.look_at {
            self.look_at = now.plus(LOOK);
            if self.is_here {
                // A beat of 0 is that of nobody.
                self.attachment.beat((now.0 / 1_000).max(1));
                let status = AgentStatus {
                    ledger_away: self.is_ledger_away,
                    part_lost: self.has_lost_part,
                    ledger_is_common: self.elsewhere.is_some(),
                    ..AgentStatus::default()
                };
                self.attachment.set_status(status.encode());
                if self.has_lost_part {
                    self.is_here = false;
                } else if !self.is_ledger_away {
                    self.give_packets();
                    self.take_requests();
                }
                self.judge(now);
            }
        }
        self.look_at
    }

    fn give_packets(&mut self) {
        let gateway = self.attachment.mapping().peer(Side::Front);
        if GatewayStatus::decode(gateway.status).is_draining {
            return;
        }
        while self.packets > 0 && self.grants.position() - self.grants.consumed() < IN_HAND {
            let grant = Grant {
                packet: PacketId(1_000 + self.given.len() as u64),
                sponsor: self.sponsors[self.packets as usize % self.sponsors.len()],
                event: EventId(1),
            };
            push(&mut self.grants, |record| grant.encode(record));
            self.given.push(grant);
            self.packets -= 1;
        }
    }

    fn take_requests(&mut self) {
        for request in take(&mut self.requests, |bytes| Request::decode(bytes).ok()) {
            match request {
                Request::ShardStarted { .. } | Request::Issued(_) => {}
                Request::Returned(returned) => self.returned.push(returned),
                Request::Gift(gift) => self.gifts.push(gift),
                Request::Ask(ask) => self.answer(ask),
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        *self.asked.entry(ask.user).or_default() += 1;
        let mut winnings = Winnings::default();
        let kind = match ask.what {
            What::Claim(claim) => {
                let ticket = self
                    .tickets
                    .open(&LEDGER, &claim.ticket)
                    .expect("the gateway checked it");
                let opened = v1::Opened {
                    packet_id: ticket.packet.0,
                    cents: 7,
                    repeat: !self.opened.insert(ticket.packet),
                    ..Default::default()
                };
                let result = Some(v1::claim_reply::Result::Opened(opened));
                Some(Kind::Claim(v1::ClaimReply { result }))
            }
            What::Wallet => {
                let result = Some(v1::wallet_reply::Result::State(v1::WalletState::default()));
                Some(Kind::Wallet(v1::WalletReply { result }))
            }
            What::Offers => None,
            What::Winnings => {
                winnings = self.elsewhere.as_ref().map(|won| won(ask.user)).unwrap_or_default();
                self.told_winnings += 1;
                None
            }
            what => panic!("no test asks it: {what:?}"),
        };
        let reply_to = ask.reply_to;
        let reply = Reply {
            reply_to,
            kind,
            winnings,
        };
        push(&mut self.replies, |record| reply.encode(record));
    }

    /// Judges what the shard tells of its users.
    fn judge(&mut self, now: Micros) {
        let Some(analysis) = &mut self.analysis else {
            return;
        };
        let mut made = Vec::new();
        for event in take(&mut self.events, |bytes| Event::decode(bytes).ok()) {
            analysis.take(&event, unix(now), |verdict| match verdict {
                Verdict::Blocked(held) => made.push(held.to_record()),
                verdict => panic!("{verdict:?}"),
            });
        }
        analysis.sweep(unix(now));
        for block in made {
            push(&mut self.blocks, |record| block.encode(record));
        }
    }
}

fn push(ring: &mut Producer, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut record = Vec::new();
    encode(&mut record);
    ring.push(&record).expect("there is room");
}

/// Takes all records that are there.
fn take<T>(ring: &mut Consumer, decode: impl Fn(&[u8]) -> Option<T>) -> Vec<T> {
    let mut records = Vec::new();
    let mut note = |_, bytes: &[u8]| records.push(decode(bytes).expect("a record"));
    while ring.read_batch(AT_ONCE, &mut note).expect("a good ring") > 0 {}
    ring.commit(ring.read_position()).expect("what was read");
    records
}
