//! From requests to answers: what they name is opened, what they could matter for is read, and then they are judged in memory,
//! in order. What only looks is shown what is committed, apart.

use super::{Answer, EXPIRE_MAX, EXPIRY_GRACE_MS, Judge, Origin};
use crate::ledger::{self, Batch, Ledger, LedgerError, Listing, Needed, State, Store};
use shake_proto::handoff::record::{Ask, Gift, Issued, Request, Returned, What};
use shake_proto::request::{Grab, Send};
use shake_rules::ticket::Ticket;
use shake_rules::{PacketId, UnixMillis};

/// A request with what it names: its ticket or code is opened, its content hashed.
#[derive(Debug)]
pub enum Case<'r> {
    /// A grant went into a ticket.
    Issued(&'r Issued),
    /// A shard began a new life.
    ShardStarted {
        /// Where it is.
        origin: Origin,
        /// The gateway's epoch.
        epoch: u32,
        /// Its position in its grant ring.
        grants_taken: u64,
        /// What was released there and was not issued when it was read.
        held: Vec<PacketId>,
    },
    /// A grant goes back.
    Returned {
        /// Where it stood.
        origin: Origin,
        /// What.
        returned: &'r Returned,
    },
    /// The event sends a packet.
    Gift {
        /// What.
        gift: &'r Gift,
        /// SHA-256 of its content.
        hash: [u8; 32],
    },
    /// A user wants to open a packet.
    Claim {
        /// Who, and when.
        ask: &'r Ask,
        /// The ticket, or why it is none.
        ticket: Result<Ticket, super::claim::Flaw>,
    },
    /// A user funds a packet.
    Send {
        /// Who, and when.
        ask: &'r Ask,
        /// What.
        send: &'r Send,
        /// SHA-256 of its content.
        hash: [u8; 32],
    },
    /// A user takes a share.
    Grab {
        /// Who, and when.
        ask: &'r Ask,
        /// The packet of the code; `None` when it is not authentic.
        packet: Option<PacketId>,
    },
}

impl<'r> Case<'r> {
    /// The case of a request; `None` when it only looks.
    fn of(judge: &Judge, origin: Origin, request: &'r Request) -> Option<Self> {
        Some(match request {
            Request::Issued(issued) => Self::Issued(issued),
            Request::ShardStarted { epoch, grants_taken } => Self::ShardStarted {
                origin,
                epoch: *epoch,
                grants_taken: *grants_taken,
                held: Vec::new(),
            },
            Request::Returned(returned) => Self::Returned { origin, returned },
            Request::Gift(gift) => Self::Gift {
                gift,
                hash: super::send::hash_of(gift.total, gift.stage, &gift.recipients),
            },
            Request::Ask(ask) => match &ask.what {
                What::Claim(claim) => Self::Claim {
                    ask,
                    ticket: judge.open_ticket(ask.user, claim),
                },
                What::Send(send) => Self::Send {
                    ask,
                    send,
                    hash: super::send::hash_of(send.total, send.shares, &send.recipients),
                },
                What::Grab(Grab { code }) => Self::Grab {
                    ask,
                    packet: judge.open_code(code),
                },
                What::PacketView(_) | What::Wallet | What::Offers | What::Winnings => return None,
            },
        })
    }

    /// What it could matter for, as far as it says itself.
    fn need(&self, needed: &mut Needed) {
        match self {
            Self::Issued(issued) => needed.packets.push(issued.packet),
            Self::Returned { returned, .. } => needed.packets.push(returned.packet),
            Self::ShardStarted { .. } => {}
            Self::Gift { gift, .. } => needed.sends.push((ledger::Origin::Gift, gift.key)),
            Self::Claim { ticket, .. } => {
                if let Ok(ticket) = ticket {
                    needed.claimed.push(ticket.packet);
                    needed.users.push(ticket.user);
                }
            }
            Self::Send { ask, send, .. } => {
                needed.users.push(ask.user);
                needed.sends.push((ledger::Origin::Sent(ask.user), send.key));
            }
            Self::Grab { ask, packet } => {
                if let Some(packet) = packet {
                    needed.grabbed.push((*packet, ask.user));
                }
            }
        }
    }

    /// What it could matter for besides, now that its packet is known. Rows that belong to a packet are read after it.
    fn need_more(&self, book: &ledger::Book, needed: &mut Needed) {
        match self {
            Self::Claim { ticket: Ok(ticket), .. } => {
                let packet = book.packet(ticket.packet);
                if packet.is_some_and(|packet| packet.is_opened() && packet.is_shared()) {
                    needed.shares.push((ticket.packet, ticket.user));
                }
            }
            Self::Grab { ask, packet: Some(id) } => {
                let Some(packet) = book.packet(*id) else { return };
                needed.shares.push((*id, ask.user));
                if packet.recipients > 0 {
                    needed.offers.push((*id, ask.user));
                }
            }
            _ => {}
        }
    }

    /// Whether what it could still change is another writer's at the moment. What is final can be answered all the same.
    fn waits(&self, book: &ledger::Book) -> bool {
        let may_change = |packet, user| book.may_change_packet(packet) && book.may_change_user(user);
        match self {
            Self::Claim { ticket: Ok(ticket), .. } => {
                let can_open =
                    |packet: ledger::Packet| matches!(packet.state, State::Released | State::Issued | State::Lost);
                book.packet(ticket.packet).is_some_and(can_open) && !may_change(ticket.packet, ticket.user)
            }
            Self::Grab { ask, packet: Some(id) } => {
                let can_grab = |packet: ledger::Packet| {
                    packet.state == State::Open
                        && (packet.recipients == 0 || book.is_offered(*id, ask.user))
                        && book.share_of(*id, ask.user).is_none()
                };
                book.packet(*id).is_some_and(can_grab) && !may_change(*id, ask.user)
            }
            Self::Send { ask, send, .. } => {
                let made = book.made_with(ledger::Origin::Sent(ask.user), &send.key);
                made.is_none() && !book.may_change_user(ask.user)
            }
            Self::Issued(_)
            | Self::ShardStarted { .. }
            | Self::Returned { .. }
            | Self::Gift { .. }
            | Self::Claim { .. }
            | Self::Grab { .. } => false,
        }
    }
}

impl Judge {
    /// Lets all requests that write take effect, in order; the others are passed over. Gives each answer with the number that
    /// its request came with; and the numbers of those that wait for what another writer has at the moment, which nothing came
    /// of.
    ///
    /// # Errors
    /// When the ledger cannot be read. Then nothing of it may be committed.
    pub fn hear<'r, S: Store>(
        &mut self,
        batch: &mut Batch<'_, S>,
        requests: impl IntoIterator<Item = (usize, Origin, &'r Request)>,
        now: UnixMillis,
        answers: &mut Vec<(usize, Answer)>,
    ) -> Result<Vec<usize>, LedgerError> {
        self.elsewhere.forget(now);
        let requests = requests.into_iter();
        let mut docket: Vec<(usize, Case<'r>)> = Vec::with_capacity(requests.size_hint().0);
        docket.extend(requests.filter_map(|(at, origin, request)| Some((at, Case::of(self, origin, request)?))));

        // Before anything that another writer may want: a store may wait for one's own packets only while nobody waits for it.
        for (_, case) in &mut docket {
            if let Case::ShardStarted {
                origin,
                grants_taken,
                held,
                ..
            } = case
            {
                *held = batch.list(&Listing::HeldOfLane {
                    lane: origin.lane,
                    positions: 0..*grants_taken,
                })?;
            }
        }
        self.taken_back.clear();
        self.needed.clear();
        docket.iter().for_each(|(_, case)| case.need(&mut self.needed));
        self.needed.sort();
        batch.load(&self.needed)?;
        self.needed.clear();
        docket
            .iter()
            .for_each(|(_, case)| case.need_more(batch, &mut self.needed));
        self.needed.sort();
        batch.load(&self.needed)?;

        let mut waiting = Vec::new();
        for (at, case) in &docket {
            if case.waits(batch) {
                if let Case::Grab { packet: Some(id), .. } = case
                    && !batch.may_change_packet(*id)
                {
                    self.elsewhere.note(*id, now, &mut self.rng);
                }
                waiting.push(*at);
            } else {
                answers.push((*at, self.judge(batch, case, now)));
            }
        }
        Ok(waiting)
    }

    /// Whether the request grabs of a packet that another writer had a moment ago: it may wait without the ledger being asked.
    #[must_use]
    pub fn is_elsewhere(&self, request: &Request, now: UnixMillis) -> bool {
        if self.elsewhere.is_empty() {
            return false;
        }
        let packet = match request {
            Request::Ask(Ask {
                what: What::Grab(Grab { code }),
                ..
            }) => self.open_code(code),
            _ => None,
        };
        packet.is_some_and(|id| self.elsewhere.has(id, now))
    }

    /// Sends back what is overdue, of at most [`EXPIRE_MAX`] candidates. Gives how many these were; what a span has put off
    /// is no candidate again before its end. Call it when the rings are read empty:
    /// whoever asked in time comes first.
    ///
    /// # Errors
    /// When the ledger cannot be read. Then nothing of it may be committed.
    pub fn expire<S: Store>(&mut self, batch: &mut Batch<'_, S>, now: UnixMillis) -> Result<usize, LedgerError> {
        let by = UnixMillis(now.0.saturating_sub(EXPIRY_GRACE_MS));
        self.expire_listed(batch, &Listing::Due { by, max: EXPIRE_MAX }, by)
    }

    /// The same of parts that nobody has, and of those whose agents are silent, when `counts_silence`.
    ///
    /// # Errors
    /// When the ledger cannot be read. Then nothing of it may be committed.
    pub fn expire_of_gone<S: Store>(
        &mut self,
        batch: &mut Batch<'_, S>,
        now: UnixMillis,
        counts_silence: bool,
    ) -> Result<usize, LedgerError> {
        let by = UnixMillis(now.0.saturating_sub(EXPIRY_GRACE_MS));
        let listing = Listing::DueOfGone {
            by,
            max: EXPIRE_MAX,
            counts_silence,
        };
        self.expire_listed(batch, &listing, by)
    }

    fn expire_listed<S: Store>(
        &mut self,
        batch: &mut Batch<'_, S>,
        listing: &Listing,
        by: UnixMillis,
    ) -> Result<usize, LedgerError> {
        let candidates = batch.list(listing)?;
        self.needed.clear();
        for packet in candidates.iter().filter_map(|&id| batch.packet(id)) {
            if let ledger::Origin::Sent(user) = packet.origin {
                self.needed.users.push(user);
            }
        }
        self.needed.sort();
        batch.load(&self.needed)?;
        self.send_back(batch, &candidates, by);
        Ok(candidates.len())
    }

    /// Answers an ask that only looks from what is committed.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn show<S: Store>(&self, ledger: &Ledger<S>, ask: &Ask, now: UnixMillis) -> Result<Answer, LedgerError> {
        let seen = match self.look_of(ask, now) {
            Some(look) => Some(ledger.look(&look)?),
            None => None,
        };
        Ok(self.tell(ask, seen))
    }
}
