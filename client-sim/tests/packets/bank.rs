//! A small bank that keeps its own books, and may err on purpose.

use super::BODY;
use super::support::{Answer, Back, Script, packet_of, reply, win};
use bytes::Bytes;
use ring::digest::{SHA256, digest};
use shake_proto::reply::{
    ClaimResult, GrabResult, PacketState, Reason, SendResult, ShareTaken, ViewResult, WALLET_TRANSFERS_MAX,
    WalletResult, WalletTransfer,
};
use shake_proto::wire::v1::{self, reply::Kind as Reply, request::Kind as Request};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// One packet of the bank: who may take, what is left, who took.
#[derive(Clone, Debug)]
struct Packet {
    recipients: Vec<u64>,
    shares: Vec<u64>,
    taken: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
pub struct Books {
    packets: HashMap<u64, Packet>,
    pub sends: HashMap<Bytes, u64>,
    pub movements: HashMap<u64, Vec<(u64, i64)>>,
    pub offers: HashMap<u64, Vec<v1::PacketOffered>>,
    /// Requests met, by user: the first of each is answered as busy.
    pub busy: HashMap<u64, u32>,
}

/// What the bank does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Wallets show a cent too little.
    Wallet,
    /// A grab by who has a share pays once more.
    Grab,
    /// A view leaves out the first who took.
    View,
}

#[derive(Clone)]
pub struct Bank {
    pub books: Arc<Mutex<Books>>,
    pub packages: SocketAddr,
    pub fault: Fault,
}

fn code(packet: u64) -> Bytes {
    let mut code = [1; 24];
    code[..8].copy_from_slice(&packet.to_le_bytes());
    Bytes::copy_from_slice(&code)
}

fn packet_of_code(code: &[u8]) -> u64 {
    u64::from_le_bytes(code[..8].try_into().expect("24 bytes"))
}

/// In as many parts: one cent each, and the rest to the last, so that the last is the best.
fn split(total: u64, shares: u64) -> Vec<u64> {
    let mut parts = vec![1; shares as usize];
    parts[shares as usize - 1] += total - shares;
    parts
}

impl Books {
    fn move_cents(&mut self, user: u64, packet: u64, cents: i64) {
        self.movements.entry(user).or_default().push((packet, cents));
    }

    pub fn balance(&self, user: u64) -> u64 {
        let sum: i64 = self
            .movements
            .get(&user)
            .map_or(0, |moved| moved.iter().map(|(_, cents)| cents).sum());
        u64::try_from(sum).expect("nobody spends more than they have")
    }

    fn send(&mut self, user: u64, send: &v1::Send) -> SendResult {
        let known = self.sends.get(&send.idempotency_key).copied();
        let packet = known.unwrap_or(1_000_000 + self.sends.len() as u64);
        if known.is_none() {
            if self.balance(user) < send.total_cents {
                return SendResult::Refused(Reason::Balance);
            }
            self.sends.insert(send.idempotency_key.clone(), packet);
            self.move_cents(user, packet, -(send.total_cents as i64));
            let made = Packet {
                recipients: send.recipients.clone(),
                shares: split(send.total_cents, send.shares.into()),
                taken: Vec::new(),
            };
            self.packets.insert(packet, made);
            for recipient in &send.recipients {
                let offered = v1::PacketOffered {
                    code: code(packet),
                    from_user_id: user,
                };
                self.offers.entry(*recipient).or_default().push(offered);
            }
        }
        SendResult::Sent {
            packet: PacketId(packet),
            code: code(packet),
            repeat: known.is_some(),
        }
    }

    fn grab(&mut self, user: u64, id: u64, fault: Fault) -> GrabResult {
        let packet = self.packets.get_mut(&id).expect("codes are not made up");
        let known = packet
            .taken
            .iter()
            .find(|(taker, _)| *taker == user)
            .map(|(_, cents)| *cents);
        if let Some(cents) = known {
            return GrabResult::Grabbed {
                packet: PacketId(id),
                amount: Cents(cents),
                repeat: fault != Fault::Grab,
            };
        }
        if !packet.recipients.is_empty() && !packet.recipients.contains(&user) {
            return GrabResult::Refused(Reason::NotEntitled);
        }
        let Some(&cents) = packet.shares.get(packet.taken.len()) else {
            return GrabResult::Empty;
        };
        packet.taken.push((user, cents));
        self.move_cents(user, id, cents as i64);
        GrabResult::Grabbed {
            packet: PacketId(id),
            amount: Cents(cents),
            repeat: false,
        }
    }

    fn view(&self, id: u64, fault: Fault) -> ViewResult {
        let packet = &self.packets[&id];
        let total: u64 = packet.shares.iter().sum();
        let taken: u64 = packet.taken.iter().map(|(_, cents)| cents).sum();
        let is_done = packet.taken.len() == packet.shares.len();
        let share = |(at, (user, cents)): (usize, &(u64, u64))| ShareTaken {
            user: UserId(*user),
            amount: Cents(*cents),
            at: UnixMillis(1),
            is_best: is_done && at + 1 == packet.shares.len(),
        };
        let left_out = usize::from(fault == Fault::View);
        ViewResult::State(PacketState {
            packet: PacketId(id),
            total: Cents(total),
            shares: packet.shares.len() as u16,
            left: Cents(total - taken),
            shares_left: (packet.shares.len() - packet.taken.len()) as u16,
            taken: packet.taken.iter().enumerate().map(share).skip(left_out).collect(),
        })
    }

    fn wallet(&self, user: u64, fault: Fault) -> WalletResult {
        let moved = self.movements.get(&user).map_or(&[][..], Vec::as_slice);
        let transfer = |(packet, cents): &(u64, i64)| WalletTransfer {
            cents: *cents,
            packet: PacketId(*packet),
            at: UnixMillis(1),
        };
        WalletResult::State {
            balance: Cents(self.balance(user).saturating_sub(u64::from(fault == Fault::Wallet))),
            transfers: moved.iter().rev().take(WALLET_TRANSFERS_MAX).map(transfer).collect(),
        }
    }
}

impl Script for Bank {
    fn hello(&self, _user: u64, hello: &v1::Hello) -> Answer {
        assert_eq!(hello.capabilities & 1, 1, "it takes notices");
        let package = |id, path: &str, size_bytes: usize, sha256: &[u8]| v1::Resource {
            id,
            address: format!("http://{}/{path}", self.packages),
            size_bytes: size_bytes as u64,
            sha256: Bytes::copy_from_slice(sha256),
            fetch_after_ms: 0,
            fetch_before_ms: 1_500,
        };
        let good = digest(&SHA256, BODY);
        let resources = vec![
            package(1, "photo", BODY.len(), good.as_ref()),
            package(2, "photo", BODY.len() - 1, good.as_ref()),
            package(3, "photo", BODY.len(), &[3; 32]),
            package(4, "none", BODY.len(), good.as_ref()),
        ];
        Answer::Reply(Reply::Hello(v1::HelloReply {
            server_time_ms: 1_000,
            manifest: Some(v1::ResourceManifest { version: 1, resources }),
            ..Default::default()
        }))
    }

    /// The first shake of each user wins; the others carry the offers that wait.
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        if sequence == 1 {
            return vec![Back::Reply(win(sequence, user, 7))];
        }
        let mut backs = vec![Back::Reply(v1::ShakeReply {
            resource_id: 9 * u32::from(sequence == 2),
            ..reply(sequence, v1::Outcome::Greeting)
        })];
        let offers = self
            .books
            .lock()
            .expect("sound")
            .offers
            .remove(&user)
            .unwrap_or_default();
        backs.extend(offers.into_iter().map(|offer| {
            Back::Notice(v1::Notice {
                kind: Some(v1::notice::Kind::PacketOffered(offer)),
            })
        }));
        backs
    }

    /// Every packet is split: the winner gets the first share.
    fn claim(&self, user: u64, claim: &v1::Claim) -> Answer {
        let id = packet_of(claim);
        let mut books = self.books.lock().expect("sound");
        books.packets.entry(id).or_insert_with(|| Packet {
            recipients: Vec::new(),
            shares: vec![70, 80, 100],
            taken: Vec::new(),
        });
        let GrabResult::Grabbed { packet, amount, repeat } = books.grab(user, id, Fault::None) else {
            panic!("the winner is first");
        };
        let opened = ClaimResult::Opened {
            packet,
            amount,
            sponsor: SponsorId(7),
            code: code(id),
            repeat,
        };
        Answer::Reply(Reply::Claim(opened.into()))
    }

    /// The first request of each user meets a busy bank, the second one that does it and stays silent.
    fn ask(&self, user: u64, kind: Request) -> Answer {
        let mut books = self.books.lock().expect("sound");
        let met = books.busy.entry(user).or_default();
        *met += 1;
        let (is_busy, is_silent) = (*met == 1, *met == 2);
        let busy = v1::Busy {
            retry_after_ms: 10,
            blocked: false,
        };
        let fault = self.fault;
        let reply = match kind {
            Request::Send(_) if is_busy => Reply::Send(v1::SendReply {
                result: Some(v1::send_reply::Result::Busy(busy)),
            }),
            Request::Grab(_) if is_busy => Reply::Grab(v1::GrabReply {
                result: Some(v1::grab_reply::Result::Busy(busy)),
            }),
            Request::PacketView(_) if is_busy => Reply::PacketView(v1::PacketViewReply {
                result: Some(v1::packet_view_reply::Result::Busy(busy)),
            }),
            Request::Wallet(_) if is_busy => Reply::Wallet(v1::WalletReply {
                result: Some(v1::wallet_reply::Result::Busy(busy)),
            }),
            Request::Send(send) => Reply::Send(books.send(user, &send).into()),
            Request::Grab(grab) => Reply::Grab(books.grab(user, packet_of_code(&grab.code), fault).into()),
            Request::PacketView(view) => Reply::PacketView(books.view(packet_of_code(&view.code), fault).into()),
            Request::Wallet(_) => Reply::Wallet(books.wallet(user, fault).into()),
            Request::Hello(_) | Request::Shake(_) | Request::Claim(_) => panic!("served elsewhere"),
        };
        if is_silent {
            Answer::Silence
        } else {
            Answer::Reply(reply)
        }
    }
}
