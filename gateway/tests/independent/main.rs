//! A client that shares no code with this project (aioquic and Google's protobuf, in Python) speaks the whole contract
//! from `shake.proto` alone with a real gateway and a real agent. See README.md beside this file.

#[path = "../support/mod.rs"]
mod support;

use data_encoding::HEXLOWER;
use nix::sys::signal::Signal;
use shake_rules::keys::Purpose;
use shake_rules::seed::PacketKind;
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{UnixMillis, UserId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{GENEROUS_SHOW, Stand};

/// Users that the client gets tokens for.
const USERS: u64 = 10;
const HELLO_TIMEOUT_S: u64 = 3;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

#[test]
#[ignore = "needs Python 3 and a package index; `cargo xtask test` runs it"]
fn aioquic_speaks_the_whole_contract() {
    let mut stand = Stand::new(
        GENEROUS_SHOW,
        &format!("[sessions]\nhello_timeout_s = {HELLO_TIMEOUT_S}\n"),
    );
    stand.make_seed_of(40_000, 200, 1, PacketKind::Split { shares: 4 });
    stand.start_agent();
    std::fs::write(stand.path("setting.json"), setting(&stand)).expect("setting.json");

    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent");
    let status = Command::new("python3")
        .arg("-B")
        .arg(scripts.join("run.py"))
        .arg(target().join("independent"))
        .arg(stand.path("setting.json"))
        .status()
        .unwrap_or_else(|error| panic!("cannot run python3 ({error}): install Python 3.10 or newer with pip"));
    assert!(
        status.success(),
        "the independent client: {status}; its own lines stand above"
    );

    let balances = std::fs::read_to_string(stand.path("balances.json")).expect("the client's balances");
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    assert_eq!(stand.stop_agent(), Some(0));
    stand.audit();
    let (wallets, ledger) = (wallets(&balances), ledger_balances(&stand));
    assert!(!wallets.is_empty());
    assert_eq!(wallets, ledger, "what the wallets said and what the ledger holds");
}

/// What `contract.py` is told.
fn setting(stand: &Stand) -> String {
    let expired = TokenKeys::new(&stand.key_ring(Purpose::UserToken)).mint(UserToken {
        user: UserId(1),
        expires_at: UnixMillis(1_000),
    });
    let tokens: BTreeMap<String, String> = (1..=USERS)
        .map(|user| (user.to_string(), HEXLOWER.encode(&stand.token(user))))
        .collect();
    serde_json::json!({
        "gateway": stand.address.to_string(),
        "ca": stand.path("certs/ca.pem"),
        "tokens": tokens,
        "expired_token": HEXLOWER.encode(&expired),
        "hello_timeout_s": HELLO_TIMEOUT_S,
        "balances": stand.path("balances.json"),
    })
    .to_string()
}

/// Users with money in the ledger, and how many cents.
fn ledger_balances(stand: &Stand) -> BTreeMap<i64, i64> {
    let ledger = rusqlite::Connection::open(stand.path("ledger.db")).expect("the ledger");
    let mut query = ledger
        .prepare("SELECT user, balance_cents FROM users WHERE balance_cents <> 0")
        .expect("the table of users");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.expect("a query").collect::<Result<_, _>>().expect("two numbers")
}

/// The same, as the client's wallets said it.
fn wallets(json: &str) -> BTreeMap<i64, i64> {
    let wallets: BTreeMap<i64, i64> = serde_json::from_str(json).expect("users and cents");
    wallets.into_iter().filter(|(_, cents)| *cents > 0).collect()
}

/// The workspace's target directory, in which this program was built: target/debug/deps/independent-….
fn target() -> PathBuf {
    let program = std::env::current_exe().expect("this test program");
    program.ancestors().nth(3).expect("target/PROFILE/deps").to_owned()
}
