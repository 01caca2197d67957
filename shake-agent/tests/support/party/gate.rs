//! A gateway without a network: the rules of a win in the order of the real one, and the way of asks to the rings and back.

use super::super::{EVENT, Front, ask, ring};
use super::phone::Errand;
use shake_proto::handoff::record::{Issued, Reply, Request, What};
use shake_proto::request::{Claim, Grab, Send};
use shake_rules::code::CodeKeys;
use shake_rules::cookie::CookieKeys;
use shake_rules::show::Show;
use shake_rules::ticket::{Ticket, TicketKeys};
use shake_rules::winnings::{Winnings, Won};
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use shm_queue::Mapping;
use std::collections::BTreeMap;

/// One life of a gateway.
pub struct Gate {
    pub front: Front,
    tickets: TicketKeys,
    cookies: CookieKeys,
    codes: CodeKeys,
    /// What it knows of who won what; gone with it.
    winners: BTreeMap<UserId, Winnings>,
    asked: BTreeMap<u64, (UserId, Errand)>,
    next_request: u64,
}

/// What a win hands out.
pub struct Win {
    pub ticket: Ticket,
    pub sealed: Vec<u8>,
    pub cookie: Vec<u8>,
}

/// The step of a win at which the gateway dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The grant is out of its ring, and nothing says who gets it.
    AfterCursor,
    /// The record is in the ring, and the ticket is not made.
    AfterRecord,
}

impl Gate {
    /// The life number `life` of the gateway: answers to what an earlier one asked mean nothing to it.
    pub fn new(mapping: &Mapping, shards: u16, life: u64) -> Self {
        Self {
            front: Front::on(mapping, shards),
            tickets: TicketKeys::new(&ring()),
            cookies: CookieKeys::new(&ring()),
            codes: CodeKeys::new(&ring()),
            winners: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_request: life << 32,
        }
    }

    /// Gives the next packet to a user, as `Serving::win` of the gateway does. The packet that left the ring comes back in
    /// any case; the rest of it only when the gateway lives.
    #[allow(clippy::too_many_arguments, reason = "what a real one has at hand")]
    pub fn win(
        &mut self,
        shard: usize,
        user: UserId,
        cookie: &[u8],
        show: &Show,
        now: UnixMillis,
        nonce: [u8; 12],
        death: Option<Death>,
    ) -> (Option<Won>, Option<Win>) {
        let winnings = self.winners.entry(user).or_default();
        if let Ok(told) = self.cookies.open(EVENT, user, cookie) {
            winnings.merge(&told);
        }
        if winnings.is_full(show.limits) {
            return (None, None);
        }
        let (Some(ledger), Some(grant)) = (self.front.ledger(), self.front.next_grant(shard)) else {
            return (None, None);
        };
        if !winnings.allow(grant.sponsor, show.limits) {
            return (None, None);
        }
        let won = Won {
            packet: grant.packet,
            sponsor: grant.sponsor,
        };
        winnings.add(won);
        let winnings = *winnings;
        self.front.take_grant(shard);
        if death == Some(Death::AfterCursor) {
            return (Some(won), None);
        }
        let issued = Issued {
            packet: grant.packet,
            user,
            stage: 0,
            at: now,
            ends: Some(now.plus_ms(show.ticket_lifetime_ms)),
        };
        self.front.push(shard, &Request::Issued(issued));
        if death == Some(Death::AfterRecord) {
            return (Some(won), None);
        }
        let ticket = Ticket {
            event: grant.event,
            packet: grant.packet,
            user,
            sponsor: grant.sponsor,
            stage: 0,
            issued_at: now,
            expires_at: now.plus_ms(show.ticket_lifetime_ms),
        };
        let (mut sealed, mut cookie) = (Vec::new(), Vec::new());
        self.tickets.seal(&ledger, &ticket, nonce, &mut sealed);
        self.cookies.seal(EVENT, user, &winnings, nonce, &mut cookie);
        let win = Win { ticket, sealed, cookie };
        (Some(won), Some(win))
    }

    /// Hands it to the agent; nobody is asked before the ledger is known.
    pub fn ask(&mut self, shard: usize, user: UserId, errand: &Errand, now: UnixMillis) {
        let Some(ledger) = self.front.ledger() else { return };
        let what = match errand {
            Errand::Claim { sealed, .. } | Errand::Steal { sealed } => What::Claim(Claim {
                ticket: sealed.clone().into(),
                cookie: Default::default(),
            }),
            Errand::Send {
                key,
                total,
                shares,
                named,
            } => What::Send(Send {
                key: u128::from(*key).to_be_bytes(),
                total: Cents(*total),
                shares: *shares,
                recipients: named.clone(),
            }),
            Errand::Grab { packet } => What::Grab(Grab {
                code: self.codes.code(&ledger, *packet).to_vec().into(),
            }),
            Errand::Wallet { .. } => What::Wallet,
        };
        self.next_request += 1;
        self.asked.insert(self.next_request, (user, errand.clone()));
        self.front.push(shard, &ask(self.next_request, user, now, what));
    }

    /// The packet of a code that the agent made.
    pub fn packet_of(&self, code: &[u8]) -> PacketId {
        let ledger = self.front.ledger().expect("whoever makes codes has named it");
        self.codes.packet(&ledger, code).unwrap()
    }

    /// What was asked; `None` when an earlier life asked.
    pub fn asked(&self, reply: &Reply) -> Option<(UserId, Errand)> {
        self.asked.get(&reply.reply_to.request_id).cloned()
    }
}
