//! Whole runs in which users do everything with packets, against a small bank that keeps its own books: on both
//! engines, with the users' view compared to the bank's to the cent.

mod support;

use bytes::Bytes;
use client_sim::engine::Stop;
use client_sim::report::Report;
use client_sim::run::{Verdict, Watch, run};
use client_sim::scenario::{EngineKind, Scenario};
use client_sim::tally::Moved;
use ring::digest::{SHA256, digest};
use shake_proto::reply::{
    ClaimResult, GrabResult, PacketState, Reason, SendResult, ShareTaken, ViewResult, WalletResult,
};
use shake_proto::reply::{WALLET_TRANSFERS_MAX, WalletTransfer};
use shake_proto::wire::v1::{self, reply::Kind as Reply, request::Kind as Request};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use support::{Answer, Back, Script, Server, packet_of, reply, win};

const LIVELY: &str = "
[load]
sessions = 30
connects_per_second = 500
shakes_per_second = 300
seconds = 3
settle_s = 5
[behaviour]
claim_delay_ms = [5, 20]
[packets]
share_split = 1.0
friends_told = 6
send_share = 1.0
send_min_cents = 50
view_share = 1.0
wallet_share = 1.0
hoard_share = 0.1
grab_share = 0.9
repeat_share = 0.5
delay_ms = [5, 50]
[resources]
fetch_share = 0.5
sample = 10
[limits]
shake_timeout_ms = 1000
request_timeout_ms = 400
connect_timeout_ms = 3000
backoff_ms = [20, 100]
";

const BODY: &[u8] = b"a family photo, as far as a test has one";

/// One packet of the bank: who may take, what is left, who took.
#[derive(Clone, Debug)]
struct Packet {
    recipients: Vec<u64>,
    shares: Vec<u64>,
    taken: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Books {
    packets: HashMap<u64, Packet>,
    sends: HashMap<Bytes, u64>,
    movements: HashMap<u64, Vec<(u64, i64)>>,
    offers: HashMap<u64, Vec<v1::PacketOffered>>,
    /// Requests met, by user: the first of each is answered as busy.
    busy: HashMap<u64, u32>,
}

/// What the bank does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Wallets show a cent too little.
    Wallet,
    /// A grab by who has a share pays once more.
    Grab,
    /// A view leaves out the first who took.
    View,
}

#[derive(Clone)]
struct Bank {
    books: Arc<Mutex<Books>>,
    packages: SocketAddr,
    fault: Fault,
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

    fn balance(&self, user: u64) -> u64 {
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

/// A static HTTP server with one file, for as long as the process lives.
fn packages() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 1_024];
            let read = stream.read(&mut request).unwrap_or(0);
            let (status, body) = if request[..read].starts_with(b"GET /photo ") {
                ("200 OK", BODY)
            } else {
                ("404 Not Found", &b""[..])
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

fn start(fault: Fault) -> (Bank, Server, Scenario) {
    let bank = Bank {
        books: Arc::default(),
        packages: packages(),
        fault,
    };
    let server = Server::start(bank.clone());
    let scenario = Scenario::parse(LIVELY, &server.overrides()).expect("a good scenario");
    (bank, server, scenario)
}

/// What the users say must be what the bank has.
fn check(report: &Report, grabbed: &[Moved], sent: &[Moved], books: &Books) {
    let text = report.to_text();
    let packets = &report.packets;
    assert!(report.checks.passed, "{text}");
    for (name, errands) in [
        ("sends", &packets.sends),
        ("grabs", &packets.grabs),
        ("views", &packets.views),
        ("wallets", &packets.wallets),
    ] {
        assert!(errands.done > 0 && text.contains(name), "{name}:\n{text}");
        assert_eq!(
            (errands.course.gave_up, errands.course.failed, errands.course.unfinished),
            (0, 0, 0),
            "{text}"
        );
    }
    let busy =
        packets.sends.course.busy + packets.grabs.course.busy + packets.views.course.busy + packets.wallets.course.busy;
    assert_eq!(busy, 30, "each met one busy bank:\n{text}");
    assert!(
        packets.sends.course.repeats + packets.grabs.course.repeats > 0,
        "some answers were lost:\n{text}"
    );
    assert!(
        packets.sends_named > 0 && packets.sends_named < packets.sends.done,
        "{text}"
    );
    assert!(
        packets.offers > 0 && packets.codes_told > 0 && packets.ignored > 0,
        "{text}"
    );
    assert!(
        packets.grabs_empty > 0 && report.claims.counts.hoarded > 0 && report.claims.counts.split > 0,
        "{text}"
    );
    assert_eq!(packets.wallets_equal, packets.wallets.done, "{text}");
    assert_eq!(packets.wallets.done, 30);

    let sum = |moved: &[Moved]| moved.iter().map(|moved| moved.cents).sum::<u64>();
    assert_eq!((report.cents.grabbed, report.cents.sent), (sum(grabbed), sum(sent)));
    let balances: u64 = books.movements.keys().map(|user| books.balance(*user)).sum();
    let known = report.cents.opened + report.cents.grabbed - report.cents.sent;
    assert_eq!(known, balances, "{text}");
    assert_eq!(sent.len(), books.sends.len());

    let packages = &report.packages;
    assert_eq!(
        (
            packages.counts.manifests,
            packages.counts.begun,
            packages.counts.fetched
        ),
        (30, 40, 10),
        "{text}"
    );
    let failures = ["status_404", "wrong_sha256", "wrong_size"].map(|name| (name.to_owned(), 10));
    assert_eq!(packages.counts.failures, failures.into(), "{text}");
    assert_eq!((packages.unfinished, packages.counts.unknown_ids), (0, 30), "{text}");
}

#[test]
fn all_kinds_are_played_and_the_books_agree() {
    for engine in EngineKind::ALL {
        let (bank, _server, scenario) = start(Fault::None);
        let scenario = Scenario { engine, ..scenario };
        let outcome = run(scenario, &Watch::default(), &Stop::default(), &mut |_| {}).expect("it begins");
        assert_eq!(outcome.verdict, Verdict::Fine, "{}", outcome.report.to_text());
        let books = bank.books.lock().expect("sound");
        check(&outcome.report, &outcome.credits.grabbed, &outcome.credits.sent, &books);
    }
}

#[test]
fn a_bank_that_errs_fails_the_run() {
    for fault in [Fault::Wallet, Fault::Grab, Fault::View] {
        let (_bank, _server, scenario) = start(fault);
        let outcome = run(scenario, &Watch::default(), &Stop::default(), &mut |_| {}).expect("it begins");
        assert_eq!(
            outcome.verdict,
            Verdict::ChecksFailed,
            "{fault:?}: {}",
            outcome.report.to_text()
        );
        let checks = &outcome.report.checks;
        let found = [
            checks.violations.wallets_wrong > 0,
            checks.violations.paid_twice > 0,
            checks.violations.views_wrong > 0,
        ];
        let wanted = [Fault::Wallet, Fault::Grab, Fault::View].map(|one| one == fault);
        assert_eq!(found, wanted, "{fault:?}: {}", outcome.report.to_text());
    }
}
