//! Whole runs in which users do everything with packets, against a small bank that keeps its own books: on both
//! engines, with the users' view compared to the bank's to the cent.

#[path = "packets/bank.rs"]
mod bank;
mod support;

use bank::{Bank, Books, Fault};
use client_sim::engine::Stop;
use client_sim::report::Report;
use client_sim::run::{Verdict, Watch, run};
use client_sim::scenario::{EngineKind, Scenario};
use client_sim::tally::Moved;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use strum::VariantArray as _;
use support::Server;

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
    for &engine in EngineKind::VARIANTS {
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
